package apikey

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		p, wrong := parseIP(text)
		if wrong != "" {
			panic(text + " " + wrong)
		}
		all = append(all, p)
	}
	return all
}

func TestStrongerIsMoreOfAnything(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	// The weak key has a bound of every sort.
	weak := Key{
		Type: Personal, AccountID: "jane", Scopes: access.KeysWrite | access.AgentsRead, scoped: true, AgentIDs: []string{"a", "b"},
		AllowedIPs: prefixes("10.0.0.0/24", "2001:db8::1"), Limits: access.Limits{PerHour: 100, Burst: 10, PerMonth: 1000},
		ExpiresAt: now, RequireSignature: true,
	}
	for name, test := range map[string]struct {
		change func(k *Key)
		field  string
	}{
		"the same":                        {func(*Key) {}, ""},
		"another account":                 {func(k *Key) { k.AccountID = "bob" }, "account"},
		"another maker of a service key":  {func(k *Key) { k.AccountID, k.Type = "bob", Service }, ""},
		"service":                         {func(k *Key) { k.Type = Service }, ""},
		"temporary":                       {func(k *Key) { k.Type = Temporary }, ""},
		"a scope less":                    {func(k *Key) { k.Scopes = access.AgentsRead }, ""},
		"a scope more":                    {func(k *Key) { k.Scopes |= access.AuditRead }, "scopes"},
		"another scope":                   {func(k *Key) { k.Scopes = access.AuditRead }, "scopes"},
		"all scopes, also of later":       {func(k *Key) { k.Scopes, k.scoped = access.AllScopes, false }, "scopes"},
		"the same without naming them":    {func(k *Key) { k.scoped = false }, "scopes"},
		"an agent less":                   {func(k *Key) { k.AgentIDs = []string{"b"} }, ""},
		"an agent more":                   {func(k *Key) { k.AgentIDs = []string{"a", "b", "c"} }, "agent_ids"},
		"another agent":                   {func(k *Key) { k.AgentIDs = []string{"c"} }, "agent_ids"},
		"a public agent of the same name": {func(k *Key) { k.AgentIDs = []string{"public/a"} }, "agent_ids"},
		"all agents":                      {func(k *Key) { k.AgentIDs = nil }, "agent_ids"},
		"an address less":                 {func(k *Key) { k.AllowedIPs = prefixes("10.0.0.0/24") }, ""},
		"an address within":               {func(k *Key) { k.AllowedIPs = prefixes("10.0.0.7") }, ""},
		"a network within":                {func(k *Key) { k.AllowedIPs = prefixes("10.0.0.128/25") }, ""},
		"a larger network":                {func(k *Key) { k.AllowedIPs = prefixes("10.0.0.0/23") }, "allowed_ips"},
		"another address":                 {func(k *Key) { k.AllowedIPs = prefixes("10.0.1.0") }, "allowed_ips"},
		"all of IPv4":                     {func(k *Key) { k.AllowedIPs = prefixes("0.0.0.0/0") }, "allowed_ips"},
		"all of IPv6":                     {func(k *Key) { k.AllowedIPs = prefixes("::/0") }, "allowed_ips"},
		"anywhere":                        {func(k *Key) { k.AllowedIPs = nil }, "allowed_ips"},
		"no signature":                    {func(k *Key) { k.RequireSignature = false }, "require_signature"},
		"a shorter life":                  {func(k *Key) { k.ExpiresAt = now.Add(-1) }, ""},
		"a longer life":                   {func(k *Key) { k.ExpiresAt = now.Add(1) }, "expires_in"},
		"an endless life":                 {func(k *Key) { k.ExpiresAt = time.Time{} }, "expires_in"},
		"lower limits":                    {func(k *Key) { k.Limits = access.Limits{PerHour: 99, Burst: 9, PerMonth: 999} }, ""},
		"more an hour":                    {func(k *Key) { k.Limits.PerHour++ }, "limits.requests_per_hour"},
		"more a second":                   {func(k *Key) { k.Limits.Burst++ }, "limits.burst"},
		"more a month":                    {func(k *Key) { k.Limits.PerMonth++ }, "limits.requests_per_month"},
		"no limit an hour":                {func(k *Key) { k.Limits.PerHour = 0 }, "limits.requests_per_hour"},
		"no limit a second":               {func(k *Key) { k.Limits.Burst = 0 }, "limits.burst"},
		"no limit a month":                {func(k *Key) { k.Limits.PerMonth = 0 }, "limits.requests_per_month"},
		"what is no power": {func(k *Key) {
			k.ID, k.Name, k.ExternalID, k.Metadata, k.Disabled, k.MadeByKey, k.CreatedAt = 7, "n", "e", []byte("{}"), true, 9, now
		}, ""},
	} {
		a := weak
		test.change(&a)
		if field, _ := stronger(a, weak); field != test.field {
			t.Errorf("%s: stronger in %q, want %q", name, field, test.field)
		}
	}

	// A key without bounds makes all of its account and of its organization.
	full := Key{Type: Personal, AccountID: "jane", Scopes: access.AllScopes}
	for _, kind := range []string{Personal, Service, Temporary} {
		k := weak
		k.Type = kind
		if field, _ := stronger(k, full); field != "" {
			t.Errorf("a bounded %s key is stronger than a full one in %s", kind, field)
		}
	}
	for asks, kinds := range map[string][]string{Temporary: {Service, Personal}, Service: {Personal}} {
		for _, kind := range kinds {
			a, b := Key{Type: kind}, Key{Type: asks}
			if field, _ := stronger(a, b); field != "type" {
				t.Errorf("%s against %s: stronger in %q, want the type", kind, asks, field)
			}
		}
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// anyKey makes keys of few values, so that many of them are comparable.
func anyKey(r *rand.Rand) Key {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := Key{
		Type: pick(r, Personal, Personal, Service, Temporary), AccountID: pick(r, "jane", "jane", "bob"),
		Scopes: access.AllScopes, scoped: pick(r, true, false), RequireSignature: pick(r, true, false),
		AgentIDs:   pick(r, nil, nil, []string{"a"}, []string{"b"}, []string{"a", "b"}),
		AllowedIPs: pick(r, nil, nil, prefixes("10.0.0.0/8"), prefixes("10.1.0.0/16", "::1"), prefixes("10.1.2.3"), prefixes("0.0.0.0/0", "::/0")),
		ExpiresAt:  pick(r, time.Time{}, at, at.Add(time.Hour)),
		Limits:     access.Limits{PerHour: pick(r, int64(0), 0, 1, 2), Burst: pick(r, int64(0), 0, 1), PerMonth: pick(r, int64(0), 0, 1)},
	}
	if k.scoped {
		k.Scopes = pick(r, access.AllScopes, access.ServiceScopes, access.KeysWrite, access.KeysWrite|access.AgentsRead)
	}
	return k
}

// A chain of keys, each not stronger than the one that makes it, leads nowhere
// upwards; and what a key may not do, no key below it may.
func FuzzStrongerLeadsNowhereUpwards(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		for range 100 {
			top := anyKey(r)
			if field, _ := stronger(top, top); field != "" {
				t.Fatalf("a key is stronger than itself in %s: %+v", field, top)
			}
			// A chain downwards, of what happens to be not stronger.
			last := top
			for range 30 {
				k := anyKey(r)
				if field, _ := stronger(k, last); field != "" {
					continue
				}
				last = k
				if field, _ := stronger(last, top); field != "" {
					t.Fatalf("%+v is stronger than %+v in %s, at the end of a chain of keys that are not", last, top, field)
				}
			}
			mayNoMore(t, r, last, top)
		}
	})
}

