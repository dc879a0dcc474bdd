package account_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Whoever can write to the database, but has not the root key, makes himself
// nobody that he is not.
func TestForgedRowsAreNoticed(t *testing.T) {
	const mine, hers = `(SELECT id FROM accounts WHERE email = 'bob@example.com')`, `(SELECT id FROM accounts WHERE email = 'jane@example.com')`
	check := func(h *house, t *testing.T, bob account.Tokens) error { _, err := h.check(t, bob.Access); return err }
	member := func(h *house, t *testing.T, _ account.Tokens) error {
		ids := texts(t, h.DB, `SELECT organization_id FROM memberships WHERE account_id = `+mine)
		_, err := h.Member(t.Context(), texts(t, h.DB, `SELECT `+mine)[0], ids[0])
		return err
	}
	refresh := func(h *house, t *testing.T, bob account.Tokens) error {
		_, err := h.Refresh(t.Context(), home, bob.Refresh.Reveal())
		return err
	}
	signOut := func(h *house, t *testing.T, bob account.Tokens) error {
		return h.SignOut(t.Context(), home, bob.Refresh.Reveal())
	}
	signIn := func(h *house, t *testing.T, _ account.Tokens) error {
		_, err := h.SignIn(t.Context(), home, "bob@example.com", right)
		return err
	}
	type call = func(*house, *testing.T, account.Tokens) error
	forgeries := map[string]struct {
		forge string
		calls []call
		want  error
	}{
		"the role":                       {`UPDATE memberships SET role = 'root' WHERE account_id = ` + mine, []call{check, member, signIn}, seal.ErrTag},
		"the operator's flag":            {`DELETE FROM organizations WHERE operator = 1; UPDATE organizations SET operator = 1 WHERE name = 'bob''s organization'`, []call{check, member}, seal.ErrTag},
		"the tier":                       {`UPDATE organizations SET tier = 'enterprise'  WHERE operator = 0`, []call{check, member}, seal.ErrTag},
		"the quotas":                     {`UPDATE organizations SET quotas = '{"keys":-1}' WHERE operator = 0`, []call{check, member}, seal.ErrTag},
		"the limits":                     {`UPDATE organizations SET limits = '{"burst":1}' WHERE operator = 0`, []call{check, member}, seal.ErrTag},
		"a member of another's":          {`UPDATE memberships SET organization_id = (SELECT organization_id FROM sign_ins WHERE account_id = ` + hers + ` LIMIT 1) WHERE account_id = ` + mine, []call{member, signIn}, seal.ErrTag},
		"another's membership":           {`UPDATE memberships SET account_id = ` + mine + ` WHERE account_id = ` + hers, []call{signIn}, seal.ErrTag},
		"another e-mail":                 {`UPDATE accounts SET email = CASE WHEN email = 'jane@example.com' THEN 'bob2@example.com' ELSE email END, name = 'x'`, []call{check, member, signIn}, seal.ErrTag},
		"another's password":             {`UPDATE accounts SET password = (SELECT password FROM accounts WHERE email = 'jane@example.com')`, []call{check, signIn}, seal.ErrTag},
		"another's sign-in":              {`UPDATE sign_ins SET account_id = ` + hers + ` WHERE account_id = ` + mine, []call{refresh, signOut}, seal.ErrTag},
		"a sign-in for another's":        {`UPDATE sign_ins SET organization_id = (SELECT organization_id FROM memberships WHERE account_id = ` + hers + `) WHERE account_id = ` + mine, []call{refresh, signOut}, seal.ErrTag},
		"a number that is set back":      {`UPDATE sign_ins SET number = number - 1`, []call{check, refresh, signOut}, seal.ErrTag},
		"a number to come":               {`UPDATE sign_ins SET number = number + 1`, []call{check, refresh}, seal.ErrTag},
		"a sign-in that has not ended":   {`UPDATE sign_ins SET ended_at = 1`, []call{check, refresh, signOut}, seal.ErrTag},
		"a longer sign-in":               {`UPDATE sign_ins SET expires_at = expires_at + 1`, []call{check, refresh}, seal.ErrTag},
		"a grace that goes on":           {`UPDATE sign_ins SET rotated_at = rotated_at + 60000000`, []call{check, refresh}, seal.ErrTag},
		"a network that is known":        {`UPDATE sign_ins SET network = '203.0.113.7' WHERE network = '198.51.100.9'`, []call{refresh}, nil},
		"another family's key":           {`UPDATE sign_ins SET family_key = (SELECT family_key FROM sign_ins WHERE account_id = ` + hers + ` LIMIT 1) WHERE account_id = ` + mine, []call{check, refresh, signOut}, seal.ErrTag},
		"another root version":           {`UPDATE sign_ins SET root_version = 2`, []call{check, refresh}, seal.ErrRootVersion},
		"a tag that is empty":            {`UPDATE memberships SET tag = $1`, []call{check, member}, seal.ErrTag},
		"a tag of another row":           {`UPDATE memberships SET tag = (SELECT tag FROM memberships WHERE account_id = ` + hers + `) WHERE account_id = ` + mine, []call{check, member}, seal.ErrTag},
		"another beginning of a account": {`UPDATE accounts SET created_at = created_at - 1`, []call{check, signIn}, seal.ErrTag},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, test := range forgeries {
			t.Run(name, func(t *testing.T) {
				for _, table := range []string{"organizations", "accounts", "signing_keys"} {
					run(t, d, `DELETE FROM `+table)
				}
				h := newHouse(t, d)
				h.register(t, "jane")
				h.register(t, "bob")
				h.enter(t, away, "jane")
				first := h.enter(t, home, "bob")
				h.clock.pass(time.Minute)
				bob := h.refresh(t, first.Refresh)
				for statement := range strings.SplitSeq(test.forge, ";") {
					if strings.Contains(statement, "$1") {
						exec(t, d, statement, []byte{})
					} else {
						exec(t, d, statement)
					}
				}
				for i, call := range test.calls {
					if err := call(h, t, bob); !errors.Is(err, test.want) || err != nil && fault.Of(err).Kind != fault.Internal {
						t.Errorf("call %d: %v, want %v", i, err, test.want)
					}
				}
			})
		}
	})
}

