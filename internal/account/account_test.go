package account_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestWhoRegistersOwnsAnOrganization(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		a, err := h.Register(t.Context(), home, account.Registration{Name: "Jane", Email: "Jane@Example.COM", Password: right})
		if err != nil {
			t.Fatal(err)
		}
		if a.Name != "Jane" || a.Email != "jane@example.com" || !a.CreatedAt.Equal(h.clock.now()) || !a.UpdatedAt.Equal(a.CreatedAt) {
			t.Errorf("the account is %+v", a)
		}
		tokens, err := h.SignIn(t.Context(), home, "JANE@example.com", right)
		if err != nil {
			t.Fatal(err)
		}
		who := h.caller(t, tokens.Access)
		me, memberships, err := h.Me(t.Context(), who)
		if err != nil || me.ID != a.ID || me.Email != a.Email || len(memberships) != 1 {
			t.Fatalf("Me = %+v, %d memberships, %v", me, len(memberships), err)
		}
		m := memberships[0]
		if m.Role != access.Owner || m.Organization.Name != "Jane's organization" || m.Organization.Operator || m.Organization.Tier != "free" {
			t.Errorf("the membership is %+v", m)
		}
		want := access.Caller{AccountID: a.ID, OrganizationID: m.Organization.ID, Role: access.Owner, Tier: "free", Limits: access.Limits{PerHour: 100, Burst: 10},
			Quotas: h.DefaultQuotas, SignInID: who.SignInID, Address: home.Address, RequestID: "r3"}
		if !reflect.DeepEqual(who, want) || who.SignInID == "" {
			t.Errorf("the caller is %+v, want %+v", who, want)
		}
		member, err := h.Member(t.Context(), a.ID, m.Organization.ID)
		want.SignInID, want.Address, want.RequestID = "", member.Address, ""
		if err != nil || !reflect.DeepEqual(member, want) {
			t.Errorf("Member = %+v, %v", member, err)
		}
		if got := recorded(t, d); count(got, "account.register") != 1 || count(got, "account.sign_in") != 1 {
			t.Errorf("the audit log has %v", got)
		}
	})
}

func TestAnEmailIsTakenInAnyCaseAndOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for i := range 6 {
			wg.Go(func() {
				email := "jane@example.com"
				if i%2 == 1 {
					email = "JANE@EXAMPLE.COM"
				}
				_, err := h.Register(t.Context(), home, account.Registration{Name: "Jane", Email: email, Password: right})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made++
				} else if !errors.Is(err, account.ErrEmailTaken) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made != 1 {
			t.Errorf("%d of 6 registrations made an account", made)
		}
		if n := number(t, d, `SELECT count(*) FROM organizations WHERE operator = 0`); n != 1 {
			t.Errorf("%d organizations are left of them", n)
		}
	})
}

func TestBadRegistrationsAreRefusedAndNothingChanges(t *testing.T) {
	good := account.Registration{Name: "Jane", Email: "jane@example.com", Password: right}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, test := range map[string]struct {
			change func(*account.Registration)
			field  string
		}{
			"no name":                  {func(r *account.Registration) { r.Name = "" }, "name"},
			"a blank name":             {func(r *account.Registration) { r.Name = " \u00a0 " }, "name"},
			"a long name":              {func(r *account.Registration) { r.Name = strings.Repeat("é", 201) }, "name"},
			"a control in the name":    {func(r *account.Registration) { r.Name = "Ja\x00ne" }, "name"},
			"a name that is no UTF-8":  {func(r *account.Registration) { r.Name = "Ja\xffne" }, "name"},
			"no e-mail":                {func(r *account.Registration) { r.Email = "" }, "email"},
			"no at sign":               {func(r *account.Registration) { r.Email = "jane" }, "email"},
			"two at signs":             {func(r *account.Registration) { r.Email = "jane@home@example.com" }, "email"},
			"a long e-mail":            {func(r *account.Registration) { r.Email = strings.Repeat("x", 250) + "@x.com" }, "email"},
			"no password":              {func(r *account.Registration) { r.Password = seal.Secret{} }, "password"},
			"a short password":         {func(r *account.Registration) { r.Password = seal.NewSecret("1234567") }, "password"},
			"a long password":          {func(r *account.Registration) { r.Password = seal.NewSecret(strings.Repeat("x", 257)) }, "password"},
			"a setup code of nobody":   {func(r *account.Registration) { r.SetupCode = "MADEUP" }, "setupCode"},
			"a setup code of U+0000":   {func(r *account.Registration) { r.SetupCode = "\x00" }, "setupCode"},
			"a setup code, all spaces": {func(r *account.Registration) { r.SetupCode = "  " }, "setupCode"},
		} {
			in := good
			test.change(&in)
			_, err := h.Register(t.Context(), home, in)
			if !errors.Is(err, fault.ErrInvalidRequest) || fault.Of(err).Details["field"] != test.field {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := number(t, d, `SELECT count(*) FROM accounts`); n != 0 {
			t.Errorf("%d accounts were made", n)
		}
		good.Name = strings.Repeat("é", 200)
		if _, err := h.Register(t.Context(), home, good); err != nil {
			t.Errorf("the longest name: %v", err)
		}
	})
}

