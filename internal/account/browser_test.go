package account_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

// visit signs a browser in without asking for the password.
func (h *house) visit(t *testing.T, name string) seal.Secret {
	t.Helper()
	cookie, err := h.EnterBrowser(t.Context(), home, name+"@example.com")
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}

func (h *house) look(t *testing.T, cookie seal.Secret) (account.Visit, error) {
	t.Helper()
	return h.CheckCookie(t.Context(), cookie, home.Address, "r4")
}

// gone says that a cookie is taken by neither this server nor another.
func (h *house) gone(t *testing.T, what string, cookie seal.Secret) {
	t.Helper()
	for _, server := range []*house{h, h.another(t)} {
		if _, err := server.look(t, cookie); !errors.Is(err, account.ErrNotSignedIn) {
			t.Errorf("%s: the cookie: %v", what, err)
		}
	}
}

func TestACookieIsForTheAccountThatSignedIn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		jane := h.register(t, "jane")
		cookie, err := h.SignInBrowser(t.Context(), home, "Jane@example.com", right, seal.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		visit, err := h.another(t).look(t, cookie)
		if err != nil {
			t.Fatal(err)
		}
		who := visit.Caller
		if who.AccountID != jane.ID || who.SignInID == "" || who.KeyID != 0 || who.Address != home.Address || who.RequestID != "r4" || who.Operator {
			t.Errorf("%+v", who)
		}
		if visit.Account.ID != jane.ID || visit.Organization.ID != who.OrganizationID || !visit.SignedInAt.Equal(start) || who.May(access.ReadRuns) != nil {
			t.Errorf("%+v", visit)
		}
		if _, err := h.SignInBrowser(t.Context(), home, "jane@example.com", wrong, seal.Secret{}); !errors.Is(err, account.ErrInvalidCredentials) {
			t.Errorf("a wrong password: %v", err)
		}
		if n := count(recorded(t, d), "account.sign_in"); n != 1 {
			t.Errorf("%d sign-ins were recorded", n)
		}
		// Its place is that of the account, as it is now.
		if _, err := h.another(t).SignInBrowser(t.Context(), visit.Caller, "jane@example.com", right, seal.Secret{}); err == nil {
			t.Error("somebody who is no visitor signed in")
		}
	})
}

func TestACookieEndsWhenWhatEndsItAnswers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for _, name := range []string{"jane", "bob", "eve"} {
			h.register(t, name)
		}
		out, in := h.visit(t, "jane"), h.visit(t, "jane")
		if err := h.SignOutBrowser(t.Context(), home, out); err != nil {
			t.Fatal(err)
		}
		h.gone(t, "signing out", out)
		visit, err := h.look(t, in)
		if err != nil {
			t.Fatalf("another browser was signed out: %v", err)
		}
		before := recorded(t, d)
		if err := h.SignOutBrowser(t.Context(), home, out); err != nil {
			t.Errorf("signing out again: %v", err)
		}
		if err := h.SignOutBrowser(t.Context(), home, seal.NewSecret("no cookie")); err != nil {
			t.Errorf("signing out without a cookie: %v", err)
		}
		if !slices.Equal(before, recorded(t, d)) {
			t.Error("what had ended was ended again")
		}

		if err := h.ChangePassword(t.Context(), h.caller(t, h.enter(t, home, "jane").Access), right, wrong); err != nil {
			t.Fatal(err)
		}
		h.gone(t, "another password", in)
		if !closed(t, d, access.SignInClosed, visit.Caller.SignInID) {
			t.Error("the change log does not say so")
		}

		bobs := h.visit(t, "bob")
		bob, err := h.look(t, bobs)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Leave(t.Context(), bob.Caller); err != nil {
			t.Fatal(err)
		}
		h.gone(t, "no account", bobs)

		// A new sign-in ends the one that the browser had, and that one alone.
		first, other := h.visit(t, "eve"), h.visit(t, "eve")
		if _, err := h.SignInBrowser(t.Context(), home, "eve@example.com", right, first); err != nil {
			t.Fatal(err)
		}
		h.gone(t, "a new sign-in", first)
		if _, err := h.look(t, other); err != nil {
			t.Errorf("the other browser: %v", err)
		}
	})
}

func TestACookieLastsWhileItIsUsedAndForAMonth(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		used, idle := h.visit(t, "jane"), h.visit(t, "jane")
		for until := start.Add(account.BrowserLife - 11*time.Hour); h.clock.now().Before(until); h.clock.pass(11 * time.Hour) {
			if _, err := h.look(t, used); err != nil {
				t.Fatalf("after %v: %v", h.clock.now().Sub(start), err)
			}
		}
		h.gone(t, "12 hours of no use", idle)
		if _, err := h.look(t, used); err != nil {
			t.Errorf("at the end of the month: %v", err)
		}
		h.clock.t = start.Add(account.BrowserLife)
		h.gone(t, "a month", used)
		if err := h.Purge(t.Context()); err != nil || number(t, d, `SELECT count(*) FROM sign_ins`) != 0 {
			t.Errorf("both are still there: %v", err)
		}

		// Looking is written down once in a while, and what has ended stays so.
		cookie := h.visit(t, "jane")
		tag := func() string { return texts(t, d, `SELECT CAST(rotated_at AS TEXT) FROM sign_ins`)[0] }
		before := tag()
		h.clock.pass(time.Minute)
		if _, err := h.look(t, cookie); err != nil || tag() != before {
			t.Errorf("a minute later it was written: %v", err)
		}
		h.clock.pass(time.Hour)
		if _, err := h.look(t, cookie); err != nil || tag() == before {
			t.Errorf("an hour later it was not written: %v", err)
		}
	})
}

