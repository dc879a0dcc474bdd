package keywardtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

func eachHouse(t *testing.T, f func(t *testing.T, h *house)) {
	each(t, func(t *testing.T, o keywardtest.Options) { f(t, newHouse(t, o)) })
}

// The main job: sign up, get a key, define an agent, store a login, run the
// agent with it, and find the session again.
func TestTheStoryOfTheSeedDocuments(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Data = t.TempDir()
		if o.RootKey == "" {
			o.Settings = map[string]string{}
		}
		o.Settings["addr"] = "127.0.0.1:0"
		h := newHouse(t, o)
		p := h.person("")
		var got []map[string]any
		url := h.runner(func(run map[string]any) string {
			got = append(got, run)
			return `{"output":{"ok":true,"n":12345678901234567890},"session":{"cookie":"c-1"}}`
		})
		h.agent(p, "portal", url)

		up := h.must(200, "POST", "/api/upsert_agent_auth_profile", map[string]any{
			"agent_id": "portal", "api_key": p.key, "name": "jane", "should_save_session": true,
			"auth_data": map[string]any{"username": "jane", "password": "hunter2-hunter2"},
		})
		token := up.text("auth_token")
		if up.text("type") != "create" || up.text("name") != "jane" || up.get("should_save_session") != true || len(token) != 60 {
			t.Errorf("upsert: %s", up.Text)
		}

		run := func() answer {
			t.Helper()
			return h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "portal", "api_key": p.key, "auth_token": token, "run_async": false})
		}
		first := run()
		if !strings.Contains(first.Text, `"n":12345678901234567890`) || first.get("error_message") != nil {
			t.Errorf("the first run: %s", first.Text)
		}
		if want := h.URL + "/runs/" + first.text("session_id"); first.text("agent_run_url") != want {
			t.Errorf("agent_run_url %s, want %s", first.text("agent_run_url"), want)
		}
		run()
		if len(got) != 2 || got[0]["session"] != nil || fmt.Sprint(got[1]["session"]) != "map[cookie:c-1]" {
			t.Fatalf("the runner got %v", got)
		}
		if arguments := fmt.Sprint(got[0]["arguments"]); arguments != "map[pages:3 password:hunter2-hunter2 username:jane]" {
			t.Errorf("arguments %s", arguments)
		}

		shown := h.must(200, "GET", "/v1/runs/"+first.text("session_id"), nil, p.withKey())
		if shown.text("status") != "succeeded" || shown.text("auth_profile") != "jane" || shown.text("agent_id") != "portal" {
			t.Errorf("the run's record: %s", shown.Text)
		}

		// Everything is there after a restart, on another port.
		h.Stop(t)
		h = newHouse(t, o)
		run()
		if fmt.Sprint(got[2]["session"]) != "map[cookie:c-1]" {
			t.Errorf("after the restart the runner got %v", got[2])
		}
		if again := h.must(200, "GET", "/v1/runs/"+first.text("session_id"), nil, p.withKey()); again.text("status") != "succeeded" {
			t.Errorf("the run's record after the restart: %s", again.Text)
		}
		list := h.must(200, "GET", "/v1/runs", nil, p.withKey())
		if runs, _ := list.get("data").([]any); len(runs) != 3 {
			t.Errorf("listed: %s", list.Text)
		}
	})
}