func TestEmailsAreReadPlainly(t *testing.T) {
	for email, want := range map[string]string{
		"jane@example.com":                          "jane@example.com",
		"Jane.Doe+x@EXAMPLE.com":                    "jane.doe+x@example.com",
		"o'hara@example.com":                        "o'hara@example.com",
		"j@localhost":                               "j@localhost",
		"JOSE\u0301@example.com":                    "jos\u00e9@example.com",
		"J\u030c@example.com":                       "\u01f0@example.com", // composed in lower case alone
		"用户@例子.中国":                                  "用户@例子.中国",
		"@example.com":                              "",
		"jane@":                                     "",
		"@":                                         "",
		"jane doe@example.com":                      "",
		"jane\t@example.com":                        "",
		"jane@example.com\n":                        "",
		"jane\x00@example.com":                      "",
		"jane\u200b@example.com":                    "",
		"jane\u00a0@example.com":                    "",
		"jane:doe@example.com":                      "",
		"jane\xff@example.com":                      "",
		strings.Repeat("x", 242) + "@example.com":   strings.Repeat("x", 242) + "@example.com",
		strings.Repeat("x", 243) + "@example.com":   "",
		strings.Repeat("\u023a", 84) + "@exampl.co": "", // Ⱥ has two bytes, and three in lower case
	} {
		got, err := account.ParseEmail(email)
		if want == "" && !errors.Is(err, fault.ErrInvalidRequest) || got != want {
			t.Errorf("ParseEmail(%q) = %q, %v", email, got, err)
		}
	}
}

func FuzzParseEmail(f *testing.F) {
	f.Add("jane@example.com")
	f.Add("JOSE\u0301@ex\u0130mple.com")
	f.Add("J\u030c@example.com")
	f.Fuzz(func(t *testing.T, email string) {
		once, err := account.ParseEmail(email)
		if err != nil {
			return
		}
		if twice, err := account.ParseEmail(once); err != nil || twice != once {
			t.Errorf("%q is kept as %q, and that would be kept as %q (%v)", email, once, twice, err)
		}
	})
}

func TestWhenSignupIsClosedTheOperatorMakesAccounts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.SignupOpen = false
		in := func(name string) account.Registration {
			return account.Registration{Name: name, Email: name + "@example.com", Password: right}
		}
		if _, err := h.Register(t.Context(), home, in("jane")); !errors.Is(err, account.ErrSignupClosed) {
			t.Errorf("a visitor: %v", err)
		}
		if _, err := h.Register(t.Context(), access.NewConsole("r"), in("jane")); err != nil {
			t.Errorf("the console: %v", err)
		}
		h.operator(t, "root")
		operator, _ := h.signedIn(t, "root")
		if _, err := h.Register(t.Context(), operator, in("bob")); err != nil {
			t.Errorf("the operator: %v", err)
		}
		jane, _ := h.signedIn(t, "jane")
		if _, err := h.Register(t.Context(), jane, in("eve")); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("somebody else: %v", err)
		}
		if got := recorded(t, d); count(got, "account.create") != 2 {
			t.Errorf("the audit log has %v", got)
		}
	})
}

func TestTheOperatorListsAndChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for _, name := range []string{"ann", "bob", "cid"} {
			h.register(t, name)
		}
		console := access.NewConsole("r")
		var emails []string
		for after := ""; ; {
			page, err := h.Accounts(t.Context(), console, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, a := range page {
				emails = append(emails, a.Email)
			}
			after = page[len(page)-1].ID
		}
		if got := fmt.Sprint(emails); got != "[cid@example.com bob@example.com ann@example.com]" {
			t.Errorf("the accounts are %s", got)
		}
		all, err := h.Organizations(t.Context(), console, "", 10)
		if err != nil || len(all) != 4 || !all[3].Operator || all[3].Tier != "enterprise" {
			t.Fatalf("%d organizations, %v", len(all), err)
		}

		who, tokens := h.signedIn(t, "cid")
		pro, many := "pro", int64(access.Unlimited)
		o, err := h.ChangeOrganization(t.Context(), console, who.OrganizationID, account.Change{Tier: &pro, Quotas: &account.Quotas{Keys: &many}})
		if err != nil || o.Tier != "pro" || *o.Quotas.Keys != -1 || o.Quotas.Agents != nil {
			t.Fatalf("ChangeOrganization = %+v, %v", o, err)
		}
		who = h.caller(t, tokens.Access)
		if want := (access.Quotas{Agents: 1, AuthProfiles: 2, Keys: -1, QueuedRuns: 4}); who.Tier != "pro" || who.Quotas != want {
			t.Errorf("the caller after it is %+v", who)
		}
		if !closed(t, d, access.OrganizationClosed, o.ID) {
			t.Error("whoever remembers the caller is not told")
		}
		if _, err := h.ChangeOrganization(t.Context(), console, o.ID, account.Change{Quotas: &account.Quotas{}}); err != nil {
			t.Fatal(err)
		}
		if who = h.caller(t, tokens.Access); who.Tier != "pro" || who.Quotas != h.DefaultQuotas {
			t.Errorf("back at the settings the caller is %+v", who)
		}

		gold, less := "gold", int64(-2)
		for name, test := range map[string]struct {
			who    access.Caller
			id     string
			change account.Change
			want   error
		}{
			"an unknown tier":         {console, o.ID, account.Change{Tier: &gold}, fault.ErrInvalidRequest},
			"a quota below unlimited": {console, o.ID, account.Change{Quotas: &account.Quotas{Agents: &less}}, fault.ErrInvalidRequest},
			"no such organization":    {console, db.NewID(), account.Change{Tier: &pro}, account.ErrOrganizationNotFound},
			"its own owner":           {who, o.ID, account.Change{Tier: &pro}, fault.ErrNotAllowed},
		} {
			if _, err := h.ChangeOrganization(t.Context(), test.who, test.id, test.change); !errors.Is(err, test.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := h.Accounts(t.Context(), who, "", 10); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("the accounts, for anybody: %v", err)
		}
		if _, err := h.Organizations(t.Context(), who, "", 10); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("the organizations, for anybody: %v", err)
		}
	})
}

func TestTheZeroCallerMayDoNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		tokens := h.enter(t, home, "jane")
		var nobody access.Caller
		for name, call := range map[string]func() error{
			"Register": func() error {
				_, err := h.Register(t.Context(), nobody, account.Registration{Name: "x", Email: "x@example.com", Password: right})
				return err
			},
			"SignIn":         func() error { _, err := h.SignIn(t.Context(), nobody, "jane@example.com", right); return err },
			"Refresh":        func() error { _, err := h.Refresh(t.Context(), nobody, tokens.Refresh.Reveal()); return err },
			"SignOut":        func() error { return h.SignOut(t.Context(), nobody, tokens.Refresh.Reveal()) },
			"Me":             func() error { _, _, err := h.Me(t.Context(), nobody); return err },
			"ChangePassword": func() error { return h.ChangePassword(t.Context(), nobody, right, wrong) },
			"Delete":         func() error { return h.Delete(t.Context(), nobody, right) },
			"Accounts":       func() error { _, err := h.Accounts(t.Context(), nobody, "", 1); return err },
			"Organizations":  func() error { _, err := h.Organizations(t.Context(), nobody, "", 1); return err },
			"ChangeOrganization": func() error {
				_, err := h.ChangeOrganization(t.Context(), nobody, "x", account.Change{})
				return err
			},
		} {
			if err := call(); !errors.Is(err, fault.ErrNotAllowed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// An API key of the account is no sign-in either.
		who := h.caller(t, tokens.Access)
		who.SignInID, who.KeyID, who.Scopes = "", 42, access.AllScopes
		if err := h.ChangePassword(t.Context(), who, right, wrong); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("a key changes the password: %v", err)
		}
		if err := h.Delete(t.Context(), who, right); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("a key deletes the account: %v", err)
		}
	})
}

func TestMembersAreHeldUntilTheTransactionEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		who, _ := h.signedIn(t, "jane")
		hold := func(accountID, organizationID string) error {
			return d.Tx(t.Context(), func(tx *db.Tx) error { return h.HoldMember(t.Context(), tx, accountID, organizationID) })
		}
		if err := hold(who.AccountID, who.OrganizationID); err != nil {
			t.Error(err)
		}
		for _, ids := range [][2]string{{who.AccountID, db.NewID()}, {db.NewID(), who.OrganizationID}, {"", ""}} {
			if err := hold(ids[0], ids[1]); !errors.Is(err, account.ErrNotMember) {
				t.Errorf("HoldMember of a stranger: %v", err)
			}
			if _, err := h.Member(t.Context(), ids[0], ids[1]); !errors.Is(err, account.ErrNotMember) {
				t.Errorf("Member of a stranger: %v", err)
			}
		}
	})
}
