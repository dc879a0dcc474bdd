package account_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestWrongCredentialsHaveOneAnswer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		_, wrongPassword := h.SignIn(t.Context(), home, "jane@example.com", wrong)
		for name, test := range map[string]struct {
			email    string
			password seal.Secret
		}{
			"a wrong password":   {"jane@example.com", wrong},
			"an unknown e-mail":  {"bob@example.com", right},
			"no e-mail at all":   {"", right},
			"a malformed e-mail": {"jane@@example.com", right},
			"a short password":   {"jane@example.com", seal.NewSecret("x")},
			"an empty password":  {"jane@example.com", seal.Secret{}},
			"the right one, cut": {"jane@example.com", seal.NewSecret("correct hors")},
			"in another case":    {"jane@example.com", seal.NewSecret("Correct horse")},
		} {
			h.clock.pass(time.Hour)
			tokens, err := h.SignIn(t.Context(), home, test.email, test.password)
			if !errors.Is(err, account.ErrInvalidCredentials) || fault.Of(err).Message != fault.Of(wrongPassword).Message || tokens.Access.Reveal() != "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAPasswordIsTheSameHoweverItsLettersAreComposed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		_, err := h.Register(t.Context(), home, account.Registration{Name: "jane", Email: "jane@example.com", Password: seal.NewSecret("jos\u00e9 sesame")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.SignIn(t.Context(), home, "jane@example.com", seal.NewSecret("jose\u0301 sesame")); err != nil {
			t.Error(err)
		}
	})
}

func TestTokensPrintAsNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		tokens := h.enter(t, home, "jane")
		text, err := json.Marshal(tokens)
		if err != nil {
			t.Fatal(err)
		}
		for _, printed := range []string{fmt.Sprint(tokens), fmt.Sprintf("%+v %#v", tokens, tokens), string(text)} {
			if strings.Contains(printed, tokens.Access.Reveal()) || strings.Contains(printed, tokens.Refresh.Reveal()) {
				t.Error("a token was printed")
			}
		}
		if tokens.ExpiresIn != 15*time.Minute {
			t.Errorf("ExpiresIn = %v", tokens.ExpiresIn)
		}
	})
}

// guess tries a wrong password until it is told to wait, and says how often.
func guess(t *testing.T, h *house, who access.Caller, email string) (tries int, wait time.Duration) {
	t.Helper()
	for ; tries < 100; tries++ {
		_, err := h.SignIn(t.Context(), who, email, wrong)
		if errors.Is(err, account.ErrTooManyTries) {
			return tries, fault.Of(err).RetryAfter
		} else if !errors.Is(err, account.ErrInvalidCredentials) {
			t.Fatal(err)
		}
	}
	return tries, 0
}

func TestGuessingSlowsDownForAnAccountAndANetwork(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		h.register(t, "bob")
		neighbour := access.NewVisitor(netip.MustParseAddr("2001:db8::1"), "r")
		guesser := access.NewVisitor(netip.MustParseAddr("2001:db8::2"), "r") // in one /64 with it
		if n, wait := guess(t, h, guesser, "jane@example.com"); n != account.FailurePace.Burst || wait != account.FailurePace.Every {
			t.Errorf("%d guesses, then wait %v", n, wait)
		}
		// The right password is held up as well, or it would be told by that.
		if _, err := h.SignIn(t.Context(), neighbour, "JANE@example.com", right); !errors.Is(err, account.ErrTooManyTries) {
			t.Errorf("the right password from the same network: %v", err)
		}
		// An e-mail that nobody has is no different.
		if n, wait := guess(t, h, guesser, "nobody@example.com"); n != account.FailurePace.Burst || wait != account.FailurePace.Every {
			t.Errorf("of nobody: %d guesses, then wait %v", n, wait)
		}
		h.signIn(t, guesser, "bob")
		h.signIn(t, away, "jane")
		h.clock.pass(account.FailurePace.Every)
		h.signIn(t, neighbour, "jane")
	})
}

// Whoever knows an account's e-mail must not be able to lock its owner out.
func TestNobodyLocksAnAccountForANetworkThatItHasSignedInFrom(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		tokens := h.enter(t, home, "jane")
		if err := h.SignOut(t.Context(), home, tokens.Refresh.Reveal()); err != nil {
			t.Fatal(err)
		}
		for range account.FailurePace.Burst * 3 {
			if _, err := h.SignIn(t.Context(), home, "jane@example.com", wrong); !errors.Is(err, account.ErrInvalidCredentials) {
				t.Fatal(err)
			}
		}
		h.signIn(t, home, "jane")
	})
}