func TestAccountsSignInAndOut(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		h.refused(409, "EMAIL_TAKEN", "POST", "/auth/register", map[string]any{"name": "X", "email": strings.ToUpper(p.email), "password": "long enough"})
		h.refused(401, "INVALID_CREDENTIALS", "POST", "/auth/token", map[string]any{"email": p.email, "password": "wrong password"})
		h.refused(401, "INVALID_CREDENTIALS", "POST", "/auth/token", map[string]any{"email": "nobody@example.com", "password": "wrong password"})

		basic, err := http.NewRequest("POST", h.URL+"/auth/login", nil)
		if err != nil {
			t.Fatal(err)
		}
		basic.SetBasicAuth(p.email, p.password)
		if r, err := h.client.Do(basic); err != nil || r.StatusCode != 200 {
			t.Errorf("Basic at /auth/login: %v %v", r, err)
		} else {
			r.Body.Close()
		}

		me := h.must(200, "GET", "/auth/me", nil, p.bearer())
		if me.text("email") != p.email || len(me.get("organizations").([]any)) != 1 {
			t.Errorf("me: %s", me.Text)
		}
		pair := h.must(200, "POST", "/auth/token/refresh", map[string]any{"refreshToken": p.refresh})
		same := h.must(200, "POST", "/auth/token/refresh", map[string]any{"refreshToken": p.refresh})
		if pair.text("refreshToken") != same.text("refreshToken") {
			t.Error("the same refresh token within 10 seconds has two successors")
		}
		h.must(200, "POST", "/auth/token/refresh", map[string]any{"refreshToken": pair.text("refreshToken")})
		h.refused(401, "REFRESH_TOKEN_REUSED", "POST", "/auth/token/refresh", map[string]any{"refreshToken": p.refresh})
		h.refused(401, "INVALID_ACCESS_TOKEN", "GET", "/auth/me", nil, p.bearer())

		p = h.signIn(p)
		other := h.signIn(p)
		h.must(204, "POST", "/auth/password", map[string]any{"currentPassword": p.password, "newPassword": "battery staple"}, p.bearer())
		h.must(200, "GET", "/auth/me", nil, p.bearer())
		h.refused(401, "INVALID_ACCESS_TOKEN", "GET", "/auth/me", nil, other.bearer())
		p.password = "battery staple"

		h.must(204, "POST", "/auth/logout", map[string]any{"refreshToken": p.refresh})
		h.refused(401, "INVALID_ACCESS_TOKEN", "GET", "/auth/me", nil, p.bearer())

		p = h.signIn(p)
		h.refused(401, "INVALID_CREDENTIALS", "DELETE", "/auth/me", map[string]any{"password": "wrong password"}, p.bearer())
		h.must(200, "GET", "/v1/keys/self", nil, p.withKey())
		h.must(204, "DELETE", "/auth/me", map[string]any{"password": p.password}, p.bearer())
		h.refused(401, "INVALID_ACCESS_TOKEN", "GET", "/auth/me", nil, p.bearer())
		if a := h.send("GET", "/v1/keys/self", nil, p.withKey()); a.Status != 401 {
			t.Errorf("a key of a deleted account: %d %s", a.Status, a.Text)
		}
		h.refused(401, "INVALID_CREDENTIALS", "POST", "/auth/token", map[string]any{"email": p.email, "password": p.password})
	})
}

func TestKeysOfAnAccountAsSeed003HasThem(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p, other := h.person(""), h.person("")
		made := h.must(201, "POST", "/auth/api-keys", `{"nickname": "production-agent"}`, p.bearer())
		id := int64(made.get("id").(float64))
		for _, name := range []string{"createdAt", "updatedAt"} {
			if _, err := time.Parse("2006-01-02T15:04:05.000Z", made.text(name)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		h.refused(409, "DUPLICATE_NICKNAME", "POST", "/auth/api-keys", `{"nickname": "production-agent"}`, p.bearer())
		list := h.must(200, "GET", "/auth/api-keys", nil, p.bearer())
		if keys := list.get("apiKeys").([]any); len(keys) != 2 || strings.Contains(list.Text, made.text("key")) {
			t.Errorf("listed %s", list.Text)
		}
		path := fmt.Sprintf("/auth/api-keys/%d", id)
		h.refused(401, "KEY_OF_ANOTHER_ACCOUNT", "DELETE", path, nil, other.bearer())
		h.must(200, "GET", "/v1/keys/self", nil, "X-API-Key: "+made.text("key"))
		if gone := h.must(200, "DELETE", path, nil, p.bearer()); gone.text("message") != "API key deleted successfully" {
			t.Errorf("deleted: %s", gone.Text)
		}
		h.refused(401, "REVOKED_API_KEY", "GET", "/v1/keys/self", nil, "X-API-Key: "+made.text("key"))
		h.refused(404, "KEY_NOT_FOUND", "DELETE", path, nil, p.bearer())
		h.refused(401, "INVALID_ACCESS_TOKEN", "GET", "/auth/api-keys", nil, p.withKey())
		h.refused(401, "INVALID_ACCESS_TOKEN", "GET", "/auth/api-keys", nil)
		h.must(201, "POST", "/auth/api-keys", `{"nickname": "production-agent"}`, p.bearer())
	})
}

