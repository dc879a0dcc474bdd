package keywardtest_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

// canaries are the marked secrets of one house, and all that it answered.
type canaries struct {
	*house
	secrets *search
	tokens  []string // auth tokens
	heard   []heard
}

// heard is an answer, without what it was to tell.
type heard struct{ what, text string }

// quiet sends a request whose answer holds no secret at all.
func (c *canaries) quiet(status int, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a := c.must(status, method, path, body, headers...)
	c.listen(method+" "+path, a)
	return a
}

// tells sends a request whose answer tells the secrets in some of its fields,
// and no others.
func (c *canaries) tells(status int, fields []string, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a := c.must(status, method, path, body, headers...)
	rest := a
	for _, name := range fields {
		if a.text(name) == "" {
			c.t.Errorf("%s %s does not tell %s: %s", method, path, name, a.Text)
			continue
		}
		rest.Text = strings.Replace(rest.Text, a.text(name), "", 1)
	}
	c.listen(method+" "+path, rest)
	return a
}

func (c *canaries) listen(what string, a answer) {
	c.heard = append(c.heard, heard{what, fmt.Sprint(a.Header, "\n", a.Text)})
}

// mark makes a secret with what needs escaping in it.
func (c *canaries) mark(name string) string {
	return c.secrets.add(name, rand.Text()[:13]+` "é&<%+/\>`+rand.Text()[:13])
}

func base64URL(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

// signIn is the house's, with the new tokens marked.
func (c *canaries) signIn(p person) person {
	c.t.Helper()
	tokens := c.tells(200, []string{"accessToken", "refreshToken"}, "POST", "/auth/token", map[string]any{"email": p.email, "password": p.password})
	return c.keep(p, tokens)
}

func (c *canaries) keep(p person, tokens answer) person {
	c.t.Helper()
	p.access, p.refresh = tokens.text("accessToken"), tokens.text("refreshToken")
	c.secrets.add("an access token", p.access)
	c.secrets.addDecoded("an access token's signature", p.access[strings.LastIndex(p.access, ".")+1:], base64URL)
	c.secrets.addDecoded("a refresh token", p.refresh, base64URL)
	return p
}

func (c *canaries) authToken(a answer) string {
	c.t.Helper()
	c.tokens = append(c.tokens, a.text("auth_token"))
	return c.secrets.addDecoded("an auth token", a.text("auth_token"), base64URL)
}

// slots looks for the slots of all auth tokens in the data folder, by the part
// of a token that finds its slot, and returns what it found.
func (c *canaries) slots() map[string]bool {
	c.t.Helper()
	s := newSearch(c.t)
	for i, token := range c.tokens {
		raw, err := base64URL(token)
		if err != nil {
			c.t.Fatal(err)
		}
		s.addText(fmt.Sprint("the slot of token ", i), raw[3:11])
	}
	s.t = &testing.T{} // finding one is no failure yet
	s.folder(c.Data, "root.key")
	return s.found
}

// inAllForms is what an agent says that wants to tell what it was given.
func inAllForms(given []byte) map[string]any {
	all := map[string]any{"raw": string(given), "base64": base64.StdEncoding.EncodeToString(given), "base64url": base64.RawURLEncoding.EncodeToString(given),
		"hex": hex.EncodeToString(given), "HEX": strings.ToUpper(hex.EncodeToString(given)), "url": url.QueryEscape(string(given)), "path": url.PathEscape(string(given))}
	quoted, _ := json.Marshal(string(given))
	all["quoted"] = string(quoted)
	var parsed map[string]any
	if json.Unmarshal(given, &parsed) == nil {
		all["parsed"] = parsed
	}
	return all
}

// leakingRunner says everything that it was given, in the way that its path
// names.
func (c *canaries) leakingRunner(session map[string]any) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, err := io.ReadAll(r.Body)
		if err != nil {
			c.t.Errorf("the runner was given nothing: %v", err)
		}
		var task struct {
			Arguments map[string]any
			Session   any
		}
		if err := json.Unmarshal(given, &task); err != nil {
			c.t.Errorf("the runner was given no JSON: %v", err)
		}
		said := inAllForms(given)
		for name, value := range task.Arguments {
			said[name] = inAllForms([]byte(fmt.Sprint(value)))
			said[fmt.Sprint(value)] = true
		}
		everything, _ := json.Marshal(said)
		write := func(v any) {
			if err := json.NewEncoder(w).Encode(v); err != nil {
				c.t.Errorf("the runner's answer: %v", err)
			}
		}
		switch r.URL.Path {
		case "/output":
			write(map[string]any{"output": said, "session": session})
		case "/error":
			write(map[string]any{"error": fmt.Sprintf("%v and %s", task.Arguments, base64.StdEncoding.EncodeToString(given)), "session": session})
		case "/status":
			w.WriteHeader(502)
			write(map[string]any{"error": string(given)})
		case "/page":
			w.WriteHeader(500)
			w.Write(given)
		case "/garbage":
			w.Write(everything[:len(everything)-5])
		case "/types":
			write(map[string]any{"error": said, string(given): said})
		case "/session":
			write(map[string]any{"output": 1, "session": string(given)})
		case "/redirect":
			http.Redirect(w, r, "http://127.0.0.1:1/?"+url.QueryEscape(string(given)), http.StatusTemporaryRedirect)
		case "/header":
			w.Header().Set("Content-Encoding", url.QueryEscape(fmt.Sprint(task.Arguments)))
			write(map[string]any{"output": 1})
		case "/cut":
			w.Header().Set("Content-Length", "1000000")
			w.Write(given)
		case "/slow":
			w.Write(given)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/close":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				c.t.Error(err)
				return
			}
			conn.Write(given)
			conn.Close()
		default:
			c.t.Errorf("the runner was asked for %s", r.URL.Path)
		}
	}))
	c.t.Cleanup(srv.Close)
	return srv.URL
}