func TestANetworkSignsInAndRegistersAtItsPace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		// No password that can be one: the limit comes before all work.
		for i := range account.SignInPace.Burst {
			if _, err := h.SignIn(t.Context(), home, "jane@example.com", seal.NewSecret("x")); !errors.Is(err, account.ErrInvalidCredentials) {
				t.Fatalf("sign-in %d: %v", i, err)
			}
		}
		_, err := h.SignIn(t.Context(), home, "jane@example.com", right)
		if !errors.Is(err, account.ErrTooManyTries) || fault.Of(err).RetryAfter != account.SignInPace.Every {
			t.Errorf("one sign-in too many: %v", err)
		}
		if _, err := h.SignIn(t.Context(), away, "jane@example.com", right); !errors.Is(err, account.ErrInvalidCredentials) {
			t.Errorf("from elsewhere: %v", err)
		}

		// A wrong setup code counts as a registration, so nobody tries many.
		in := account.Registration{Name: "x", Email: "x@example.com", Password: right, SetupCode: "MADEUP"}
		for i := range account.RegistrationPace.Burst {
			if _, err := h.Register(t.Context(), home, in); !errors.Is(err, fault.ErrInvalidRequest) {
				t.Fatalf("registration %d: %v", i, err)
			}
		}
		if _, err := h.Register(t.Context(), home, in); !errors.Is(err, account.ErrTooManyTries) {
			t.Errorf("one registration too many: %v", err)
		}
		in.SetupCode = ""
		if _, err := h.Register(t.Context(), access.NewConsole("r"), in); err != nil {
			t.Errorf("the operator: %v", err)
		}
		h.clock.pass(account.RegistrationPace.Every)
		in.Email = "y@example.com"
		if _, err := h.Register(t.Context(), home, in); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// Those who wait for their turn are as many as can be answered in time.
func TestTooManyAtOnceAreToldToComeBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		for i := range 300 {
			who := access.NewVisitor(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), "r")
			wg.Go(func() {
				_, err := h.SignIn(ctx, who, "jane@example.com", right)
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, fault.ErrUnavailable) {
					busy++
					if fault.Of(err).RetryAfter == 0 {
						t.Error("busy, without a time to come back")
					}
					cancel() // it is known now; the others need not hash
				} else if !errors.Is(err, account.ErrInvalidCredentials) && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		cancel()
		if busy == 0 {
			t.Error("300 at once were all let in")
		}
	})
}

func TestAHashOfAnotherCostIsRenewedAtSignIn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		const salt = "somesaltsomesalt"
		sum := argon2.IDKey(right.Bytes(), []byte(salt), 2, 1<<10, 1, 32)
		old := fmt.Sprintf("$argon2id$v=19$m=1024,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$%s", rawBase64(sum))
		if err := h.KeepHash(t.Context(), "jane@example.com", old); err != nil {
			t.Fatal(err)
		}
		if _, err := h.SignIn(t.Context(), home, "jane@example.com", wrong); !errors.Is(err, account.ErrInvalidCredentials) {
			t.Errorf("a wrong password: %v", err)
		}
		if kept, err := h.Hash(t.Context(), "jane@example.com"); err != nil || kept != old {
			t.Errorf("after a wrong password another hash is kept (%v)", err)
		}
		h.signIn(t, home, "jane")
		kept, err := h.Hash(t.Context(), "jane@example.com")
		if err != nil || !strings.HasPrefix(kept, "$argon2id$v=19$m=47104,t=1,p=1$") {
			t.Errorf("after the right one the old hash is kept (%v)", err)
		}
		h.signIn(t, home, "jane")
	})
}

func TestAnAccountHasABoundedNumberOfSignIns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		used := h.enter(t, home, "jane")
		idle := h.enter(t, home, "jane")
		h.clock.pass(time.Minute)
		used = h.refresh(t, used.Refresh)
		h.clock.pass(time.Minute)
		for i := range account.MaxSignIns - 1 {
			h.enter(t, access.NewVisitor(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), "r"), "jane")
		}
		if n := number(t, d, `SELECT count(*) FROM sign_ins WHERE ended_at = 0`); n != account.MaxSignIns {
			t.Errorf("%d sign-ins are open", n)
		}
		h.refused(t, "the one that was used least lately", idle.Access)
		h.caller(t, used.Access)
	})
}

func TestEndedSignInsFromOneNetworkDoNotPileUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		for range 5 {
			tokens := h.enter(t, home, "jane")
			if err := h.SignOut(t.Context(), home, tokens.Refresh.Reveal()); err != nil {
				t.Fatal(err)
			}
		}
		if n := number(t, d, `SELECT count(*) FROM sign_ins`); n != 1 {
			t.Errorf("%d rows are left of 5 sign-ins", n)
		}
	})
}

func TestASignInExpiresWhenIdleAndInTheEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		idle, used := h.enter(t, home, "jane"), h.enter(t, home, "jane")
		end := h.clock.now().Add(account.SignInLife)
		for h.clock.now().Add(account.SignInIdle - time.Second).Before(end) {
			h.clock.pass(account.SignInIdle - time.Second)
			used = h.refresh(t, used.Refresh)
		}
		if _, err := h.Refresh(t.Context(), home, idle.Refresh.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
			t.Errorf("an idle sign-in: %v", err)
		}
		h.clock.pass(end.Sub(h.clock.now()) - time.Second)
		used = h.refresh(t, used.Refresh)
		h.caller(t, used.Access)
		h.clock.pass(time.Second)
		h.refused(t, "after its last day", used.Access)
		if _, err := h.Refresh(t.Context(), home, used.Refresh.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
			t.Errorf("after its last day: %v", err)
		}
		if err := h.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := number(t, d, `SELECT count(*) FROM sign_ins`); n != 0 {
			t.Errorf("%d expired sign-ins are kept", n)
		}
	})
}

func TestAccessTokensSayWhatTheyAre(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		who, tokens := h.signedIn(t, "jane")
		text, ours, err := h.signing.Verify(t.Context(), tokens.Access.Reveal())
		if err != nil || !ours {
			t.Fatal(ours, err)
		}
		var said map[string]any
		if err := json.Unmarshal(text, &said); err != nil {
			t.Fatal(err)
		}
		now := float64(h.clock.now().Unix())
		for name, want := range map[string]any{
			"iss": issuer, "aud": issuer, "sub": who.AccountID, "org": who.OrganizationID, "client_id": "keyward",
			"sid": who.SignInID, "iat": now, "exp": now + 900,
		} {
			if said[name] != want {
				t.Errorf("%s is %v, want %v", name, said[name], want)
			}
		}
		if said["jti"] == "" || len(said) != 9 {
			t.Errorf("the token says %v", said)
		}
	})
}

// Each of these is signed with the server's own key.
func TestAccessTokensOfOthersAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		h.register(t, "bob")
		bob, _ := h.signedIn(t, "bob")
		_, tokens := h.signedIn(t, "jane")
		good, _, err := h.signing.Verify(t.Context(), tokens.Access.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		now := h.clock.now().Unix()
		for name, test := range map[string]struct {
			claim string
			value any // nil: left out
			want  error
		}{
			"as it is":                  {"jti", "x", nil},
			"another issuer":            {"iss", "https://evil.example", account.ErrInvalidAccessToken},
			"no issuer":                 {"iss", nil, account.ErrInvalidAccessToken},
			"another audience":          {"aud", "https://evil.example", account.ErrInvalidAccessToken},
			"several audiences":         {"aud", []string{issuer, "x"}, account.ErrInvalidAccessToken},
			"no audience":               {"aud", nil, account.ErrInvalidAccessToken},
			"of an OAuth client":        {"client_id", "someone", account.ErrInvalidAccessToken},
			"no id":                     {"jti", nil, account.ErrInvalidAccessToken},
			"another account":           {"sub", bob.AccountID, account.ErrInvalidAccessToken},
			"another organization":      {"org", bob.OrganizationID, account.ErrInvalidAccessToken},
			"another account's sign-in": {"sid", bob.SignInID, account.ErrInvalidAccessToken},
			"no sign-in":                {"sid", nil, account.ErrInvalidAccessToken},
			"a sign-in that is no id":   {"sid", "' OR 1=1", account.ErrInvalidAccessToken},
			"expired":                   {"exp", now, account.ErrExpiredAccessToken},
			"made a while ahead":        {"iat", now + 29, nil},
			"made in the future":        {"iat", now + 31, account.ErrInvalidAccessToken},
			"expired before it began":   {"exp", now - 1000, account.ErrInvalidAccessToken},
			"a time that is a text":     {"exp", "never", account.ErrInvalidAccessToken},
		} {
			var said map[string]any
			if err := json.Unmarshal(good, &said); err != nil {
				t.Fatal(err)
			}
			if said[test.claim] = test.value; test.value == nil {
				delete(said, test.claim)
			}
			if name == "expired" {
				said["iat"] = now - 900
			}
			text, err := json.Marshal(said)
			if err != nil {
				t.Fatal(err)
			}
			token, err := h.Sign(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.check(t, seal.NewSecret(token)); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		}
		for _, text := range []string{"null", "[]", `"x"`, "{}", "not JSON", ""} {
			token, err := h.Sign(t.Context(), []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.check(t, seal.NewSecret(token)); !errors.Is(err, account.ErrInvalidAccessToken) {
				t.Errorf("claims %q: %v", text, err)
			}
		}
		for _, token := range []string{"", "x", "a.b.c", tokens.Refresh.Reveal()} {
			if _, err := h.check(t, seal.NewSecret(token)); !errors.Is(err, account.ErrInvalidAccessToken) {
				t.Errorf("%q: %v", token, err)
			}
		}
	})
}

func TestAnAccessTokenLastsFor15Minutes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		tokens := h.enter(t, home, "jane")
		h.clock.pass(15*time.Minute - time.Second)
		h.caller(t, tokens.Access)
		h.clock.pass(time.Second)
		if _, err := h.check(t, tokens.Access); !errors.Is(err, account.ErrExpiredAccessToken) {
			t.Errorf("after 15 minutes: %v", err)
		}
	})
}