func TestAKeyIsCheckedOnEverySurface(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p, other := h.person(""), h.person("")
		h.agent(p, "a", h.runner(func(map[string]any) string { return `{"output":1}` }))
		profile := map[string]any{"agent_id": "a", "name": "n", "auth_data": map[string]any{}}
		with := func(key any) map[string]any {
			m := map[string]any{"api_key": key}
			for k, v := range profile {
				m[k] = v
			}
			return m
		}
		const path = "/api/create_agent_auth_profile"
		h.must(200, "POST", path, with(p.key))
		h.must(200, "POST", path, profile, p.withKey())
		h.must(200, "POST", path, with(p.key), "X-API-Key: "+p.key, "Authorization: bearer "+p.key)
		h.refused(400, "INVALID_REQUEST", "POST", path, with(p.key), "X-API-Key: "+other.key)
		h.refused(401, "INVALID_API_KEY", "POST", path, with("ra_live_garbage"))
		h.refused(404, "AGENT_NOT_FOUND", "POST", path, with(other.key))
		h.refused(401, "INVALID_API_KEY", "GET", "/v1/agents", nil)
		h.refused(401, "INVALID_API_KEY", "GET", "/v1/agents", nil, "Authorization: Bearer "+p.key[:len(p.key)-1])
		h.must(200, "GET", "/v1/agents", nil, p.bearer())

		temp := h.must(201, "POST", "/v1/keys", map[string]any{"name": "t", "type": "temporary", "expires_in": 60}, p.withKey())
		tempKey := "X-API-Key: " + temp.text("key")
		h.refused(403, "KEY_TOO_WEAK", "POST", "/v1/keys", map[string]any{"name": "stronger"}, tempKey)
		h.refused(400, "INVALID_REQUEST", "POST", "/v1/keys", map[string]any{"name": "s", "type": "service"}, p.withKey())
		h.must(204, "DELETE", "/v1/keys/self", nil, tempKey)
		h.refused(401, "REVOKED_API_KEY", "GET", "/v1/agents", nil, tempKey)
		h.refused(404, "KEY_NOT_FOUND", "GET", fmt.Sprintf("/v1/keys/%d", p.keyID), nil, other.withKey())
		h.refused(404, "KEY_NOT_FOUND", "DELETE", fmt.Sprintf("/v1/keys/%d", p.keyID), nil, other.withKey())
	})
}

