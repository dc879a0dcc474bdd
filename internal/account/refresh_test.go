package account_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

func rawBase64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

func TestTwelveParallelRefreshesAgreeOnOneSuccessor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		tokens := h.enter(t, home, "jane")
		for range 3 {
			var wg sync.WaitGroup
			var mu sync.Mutex
			successors := map[string]int{}
			for i := range 12 {
				server := h
				if i%2 == 1 {
					server = h.another(t)
				}
				wg.Go(func() {
					got, err := server.Refresh(t.Context(), home, tokens.Refresh.Reveal())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					successors[got.Refresh.Reveal()]++
					tokens.Access = got.Access
				})
			}
			wg.Wait()
			if len(successors) != 1 {
				t.Fatalf("12 refreshes gave %d successors", len(successors))
			}
			for one := range successors {
				tokens.Refresh = seal.NewSecret(one)
			}
			h.caller(t, tokens.Access)
			h.clock.pass(time.Minute)
		}
	})
}

func TestASpentTokenGivesItsSuccessorForTenSeconds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		first := h.enter(t, home, "jane")
		second := h.refresh(t, first.Refresh)
		if first.Refresh.Reveal() == second.Refresh.Reveal() {
			t.Fatal("the token is not renewed")
		}
		h.clock.pass(10 * time.Second)
		if again := h.refresh(t, first.Refresh); again.Refresh.Reveal() != second.Refresh.Reveal() {
			t.Error("within 10 seconds it gives another successor")
		}
		if n := count(recorded(t, d), "account.refresh"); n != 0 {
			t.Errorf("%d refreshes are in the audit log", n)
		}
		third := h.refresh(t, second.Refresh)
		h.caller(t, third.Access)
	})
}

func TestAReusedTokenEndsItsSignIn(t *testing.T) {
	for name, reuse := range map[string]func(h *house, t *testing.T, first account.Tokens){
		"after 10 seconds": func(h *house, t *testing.T, first account.Tokens) {
			h.refresh(t, first.Refresh)
			h.clock.pass(10*time.Second + time.Microsecond)
		},
		"when its successor was used": func(h *house, t *testing.T, first account.Tokens) {
			h.refresh(t, h.refresh(t, first.Refresh).Refresh)
		},
		"generations later": func(h *house, t *testing.T, first account.Tokens) {
			for tokens, i := first, 0; i < 5; i++ {
				h.clock.pass(time.Minute)
				tokens = h.refresh(t, tokens.Refresh)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				h := newHouse(t, d)
				h.register(t, "jane")
				first := h.enter(t, home, "jane")
				other := h.enter(t, home, "jane")
				who := h.caller(t, first.Access)
				reuse(h, t, first)
				if _, err := h.Refresh(t.Context(), away, first.Refresh.Reveal()); !errors.Is(err, account.ErrRefreshTokenReused) {
					t.Fatalf("reused: %v", err)
				}
				h.refused(t, "of the ended sign-in", first.Access)
				if _, err := h.Refresh(t.Context(), home, first.Refresh.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
					t.Errorf("reused once more: %v", err)
				}
				if !closed(t, d, access.SignInClosed, who.SignInID) {
					t.Error("the change log does not have it")
				}
				if got := recorded(t, d); count(got, "account.refresh_token_reused") != 1 {
					t.Errorf("the audit log has %v", got)
				}
				if by := texts(t, d, `SELECT account_id FROM audit_entries WHERE action = 'account.refresh_token_reused'`); by[0] != who.AccountID {
					t.Error("the audit log does not say whose it was")
				}
				h.caller(t, other.Access) // another sign-in of the account
				h.refresh(t, other.Refresh)
			})
		})
	}
}

// A thief and the owner each hold a token of the same number: whoever comes
// second ends both, and neither keeps a half of a family.
func TestNoFamilyForks(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		stolen := h.enter(t, home, "jane")
		thief := h.refresh(t, stolen.Refresh)
		h.clock.pass(5 * time.Second)
		owner := h.refresh(t, stolen.Refresh)
		thief = h.refresh(t, thief.Refresh)
		h.clock.pass(15 * time.Minute)
		thief = h.refresh(t, thief.Refresh)
		if _, err := h.Refresh(t.Context(), home, owner.Refresh.Reveal()); !errors.Is(err, account.ErrRefreshTokenReused) {
			t.Errorf("the owner: %v", err)
		}
		if _, err := h.Refresh(t.Context(), away, thief.Refresh.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
			t.Errorf("the thief: %v", err)
		}
		h.refused(t, "the thief's", thief.Access)
	})
}

