package keywardtest_test

import (
	"testing"

	"github.com/keyward/keyward/keywardtest"
)

// What the operator sets for an organization holds from the next request with
// one of its keys, whatever was remembered of the key.
func TestATierHoldsFromTheNextRequestOn(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		if o.Settings == nil {
			o.Settings = map[string]string{}
		}
		o.Settings["default_tier"] = "free"
		h := newHouse(t, o)
		op, p := h.person(h.SetupCode(t)), h.person("")
		me := h.must(200, "GET", "/auth/me", nil, p.bearer())
		id := me.get("organizations").([]any)[0].(map[string]any)["id"].(string)
		set := func(change map[string]any) {
			t.Helper()
			h.must(200, "PATCH", "/v1/organizations/"+id, change, op.bearer())
		}
		use := func(what string, status int, limit string) {
			t.Helper()
			if a := h.send("GET", "/v1/keys/self", nil, p.withKey()); a.Status != status || a.Header.Get("X-RateLimit-Limit") != limit {
				t.Errorf("%s: %d with a limit of %q, want %d and %q: %s", what, a.Status, a.Header.Get("X-RateLimit-Limit"), status, limit, a.Text)
			}
		}
		use("free", 200, "100")
		set(map[string]any{"limits": map[string]any{"requests_per_hour": 3, "burst": -1}})
		use("the second of three", 200, "3")
		use("the third of three", 200, "3")
		use("the fourth of three", 429, "3")
		set(map[string]any{"tier": "pro", "limits": map[string]any{}})
		use("pro", 200, "1000")
		set(map[string]any{"tier": "enterprise"})
		use("enterprise", 200, "")
		set(map[string]any{"limits": map[string]any{"requests_per_month": 1}})
		if a := h.send("GET", "/v1/keys/self", nil, p.withKey()); a.Status != 429 && a.Status != 200 {
			t.Errorf("one a month: %d", a.Status)
		}
		h.refused(429, "RATE_LIMITED", "GET", "/v1/keys/self", nil, p.withKey())

		if a := h.must(200, "GET", "/v1/keys/self", nil, op.withKey()); a.Header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("the operator's key has a limit of %s", a.Header.Get("X-RateLimit-Limit"))
		}
	})
}