func TestAuthProfilesInAllTheirCases(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		op, p, other := h.person(h.SetupCode(t)), h.person(""), h.person("")
		var mu sync.Mutex
		var last map[string]any
		url := h.runner(func(got map[string]any) string {
			mu.Lock()
			defer mu.Unlock()
			last = got["arguments"].(map[string]any)
			return `{"output":"fine","session":{"s":"1"}}`
		})
		h.agent(p, "a", url)
		h.agent(p, "b", url)
		upsert := func(status int, who person, body map[string]any) answer {
			t.Helper()
			full := map[string]any{"agent_id": "a", "api_key": who.key, "auth_data": map[string]any{"username": "u"}}
			for k, v := range body {
				full[k] = v
			}
			return h.must(status, "POST", "/api/upsert_agent_auth_profile", full)
		}
		runs := func(who person, agent, token string) string {
			t.Helper()
			a := h.send("POST", "/run_agent", map[string]any{"agent_id": agent, "api_key": who.key, "auth_token": token, "run_async": false})
			if a.Status == 200 {
				return "ok"
			}
			return a.code()
		}

		first := upsert(200, p, map[string]any{"name": "n"}).text("auth_token")
		again := upsert(200, p, map[string]any{"name": "n"})
		second := again.text("auth_token")
		if again.text("type") != "replace" || runs(p, "a", first) != "AUTH_PROFILE_NOT_FOUND" || runs(p, "a", second) != "ok" {
			t.Errorf("replaced: %s", again.Text)
		}
		if got := runs(p, "b", second); got != "AUTH_PROFILE_NOT_FOUND" {
			t.Errorf("a token on another agent: %s", got)
		}

		update := upsert(200, p, map[string]any{"auth_token": second, "auth_data": map[string]any{"password": "pw-pw-pw"}})
		if update.text("type") != "update" || update.text("auth_token") != second || update.get("should_save_session") != false {
			t.Errorf("update: %s", update.Text)
		}
		if runs(p, "a", second) != "ok" || last["username"] != "u" || last["password"] != "pw-pw-pw" {
			t.Errorf("after the update the agent got %v", last)
		}
		upsert(200, p, map[string]any{"auth_token": second, "auth_data": map[string]any{"password": nil}})
		if runs(p, "a", second) != "ok" || last["password"] != nil {
			t.Errorf("after the removal the agent got %v", last)
		}
		upsert(200, p, map[string]any{"name": "taken"})
		if a := upsert(409, p, map[string]any{"auth_token": second, "name": "taken"}); a.code() != "DUPLICATE_NAME" {
			t.Errorf("renamed to a name that is taken: %s", a.Text)
		}
		if a := upsert(200, p, map[string]any{"auth_token": second, "name": "naïve – 名前 🙂"}); a.text("name") != "naïve – 名前 🙂" {
			t.Errorf("renamed: %s", a.Text)
		}

		unknown := upsert(400, p, map[string]any{"name": "x", "auth_data": map[string]any{"user": "u"}})
		if unknown.code() != "UNKNOWN_INPUT_ARGUMENT" || !strings.Contains(unknown.Text, "username") {
			t.Errorf("an unknown name: %s", unknown.Text)
		}
		wrong := upsert(400, p, map[string]any{"name": "x", "auth_data": map[string]any{"pages": "three"}})
		if strings.Contains(wrong.Text, "three") {
			t.Errorf("a value comes back: %s", wrong.Text)
		}
		if a := upsert(400, p, map[string]any{"auth_token": ""}); a.code() != "INVALID_REQUEST" {
			t.Errorf("an empty token: %s", a.Text)
		}
		if a := upsert(400, p, nil); a.code() != "MISSING_REQUIRED_FIELD" {
			t.Errorf("neither name nor token: %s", a.Text)
		}
		empty := upsert(200, p, map[string]any{"name": "empty", "auth_data": map[string]any{}}).text("auth_token")
		if got := runs(p, "a", empty); got != "MISSING_REQUIRED_FIELD" {
			t.Errorf("a run without a required argument: %s", got)
		}
		large := strings.Repeat("é", 32<<10-1)
		big := upsert(200, p, map[string]any{"name": "big", "auth_data": map[string]any{"username": large}}).text("auth_token")
		if runs(p, "a", big) != "ok" || last["username"] != large {
			t.Error("64 KiB came back as something else")
		}
		upsert(400, p, map[string]any{"name": "big", "auth_data": map[string]any{"username": large + "éé"}})

		// Two organizations use one name on one public agent.
		h.must(201, "POST", "/v1/agents", map[string]any{"id": "pub", "name": "pub", "visibility": "public",
			"runner": map[string]any{"type": "http", "url": url}, "input_arguments": []map[string]any{{"name": "username", "type": "string"}}}, op.withKey())
		h.refused(403, "NOT_ALLOWED", "POST", "/v1/agents", map[string]any{"id": "pub", "name": "pub", "visibility": "public",
			"runner": map[string]any{"type": "http", "url": url}}, p.withKey())
		mine := upsert(200, p, map[string]any{"agent_id": "public/pub", "name": "same", "auth_data": map[string]any{"username": "mine"}}).text("auth_token")
		its := upsert(200, other, map[string]any{"agent_id": "public/pub", "name": "same", "auth_data": map[string]any{"username": "theirs"}})
		if its.text("type") != "create" || runs(p, "public/pub", mine) != "ok" || last["username"] != "mine" {
			t.Errorf("one name in two organizations: %s, %v", its.Text, last)
		}
		if got := runs(other, "public/pub", mine); got != "AUTH_PROFILE_NOT_FOUND" {
			t.Errorf("another organization's key: %s", got)
		}
		shown := h.must(200, "GET", "/v1/agents/public%2Fpub", nil, p.withKey())
		if shown.text("id") != "public/pub" || strings.Contains(shown.Text, url) {
			t.Errorf("a public agent as others see it: %s", shown.Text)
		}

		// The agent is pointed elsewhere.
		elsewhere := h.runner(func(map[string]any) string { return `{"output":"elsewhere"}` })
		h.must(200, "PATCH", "/v1/agents/a", map[string]any{"runner": map[string]any{"type": "http", "url": elsewhere}}, p.withKey())
		if got := runs(p, "a", second); got != "AGENT_CHANGED" {
			t.Errorf("pointed elsewhere: %s", got)
		}
		upsert(200, p, map[string]any{"auth_token": second})
		if got := runs(p, "a", second); got != "ok" {
			t.Errorf("accepted: %s", got)
		}

		// List, rotate, delete.
		list := h.must(200, "GET", "/v1/agents/a/auth-profiles", nil, p.withKey())
		if n := len(list.get("data").([]any)); n != 4 {
			t.Errorf("%d profiles are listed, want 4: %s", n, list.Text)
		}
		rotated := h.must(200, "POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": "a", "auth_token": second, "grace_period": 60}, p.withKey()).text("auth_token")
		if runs(p, "a", second) != "ok" || runs(p, "a", rotated) != "ok" {
			t.Error("within the grace one of the tokens does not open")
		}
		final := h.must(200, "POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": "a", "auth_token": rotated}, p.withKey()).text("auth_token")
		if runs(p, "a", second) != "AUTH_PROFILE_NOT_FOUND" || runs(p, "a", rotated) != "AUTH_PROFILE_NOT_FOUND" || runs(p, "a", final) != "ok" {
			t.Error("a rotation without grace leaves an old token alive, or the new one does not open")
		}
		for _, entry := range list.get("data").([]any) {
			id := entry.(map[string]any)["id"].(string)
			h.refused(404, "AUTH_PROFILE_NOT_FOUND", "DELETE", "/v1/auth-profiles/"+id, nil, other.withKey())
			h.must(204, "DELETE", "/v1/auth-profiles/"+id, nil, p.withKey())
			h.refused(404, "AUTH_PROFILE_NOT_FOUND", "GET", "/v1/auth-profiles/"+id, nil, p.withKey())
		}
		if got := runs(p, "a", final); got != "AUTH_PROFILE_NOT_FOUND" {
			t.Errorf("a token of a deleted profile: %s", got)
		}
		if a := h.send("POST", "/api/upsert_agent_auth_profile", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": final, "auth_data": map[string]any{}}); a.code() != "AUTH_PROFILE_NOT_FOUND" {
			t.Errorf("an update by the token of a deleted profile: %s", a.Text)
		}

		// A deleted agent takes its profiles with it, whosever they are.
		h.must(204, "DELETE", "/v1/agents/pub", nil, op.withKey())
		if got := runs(p, "public/pub", mine); got != "AGENT_NOT_FOUND" {
			t.Errorf("a deleted agent: %s", got)
		}
	})
}

