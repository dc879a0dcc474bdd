package keywardtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/api/apitest"
	"github.com/keyward/keyward/keywardtest"
)

// house is a server with people in it, and a client that checks every answer
// against the server's own document.
type house struct {
	*keywardtest.Server
	t      *testing.T
	client *http.Client
}

func newHouse(t *testing.T, o keywardtest.Options) *house {
	t.Helper()
	s := keywardtest.Start(t, o)
	return &house{Server: s, t: t, client: checked(t, s.URL)}
}

// checked returns a client that fails t for an answer that the document of the
// server at url does not have.
func checked(t *testing.T, url string) *http.Client {
	t.Helper()
	status, _, document := get(t, url+"/openapi.json")
	if status != 200 {
		t.Fatalf("/openapi.json: %d", status)
	}
	return &http.Client{Transport: apitest.Transport(t, []byte(document), nil)}
}

// answer is what the server answered.
type answer struct {
	Status int
	Header http.Header
	Text   string
	JSON   map[string]any
}

// get returns the value at a path of names, such as "error.code".
func (a answer) get(path string) any {
	var v any = a.JSON
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (a answer) text(path string) string { s, _ := a.get(path).(string); return s }
func (a answer) code() string            { return a.text("error.code") }

// send sends a request; body is JSON text, or a value to be written as JSON, or
// nil. Headers come as "Name: value".
func (h *house) send(method, path string, body any, headers ...string) answer {
	h.t.Helper()
	var text []byte
	switch b := body.(type) {
	case nil:
	case string:
		text = []byte(b)
	default:
		var err error
		if text, err = json.Marshal(b); err != nil {
			h.t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.URL+path, bytes.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	got, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer got.Body.Close()
	a := answer{Status: got.StatusCode, Header: got.Header}
	all, err := io.ReadAll(got.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	a.Text = string(all)
	_ = json.Unmarshal(all, &a.JSON) // a list or nothing has no names
	return a
}

// must is send for a request that has to be answered with that status.
func (h *house) must(status int, method, path string, body any, headers ...string) answer {
	h.t.Helper()
	a := h.send(method, path, body, headers...)
	if a.Status != status {
		h.t.Fatalf("%s %s: %d %s, want %d", method, path, a.Status, a.Text, status)
	}
	return a
}

// refused is send for a request that has to be refused with that code.
func (h *house) refused(status int, code, method, path string, body any, headers ...string) answer {
	h.t.Helper()
	a := h.send(method, path, body, headers...)
	if a.Status != status || a.code() != code {
		h.t.Errorf("%s %s: %d %s, want %d %s", method, path, a.Status, a.Text, status, code)
	}
	return a
}

// person is an account with a sign-in and an API key.
type person struct {
	email, password string
	access, refresh string
	key             string
	keyID           int64
}

func (p person) bearer() string  { return "Authorization: Bearer " + p.access }
func (p person) withKey() string { return "Authorization: Bearer " + p.key }

var people = struct {
	sync.Mutex
	n int
}{}

// person registers somebody. With the setup code that is the operator.
func (h *house) person(setupCode string) person {
	h.t.Helper()
	people.Lock()
	people.n++
	p := person{email: fmt.Sprintf("p%d@example.com", people.n), password: "correct horse"}
	people.Unlock()
	body := map[string]any{"name": "Somebody", "email": p.email, "password": p.password}
	if setupCode != "" {
		body["setupCode"] = setupCode
	}
	h.must(201, "POST", "/auth/register", body)
	p = h.signIn(p)
	made := h.must(201, "POST", "/auth/api-keys", map[string]any{"nickname": "first"}, p.bearer())
	id, _ := made.get("id").(float64)
	p.key, p.keyID = made.text("key"), int64(id)
	return p
}

func (h *house) signIn(p person) person {
	h.t.Helper()
	tokens := h.must(200, "POST", "/auth/token", map[string]any{"email": p.email, "password": p.password})
	p.access, p.refresh = tokens.text("accessToken"), tokens.text("refreshToken")
	return p
}

// runner is an agent's web service that answers what its func says.
func (h *house) runner(answer func(got map[string]any) string) string {
	h.t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got map[string]any
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			h.t.Errorf("the runner got no JSON: %v", err)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer(got))
	}))
	h.t.Cleanup(srv.Close)
	return srv.URL
}

// agent defines an agent with three arguments, at a runner's address.
func (h *house) agent(p person, id, url string) {
	h.t.Helper()
	h.must(201, "POST", "/v1/agents", map[string]any{
		"id": id, "name": id, "runner": map[string]any{"type": "http", "url": url},
		"input_arguments": []map[string]any{
			{"name": "username", "type": "string", "required": true},
			{"name": "password", "type": "string", "sensitive": true},
			{"name": "pages", "type": "number", "default": 3},
		},
	}, p.withKey())
}
