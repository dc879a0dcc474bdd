package keywardtest_test

import (
	"fmt"
	"sync"
	"testing"
)

// What docs/sessions.md says of sessions, over HTTP, at the moments that a test of
// the vault alone can't make: while the agent is at work.
func TestSessionsWhileTheirProfileChanges(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		var mu sync.Mutex
		var got []string         // the sessions that the agent was given
		var meanwhile func()     // what happens while it is at work
		answer := `{"output":1}` // and what it says then
		url := h.runner(func(task map[string]any) string {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprint(task["session"]))
			if meanwhile != nil {
				meanwhile()
			}
			return answer
		})
		h.agent(p, "a", url)
		run := func(token string) {
			t.Helper()
			if a := h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": token, "run_async": false}); a.get("error_message") != nil {
				t.Errorf("the run failed: %s", a.Text)
			}
		}
		profile := func(name string) (id, token string) {
			t.Helper()
			token = h.must(200, "POST", "/api/upsert_agent_auth_profile", map[string]any{
				"agent_id": "a", "api_key": p.key, "name": name, "should_save_session": true, "auth_data": map[string]any{"username": "jane", "password": "old"}}).text("auth_token")
			list := h.must(200, "GET", "/v1/agents/a/auth-profiles", nil, p.withKey()).get("data").([]any)
			return list[0].(map[string]any)["id"].(string), token
		}
		next := func(token, want string) {
			t.Helper()
			got, meanwhile = nil, nil
			run(token)
			if len(got) != 1 || got[0] != want {
				t.Errorf("the next run is given %v, want %s", got, want)
			}
		}
		kept := func(id string, want bool) {
			t.Helper()
			if has := h.must(200, "GET", "/v1/auth-profiles/"+id, nil, p.withKey()).get("has_session"); has != want {
				t.Errorf("has_session is %v, want %v", has, want)
			}
		}

		// Deleted alone, before a run and during one.
		id, token := profile("deleted")
		answer = `{"output":1,"session":{"c":"1"}}`
		run(token)
		kept(id, true)
		other := h.person("")
		h.refused(404, "AUTH_PROFILE_NOT_FOUND", "DELETE", "/v1/auth-profiles/"+id+"/session", nil, other.withKey())
		h.must(204, "DELETE", "/v1/auth-profiles/"+id+"/session", nil, p.withKey())
		h.must(204, "DELETE", "/v1/auth-profiles/"+id+"/session", nil, p.withKey()) // twice is once
		kept(id, false)
		answer = `{"output":1}`
		next(token, "<nil>")
		answer = `{"output":1,"session":{"c":"2"}}`
		meanwhile = func() { h.must(204, "DELETE", "/v1/auth-profiles/"+id+"/session", nil, p.withKey()) }
		run(token)
		kept(id, false)
		next(token, "<nil>")
		next(token, "map[c:2]")

		// Replaced during a run: what it leaves belongs to a login that is no more.
		_, token = profile("replaced")
		var second string
		meanwhile = func() { _, second = profile("replaced") }
		answer = `{"output":1,"session":{"c":"old"}}`
		run(token)
		answer = `{"output":1}`
		next(second, "<nil>")

		// Updated during a run.
		_, token = profile("updated")
		answer = `{"output":1,"session":{"c":"before"}}`
		meanwhile = func() {
			h.must(200, "POST", "/api/upsert_agent_auth_profile", map[string]any{
				"agent_id": "a", "api_key": p.key, "auth_token": token, "should_save_session": true, "auth_data": map[string]any{"password": "changed"}})
		}
		run(token)
		answer = `{"output":1}`
		next(token, "<nil>")

		// Its token rotated during a run: the profile is the same.
		_, token = profile("rotated")
		var rotated string
		answer = `{"output":1,"session":{"c":"same"}}`
		meanwhile = func() {
			rotated = h.must(200, "POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": "a", "auth_token": token}, p.withKey()).text("auth_token")
		}
		run(token)
		next(rotated, "map[c:same]")

		// Deleted during a run: nothing is left, and the run ends well.
		id, token = profile("gone")
		meanwhile = func() { h.must(204, "DELETE", "/v1/auth-profiles/"+id, nil, p.withKey()) }
		run(token)
		meanwhile = nil
		h.refused(404, "AUTH_PROFILE_NOT_FOUND", "POST", "/run_agent", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": token, "run_async": false})

		// An empty session covers no full one, and neither does a failing run.
		_, token = profile("full")
		answer = `{"output":1,"session":{"c":"full"}}`
		run(token)
		answer = `{"output":1,"session":{}}`
		run(token)
		next(token, "map[c:full]")
		answer = `{"error":"no","session":{"c":"failed"}}`
		h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": token, "run_async": false})
		answer = `{"output":1}`
		next(token, "map[c:full]")
		answer = `{"error":"no","session":{"c":"asked"},"save_session":true}`
		h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": token, "run_async": false})
		answer = `{"output":1}`
		next(token, "map[c:asked]")
	})
}