func TestAMadeUpTokenHurtsNobody(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		tokens := h.enter(t, home, "jane")
		good := tokens.Refresh.Reveal()
		family, n, _, err := account.ReadRefreshToken(good)
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
		key := make([]byte, 32)
		for name, token := range map[string]string{
			"empty":                    "",
			"not base64":               strings.Repeat("*", len(good)),
			"cut":                      good[:len(good)-1],
			"longer":                   good + "A",
			"padded":                   good + "=",
			"with a line break":        good[:20] + "\n" + good[21:],
			"of another version":       "Ag" + good[2:],
			"of another family":        account.NewRefreshToken(db.NewID(), 1, key),
			"of the number before":     account.NewRefreshToken(family, 0, key),
			"of this number, no key":   account.NewRefreshToken(family, 1, key),
			"of a number to come":      account.NewRefreshToken(family, 2, key),
			"of the largest number":    account.NewRefreshToken(family, 1<<32-1, key),
			"an access token":          tokens.Access.Reveal(),
			"one bit of the mac":       flip(good, len(good)-3),
			"one bit of the number":    flip(good, 25),
			"one bit of the family":    flip(good, 10),
			"other bits at the end":    good[:len(good)-1] + next(good[len(good)-1]),
			"in the wrong alphabet":    strings.NewReplacer("-", "+", "_", "/").Replace(good[:70]) + "+",
			"spaces around it":         " " + good + " ",
			"a token in capitals only": strings.ToUpper(good),
		} {
			if token == good {
				t.Fatalf("%s: it is the token itself", name)
			}
			if _, err := h.Refresh(t.Context(), away, token); !errors.Is(err, account.ErrInvalidRefreshToken) {
				t.Errorf("refresh with one %s: %v", name, err)
			}
			if err := h.SignOut(t.Context(), away, token); !errors.Is(err, account.ErrInvalidRefreshToken) {
				t.Errorf("sign out with one %s: %v", name, err)
			}
		}
		h.caller(t, tokens.Access)
		h.refresh(t, tokens.Refresh)
	})
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func flip(text string, at int) string {
	return text[:at] + string(alphabet[strings.IndexByte(alphabet, text[at])^1]) + text[at+1:]
}

func next(c byte) string { return string(alphabet[(strings.IndexByte(alphabet, c)+1)%64]) }

func TestSigningOutHoldsAtOnceOnEveryServer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		other := h.another(t)
		h.register(t, "jane")
		first := h.enter(t, home, "jane")
		kept := h.enter(t, home, "jane")
		who := h.caller(t, first.Access)
		second := h.refresh(t, first.Refresh)
		if _, err := other.check(t, first.Access); err != nil {
			t.Fatal(err)
		}
		// A spent token signs out as well: whoever holds it may end the sign-in.
		for range 2 {
			if err := h.SignOut(t.Context(), home, first.Refresh.Reveal()); err != nil {
				t.Fatal(err)
			}
			for _, token := range []seal.Secret{first.Access, second.Access} {
				if _, err := other.check(t, token); !errors.Is(err, account.ErrInvalidAccessToken) {
					t.Errorf("an access token on another server: %v", err)
				}
				h.refused(t, "after signing out", token)
			}
		}
		if _, err := h.Refresh(t.Context(), home, second.Refresh.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
			t.Errorf("the refresh token: %v", err)
		}
		if !closed(t, d, access.SignInClosed, who.SignInID) {
			t.Error("the change log does not have it")
		}
		if got := recorded(t, d); count(got, "account.sign_out") != 1 {
			t.Errorf("signed out twice, the audit log has %v", got)
		}
		h.caller(t, kept.Access)
	})
}

func FuzzReadRefreshToken(f *testing.F) {
	f.Add(account.NewRefreshToken(db.NewID(), 1, make([]byte, 32)))
	f.Add(strings.Repeat("A", 71))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		family, number, mac, err := account.ReadRefreshToken(text)
		if err != nil {
			if !errors.Is(err, account.ErrInvalidRefreshToken) {
				t.Error(err)
			}
			return
		}
		// One token has one text.
		made, err := base64.RawURLEncoding.DecodeString(account.NewRefreshToken(family, number, make([]byte, 32)))
		if err != nil {
			t.Fatal(err)
		}
		if again := base64.RawURLEncoding.EncodeToString(append(made[:21], mac...)); again != text {
			t.Errorf("%q is read as %q", text, again)
		}
	})
}