func TestOfTwentyConcurrentUpsertsOneTokenStays(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		h.agent(p, "a", h.runner(func(map[string]any) string { return `{"output":1}` }))
		tokens := make([]string, 20)
		var wg sync.WaitGroup
		for i := range tokens {
			wg.Go(func() {
				tokens[i] = h.send("POST", "/api/upsert_agent_auth_profile", map[string]any{
					"agent_id": "a", "api_key": p.key, "name": "one", "auth_data": map[string]any{"username": fmt.Sprint(i)}}).text("auth_token")
			})
		}
		wg.Wait()
		good := 0
		for i, token := range tokens {
			if token == "" {
				t.Errorf("upsert %d was not answered", i)
				continue
			}
			if h.send("POST", "/run_agent", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": token, "run_async": false}).Status == 200 {
				good++
			}
		}
		if good != 1 {
			t.Errorf("%d of the answered tokens open the profile, want 1", good)
		}
	})
}

func TestTheAuditLogSaysWhatWasDone(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p, other := h.person(""), h.person("")
		h.agent(p, "a", h.runner(func(map[string]any) string { return `{"output":1}` }))
		token := h.must(200, "POST", "/api/create_agent_auth_profile", map[string]any{
			"agent_id": "a", "api_key": p.key, "name": "n", "auth_data": map[string]any{"username": "secret-user"}}).text("auth_token")
		h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "a", "api_key": p.key, "auth_token": token, "run_async": false})
		h.must(204, "DELETE", fmt.Sprintf("/v1/keys/%d", p.keyID), nil, p.bearer(), "X-Request-Id: my-request")
		h.refused(401, "REVOKED_API_KEY", "GET", "/v1/audit", nil, p.withKey())

		deadline := time.Now().Add(20 * time.Second)
		for {
			log := h.must(200, "GET", "/v1/audit?limit=100", nil, p.bearer())
			var actions []string
			numbered := true
			for _, e := range log.get("data").([]any) {
				entry := e.(map[string]any)
				actions = append(actions, entry["action"].(string))
				numbered = numbered && entry["seq"] != nil
				if entry["action"] == "key.revoke" && (entry["request_id"] != "my-request" || entry["address"] != "127.0.0.1") {
					t.Errorf("the revocation is recorded as %v", entry)
				}
			}
			want := "key.revoke run.start profile.create agent.create account_key.create account.sign_in account.register"
			if got := strings.Join(actions, " "); got != want {
				t.Fatalf("recorded %s, want %s", got, want)
			}
			if strings.Contains(log.Text, "secret-user") || strings.Contains(log.Text, token) || strings.Contains(log.Text, p.key) {
				t.Fatal("there is a secret in the audit log")
			}
			if numbered {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("after 20 seconds not all entries are numbered: %s", log.Text)
			}
			time.Sleep(50 * time.Millisecond)
		}
		filtered := h.must(200, "GET", "/v1/audit?action=agent.create&limit=1", nil, p.bearer())
		if n := len(filtered.get("data").([]any)); n != 1 {
			t.Errorf("filtered: %s", filtered.Text)
		}
		theirs := h.must(200, "GET", "/v1/audit?action=agent.create", nil, other.bearer())
		if n := len(theirs.get("data").([]any)); n != 0 {
			t.Errorf("another organization sees %s", theirs.Text)
		}
	})
}

