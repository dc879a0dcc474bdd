package verify

import (
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/gate"
)

// FuzzSettingsOfAGateway asks that whatever stands in a query, it names one
// organization, and nothing in it is passed over.
func FuzzSettingsOfAGateway(f *testing.F) {
	for _, query := range []string{
		"", "organization=o", "organization=o&scope=run,read&agent_id=a&deny=403", "organization=a&organization=b", "organization=", "scope=run", "deny=200",
		"Organization=o", "organization%00=o", "organization[]=o", "organization=o&x=1", "organization=o;scope=run", "organization=%zz", "organization=any&scope=%2A",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		set, err := readSettings(query)
		if err != nil {
			return
		}
		if set.organization == "" || set.organization != query["organization"][0] {
			t.Errorf("%q is about the organization %q", text, set.organization)
		}
		for name, values := range query {
			if len(values) != 1 || !slices.Contains([]string{"organization", "scope", "agent_id", "deny"}, name) {
				t.Errorf("%q is taken with %q", text, name)
			}
		}
		if query.Has("agent_id") && set.agentID != query.Get("agent_id") {
			t.Errorf("%q is about the agent %q", text, set.agentID)
		}
		if set.scopes&^access.AllScopes != 0 {
			t.Errorf("%q asks for %b", text, set.scopes)
		}
	})
}

// FuzzKeyOfARequest asks that a request which shows two keys shows none, and that
// nothing which is not a key is taken for one.
func FuzzKeyOfARequest(f *testing.F) {
	const a, b = "ra_live_00000000000000000000000000000000", "Bearer "
	f.Add(b+a, a, "")
	f.Add("bearer  x", "", "Basic YTpi")
	f.Fuzz(func(t *testing.T, one, two, three string) {
		s := &surface{}
		key, err := s.key(http.Header{"Authorization": {one, two}, "X-Api-Key": {three}})
		if (err == nil) != gate.IsKey(key) {
			t.Errorf("%q, %q, %q: %q, %v", one, two, three, key, err)
		}
	})
}

// FuzzHeaderText asks that any name can stand in a header and be read again.
func FuzzHeaderText(f *testing.F) {
	f.Add("plain")
	f.Add("50 % ü\r\nX: y\x00")
	f.Fuzz(func(t *testing.T, name string) {
		text := headerText(name)
		for _, c := range []byte(text) {
			if c < ' ' || c > '~' {
				t.Fatalf("%q is written as %q", name, text)
			}
		}
		if back, err := url.PathUnescape(text); err != nil || back != name {
			t.Errorf("%q is read as %q (%v)", text, back, err)
		}
	})
}
