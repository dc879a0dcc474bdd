package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// owner is an account with a key, made before the first kill.
type owner struct {
	*killable
	key         string
	accessToken string
}

// call makes a request and reads its answer into into, if it is not nil. It
// reports whether there was a whole answer; a killed server gives none.
func (o *owner) call(method, path, credential string, body, into any) (status int, requestID string, answered bool) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, o.url+path, sent)
	if err != nil {
		panic(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if credential != "" {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	res, err := o.http.Do(req)
	if err != nil {
		return 0, "", false
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", false
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			o.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
		}
	}
	o.countAnswer()
	return res.StatusCode, res.Header.Get("X-Request-Id"), true
}

func (k *killable) signUp() *owner {
	k.Helper()
	code, err := os.ReadFile(filepath.Join(k.folder, "setup.code"))
	if err != nil {
		k.Fatal(err)
	}
	o := &owner{killable: k}
	// The operator's own agents may have a runner on loopback.
	who := map[string]string{"name": "Jane", "email": "jane@example.com", "password": "a long enough password", "setupCode": strings.TrimSpace(string(code))}
	var tokens struct{ AccessToken string }
	var key struct{ Key string }
	o.must("POST", "/auth/register", "", who, nil)
	o.must("POST", "/auth/token", "", map[string]string{"email": who["email"], "password": who["password"]}, &tokens)
	o.accessToken = tokens.AccessToken
	o.must("POST", "/auth/api-keys", o.accessToken, map[string]string{"nickname": "first"}, &key)
	o.key = key.Key
	return o
}

// must is a call that nothing may come between.
func (o *owner) must(method, path, credential string, body, into any) {
	o.Helper()
	if status, _, answered := o.call(method, path, credential, body, into); !answered || status/100 != 2 {
		o.Fatalf("%s %s: status %d, answered %t", method, path, status, answered)
	}
}

// user does one thing after another, and remembers what it was answered. What
// it touches is its own.
type user struct {
	*owner
	random *rand.Rand
	agent  string
	number int // of names: none is used twice

	tokens []*token
	keys   []*key
	runs   []*started
	acts   []string // the request ids of changes that were answered
}

// token is an auth token that was answered, with what its profile may hold.
type token struct {
	text, name   string
	keepsSession bool
	states       []state // that it may be in: two after a change that was not answered
	gone, mayBe  bool    // it opens nothing any more, or perhaps not
	unsure       bool    // a change was not answered: it is left alone from then on
}

// state is what a profile holds: its values, and the visit that left its
// session, if there is one.
type state struct {
	values map[string]string
	visit  string
}

// key is an API key that was answered.
type key struct {
	text, name   string
	id           int64
	revoked, may bool
}

// started is a run that was answered.
type started struct {
	id     string
	waited bool
	token  *token
}

func (o *owner) newUser(i int, random *rand.Rand) *user {
	o.Helper()
	u := &user{owner: o, random: random, agent: "agent-" + strconv.Itoa(i)}
	type argument struct {
		Name      string `json:"name"`
		Type      string `json:"type"`
		Sensitive bool   `json:"sensitive"`
	}
	o.must("POST", "/v1/agents", o.key, map[string]any{
		"id": u.agent, "name": "Agent", "runner": map[string]string{"type": "http", "url": o.runner.URL},
		"input_arguments": []argument{{"username", "string", false}, {"password", "string", true}, {"note", "string", false}, {"visit", "string", false}},
	}, nil)
	return u
}

// useUntilKilled does things until one is not answered.
func (u *user) useUntilKilled() {
	things := []func() bool{
		u.create, u.create, u.upsert, u.replace, u.update, u.update, u.rotate, u.remove,
		u.run, u.run, u.run, u.runAsync, u.makeKey, u.revokeKey,
	}
	for things[u.random.IntN(len(things))]() {
	}
}

func (u *user) newName(kind string) string {
	u.number++
	return fmt.Sprintf("%s %s %d", kind, u.agent, u.number)
}

func (u *user) newValues() map[string]string {
	return map[string]string{"username": u.newName("user"), "password": u.newName("password")}
}

// change makes a call that changes something, and reports whether it was done
// and answered.
func (u *user) change(method, path, credential string, body, into any) bool {
	status, requestID, answered := u.call(method, path, credential, body, into)
	if answered && status/100 != 2 {
		u.Errorf("%s %s: status %d", method, path, status)
		return false
	}
	if answered {
		u.acts = append(u.acts, requestID)
	}
	return answered
}

type stored struct {
	AuthToken string `json:"auth_token"`
	Type      string `json:"type"`
}

func (u *user) create() bool {
	t := &token{name: u.newName("profile"), states: []state{{values: u.newValues()}}}
	var made stored
	if !u.change("POST", "/api/create_agent_auth_profile", "", map[string]any{
		"api_key": u.key, "agent_id": u.agent, "name": t.name, "auth_data": t.states[0].values}, &made) {
		return false
	}
	t.text = made.AuthToken
	u.tokens = append(u.tokens, t)
	return true
}

// upsert makes a profile that keeps its session.
func (u *user) upsert() bool {
	t := &token{name: u.newName("profile"), states: []state{{values: u.newValues()}}, keepsSession: true}
	var made stored
	if !u.change("POST", "/api/upsert_agent_auth_profile", "", map[string]any{
		"api_key": u.key, "agent_id": u.agent, "name": t.name, "auth_data": t.states[0].values, "should_save_session": true}, &made) {
		return false
	}
	t.text = made.AuthToken
	u.tokens = append(u.tokens, t)
	return true
}

// pick returns a token of which everything is known, or nil.
func (u *user) pick() *token {
	for range 20 {
		if len(u.tokens) == 0 {
			return nil
		}
		// The last ones more often: what was just written is what a kill might take.
		back := min(u.random.IntN(len(u.tokens)), u.random.IntN(len(u.tokens)))
		if t := u.tokens[len(u.tokens)-1-back]; !t.gone && !t.unsure {
			return t
		}
	}
	return nil
}

// replace makes a profile of a name that there is: the token of the old one dies.
func (u *user) replace() bool {
	old := u.pick()
	if old == nil {
		return true
	}
	t := &token{name: old.name, states: []state{{values: u.newValues()}}}
	var made stored
	if !u.change("POST", "/api/create_agent_auth_profile", "", map[string]any{
		"api_key": u.key, "agent_id": u.agent, "name": t.name, "auth_data": t.states[0].values}, &made) {
		old.unsure, old.mayBe = true, true
		return false
	}
	old.gone, t.text = true, made.AuthToken
	u.tokens = append(u.tokens, t)
	return true
}

// update changes one value, adds or removes another, and so drops the session.
func (u *user) update() bool {
	t := u.pick()
	if t == nil {
		return true
	}
	next := maps.Clone(t.states[0].values)
	next["password"] = u.newName("password")
	sent := map[string]any{"password": next["password"]}
	if _, ok := next["note"]; ok {
		delete(next, "note")
		sent["note"] = nil
	} else {
		next["note"] = u.newName("note")
		sent["note"] = next["note"]
	}
	if !u.change("POST", "/api/upsert_agent_auth_profile", "", map[string]any{
		"api_key": u.key, "agent_id": u.agent, "auth_token": t.text, "auth_data": sent, "should_save_session": t.keepsSession}, nil) {
		t.unsure, t.states = true, append(t.states, state{values: next})
		return false
	}
	t.states = []state{{values: next}}
	return true
}

func (u *user) rotate() bool {
	old := u.pick()
	if old == nil {
		return true
	}
	var made stored
	if !u.change("POST", "/v1/auth-profiles/token/rotate", u.key, map[string]any{"agent_id": u.agent, "auth_token": old.text}, &made) {
		old.unsure, old.mayBe = true, true
		return false
	}
	t := *old
	old.gone, t.text = true, made.AuthToken
	u.tokens = append(u.tokens, &t)
	return true
}

// remove makes a profile and deletes it.
func (u *user) remove() bool {
	if !u.create() {
		return false
	}
	t := u.tokens[len(u.tokens)-1]
	var list struct {
		Data []struct{ ID, Name string }
	}
	status, _, answered := u.call("GET", "/v1/agents/"+u.agent+"/auth-profiles?limit=1", u.key, nil, &list)
	if !answered {
		return false
	}
	if status != http.StatusOK || len(list.Data) != 1 || list.Data[0].Name != t.name {
		u.Errorf("the newest profile: status %d, %+v, want %q", status, list.Data, t.name)
		return false
	}
	if !u.change("DELETE", "/v1/auth-profiles/"+list.Data[0].ID, u.key, nil, nil) {
		t.unsure, t.mayBe = true, true
		return false
	}
	t.gone = true
	return true
}

type ran struct {
	SessionID    string  `json:"session_id"`
	AgentOutput  string  `json:"agent_output"`
	ErrorMessage *string `json:"error_message"`
}

// run runs the agent with a profile and waits. If the profile keeps its
// session, the run finds that of the visit before, and leaves its own.
func (u *user) run() bool {
	t := u.pick()
	if t == nil {
		return true
	}
	visit := u.newName("visit")
	var done ran
	status, _, answered := u.call("POST", "/run_agent", "", u.runRequest(t, visit, false), &done)
	if !answered {
		if t.unsure = true; t.keepsSession {
			t.states = append(t.states, state{t.states[0].values, visit})
		}
		return false
	}
	if status != http.StatusOK || done.ErrorMessage != nil {
		u.Errorf("run %q: status %d, %+v", visit, status, done)
		return false
	}
	u.wantGiven(t, done.SessionID)
	u.runs = append(u.runs, &started{done.SessionID, true, t})
	if t.keepsSession {
		t.states[0].visit = visit
	}
	return true
}

func (u *user) runRequest(t *token, visit string, async bool) map[string]any {
	return map[string]any{"api_key": u.key, "agent_id": u.agent, "auth_token": t.text, "run_async": async,
		"parameters": map[string]string{"visit": visit}}
}

// runAsync runs the agent without waiting. When such a run leaves its session
// is not known, so its profile keeps none.
func (u *user) runAsync() bool {
	t := u.pick()
	if t == nil || t.keepsSession {
		return true
	}
	var done ran
	status, _, answered := u.call("POST", "/run_agent", "", u.runRequest(t, "later", true), &done)
	if !answered {
		return false
	}
	if status != http.StatusOK {
		u.Errorf("async run: status %d", status)
		return false
	}
	u.runs = append(u.runs, &started{done.SessionID, false, t})
	return true
}

func (u *user) makeKey() bool {
	name := u.newName("key")
	k := &key{name: name}
	// The two surfaces make the same keys.
	path, credential, body := "/v1/keys", u.key, map[string]string{"name": name}
	if u.random.IntN(2) == 0 {
		path, credential, body = "/auth/api-keys", u.accessToken, map[string]string{"nickname": name}
	}
	var made struct {
		ID  int64
		Key string
	}
	if !u.change("POST", path, credential, body, &made) {
		return false
	}
	k.id, k.text = made.ID, made.Key
	u.keys = append(u.keys, k)
	return true
}

// revokeKey makes a key and revokes it.
func (u *user) revokeKey() bool {
	if !u.makeKey() {
		return false
	}
	k := u.keys[len(u.keys)-1]
	path, credential := "/v1/keys/", u.key
	if u.random.IntN(2) == 0 {
		path, credential = "/auth/api-keys/", u.accessToken
	}
	if !u.change("DELETE", path+strconv.FormatInt(k.id, 10), credential, nil, nil) {
		k.may = true
		return false
	}
	k.revoked = true
	return true
}
