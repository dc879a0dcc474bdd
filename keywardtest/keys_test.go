package keywardtest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

// parts returns the fields of a at paths, as JSON.
func (a answer) parts(t *testing.T, paths ...string) string {
	t.Helper()
	var all []string
	for _, path := range paths {
		text, err := json.Marshal(a.get(path))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return strings.Join(all, " ")
}

func TestSettingsOfAKeyGoInAndOut(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		h.agent(p, "a", h.runner(func(map[string]any) string { return `{"output":1}` }))
		want := func(got answer, want string, paths ...string) {
			t.Helper()
			if text := got.parts(t, paths...); text != want {
				t.Errorf("got  %s\nwant %s", text, want)
			}
		}
		settings := []string{"type", "scopes", "agent_ids", "allowed_ips", "limits", "require_signature", "enabled", "external_id", "metadata", "status"}

		made := h.must(201, "POST", "/v1/keys", `{"name":"k","type":"personal","scopes":["run","keys:verify"],"agent_ids":["a"],"allowed_ips":["::ffff:127.0.0.1","10.0.0.0/8"],
			"limits":{"requests_per_hour":50,"burst":5},"enabled":false,"external_id":"customer-1","metadata":{"plan":"gold"}}`, p.bearer())
		path, key := fmt.Sprintf("/v1/keys/%.0f", made.get("id")), "X-API-Key: "+made.text("key")
		const whole = `"personal" ["agents:run","keys:verify"] ["a"] ["127.0.0.1","10.0.0.0/8"] {"burst":5,"requests_per_hour":50} false false "customer-1" {"plan":"gold"} "disabled"`
		want(made, whole, settings...)
		want(h.must(200, "GET", path, nil, p.bearer()), whole, settings...)
		want(made, "null null", "signing_secret", "last_used_at")
		h.refused(401, "DISABLED_API_KEY", "GET", "/v1/keys/self", nil, key)

		// What is left out stays, null removes, and an empty object is no change.
		change := func(body string) answer { t.Helper(); return h.must(200, "PATCH", path, body, p.bearer()) }
		want(change(`{"enabled":true,"limits":{"burst":null,"requests_per_month":9}}`), `{"requests_per_hour":50,"requests_per_month":9} true "active"`, "limits", "enabled", "status")
		want(change(`{"limits":{}}`), `{"requests_per_hour":50,"requests_per_month":9}`, "limits")
		want(change(`{}`), `{"requests_per_hour":50,"requests_per_month":9}`, "limits")
		want(change(`{"add_ips":["127.0.0.1","::1"],"remove_ips":["10.0.0.0/8"]}`), `["127.0.0.1","::1"]`, "allowed_ips")
		h.must(200, "GET", "/v1/keys/self", nil, key)
		signed := change(`{"require_signature":true}`)
		if !strings.HasPrefix(signed.text("signing_secret"), "rs_") {
			t.Errorf("no signing secret: %s", signed.Text)
		}
		h.refused(401, "SIGNATURE_REQUIRED", "GET", "/v1/keys/self", nil, key)
		want(change(`{"require_signature":false,"scopes":null,"agent_ids":null,"allowed_ips":null,"limits":null,"external_id":null,"metadata":null,"expires_in":3600}`),
			`"personal" ["agents:read","agents:write","agents:run","profiles:read","profiles:write","keys:read","keys:write","keys:verify","usage:read","audit:read"] null null null false true null null "active"`, settings...)
		if change(`{"name":"renamed"}`).text("expires_at") == "" || change(`{"expires_in":null}`).get("expires_at") != nil {
			t.Error("a life is not kept, or not removed")
		}
		for field, body := range map[string]string{
			"allowed_ips":              `{"allowed_ips":[]}`,
			"add_ips":                  `{"add_ips":["10.0.0.1/8"]}`,
			"remove_ips":               `{"remove_ips":["10.0.0.1"]}`,
			"agent_ids":                `{"agent_ids":["b"]}`,
			"external_id":              `{"external_id":""}`,
			"limits.requests_per_hour": `{"limits":{"requests_per_hour":0}}`,
			"limits.a_week":            `{"limits":{"a_week":1}}`,
			"type":                     `{"type":"service"}`,
			"expires_in":               `{"expires_in":0}`,
			"metadata":                 `{"metadata":[]}`,
		} {
			if got := h.send("PATCH", path, body, p.bearer()); got.Status != 400 || got.get("error.details.field") != field {
				t.Errorf("%s: %d %s", body, got.Status, got.Text)
			}
		}

		// By the words of the SDK it is the same.
		h.must(200, "PATCH", path, client.ChangeKey{ExternalID: client.Set("customer-2"), Limits: client.Set(client.ChangeKeyLimits{Burst: client.Set(int64(3))})}, p.bearer())
		h.must(201, "POST", "/v1/keys", client.CreateKey{Name: "another", ExternalID: "customer-3", Metadata: client.Object(`{"a":1}`)}, p.bearer())
		for query, n := range map[string]int{"external_id=customer-2": 1, "external_id=customer-2&type=service": 0, "external_id=customer-1": 0, "status=disabled": 0, "status=active": 3} {
			if got := h.must(200, "GET", "/v1/keys?"+query, nil, p.bearer()); len(got.get("data").([]any)) != n {
				t.Errorf("?%s: %s", query, got.Text)
			}
		}
	})
}

func TestARotatedKeyStaysTheSameKey(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		made := h.must(201, "POST", "/v1/keys", map[string]any{"name": "k", "external_id": "e"}, p.bearer())
		path := fmt.Sprintf("/v1/keys/%.0f", made.get("id"))
		first := "X-API-Key: " + made.text("key")
		h.must(200, "GET", "/v1/keys/self", nil, first)
		h.refused(403, "KEY_TOO_WEAK", "POST", path+"/rotate", nil, first)

		second := h.must(200, "POST", path+"/rotate", map[string]any{"grace_period": 60}, p.bearer())
		if second.get("id") != made.get("id") || second.text("external_id") != "e" || second.text("key") == made.text("key") || second.text("hint") == made.text("hint") {
			t.Errorf("rotated: %s", second.Text)
		}
		h.must(200, "GET", "/v1/keys/self", nil, first)
		h.must(200, "GET", "/v1/keys/self", nil, "X-API-Key: "+second.text("key"))

		third := h.must(200, "POST", path+"/rotate", nil, p.bearer())
		h.refused(401, "REVOKED_API_KEY", "GET", "/v1/keys/self", nil, first)
		h.refused(401, "REVOKED_API_KEY", "GET", "/v1/keys/self", nil, "X-API-Key: "+second.text("key"))
		h.must(200, "GET", "/v1/keys/self", nil, "X-API-Key: "+third.text("key"))

		h.must(204, "DELETE", path, nil, p.bearer())
		h.refused(409, "KEY_REVOKED", "POST", path+"/rotate", nil, p.bearer())
		h.refused(409, "KEY_REVOKED", "PATCH", path, `{"enabled":true}`, p.bearer())
		h.refused(401, "REVOKED_API_KEY", "GET", "/v1/keys/self", nil, "X-API-Key: "+third.text("key"))
	})
}
