package account_test

import (
	"errors"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestWhatATierAndAnOrganizationsOwnLimitsGive(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		who, tokens := h.signedIn(t, "jane")
		console := access.NewConsole("r")
		of := func(n int64) *int64 { return &n }
		tier := func(name string) *string { return &name }
		free, pro := access.Limits{PerHour: 100, Burst: 10}, access.Limits{PerHour: 1000, Burst: 100}

		if who.Tier != "free" || who.Limits != free {
			t.Errorf("a new organization is on %s with %+v", who.Tier, who.Limits)
		}
		for _, step := range []struct {
			what   string
			change account.Change
			want   access.Limits
		}{
			{"pro", account.Change{Tier: tier("pro")}, pro},
			{"more than the tier", account.Change{Limits: &account.Limits{PerHour: of(5000)}}, access.Limits{PerHour: 5000, Burst: 100}},
			{"less, and a month", account.Change{Limits: &account.Limits{Burst: of(1), PerMonth: of(20)}}, access.Limits{PerHour: 1000, Burst: 1, PerMonth: 20}},
			{"another tier: its own stay", account.Change{Tier: tier("free")}, access.Limits{PerHour: 100, Burst: 1, PerMonth: 20}},
			{"back to the tier's", account.Change{Limits: &account.Limits{}}, free},
			{"unlimited", account.Change{Limits: &account.Limits{PerHour: of(access.Unlimited)}}, access.Limits{Burst: 10}},
			{"enterprise with nothing set", account.Change{Tier: tier("enterprise"), Limits: &account.Limits{}}, access.Limits{}},
			{"enterprise with all set", account.Change{Limits: &account.Limits{PerHour: of(1e9), Burst: of(1e9), PerMonth: of(1e12)}}, access.Limits{PerHour: 1e9, Burst: 1e9, PerMonth: 1e12}},
		} {
			o, err := h.ChangeOrganization(t.Context(), console, who.OrganizationID, step.change)
			if err != nil || o.EffectiveLimits() != step.want {
				t.Fatalf("%s: %+v, %v", step.what, o.EffectiveLimits(), err)
			}
			member, err := h.Member(t.Context(), who.AccountID, who.OrganizationID)
			if err != nil || member.Limits != step.want || h.caller(t, tokens.Access).Limits != step.want {
				t.Errorf("%s: the caller after it has %+v, %v", step.what, member.Limits, err)
			}
		}
		if n := number(t, d, `SELECT count(*) FROM changes WHERE kind = 'organization' AND subject = $1`, who.OrganizationID); n != 8 {
			t.Errorf("whoever remembers the caller is told %d times of 8", n)
		}

		for name, bad := range map[string]account.Limits{
			"none an hour":         {PerHour: of(0)},
			"none a second":        {Burst: of(0)},
			"none a month":         {PerMonth: of(0)},
			"below unlimited":      {PerHour: of(-2)},
			"too many an hour":     {PerHour: of(1e9 + 1)},
			"too many a second":    {Burst: of(1e9 + 1)},
			"too many a month":     {PerMonth: of(1e12 + 1)},
			"one good and one bad": {PerHour: of(5), PerMonth: of(-9)},
		} {
			_, err := h.ChangeOrganization(t.Context(), console, who.OrganizationID, account.Change{Limits: &bad})
			if !errors.Is(err, fault.ErrInvalidRequest) || fault.Of(err).Details["field"] == nil {
				t.Errorf("%s: %v", name, err)
			}
		}

		operators, err := h.Organizations(t.Context(), console, "", 10)
		if err != nil || len(operators) != 2 {
			t.Fatal(len(operators), err)
		}
		if o := operators[1]; !o.Operator || o.Tier != "enterprise" || o.EffectiveLimits() != (access.Limits{}) {
			t.Errorf("the operator's is %+v", o)
		}
	})
}

func TestAServiceKeyIsItsOrganizationWithoutAnAccount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		operator, _, err := h.EnsureOperator(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		h.register(t, "jane")
		jane, _ := h.signedIn(t, "jane")

		who, err := h.ServiceCaller(t.Context(), jane.OrganizationID)
		if err != nil || who.AccountID != "" || who.Role != access.Owner || who.Operator || who.OrganizationID != jane.OrganizationID ||
			who.Tier != "free" || who.Limits != jane.Limits || who.Quotas != h.DefaultQuotas {
			t.Errorf("ServiceCaller = %+v, %v", who, err)
		}
		if err := who.May(access.ReadAgents); err == nil {
			t.Error("without its key it may something")
		}
		if who, err := h.ServiceCaller(t.Context(), operator); err != nil || !who.Operator || who.Limits != (access.Limits{}) || who.Quotas.Keys != access.Unlimited {
			t.Errorf("the operator's = %+v, %v", who, err)
		}
		if _, err := h.ServiceCaller(t.Context(), db.NewID()); !errors.Is(err, account.ErrNotMember) {
			t.Errorf("of no organization: %v", err)
		}

		exec(t, d, `UPDATE organizations SET tier = 'enterprise' WHERE operator = 0`)
		if _, err := h.ServiceCaller(t.Context(), jane.OrganizationID); !errors.Is(err, seal.ErrTag) {
			t.Errorf("on a tier that somebody wrote into the database: %v", err)
		}
	})
}

func TestTheHolderOfAKeyIsItsAccountAndOrganization(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		jane, _ := h.signedIn(t, "jane")
		key := func(who access.Caller) access.Caller {
			who.SignInID, who.KeyID = "", 1
			return who
		}
		if a, o, err := h.Holder(t.Context(), key(jane)); err != nil || a.ID != jane.AccountID || o.ID != jane.OrganizationID {
			t.Errorf("of a personal key: %+v, %+v, %v", a, o, err)
		}
		service, err := h.ServiceCaller(t.Context(), jane.OrganizationID)
		if err != nil {
			t.Fatal(err)
		}
		if a, o, err := h.Holder(t.Context(), key(service)); err != nil || a.ID != "" || o.ID != jane.OrganizationID {
			t.Errorf("of a service key: %+v, %+v, %v", a, o, err)
		}
		if _, _, err := h.Holder(t.Context(), jane); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("without a key: %v", err)
		}
		stranger := key(jane)
		stranger.OrganizationID = db.NewID()
		if _, _, err := h.Holder(t.Context(), stranger); !errors.Is(err, account.ErrNotMember) {
			t.Errorf("of an organization that it does not belong to: %v", err)
		}
	})
}