// mayNoMore checks that a may do nothing that b may not, by what the settings
// mean and not by comparing them.
func mayNoMore(t *testing.T, r *rand.Rand, a, b Key) {
	t.Helper()
	tier := access.Limits{PerHour: pick(r, int64(0), 1, 2, 3), Burst: pick(r, int64(0), 1, 2), PerMonth: pick(r, int64(0), 1, 2)}
	la, lb := tier.Lowered(a.Limits), tier.Lowered(b.Limits)
	more := func(a, b int64) bool { return b != 0 && (a == 0 || a > b) }
	if more(la.PerHour, lb.PerHour) || more(la.Burst, lb.Burst) || more(la.PerMonth, lb.PerMonth) {
		t.Fatalf("under a tier of %+v one may %+v, the other %+v", tier, la, lb)
	}
	caller := func(k Key) access.Caller {
		return access.Caller{OrganizationID: "o", Role: access.Owner, KeyID: 1, Scopes: k.Scopes, AgentIDs: k.AgentIDs}
	}
	for _, action := range []access.Action{access.CreateKey, access.ReadAgents, access.StartRun, access.ReadAudit, access.ReadProfiles} {
		if caller(a).May(action) == nil && caller(b).May(action) != nil {
			t.Fatalf("one may %s, the other not", action)
		}
	}
	for _, agent := range []string{"a", "b", "c"} {
		if caller(a).MayUse(agent) == nil && caller(b).MayUse(agent) != nil {
			t.Fatalf("one may use agent %s, the other not", agent)
		}
	}
	from := func(k Key, address netip.Addr) bool {
		for _, p := range k.AllowedIPs {
			if p.Contains(address) {
				return true
			}
		}
		return k.AllowedIPs == nil
	}
	for _, text := range []string{"10.1.2.3", "10.1.2.4", "10.2.0.0", "192.0.2.1", "::1", "::2"} {
		if address := netip.MustParseAddr(text); from(a, address) && !from(b, address) {
			t.Fatalf("one may be used from %s, the other not", text)
		}
	}
	for _, at := range []time.Time{b.ExpiresAt, b.ExpiresAt.Add(time.Second)} {
		if !b.ExpiresAt.IsZero() && a.Usable(at) == nil {
			t.Fatal("one is alive after the other's end")
		}
	}
}