var leaks = []string{"output", "error", "status", "page", "garbage", "types", "session", "redirect", "header", "cut", "slow", "close"}

// Everything is used, rightly and wrongly, with secrets that can be recognised.
// Then nothing that the server has left behind or told holds one of them.
func TestNoSecretIsLeftBehindOrTold(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Data = t.TempDir()
		settings := map[string]string{"log_level": "debug"}
		for name, value := range o.Settings {
			settings[name] = value
		}
		o.Settings = settings
		o.File = `
agents:
  - id: program
    name: Program
    visibility: public
    input_arguments: [{name: word, type: string, required: true, sensitive: true}]
    runner: {type: command, command: [/bin/sh, -c, 'tee left | tee $HOME/left.too; cat left >&2; exit 3']}
`
		c := &canaries{house: newHouse(t, o), secrets: newSearch(t)}
		rootKey := o.RootKey
		if rootKey == "" {
			text, err := os.ReadFile(filepath.Join(o.Data, "root.key"))
			if err != nil {
				t.Fatal(err)
			}
			rootKey = string(text)
		}
		fields := strings.Fields(rootKey)
		c.secrets.addDecoded("the root key", fields[3], func(s string) ([]byte, error) {
			return base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(s))
		})
		code := c.secrets.add("the setup code", c.SetupCode(t))

		// Sign up, in and out.
		op := person{email: "operator@example.com", password: c.mark("the operator's password")}
		c.quiet(400, "POST", "/auth/register", map[string]any{"name": "Op", "email": code, "password": op.password, "setupCode": code})
		c.quiet(400, "POST", "/auth/register", map[string]any{"name": "Op", "email": op.email, "password": op.password, "setupCode": code[1:] + "x"})
		c.quiet(201, "POST", "/auth/register", map[string]any{"name": "Op", "email": op.email, "password": op.password}, "X-Setup-Code: "+code)
		c.quiet(400, "POST", "/auth/register", map[string]any{"name": "Op", "email": "again@example.com", "password": op.password, "setupCode": code})
		op = c.signIn(op)
		p := person{email: "jane@example.com", password: c.mark("a password")}
		c.quiet(201, "POST", "/auth/register", map[string]any{"name": "Jane", "email": p.email, "password": p.password})
		p = c.signIn(p)
		p = c.keep(p, c.tells(200, []string{"accessToken", "refreshToken"}, "POST", "/auth/token/refresh", map[string]any{"refreshToken": p.refresh}))
		other := c.signIn(p)
		wrong := c.mark("a wrong password")
		c.quiet(401, "POST", "/auth/token", map[string]any{"email": p.email, "password": wrong})
		renewed := c.mark("a new password")
		c.quiet(204, "POST", "/auth/password", map[string]any{"currentPassword": p.password, "newPassword": renewed}, p.bearer())
		c.quiet(401, "GET", "/auth/me", nil, other.bearer())
		p.password = renewed

		// Keys.
		madeKey := func(path string, body map[string]any) answer {
			a := c.tells(201, []string{"key"}, "POST", path, body, p.bearer())
			c.secrets.add("an API key", a.text("key"))
			return a
		}
		p.key = madeKey("/auth/api-keys", map[string]any{"nickname": "first"}).text("key")
		second := madeKey("/v1/keys", map[string]any{"name": "second", "type": "temporary", "expires_in": 3600})
		c.quiet(200, "GET", "/v1/keys/self", nil, "X-API-Key: "+second.text("key"))
		c.quiet(204, "DELETE", "/v1/keys/self", nil, "X-API-Key: "+second.text("key"))
		c.quiet(401, "GET", "/v1/keys/self", nil, "X-API-Key: "+second.text("key"))

		// Agents that tell what they are given.
		session := map[string]any{"cookie": c.mark("a session"), "deep": []any{map[string]any{"x": c.mark("a deep session")}}}
		url := c.leakingRunner(session)
		runnerSecret := func(a answer) {
			c.secrets.addDecoded("a runner secret", a.text("runner_secret"), func(s string) ([]byte, error) {
				return base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
			})
		}
		totp := make([]byte, 20)
		rand.Read(totp)
		values := map[string]any{
			"username": c.mark("a user name"), "password": c.mark("a stored password"),
			"otp":  c.secrets.addDecoded("a TOTP secret", base32.StdEncoding.EncodeToString(totp), base32.StdEncoding.DecodeString),
			"more": map[string]any{"a": []any{c.mark("a value in JSON")}},
		}
		parameter := c.mark("a sensitive parameter")
		for _, id := range leaks {
			a := c.tells(201, []string{"runner_secret"}, "POST", "/v1/agents", map[string]any{
				"id": id, "name": id, "timeout_seconds": 1 + len(id)/6*20, "runner": map[string]any{"type": "http", "url": url + "/" + id},
				"input_arguments": []map[string]any{
					{"name": "username", "type": "string"}, {"name": "password", "type": "string", "sensitive": true},
					{"name": "otp", "type": "totp"}, {"name": "more", "type": "json"}, {"name": "extra", "type": "string", "sensitive": true},
					{"name": "pages", "type": "number", "default": 3},
				},
			}, p.withKey())
			runnerSecret(a)
			runnerSecret(c.tells(201, []string{"runner_secret"}, "POST", "/v1/agents/"+id+"/runner-secret", nil, p.withKey()))
		}

		// Profiles: stored, changed, rotated, replaced, run with, deleted.
		token := ""
		for _, id := range leaks {
			stored := map[string]any{"agent_id": id, "api_key": p.key, "name": "n", "should_save_session": true, "auth_data": values}
			c.authToken(c.tells(200, []string{"auth_token"}, "POST", "/api/upsert_agent_auth_profile", stored))
			token = c.authToken(c.tells(200, []string{"auth_token"}, "POST", "/api/upsert_agent_auth_profile", stored))
			c.tells(200, []string{"auth_token"}, "POST", "/api/upsert_agent_auth_profile", map[string]any{
				"agent_id": id, "api_key": p.key, "auth_token": token, "auth_data": map[string]any{"password": c.mark("a changed password")}})
			token = c.authToken(c.tells(200, []string{"auth_token"}, "POST", "/v1/auth-profiles/token/rotate",
				map[string]any{"agent_id": id, "auth_token": token, "grace_period": 1}, p.withKey()))
			run := map[string]any{"agent_id": id, "api_key": p.key, "auth_token": token, "run_async": false, "parameters": map[string]any{"extra": parameter}}
			for range 2 {
				done := c.quiet(200, "POST", "/run_agent", run)
				if id == "output" && (done.get("error_message") != nil || !strings.Contains(done.Text, "[redacted]")) {
					t.Errorf("the runner's answer was not cut: %s", done.Text)
				}
			}
			run["run_async"] = true
			started := c.quiet(200, "POST", "/api/run_agent", run).text("session_id")
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				if a := c.quiet(200, "GET", "/v1/runs/"+started, nil, p.withKey()); a.text("status") != "running" {
					break
				} else if time.Now().After(deadline) {
					t.Fatalf("%s: the run does not end: %s", id, a.Text)
				}
			}
			c.page("/runs/" + started)
		}
		c.quiet(200, "POST", "/run_agent", map[string]any{"agent_id": "public/program", "api_key": p.key, "run_async": false, "parameters": map[string]any{"word": parameter}})

		c.misuse(p, token, values)

		// All that can be read.
		for _, path := range []string{"/v1/runs?limit=100", "/v1/agents", "/v1/agents/output", "/v1/agents/output/auth-profiles", "/v1/keys", "/v1/audit?limit=100"} {
			c.quiet(200, "GET", path, nil, p.withKey())
		}
		c.quiet(200, "GET", "/auth/me", nil, p.bearer())
		c.quiet(200, "GET", "/auth/api-keys", nil, p.bearer())
		for _, path := range []string{"/v1/accounts", "/v1/organizations", "/v1/audit?limit=100"} {
			c.quiet(200, "GET", path, nil, op.bearer())
		}
		c.browse(p)
		c.secrets.folder(o.Data, "root.key") // with the write-ahead log as it is

		onSQLite := o.Settings["database"] == ""
		if onSQLite && len(c.slots()) == 0 {
			t.Error("no slot stands in the database while there are profiles")
		}
		list := c.quiet(200, "GET", "/v1/agents/output/auth-profiles", nil, p.withKey())
		id := list.get("data").([]any)[0].(map[string]any)["id"].(string)
		c.quiet(204, "DELETE", "/v1/auth-profiles/"+id, nil, p.withKey())
		c.quiet(204, "DELETE", "/v1/agents/error", nil, p.withKey())
		c.quiet(204, "POST", "/auth/logout", map[string]any{"refreshToken": p.refresh})
		p = c.signIn(p)
		c.quiet(204, "DELETE", "/auth/me", map[string]any{"password": p.password}, p.bearer())

		c.Stop(t)
		if size := c.secrets.folder(o.Data, "root.key"); size == 0 {
			t.Error("nothing was left behind in the data folder")
		}
		if slots := c.slots(); onSQLite && len(slots) > 0 {
			t.Errorf("what was deleted is still in the files: %v", slots)
		}
		c.database(o.Settings["database"])
		for _, said := range []string{"request failed", "a run failed", "a run succeeded"} {
			if !strings.Contains(c.Log(), said) {
				t.Errorf("the log does not say %q", said)
			}
		}
		c.secrets.in("the log", []byte(c.Log()))
		for line := range strings.Lines(c.Said()) {
			if !strings.HasPrefix(line, "setup code: ") && !strings.HasPrefix(line, "next: ") {
				c.secrets.in("what the server said", []byte(line))
			}
		}
		for _, h := range c.heard {
			c.secrets.in("the answer to "+h.what, []byte(h.text))
		}
	})
}