func TestTheOperatorsCalls(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		if o.Settings == nil {
			o.Settings = map[string]string{}
		}
		o.Settings["signup"] = "closed"
		h := newHouse(t, o)
		h.refused(403, "SIGNUP_CLOSED", "POST", "/auth/register", map[string]any{"name": "N", "email": "n@example.com", "password": "long enough"})
		op := h.person(h.SetupCode(t))
		made := h.must(201, "POST", "/v1/accounts", map[string]any{"name": "N", "email": "n@example.com", "password": "long enough"}, op.bearer())
		p := h.signIn(person{email: "n@example.com", password: "long enough"})
		if list := h.must(200, "GET", "/v1/accounts", nil, op.bearer()); len(list.get("data").([]any)) != 2 || !strings.Contains(list.Text, made.text("id")) {
			t.Errorf("accounts: %s", list.Text)
		}
		for _, path := range []string{"/v1/accounts", "/v1/organizations"} {
			h.refused(403, "NOT_ALLOWED", "GET", path, nil, p.bearer())
		}
		me := h.must(200, "GET", "/auth/me", nil, p.bearer())
		id := me.get("organizations").([]any)[0].(map[string]any)["id"].(string)
		changed := h.must(200, "PATCH", "/v1/organizations/"+id, map[string]any{"tier": "pro", "quotas": map[string]any{"agents": 1}}, op.bearer())
		if changed.text("tier") != "pro" || changed.get("quotas.agents") != 1.0 || changed.get("effective_limits.requests_per_hour") != 1000.0 {
			t.Errorf("changed: %s", changed.Text)
		}
		changed = h.must(200, "PATCH", "/v1/organizations/"+id, map[string]any{"limits": map[string]any{"requests_per_hour": 5000, "burst": -1, "requests_per_month": nil}}, op.bearer())
		if changed.get("limits.burst") != -1.0 || changed.get("effective_limits.requests_per_hour") != 5000.0 || changed.get("effective_limits.burst") != nil {
			t.Errorf("changed: %s", changed.Text)
		}
		me = h.must(200, "GET", "/auth/me", nil, p.bearer())
		if limits := me.get("organizations").([]any)[0].(map[string]any)["limits"].(map[string]any); len(limits) != 1 || limits["requestsPerHour"] != 5000.0 {
			t.Errorf("its owner sees: %s", me.Text)
		}
		h.refused(400, "INVALID_REQUEST", "PATCH", "/v1/organizations/"+id, map[string]any{"limits": map[string]any{"burst": 0}}, op.bearer())
		agent := map[string]any{"name": "x", "runner": map[string]any{"type": "http", "url": "https://agents.example.com/x"}}
		h.must(201, "POST", "/v1/agents", agent, p.bearer())
		h.refused(409, "QUOTA_EXCEEDED", "POST", "/v1/agents", agent, p.bearer())
		h.refused(403, "NOT_ALLOWED", "PATCH", "/v1/organizations/"+id, map[string]any{"tier": "enterprise"}, p.bearer())
		h.refused(409, "LAST_OWNER", "DELETE", "/auth/me", map[string]any{"password": op.password}, op.bearer())
	})
}

