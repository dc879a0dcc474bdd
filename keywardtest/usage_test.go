package keywardtest_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

// only returns the usage of the one key of an answer.
func (a answer) only() map[string]any {
	keys, _ := a.JSON["keys"].([]any)
	if len(keys) != 1 {
		return nil
	}
	return keys[0].(map[string]any)
}

func TestUsageTellsWhatWasAskedWithAKeyAlsoAfterARestart(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Data = t.TempDir()
		h := newHouse(t, o)
		p := h.person("")
		made := h.must(201, "POST", "/v1/keys", map[string]any{
			"name": "counted", "type": "service", "scopes": []string{"agents:read"}, "limits": map[string]any{"requests_per_hour": 4},
		}, p.bearer())
		key, path := "X-API-Key: "+made.text("key"), fmt.Sprintf("/v1/keys/%.0f/usage", made.get("id"))
		for range 4 {
			h.must(200, "GET", "/v1/agents", nil, key)
		}
		h.refused(429, "RATE_LIMITED", "GET", "/v1/agents", nil, key)
		h.refused(403, "INSUFFICIENT_SCOPE", "GET", "/v1/audit", nil, key)

		check := func(when string) {
			t.Helper()
			got := h.must(200, "GET", path, nil, p.withKey())
			k := got.only()
			for name, want := range map[string]any{
				"name": "counted", "requests": 6.0, "allowed": 4.0, "denied": 1.0, "rate_limited": 1.0, "limit": 4.0, "remaining": 0.0, "percent_used": 100.0,
			} {
				if k[name] != want {
					t.Errorf("%s: %s is %v, want %v", when, name, k[name], want)
				}
			}
			if n := len(k["series"].([]any)); n != 24 || k["last_used_at"] == nil || k["reset"] == nil || got.text("period.interval") != "hour" {
				t.Errorf("%s: %d points, %v, %v, %v", when, n, k["last_used_at"], k["reset"], got.get("period"))
			}
		}
		check("at once")
		h.Stop(t)
		h.Server = keywardtest.Start(t, o)
		check("after a restart")
		if got := h.must(200, "GET", path+"?interval=minute&from="+url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339)), nil, p.withKey()).only(); got["allowed"] != 4.0 {
			t.Errorf("by minute: %v", got)
		}
	})
}

func TestUsageIsListedForTheOrganizationAlone(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	jane, bob := h.person(""), h.person("")
	ids := map[float64]bool{}
	for n := range 3 {
		ids[h.must(201, "POST", "/v1/keys", map[string]any{"name": fmt.Sprint("k", n)}, jane.bearer()).get("id").(float64)] = true
	}
	ids[float64(jane.keyID)] = true
	reader := "X-API-Key: " + h.keyWith(jane, []string{"usage:read"}, nil)
	cursor, seen := "", 0
	for {
		got := h.must(200, "GET", "/v1/keys/usage?limit=2&interval=day"+cursor, nil, reader)
		for _, k := range got.JSON["keys"].([]any) {
			seen++
			delete(ids, k.(map[string]any)["id"].(float64))
		}
		next := got.text("pagination.next_cursor")
		if next == "" {
			break
		}
		cursor = "&cursor=" + next
	}
	if len(ids) != 0 || seen != 5 {
		t.Errorf("%d keys were listed, and these were not: %v", seen, ids)
	}
	path := fmt.Sprintf("/v1/keys/%d/usage", jane.keyID)
	if k := h.must(200, "GET", path, nil, reader).only(); k["limit"] != nil || k["percent_used"] != nil {
		t.Errorf("a key without a limit has one: %v", k)
	}
	h.refused(404, "KEY_NOT_FOUND", "GET", path, nil, bob.bearer())
	h.refused(404, "KEY_NOT_FOUND", "GET", "/v1/keys/7/usage", nil, bob.bearer())
	h.refused(403, "INSUFFICIENT_SCOPE", "GET", path, nil, "X-API-Key: "+h.keyWith(jane, []string{"agents:read"}, nil))
	for query, field := range map[string]string{
		"from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": "from",
		"from=2020-01-01T00:00:00Z&interval=minute":         "interval",
		"from=yesterday":            "from",
		"to=9999-12-31T23:59:59Z":   "to",
		"interval=week":             "interval",
		"from=0001-01-02T00:00:00Z": "from",
	} {
		if got := h.refused(400, "INVALID_REQUEST", "GET", path+"?"+query, nil, jane.bearer()); got.text("error.details.field") != field {
			t.Errorf("%s: %s, want a refusal of %s", query, got.Text, field)
		}
	}
	h.refused(400, "INVALID_REQUEST", "GET", "/v1/keys/usage?limit=100&interval=minute", nil, jane.bearer())
}