// browse looks at somebody's runs in a browser.
func (c *canaries) browse(p person) {
	c.t.Helper()
	b := newBrowser(c.t, c.URL)
	got := b.signIn(p, "")
	if got.status != 303 {
		c.t.Fatalf("sign in: %d %s", got.status, got.text)
	}
	c.secrets.addDecoded("a cookie", b.cookie().Value, func(s string) ([]byte, error) {
		raw, err := base64URL(s)
		return raw[19:], err // its secret
	})
	got.header.Del("Set-Cookie")
	look := func(what string, got page) {
		c.heard = append(c.heard, heard{what, fmt.Sprint(got.header, "\n", got.text)})
	}
	look("signing in", got)
	for _, run := range c.quiet(200, "GET", "/v1/runs", nil, p.withKey()).get("data").([]any) {
		at := "/runs/" + run.(map[string]any)["id"].(string)
		for _, path := range []string{at, at + "/events"} {
			if got = b.get(path); got.status != 200 {
				c.t.Errorf("%s: %d", path, got.status)
			}
			look(path, got)
		}
	}
	for _, secret := range []string{p.key, p.refresh, b.cookie().Value, p.password} {
		for _, path := range []string{"/runs/" + url.PathEscape(secret), "/login?next=" + url.QueryEscape(secret), "/login?next=/runs/" + url.QueryEscape(secret)} {
			look("a page that is not there", b.get(path))
			look("a page that is not there, to a stranger", newBrowser(c.t, c.URL).get(path))
		}
	}
	look("signing out", b.do("POST", "/logout", url.Values{}))
}

