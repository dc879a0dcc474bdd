package apikey_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
)

func TestAKeyIsFoundAsItWasAskedFor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, err := h.Create(t.Context(), h.jane, apikey.Request{
			Name: "bound", Scopes: []string{"run", "agents:read", "run"}, AgentIDs: []string{"invoices", "public/demo", "invoices"},
			AllowedIPs: []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:DB8::/32"}, ExpiresIn: time.Hour,
			Limits: access.Limits{PerHour: 50, Burst: 5, PerMonth: 1000}, RequireSignature: true,
			ExternalID: "customer 42", Metadata: []byte(`{ "plan" : "gold", "seats" : 12345678901234567890 }`),
		})
		if err != nil {
			t.Fatal(err)
		}
		f := h.lookup(t, made.Secret)
		for _, k := range []apikey.Key{made.Key, f.Key} {
			var ips []string
			for _, p := range k.AllowedIPs {
				ips = append(ips, apikey.IPText(p))
			}
			got := fmt.Sprint(k.Name, k.Type, k.Scopes.Names(), k.AgentIDs, ips, k.ExpiresAt.Sub(k.CreatedAt), k.Limits, k.RequireSignature, k.Disabled, k.ExternalID, string(k.Metadata))
			want := fmt.Sprint("bound", "service", []string{"agents:read", "agents:run"}, []string{"invoices", "public/demo"}, []string{"192.0.2.1", "2001:db8::/32"},
				time.Hour, access.Limits{PerHour: 50, Burst: 5, PerMonth: 1000}, true, false, "customer 42", `{"plan":"gold","seats":12345678901234567890}`)
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		if signing := made.Signing.Reveal(); !strings.HasPrefix(signing, "rs_") || len(signing) < 46 || f.Signing.Reveal() != signing {
			t.Errorf("a signing secret of %d characters, or another one is found", len(signing))
		}
		if _, secret := h.make(t, h.jane, apikey.Request{Name: "plain"}); len(h.lookup(t, secret).Signing.Bytes()) != 0 {
			t.Error("a key whose requests need no signature has a signing secret")
		}
	})
}

func TestTypesDecideWhatIsLeftOut(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		const all, some = "all", "agents:read agents:run profiles:read profiles:write"
		for i, test := range []struct {
			in   apikey.Request
			kind string // "" is refused
			says string // the scopes, or the field that is refused
		}{
			{apikey.Request{}, "personal", all},
			{apikey.Request{Type: "personal", Scopes: []string{"read"}}, "personal", "agents:read profiles:read keys:read usage:read audit:read"},
			{apikey.Request{Type: "personal", Scopes: []string{"*"}}, "personal", all},
			{apikey.Request{Type: "personal", AgentIDs: []string{"invoices"}}, "personal", some},
			{apikey.Request{Type: "temporary"}, "temporary", all},
			{apikey.Request{Type: "temporary", Scopes: []string{"keys:write"}}, "temporary", "keys:write"},
			{apikey.Request{Scopes: []string{"read"}}, "service", "agents:read profiles:read usage:read audit:read"},
			{apikey.Request{Scopes: []string{"write", "run"}}, "service", "agents:write agents:run profiles:write"},
			{apikey.Request{Scopes: []string{"*"}}, "service", "agents:read agents:write agents:run profiles:read profiles:write keys:verify usage:read audit:read"},
			{apikey.Request{AgentIDs: []string{"invoices"}}, "service", some},
			{apikey.Request{AgentIDs: []string{"invoices"}, Scopes: []string{"agents:run"}}, "service", "agents:run"},
			{apikey.Request{Type: "service", Scopes: []string{"keys:verify"}}, "service", "keys:verify"},
			{apikey.Request{Type: "service"}, "", "scopes"},
			{apikey.Request{Type: "service", Scopes: []string{"keys:read"}}, "", "scopes"},
			{apikey.Request{Type: "service", Scopes: []string{"read", "keys:write"}}, "", "scopes"},
			{apikey.Request{Scopes: []string{"keys:write"}}, "", "scopes"},
			{apikey.Request{Scopes: []string{}}, "", "scopes"},
			{apikey.Request{Scopes: []string{"agents:destroy"}}, "", "scopes"},
			{apikey.Request{Scopes: []string{"READ"}}, "", "scopes"},
			{apikey.Request{Scopes: []string{""}}, "", "scopes"},
		} {
			test.in.Name = fmt.Sprint("key ", i)
			made, err := h.Create(t.Context(), h.jane, test.in)
			if test.kind == "" {
				refused(t, test.in, err, test.says)
				continue
			}
			scopes := strings.Join(made.Scopes.Names(), " ")
			if scopes == strings.Join(access.AllScopes.Names(), " ") {
				scopes = all
			}
			if err != nil || made.Type != test.kind || scopes != test.says {
				t.Errorf("%+v: a %s key with %s (%v), want %s with %s", test.in, made.Type, scopes, err, test.kind, test.says)
			}
		}
	})
}