func TestACookieAndATokenDoNotStandForEachOther(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		tokens, cookie := h.enter(t, home, "jane"), h.visit(t, "jane")
		h.gone(t, "a refresh token", tokens.Refresh)
		h.gone(t, "an access token", tokens.Access)
		h.refused(t, "a cookie", cookie)
		if _, err := h.Refresh(t.Context(), home, cookie.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
			t.Errorf("a cookie is refreshed: %v", err)
		}
		if len(cookie.Bytes()) != 68 || !strings.HasPrefix(cookie.Reveal(), "kwc1") {
			t.Errorf("a cookie of %d characters", len(cookie.Bytes()))
		}

		// Nor do they when the one names the sign-in of the other.
		raw, _ := base64.RawURLEncoding.DecodeString(cookie.Reveal())
		family, _, _, err := account.ReadRefreshToken(tokens.Refresh.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		visit, err := h.look(t, cookie)
		if err != nil {
			t.Fatal(err)
		}
		for number := range uint32(2) {
			forged := account.NewRefreshToken(visit.Caller.SignInID, number, raw[19:])
			if _, err := h.Refresh(t.Context(), home, forged); !errors.Is(err, account.ErrInvalidRefreshToken) {
				t.Errorf("a refresh token of a browser, number %d: %v", number, err)
			}
			if err := h.SignOut(t.Context(), home, forged); !errors.Is(err, account.ErrInvalidRefreshToken) {
				t.Errorf("signed out by it: %v", err)
			}
		}
		h.gone(t, "a cookie of a family", account.NewCookie(family, raw[19:]))
		h.gone(t, "another secret", account.NewCookie(visit.Caller.SignInID, make([]byte, 32)))
		h.gone(t, "no such sign-in", account.NewCookie("01890000-0000-7000-8000-000000000000", raw[19:]))
		for _, text := range []string{"", cookie.Reveal() + "A", cookie.Reveal()[:67], "kwc2" + cookie.Reveal()[4:], "\n" + cookie.Reveal()[:67], cookie.Reveal()[:67] + "\n"} {
			h.gone(t, "another spelling", seal.NewSecret(text))
		}
		if _, err := h.look(t, cookie); err != nil {
			t.Errorf("and now it is gone: %v", err)
		}
	})
}

func TestAForgedBrowserIsNoticed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		h.register(t, "bob")
		bobs := h.visit(t, "bob")
		h.visit(t, "jane")
		const his, hers = `(SELECT id FROM accounts WHERE email = 'bob@example.com')`, `(SELECT id FROM accounts WHERE email = 'jane@example.com')`
		for _, forge := range []string{
			`UPDATE sign_ins SET account_id = ` + hers + `, organization_id = (SELECT organization_id FROM memberships WHERE account_id = ` + hers + `) WHERE account_id = ` + his,
			`UPDATE sign_ins SET expires_at = expires_at + 1`,
			`UPDATE sign_ins SET created_at = created_at + 1`,
		} {
			saved := texts(t, d, `SELECT account_id || ' ' || organization_id || ' ' || CAST(expires_at AS TEXT) || ' ' || CAST(created_at AS TEXT) FROM sign_ins WHERE account_id = `+his)
			exec(t, d, forge)
			if _, err := h.look(t, bobs); !errors.Is(err, seal.ErrTag) {
				t.Errorf("%s: %v", forge, err)
			}
			was := strings.Fields(saved[0])
			visitID := texts(t, d, `SELECT id FROM sign_ins ORDER BY id`)[0]
			exec(t, d, `UPDATE sign_ins SET account_id = $1, organization_id = $2, expires_at = CAST($3 AS BIGINT), created_at = CAST($4 AS BIGINT) WHERE id = $5`,
				was[0], was[1], was[2], was[3], visitID)
			if _, err := h.look(t, bobs); err != nil {
				t.Fatalf("put back: %v", err)
			}
		}
		// A family that is made a browser's, and the other way round.
		tokens := h.enter(t, home, "bob")
		exec(t, d, `UPDATE sign_ins SET number = 1 - number`)
		if _, err := h.look(t, bobs); !errors.Is(err, seal.ErrTag) {
			t.Errorf("a browser that is made a family: %v", err)
		}
		if _, err := h.Refresh(t.Context(), home, tokens.Refresh.Reveal()); !errors.Is(err, seal.ErrTag) {
			t.Errorf("a family that is made a browser: %v", err)
		}
	})
}

func TestACookieOutlivesARootKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		cookie := h.visit(t, "jane")
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		for n := 1; n > 0; {
			var err error
			if n, err = h.Reseal(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.signing.Reseal(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		if _, err := h.look(t, cookie); err != nil {
			t.Error(err)
		}
	})
}
