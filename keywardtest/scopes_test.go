package keywardtest_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/keywardtest"
)

// scoped is an operation of which the document says that a key needs one of
// these scopes.
type scoped struct {
	method, path string
	scopes       []string
}

var (
	neededScopes = regexp.MustCompile("An API key needs the scope (`[a-z:]+`(?: or `[a-z:]+`)*)\\.")
	parameter    = regexp.MustCompile(`\{[a-z_]+\}`)
)

// scopedOperations reads the operations that name a scope from the document
// that a server serves.
func scopedOperations(t *testing.T, url string) []scoped {
	t.Helper()
	_, _, text := get(t, url+"/openapi.json")
	var document struct {
		Paths map[string]map[string]struct{ Description string }
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	var all []scoped
	for path, methods := range document.Paths {
		for method, operation := range methods {
			if found := neededScopes.FindStringSubmatch(operation.Description); found != nil {
				all = append(all, scoped{strings.ToUpper(method), path, strings.Split(strings.ReplaceAll(found[1], "`", ""), " or ")})
			}
		}
	}
	return all
}

// keyWith makes a key with these scopes and settings, and returns it.
func (h *house) keyWith(p person, scopes []string, settings map[string]any) string {
	h.t.Helper()
	people.Lock()
	people.n++
	body := map[string]any{"name": fmt.Sprint("scoped ", people.n), "scopes": scopes}
	people.Unlock()
	for name, value := range settings {
		body[name] = value
	}
	return h.must(201, "POST", "/v1/keys", body, p.bearer()).text("key")
}

// What the document says of scopes is what is enforced, on every surface.
func TestEachOperationAsksForTheScopeThatTheDocumentNames(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	operations := scopedOperations(t, h.URL)
	for _, path := range []string{"/run_agent", "/api/run_agent", "/api/create_agent_auth_profile", "/v1/agents/{id}", "/v1/keys/{id}", "/v1/runs", "/v1/audit", "/api/v1/agents/{id}/run", "/api/v1/agents/{id}/run-stream",
		"/v1/agents/{id}/invoke", "/v1/agents/{id}/runs", "/v1/agents/{id}/stream", "/v1/runs/{id}/cancel", "/v1/runs/{id}/events"} {
		if !slices.ContainsFunc(operations, func(o scoped) bool { return o.path == path }) {
			t.Errorf("the document names no scope for %s", path)
		}
	}
	all := access.AllScopes.Names()
	keys := map[string]string{} // by their scopes
	key := func(scopes []string) string {
		of := strings.Join(scopes, " ")
		if keys[of] == "" {
			keys[of] = h.keyWith(p, scopes, map[string]any{"type": "personal"})
		}
		return keys[of]
	}
	reading := []string{"agents:read", "profiles:read", "keys:read", "usage:read", "audit:read"}

	for _, o := range operations {
		t.Run(o.method+strings.ReplaceAll(o.path, "/", "-"), func(t *testing.T) {
			h := &house{Server: h.Server, t: t, client: h.client}
			call := func(key string) answer {
				t.Helper()
				path := parameter.ReplaceAllString(o.path, "1") // there is no such thing
				switch {
				case o.method == "GET" || o.method == "DELETE":
					return h.send(o.method, path, nil, "Authorization: Bearer "+key)
				case strings.HasPrefix(o.path, "/v1/"), strings.HasPrefix(o.path, "/api/v1/"):
					return h.send(o.method, path, map[string]any{}, "X-API-Key: "+key)
				}
				return h.send(o.method, path, map[string]any{"api_key": key})
			}
			without := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(o.scopes, s) })
			lacking := [][]string{without}
			if o.method != "GET" {
				lacking = append(lacking, reading)
			}
			for _, scopes := range lacking {
				if a := call(key(scopes)); a.Status != 403 || a.code() != "INSUFFICIENT_SCOPE" || a.text("error.details.scope") != strings.Join(o.scopes, " or ") {
					t.Errorf("with %v: %d %s, want 403 INSUFFICIENT_SCOPE that names %v", scopes, a.Status, a.Text, o.scopes)
				}
			}
			for _, scope := range o.scopes {
				if a := call(key([]string{scope})); a.Status == 403 || a.Status == 401 || a.Status >= 500 {
					t.Errorf("with %s: %d %s", scope, a.Status, a.Text)
				}
			}
		})
	}
}