// refused checks that err is about field and repeats nothing of what was sent.
func refused(t *testing.T, sent any, err error, field string) {
	t.Helper()
	f := fault.Of(err)
	if !errors.Is(err, fault.ErrInvalidRequest) || f.Details["field"] != field {
		t.Errorf("%+v: %v, want it refused for %s", sent, err, field)
	}
	if strings.Contains(f.Message, "MARK") {
		t.Errorf("the refusal repeats what was sent: %s", f.Message)
	}
}

func TestSettingsOutOfRangeAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.jane.Limits = access.Limits{PerHour: 100, Burst: 10}
		many := func(n int, text func(i int) string) []string {
			all := make([]string, n)
			for i := range all {
				all[i] = text(i)
			}
			return all
		}
		address := func(i int) string { return fmt.Sprintf("10.0.0.%d", i) }
		for name, test := range map[string]struct {
			in    apikey.Request
			field string
		}{
			"no agents":                     {apikey.Request{AgentIDs: []string{}}, "agent_ids"},
			"an agent that is not there":    {apikey.Request{AgentIDs: []string{"invoices", "MARK"}}, "agent_ids"},
			"an empty agent":                {apikey.Request{AgentIDs: []string{""}}, "agent_ids"},
			"a long agent":                  {apikey.Request{AgentIDs: []string{"MARK" + strings.Repeat("x", 1000)}}, "agent_ids"},
			"101 agents":                    {apikey.Request{AgentIDs: many(101, func(int) string { return "invoices" })}, "agent_ids"},
			"no addresses":                  {apikey.Request{AllowedIPs: []string{}}, "allowed_ips"},
			"101 addresses":                 {apikey.Request{AllowedIPs: many(101, address)}, "allowed_ips"},
			"a name":                        {apikey.Request{AllowedIPs: []string{"MARK"}}, "allowed_ips"},
			"bits beyond the length":        {apikey.Request{AllowedIPs: []string{"10.0.0.1/8"}}, "allowed_ips"},
			"a zone":                        {apikey.Request{AllowedIPs: []string{"fe80::1%MARK"}}, "allowed_ips"},
			"a limit below zero":            {apikey.Request{Limits: access.Limits{Burst: -1}}, "limits.burst"},
			"a limit of too much":           {apikey.Request{Limits: access.Limits{PerMonth: 1_000_000_000_001}}, "limits.requests_per_month"},
			"more an hour than the tier":    {apikey.Request{Limits: access.Limits{PerHour: 101}}, "limits.requests_per_hour"},
			"more a second than the tier":   {apikey.Request{Limits: access.Limits{Burst: 11}}, "limits.burst"},
			"a long external id":            {apikey.Request{ExternalID: strings.Repeat("é", 129)}, "external_id"},
			"a control character in it":     {apikey.Request{ExternalID: "MARK\n"}, "external_id"},
			"a space at its end":            {apikey.Request{ExternalID: "MARK "}, "external_id"},
			"an invisible character in it":  {apikey.Request{ExternalID: "MARK\u202e"}, "external_id"},
			"metadata that is an array":     {apikey.Request{Metadata: []byte(`["MARK"]`)}, "metadata"},
			"metadata that is null":         {apikey.Request{Metadata: []byte(`null`)}, "metadata"},
			"metadata that is half":         {apikey.Request{Metadata: []byte(`{"MARK":`)}, "metadata"},
			"large metadata":                {apikey.Request{Metadata: []byte(`{"MARK":"` + strings.Repeat("x", 4096) + `"}`)}, "metadata"},
			"a year too long a life":        {apikey.Request{ExpiresIn: 11 * 365 * 24 * time.Hour}, "expires_in"},
			"31 days for a temporary key":   {apikey.Request{Type: "temporary", ExpiresIn: 31 * 24 * time.Hour}, "expires_in"},
			"a life below zero":             {apikey.Request{ExpiresIn: -1}, "expires_in"},
			"an unknown type":               {apikey.Request{Type: "MARK"}, "type"},
			"a control character in a name": {apikey.Request{Name: "MARK\x7f"}, "name"},
		} {
			if test.in.Name == "" {
				test.in.Name = "n"
			}
			_, err := h.Create(t.Context(), h.jane, test.in)
			refused(t, name, err, test.field)
		}
		var rows int64
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM api_keys`).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d keys were made (%v)", rows, err)
		}
		h.make(t, h.jane, apikey.Request{Name: "as much as there may be", AllowedIPs: many(100, address), AgentIDs: many(100, func(int) string { return "invoices" }),
			Limits: access.Limits{PerHour: 100, Burst: 10, PerMonth: 1_000_000_000_000}, ExternalID: strings.Repeat("é", 128),
			Metadata: []byte(`{"a":"` + strings.Repeat("x", 4096-8) + `"}`), ExpiresIn: apikey.MaxLife})
	})
}

func TestDisabledKeysAreRefusedAndListedSo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, secret := h.make(t, h.jane, apikey.Request{Name: "off", Disabled: true, ExpiresIn: time.Hour})
		h.make(t, h.jane, apikey.Request{Name: "on", ExternalID: "customer-1"})
		status := func(want map[string]int64) {
			t.Helper()
			for status, n := range want {
				found, total, err := h.List(t.Context(), h.jane, apikey.Filter{Status: status, Limit: 10})
				if err != nil || total != n || int64(len(found)) != n {
					t.Errorf("status %q: %d keys, %d in all (%v), want %d", status, len(found), total, err, n)
				}
				for _, k := range found {
					if status != "" && k.Status(h.Now()) != status {
						t.Errorf("a key that is %s is listed as %s", k.Status(h.Now()), status)
					}
				}
			}
		}
		if err := h.state(t, secret); !errors.Is(err, apikey.ErrDisabled) {
			t.Errorf("disabled: %v", err)
		}
		status(map[string]int64{"": 2, "active": 1, "disabled": 1, "expired": 0, "revoked": 0})
		h.clock.pass(2 * time.Hour)
		if err := h.state(t, secret); !errors.Is(err, apikey.ErrDisabled) {
			t.Errorf("disabled and expired: %v", err)
		}
		status(map[string]int64{"": 2, "active": 1, "disabled": 1, "expired": 0, "revoked": 0})
		h.change(t, h.jane, k.ID, apikey.Change{Disabled: ptr(false)})
		if err := h.state(t, secret); !errors.Is(err, apikey.ErrExpired) {
			t.Errorf("enabled and expired: %v", err)
		}
		status(map[string]int64{"": 2, "active": 1, "disabled": 0, "expired": 1, "revoked": 0})

		found, total, err := h.List(t.Context(), h.jane, apikey.Filter{ExternalID: "customer-1", Limit: 10})
		if err != nil || total != 1 || found[0].Name != "on" {
			t.Errorf("by external id: %d keys, %v", total, err)
		}
		if _, total, err := h.List(t.Context(), h.bob, apikey.Filter{ExternalID: "customer-1", Limit: 10}); err != nil || total != 0 {
			t.Errorf("another organization finds %d keys by external id (%v)", total, err)
		}
		if _, _, err := h.List(t.Context(), h.jane, apikey.Filter{Status: "good", Limit: 10}); !errors.Is(err, fault.ErrInvalidRequest) {
			t.Errorf("an unknown status: %v", err)
		}
	})
}

func TestServiceKeysOutliveTheAccountThatMadeThem(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		personal, ps := h.make(t, h.jane, apikey.Request{Name: "personal"})
		_, ts := h.make(t, h.jane, apikey.Request{Name: "temporary", Type: apikey.Temporary})
		service, ss := h.make(t, h.jane, apikey.Request{Name: "service", Scopes: []string{"read"}})
		_, cs := h.make(t, h.with(t, h.jane, personal), apikey.Request{Name: "service of a key", Scopes: []string{"read"}})

		own, err := h.ListOwn(t.Context(), h.jane)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range own {
			if k.Type == apikey.Service {
				t.Errorf("/auth lists the service key %q", k.Name)
			}
		}
		if err := h.RevokeOwn(t.Context(), h.jane, service.ID); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("/auth deletes a service key: %v", err)
		}
		err = h.Acts.Do(t.Context(), h.jane, access.DeleteAccount, func(tx *db.Tx, act *access.Act) error {
			return h.RevokeAccount(t.Context(), tx, act, "jane")
		})
		if err != nil {
			t.Fatal(err)
		}
		got := []error{h.state(t, ps), h.state(t, ts), h.state(t, cs), h.state(t, ss)}
		want := []error{apikey.ErrRevoked, apikey.ErrRevoked, apikey.ErrRevoked, nil}
		if !slices.EqualFunc(got, want, errors.Is) {
			t.Errorf("personal, temporary, service of a key, service: %v", got)
		}
	})
}