func TestACommandComesFromTheConfigFileAlone(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.File = `
agents:
  - id: shout
    name: Shout
    visibility: public
    input_arguments: [{name: word, type: string, required: true}]
    runner: {type: command, command: [/bin/sh, -c, 'read -r line; printf "{\"output\":%s}\n" "$line"']}
`
		h := newHouse(t, o)
		p := h.person("")
		refused := h.refused(400, "INVALID_REQUEST", "POST", "/v1/agents", map[string]any{
			"name": "x", "runner": map[string]any{"type": "command", "command": []string{"/bin/true"}}}, p.withKey())
		if !strings.Contains(refused.Text, "config file") {
			t.Errorf("the refusal does not say where commands come from: %s", refused.Text)
		}
		run := h.must(200, "POST", "/api/run_agent", map[string]any{
			"agent_id": "public/shout", "api_key": p.key, "run_async": false, "parameters": map[string]any{"word": "hello"}})
		var out struct {
			AgentOutput struct {
				Arguments map[string]string `json:"arguments"`
			} `json:"agent_output"`
		}
		if err := json.Unmarshal([]byte(run.Text), &out); err != nil || out.AgentOutput.Arguments["word"] != "hello" {
			t.Errorf("the command's run: %s (%v)", run.Text, err)
		}
	})
}

func TestAnEmptyIDIsNotAMissingOne(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.refused(400, "INVALID_REQUEST", "POST", "/v1/agents", map[string]any{
		"id": "", "name": "x", "runner": map[string]any{"type": "http", "url": "https://agents.example.com/x"}}, p.withKey())
}

func TestAnAsyncRunEndsByItself(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		release := make(chan struct{})
		h.agent(p, "slow", h.runner(func(map[string]any) string { <-release; return `{"error":"the site is down"}` }))
		started := h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "slow", "api_key": p.key, "parameters": map[string]any{"username": "u"}})
		if started.get("agent_output") != nil || started.get("error_message") != nil {
			t.Errorf("started: %s", started.Text)
		}
		path := "/v1/runs/" + started.text("session_id")
		open := func(status string) bool { return status == "queued" || status == "running" }
		if a := h.must(200, "GET", path, nil, p.withKey()); !open(a.text("status")) {
			t.Errorf("before it has ended: %s", a.Text)
		}
		close(release)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			a := h.must(200, "GET", path, nil, p.withKey())
			if a.text("status") == "failed" && a.text("error_message") == "the site is down" {
				return
			}
			if !open(a.text("status")) || time.Now().After(deadline) {
				t.Fatalf("it ends as %s", a.Text)
			}
		}
	})
}