func TestAddressesHaveOneForm(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1":                 "192.0.2.1",
		"192.0.2.1/32":              "192.0.2.1",
		"192.0.2.0/24":              "192.0.2.0/24",
		"0.0.0.0/0":                 "0.0.0.0/0",
		"2001:DB8::1":               "2001:db8::1",
		"2001:0db8:0:0::1/128":      "2001:db8::1",
		"2001:db8::/32":             "2001:db8::/32",
		"::/0":                      "::/0",
		"::ffff:192.0.2.1":          "192.0.2.1",
		"::ffff:c000:201":           "192.0.2.1",
		"::ffff:192.0.2.0/120":      "192.0.2.0/24",
		"::ffff:192.0.2.1/128":      "192.0.2.1",
		"::ffff:0:0/96":             "0.0.0.0/0",
		"64:ff9b::192.0.2.1":        "64:ff9b::c000:201",
		"":                          "",
		"localhost":                 "",
		"192.0.2":                   "",
		"192.0.2.256":               "",
		"192.0.2.01":                "",
		"192.0.2.1/24":              "",
		"192.0.2.0/33":              "",
		"192.0.2.0/-1":              "",
		"192.0.2.0/024":             "",
		"192.0.2.0/255.255.255.0":   "",
		"192.0.2.0/":                "",
		"2001:db8::1/32":            "",
		"::ffff:192.0.2.1/120":      "",
		"::ffff:0:0/95":             "",
		"fe80::1%eth0":              "",
		"fe80::%eth0/64":            "",
		"[::1]":                     "",
		"192.0.2.1:80":              "",
		" 192.0.2.1":                "",
		"192.0.2.1,192.0.2.2":       "",
		"*":                         "",
		"192.0.2.1\n":               "",
		"1.2.3.4/32/32":             "",
		"0x7f.0.0.1":                "",
		"2130706433":                "",
		"12345:db8::1":              "",
		"2001:db8:::1":              "",
		"2001:db8::1::2":            "",
		"0000000000000000000:db8::": "",
	} {
		p, wrong := parseIP(text)
		switch {
		case want == "" && wrong == "":
			t.Errorf("%q was read as %s", text, p)
		case want != "" && (wrong != "" || IPText(p) != want):
			t.Errorf("%q was read as %s (%s), want %s", text, IPText(p), wrong, want)
		}
	}
}

func FuzzParseIP(f *testing.F) {
	for _, seed := range []string{"192.0.2.1", "::ffff:192.0.2.0/120", "fe80::1%eth0", "10.0.0.0/8", "::/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, wrong := parseIP(text)
		if wrong != "" {
			return
		}
		again, wrong := parseIP(IPText(p))
		if wrong != "" || again != p {
			t.Fatalf("%q is %s, and that is %s (%s)", text, p, again, wrong)
		}
		if !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Masked() != p {
			t.Fatalf("%q is %s", text, p)
		}
	})
}

// A row that has a setting is read with it or not at all.
func TestSettingsOfALaterVersionAreNotIgnored(t *testing.T) {
	for name, settings := range map[string]string{
		"another setting": `{"allowed_countries":["CH"]}`,
		"another scope":   `{"scopes":["agents:read","agents:destroy"]}`,
		"no JSON":         `{`,
		"no address":      `{"allowed_ips":["nowhere"]}`,
	} {
		k := Key{settings: settings}
		if err := k.unkeep(); err == nil {
			t.Errorf("%s: read as %+v", name, k)
		}
	}
}

func TestWhatIsKeptIsReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		k := anyKey(r)
		var err error
		k.Metadata, err = settleMetadata(pick(r, nil, []byte(`{}`), []byte(`{"a": [1, 2.50, "\u00e9 \u2028 <"], "b": 12345678901234567890}`)))
		if err := errors.Join(err, k.keep()); err != nil {
			t.Fatal(err)
		}
		back := Key{Type: k.Type, AccountID: k.AccountID, ExpiresAt: k.ExpiresAt, settings: k.settings}
		if err := back.unkeep(); err != nil {
			t.Fatal(err)
		}
		if d := differences(k, back); len(d) > 0 {
			t.Fatalf("%v differ after %s", d, k.settings)
		}
		before := back.settings
		if err := back.keep(); err != nil || back.settings != before {
			t.Fatalf("kept again as %s (%v), was %s", back.settings, err, before)
		}
	}
	if k := (Key{Scopes: access.AllScopes}); k.keep() != nil || k.settings != "" {
		t.Error("a key without settings has some")
	}
}