// misuse sends secrets where they do not belong.
func (c *canaries) misuse(p person, token string, values map[string]any) {
	c.t.Helper()
	secret := values["password"].(string)
	for _, body := range []any{
		map[string]any{"email": p.password, "password": p.email}, map[string]any{"email": map[string]any{p.password: p.password}, "password": p.password},
		map[string]any{"email": p.email, "password": []any{p.password}}, map[string]any{"email": p.email, p.password: "x"}, map[string]any{p.refresh: p.access},
		p.password, `{"email":"x","password":` + p.key, `{"password":"` + p.key, `{"` + p.key + `":1,"` + p.key + `":2}`, `["` + p.key + `"]`, `"` + p.key + `"`,
		`{"email":"` + p.key + "\xff\"}", `{"email":"` + p.key + `\u0000","password":"x"}`,
	} {
		c.wrong("POST", "/auth/token", body)
		c.wrong("POST", "/auth/register", body)
		c.wrong("POST", "/auth/token/refresh", body)
		c.wrong("POST", "/run_agent", body)
		c.wrong("POST", "/api/upsert_agent_auth_profile", body)
		c.wrong("POST", "/v1/agents", body, p.withKey())
		c.wrong("POST", "/v1/keys", body, p.withKey())
		c.wrong("POST", "/auth/password", body, p.bearer())
	}
	c.wrong("POST", "/auth/token/refresh", map[string]any{"refreshToken": p.access})
	c.wrong("POST", "/auth/token/refresh", map[string]any{"refreshToken": token})
	c.wrong("POST", "/auth/token/refresh", map[string]any{"refreshToken": p.refresh + "A"})
	c.wrong("DELETE", "/auth/me", map[string]any{"password": secret}, p.bearer())
	c.wrong("DELETE", "/auth/me", map[string]any{"password": map[string]any{"is": p.password}}, p.bearer())

	full := func(change map[string]any) map[string]any {
		body := map[string]any{"agent_id": "output", "api_key": p.key, "auth_token": token}
		for name, value := range change {
			body[name] = value
		}
		return body
	}
	for _, change := range []map[string]any{
		{"auth_data": map[string]any{secret: "x"}}, {"auth_data": map[string]any{"password": map[string]any{"is": secret}}}, {"auth_data": secret},
		{"auth_data": map[string]any{"otp": secret}}, {"auth_data": map[string]any{"pages": secret}}, {"auth_data": []any{secret}},
		{"auth_data": values, "auth_token": p.key}, {"auth_data": values, "agent_id": secret}, {"auth_data": values, "auth_token": token[:59] + "!"},
		{"auth_data": values, "should_save_session": secret}, {"auth_data": values, secret: 1}, {"auth_data": values, "api_key": token},
		{"auth_data": values, "api_key": map[string]any{"is": p.key}}, {"auth_data": values, "name": map[string]any{"is": p.key}},
		{"auth_data": values, "name": strings.Repeat(secret, 20)},
		{"parameters": map[string]any{secret: 1}}, {"parameters": map[string]any{"pages": secret}}, {"parameters": map[string]any{"extra": []any{secret}}},
		{"parameters": map[string]any{"password": secret}}, {"parameters": secret}, {"run_async": secret}, {"agent_id": p.key}, {"auth_token": token[1:]},
		{"agent_id": "status", "parameters": map[string]any{"extra": secret}},
	} {
		for _, path := range []string{"/api/create_agent_auth_profile", "/api/upsert_agent_auth_profile", "/run_agent", "/api/run_agent"} {
			c.wrong("POST", path, full(change))
		}
	}
	for _, body := range []map[string]any{
		{"name": "x", "runner": map[string]any{"type": "http", "url": "http://user:" + url.QueryEscape(secret) + "@10.0.0.1/?" + url.QueryEscape(secret)}},
		{"name": "x", "runner": map[string]any{"type": "http", "url": secret}}, {"name": "x", "runner": map[string]any{"type": secret}},
		{"name": "x", "id": secret, "runner": map[string]any{"type": "http", "url": "https://agents.example.com"}},
		{"name": "x", "runner": map[string]any{"type": "command", "command": []string{secret}}},
		{"name": "x", "runner": map[string]any{"type": "http", "url": "https://agents.example.com"}, "input_arguments": []any{
			map[string]any{"name": "n", "type": "number", "default": secret}}},
		{"name": "x", "runner": map[string]any{"type": "http", "url": "https://agents.example.com"}, "input_arguments": []any{
			map[string]any{"name": "n", "type": "string", "sensitive": true, "default": secret}}},
		{"name": "x", "runner": map[string]any{"type": "http", "url": "https://agents.example.com"}, "input_arguments": []any{map[string]any{"name": secret, "type": secret}}},
	} {
		c.wrong("POST", "/v1/agents", body, p.withKey())
		c.wrong("PATCH", "/v1/agents/output", body, p.withKey())
	}
	c.wrong("POST", "/v1/keys", map[string]any{"name": "x", "type": secret}, p.withKey())
	c.wrong("POST", "/v1/keys", map[string]any{"name": "x", "type": "temporary", "expires_in": secret}, p.withKey())
	c.wrong("POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": "output", "auth_token": p.key, "grace_period": 1}, p.withKey())
	c.wrong("POST", "/v1/auth-profiles/token/rotate", map[string]any{"agent_id": "output", "auth_token": token, "grace_period": secret}, p.withKey())

	for _, s := range []string{p.key, token, p.access, p.refresh, secret} {
		in := url.PathEscape(s)
		q := url.QueryEscape(s)
		for _, path := range []string{
			"/" + in, "//v1/keys/" + in, "/v1/keys/" + in, "/auth/api-keys/" + in, "/v1/agents/" + in, "/v1/agents/public%2F" + in, "/v1/auth-profiles/" + in,
			"/v1/runs/" + in, "/v1/runs?cursor=" + q, "/v1/runs?limit=" + q, "/v1/runs?" + q + "=1", "/v1/audit?action=" + q, "/v1/audit?from=" + q,
			"/v1/keys?cursor=" + q, "/v1/keys?page=" + q, "/v1/keys/self?api_key=" + q, "/v1/agents/" + in + "/auth-profiles", "/auth/me?access_token=" + q,
		} {
			c.wrong("GET", path, nil, p.withKey())
			c.wrong("DELETE", path, nil, p.withKey())
		}
		for _, header := range []string{"Authorization: ", "Authorization: Bearer x", "Authorization: Basic ", "X-API-Key: x", "Cookie: session=", "Content-Type: ", "X-Forwarded-For: ",
			"Origin: https://", "X-Setup-Code: ", "Accept: ", "If-None-Match: ", "Content-Encoding: ", "Transfer-Encoding: "} {
			if s != secret { // which no header can hold
				c.wrong("POST", "/v1/keys", map[string]any{"name": 1}, header+s)
				c.wrong("GET", "/runs/x", nil, header+s)
			}
		}
		c.raw("GET /%zz" + in + " HTTP/1.1\r\nHost: x\r\n\r\n")
		c.raw("GET / HTTP/" + in + "\r\n\r\n")
		c.raw(q + " / HTTP/1.1\r\nHost: x\r\n\r\n")
		c.raw("GET / HTTP/1.1\r\nHost: " + q + "\r\n" + q + "\r\n\r\n")
		c.raw("POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " + q + "\r\n\r\n" + q)
		c.raw("POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + q + "\r\n")
		c.raw("\x16\x03\x01" + q)
	}
}