func TestAForgedNetworkIsNotKnown(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		h.enter(t, home, "jane")
		exec(t, d, `UPDATE sign_ins SET network = '198.51.100.9'`)
		if _, err := h.SignIn(t.Context(), away, "jane@example.com", right); !errors.Is(err, seal.ErrTag) {
			t.Errorf("from there: %v", err)
		}
	})
}

func TestAForgedSetupCodeIsNoticed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		_, code, err := h.EnsureOperator(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		exec(t, d, `UPDATE setup_codes SET created_at = created_at + 1`)
		in := account.Registration{Name: "eve", Email: "eve@example.com", Password: right, SetupCode: code}
		if _, err := h.Register(t.Context(), home, in); !errors.Is(err, seal.ErrTag) {
			t.Errorf("with it: %v", err)
		}
		if _, _, err := h.EnsureOperator(t.Context(), code); !errors.Is(err, seal.ErrTag) {
			t.Errorf("at the next start: %v", err)
		}
	})
}

func TestResealRenewsEveryRow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		_, code, err := h.EnsureOperator(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		h.register(t, "jane")
		h.register(t, "bob")
		tokens := h.enter(t, home, "jane")
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		// What is written from now on is under the new one, its boxes too.
		tokens = h.refresh(t, tokens.Refresh)
		h.enter(t, away, "bob")

		total := 0
		for {
			n, err := h.Reseal(t.Context(), 3)
			if err != nil || n > 3 {
				t.Fatalf("%d rows, %v", n, err)
			}
			if n == 0 {
				break
			}
			total += n
		}
		// 3 organizations, 2 accounts, 2 memberships, and 2 setup codes, the one of
		// newHouse among them.
		if total != 9 {
			t.Errorf("%d rows were renewed, want 9", total)
		}
		if _, err := h.signing.Reseal(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		h.caller(t, h.refresh(t, tokens.Refresh).Access)
		h.signIn(t, home, "bob")
		if _, same, err := h.EnsureOperator(t.Context(), code); err != nil || same != code {
			t.Errorf("the setup code: %v", err)
		}
		if _, err := h.Organizations(t.Context(), access.NewConsole("r"), "", 10); err != nil {
			t.Error(err)
		}
	})
}
