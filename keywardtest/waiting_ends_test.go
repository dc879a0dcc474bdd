package keywardtest_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/keywardtest"
)

// A run that waits goes on whatever becomes of the key that started it: it was
// let in. What it waits with ends with the profile and with the auth token.
func TestWhatEndsWhatAWaitingRunHas(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		if o.Settings == nil {
			o.Settings = map[string]string{}
		}
		o.Settings["runs.at_once"] = "1"
		h := newHouse(t, o)
		p := h.person("")
		release := sync.OnceFunc(h.speaker(p, "first"))
		defer release()
		h.speaker(p, "a", "x")
		start := func(key, agent, token string, parameters map[string]any) string {
			body := map[string]any{"agent_id": agent, "api_key": key, "parameters": parameters}
			if token != "" {
				body["auth_token"] = token
			}
			return h.must(200, "POST", "/run_agent", body).text("session_id")
		}
		profile := func(name string) string {
			return h.must(200, "POST", "/api/create_agent_auth_profile", map[string]any{
				"name": name, "agent_id": "a", "api_key": p.key, "auth_data": map[string]any{"x": "stored"}}).text("auth_token")
		}
		hangs := start(p.key, "first", "", map[string]any{"say": "-\n"})
		h.eventually("it is under way", func() bool {
			return h.must(200, "GET", "/v1/runs/"+hangs, nil, p.withKey()).text("status") == "running"
		})

		runs := map[string]string{}
		for name, end := range map[string]func(token, keyID string){
			"its key is revoked": func(_, keyID string) { h.must(204, "DELETE", "/v1/keys/"+keyID, nil, p.withKey()) },
			"its key is disabled": func(_, keyID string) {
				h.must(200, "PATCH", "/v1/keys/"+keyID, map[string]any{"enabled": false}, p.withKey())
			},
			"its key may less": func(_, keyID string) {
				h.must(200, "PATCH", "/v1/keys/"+keyID, map[string]any{"scopes": []string{"profiles:read"}}, p.withKey())
			},
			"the token is rotated": func(token, _ string) {
				h.must(200, "POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": "a", "auth_token": token}, p.withKey())
			},
			"the token is in its grace": func(token, _ string) {
				h.must(200, "POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": "a", "auth_token": token, "grace_period": 600}, p.withKey())
			},
			"the profile is replaced": func(string, string) { profile("the profile is replaced") },
		} {
			key, keyID := h.lending(p, nil)
			token := profile(name)
			runs[name] = start(key, "a", token, nil)
			end(token, keyID)
		}
		release()
		for name, want := range map[string]string{
			"its key is revoked": "cancelled", "its key is disabled": "cancelled", "its key may less": "succeeded", "the token is in its grace": "succeeded",
			"the token is rotated": "failed", "the profile is replaced": "failed",
		} {
			var run answer
			h.eventually("it ends", func() bool {
				run = h.must(200, "GET", "/v1/runs/"+runs[name], nil, p.withKey())
				return run.get("ended_at") != nil
			})
			if want == "cancelled" && !strings.Contains(run.text("error_message"), "was revoked or disabled") {
				t.Errorf("%s: %s", name, run.Text)
			}
			if run.text("status") != want || want == "failed" && !strings.Contains(run.text("error_message"), "replaced, or its token was rotated") {
				t.Errorf("%s: %s", name, run.Text)
			}
		}
	})
}