// wrong sends a request that is not one of the document's, or breaks its rules.
func (c *canaries) wrong(method, path string, body any, headers ...string) {
	c.t.Helper()
	text, isText := body.(string)
	if !isText && body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		text = string(b)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.URL+path, strings.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	c.hear(method+" "+strings.SplitN(path, "?", 2)[0], r)
}

func (c *canaries) page(path string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), "GET", c.URL+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.hear("GET "+path, r)
}

func (c *canaries) hear(what string, r *http.Request) {
	c.t.Helper()
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return // Go's client sends no such request
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		c.t.Error(err)
	}
	c.listen(what, answer{Header: got.Header, Text: string(text)})
}

// raw sends bytes that need not be HTTP.
func (c *canaries) raw(request string) {
	c.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return // refused before it was all sent
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	text, _ := io.ReadAll(bufio.NewReader(conn)) // a reset is an answer, too
	c.listen("bytes that are no request", answer{Text: string(text)})
}

// database searches a PostgreSQL database: what its tables hold, and all files
// of the server, its log among them. SQLite's stands in the data folder.
func (c *canaries) database(address string) {
	c.t.Helper()
	if address == "" {
		return
	}
	d, err := sql.Open("pgx", address)
	if err != nil {
		c.t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Query(`SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`)
	if err != nil {
		c.t.Fatal(err)
	}
	var tables []string
	for names.Next() {
		var name string
		if err := names.Scan(&name); err != nil {
			c.t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := names.Err(); err != nil || len(tables) < 10 {
		c.t.Fatalf("%d tables, %v", len(tables), err)
	}
	for _, table := range tables {
		c.table(d, table)
	}
	if _, err := d.Exec(`CHECKPOINT`); err != nil {
		c.t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		c.t.Fatal(err)
	}
	if size := c.secrets.folder(u.Query().Get("host")); size < 1<<20 {
		c.t.Errorf("PostgreSQL's files are %d bytes", size)
	}
}

func (c *canaries) table(d *sql.DB, table string) {
	c.t.Helper()
	rows, err := d.Query(`SELECT * FROM ` + table)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		c.t.Fatal(err)
	}
	for rows.Next() {
		row := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			c.t.Fatal(err)
		}
		for i, value := range row {
			var text bytes.Buffer
			if b, ok := value.([]byte); ok {
				text.Write(b)
			} else {
				fmt.Fprint(&text, value)
			}
			c.secrets.in("the column "+table+"."+columns[i], text.Bytes())
		}
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
}