// A key that is made for one agent reaches nothing of another, whatever it is
// asked through.
func TestAKeyForOneAgentReachesNothingOfAnother(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		url := h.runner(func(map[string]any) string { return `{"output":1}` })
		profiles, tokens, runs := map[string]string{}, map[string]string{}, map[string]string{}
		store := func(agent, key string) map[string]any {
			return map[string]any{"agent_id": agent, "api_key": key, "name": "n", "auth_data": map[string]any{"username": "u"}}
		}
		run := func(agent, key string) map[string]any {
			return map[string]any{"agent_id": agent, "api_key": key, "auth_token": tokens[agent], "run_async": false}
		}
		for _, agent := range []string{"mine", "other"} {
			h.agent(p, agent, url)
			tokens[agent] = h.must(200, "POST", "/api/upsert_agent_auth_profile", store(agent, p.key)).text("auth_token")
			listed := h.must(200, "GET", "/v1/agents/"+agent+"/auth-profiles", nil, p.withKey())
			profiles[agent] = listed.get("data").([]any)[0].(map[string]any)["id"].(string)
			runs[agent] = h.must(200, "POST", "/run_agent", run(agent, p.key)).text("session_id")
		}
		key := h.keyWith(p, []string{"agents:read", "agents:write", "agents:run", "profiles:read", "profiles:write"}, map[string]any{"agent_ids": []string{"mine"}})
		bearer := "Authorization: Bearer " + key

		agent := map[string]any{"name": "x", "runner": map[string]any{"type": "http", "url": url}}
		for _, id := range []string{"other", "nothing"} {
			for _, c := range []struct {
				method, path string
				body         any
			}{
				{"GET", "/v1/agents/" + id, nil}, {"PATCH", "/v1/agents/" + id, map[string]any{"name": "x"}}, {"DELETE", "/v1/agents/" + id, nil},
				{"POST", "/v1/agents/" + id + "/runner-secret", nil}, {"GET", "/v1/agents/" + id + "/health", nil}, {"GET", "/v1/agents/" + id + "/auth-profiles", nil}, {"GET", "/v1/runs?agent_id=" + id, nil},
				{"POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": id, "auth_token": tokens["other"]}},
			} {
				h.refused(403, "AGENT_NOT_ALLOWED", c.method, c.path, c.body, bearer)
			}
			for _, path := range []string{"/api/create_agent_auth_profile", "/api/upsert_agent_auth_profile"} {
				h.refused(403, "AGENT_NOT_ALLOWED", "POST", path, store(id, key))
			}
			for _, path := range []string{"/run", "/execute/main"} {
				h.refused(403, "AGENT_NOT_ALLOWED", "POST", "/api/v1/agents/"+id+path, map[string]any{"auth_token": tokens["other"]}, bearer)
			}
			for _, path := range []string{"/architecture", "/status"} {
				h.refused(403, "AGENT_NOT_ALLOWED", "GET", "/api/v1/agents/"+id+path, nil, bearer)
			}
			if got, _ := h.stream("/api/v1/agents/"+id+"/run-stream", map[string]any{}, bearer).frames(); len(got) != 1 || !strings.Contains(got[0], access.ErrAgentNotAllowed.Message) {
				t.Errorf("a stream of %s: %v", id, got)
			}
			for _, path := range []string{"/run_agent", "/api/run_agent"} {
				h.refused(403, "AGENT_NOT_ALLOWED", "POST", path, map[string]any{"agent_id": id, "api_key": key, "auth_token": tokens["other"]})
			}
		}
		h.refused(403, "AGENT_NOT_ALLOWED", "POST", "/v1/agents", agent, bearer)
		h.refused(404, "AUTH_PROFILE_NOT_FOUND", "GET", "/v1/auth-profiles/"+profiles["other"], nil, bearer)
		h.refused(404, "AUTH_PROFILE_NOT_FOUND", "DELETE", "/v1/auth-profiles/"+profiles["other"], nil, bearer)
		h.refused(404, "RUN_NOT_FOUND", "GET", "/v1/runs/"+runs["other"], nil, bearer)
		h.must(200, "POST", "/run_agent", run("other", p.key)) // and nothing of it has changed

		h.must(200, "GET", "/v1/agents/mine", nil, bearer)
		h.must(200, "GET", "/v1/auth-profiles/"+profiles["mine"], nil, bearer)
		h.must(200, "GET", "/v1/runs/"+runs["mine"], nil, bearer)
		h.must(200, "POST", "/run_agent", run("mine", key))
		for path, want := range map[string]int{"/v1/agents": 1, "/v1/runs": 2} {
			listed := h.must(200, "GET", path, nil, bearer)
			if data := listed.get("data").([]any); len(data) != want || strings.Contains(listed.Text, `"other"`) {
				t.Errorf("%s lists %s", path, listed.Text)
			}
		}
		h.must(200, "POST", "/api/upsert_agent_auth_profile", store("mine", key))
		h.must(204, "DELETE", "/v1/agents/mine", nil, bearer)
	})
}
