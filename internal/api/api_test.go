package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/api/apitest"
	"github.com/keyward/keyward/internal/fault"
)

// The failures of a gate and a noun, as they would declare them.
var (
	errKey   = fault.New(fault.Unauthenticated, "INVALID_API_KEY", "The provided API key is invalid")
	errToken = fault.New(fault.Unauthenticated, "INVALID_ACCESS_TOKEN", "The access token is not valid. Sign in again.")
	errTaken = fault.New(fault.Conflict, "DUPLICATE_NAME", "There is one of this name already.")
)

type limits struct {
	Burst int   `json:"burst,omitzero" minimum:"1" maximum:"1000"`
	Small int32 `json:"small,omitzero"`
}

type argument struct {
	Name string `json:"name" minLength:"1" maxLength:"8" pattern:"^[a-z]+$" patternDescription:"be lower-case letters"`
	Type string `json:"type,omitzero" enum:"string,number"`
}

type thing struct {
	Name      string            `json:"name" minLength:"1"`
	Note      string            `json:"note,omitzero"`
	Enabled   bool              `json:"enabled,omitzero"`
	Ratio     float64           `json:"ratio,omitzero" maximum:"1"`
	Limits    *limits           `json:"limits,omitzero"`
	Arguments []argument        `json:"input_arguments,omitzero" maxItems:"2"`
	Tags      []string          `json:"tags,omitzero" minItems:"1"`
	Labels    map[string]string `json:"labels,omitzero" maxProperties:"2"`
	Extra     any               `json:"extra,omitzero"`
	Until     client.Time       `json:"until,omitzero"`
	Odd       odd               `json:"odd,omitzero"`
}

// odd is a text that its own type refuses most of, which no schema says.
type odd string

func (o *odd) UnmarshalText(text []byte) error {
	if string(text) != "odd" {
		return errors.New("not odd: " + string(text))
	}
	*o = odd(text)
	return nil
}

type made struct {
	ID      string      `json:"id"`
	Name    string      `json:"name"`
	MadeBy  string      `json:"made_by"`
	MadeAt  client.Time `json:"made_at"`
	Address string      `json:"address"`
}

type profile struct {
	AgentID  string                    `json:"agent_id" minLength:"1"`
	AuthData map[string]jsontext.Value `json:"auth_data"`
}

type login struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// surface is a tiny Keyward: one operation for each kind of security.
type surface struct {
	*api.API
	log   *safeBuffer
	calls int // of Authenticate
}

func newSurface(t testing.TB, change ...func(*api.Config)) *surface {
	s := &surface{log: &safeBuffer{}}
	config := api.Config{
		Log:          slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Authenticate: s.authenticate,
		Refusals: map[api.Security][]*fault.Fault{
			api.KeyOrToken: {errKey}, api.KeyInBody: {errKey}, api.AccessToken: {errToken},
		},
	}
	for _, c := range change {
		c(&config)
	}
	s.API = api.New(config)

	api.Register(s.API, api.Operation{
		Method: "POST", Path: "/v1/things", Name: "createThing", Summary: "Make a thing", Tag: "things",
		Security: api.KeyOrToken, Action: access.CreateAgent, Status: http.StatusCreated, Errors: []*fault.Fault{errTaken},
	}, createThing)
	api.Register(s.API, api.Operation{
		Method: "GET", Path: "/v1/things/{id}", Name: "getThing", Summary: "Show a thing", Tag: "things",
		Security: api.KeyOrToken, Action: access.ReadAgents,
	}, func(_ context.Context, who access.Caller, in *struct {
		ID string `path:"id"`
	}) (made, error) {
		switch in.ID {
		case "panic":
			panic("boom with " + in.ID)
		case "broken":
			return made{}, errors.New("pq: the password is hunter2")
		case "unwritable":
			return made{Name: "\xff"}, nil
		case "busy":
			return made{}, fault.ErrUnavailable.Retry(1500e6)
		}
		return made{ID: in.ID, MadeBy: who.AccountID, MadeAt: someTime}, nil
	})
	api.Register(s.API, api.Operation{
		Method: "GET", Path: "/v1/things", Name: "listThings", Summary: "List things", Tag: "things",
		Security: api.KeyOrToken, Action: access.ReadAgents,
	}, listThings)
	api.Register(s.API, api.Operation{
		Method: "DELETE", Path: "/auth/keys/{id}", Name: "deleteKey", Summary: "End a key", Tag: "account",
		Security: api.AccessToken, Action: access.RevokeOwnKey,
	}, func(context.Context, access.Caller, *struct {
		ID int64 `path:"id" minimum:"1"`
	}) (api.Nothing, error) {
		return api.Nothing{}, nil
	})
	api.Register(s.API, api.Operation{
		Method: "POST", Path: "/auth/token", Also: []string{"/auth/login"}, Name: "signIn", Summary: "Sign in", Tag: "account",
		Security: api.Password, Errors: []*fault.Fault{errToken},
	}, signIn)
	api.Register(s.API, api.Operation{
		Method: "POST", Path: "/run_agent", Also: []string{"/api/run_agent"}, Name: "runAgent", Summary: "Run", Tag: "runs",
		Security: api.KeyInBody, Action: access.StartRun, Loose: true,
	}, func(_ context.Context, who access.Caller, in *struct{ Body profile }) (map[string]int, error) {
		return map[string]int{"fields": len(in.Body.AuthData)}, nil
	})
	s.Raw(api.Operation{Method: "GET", Path: "/healthz", Name: "alive", Summary: "Alive", Tag: "server", Security: api.Public},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "ok\n")
		}), api.Answer{Status: http.StatusOK, ContentType: "text/plain"})
	return s
}

func createThing(_ context.Context, who access.Caller, in *struct{ Body thing }) (made, error) {
	if in.Body.Name == "taken" {
		return made{}, errTaken.With(fault.Details{"field": "name"})
	}
	return made{ID: "1", Name: in.Body.Name, MadeBy: who.AccountID, MadeAt: someTime, Address: who.Address.String()}, nil
}

func signIn(_ context.Context, _ access.Caller, in *struct {
	api.BasicAuth
	Body *login
}) (map[string]string, error) {
	switch {
	case in.Given:
		return map[string]string{"email": in.User, "password": in.Password.Reveal()}, nil
	case in.Body != nil:
		return map[string]string{"email": in.Body.Email, "password": in.Body.Password}, nil
	}
	return nil, errToken
}

// authenticate knows one key and one access token.
func (s *surface) authenticate(_ context.Context, c api.Credentials, _ api.Client) (access.Caller, api.Headers, error) {
	s.calls++
	switch sent := c.Secret.Reveal(); {
	case c.Accepts == api.AccessToken && sent == "token":
		return access.Caller{AccountID: "jane", SignInID: "s"}, nil, nil
	case c.Accepts == api.AccessToken:
		return access.Caller{}, nil, errToken
	case sent == "ra_key" || c.Accepts == api.KeyOrToken && sent == "token":
		return access.Caller{AccountID: "jane", KeyID: 1}, api.Headers{"X-Of-The-Key", "1"}, nil
	}
	return access.Caller{}, nil, errKey
}

// start serves s on a real socket, and checks every answer against the
// document.
func (s *surface) start(t testing.TB) *caller {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	doc, err := s.SpecJSON()
	if err != nil {
		t.Fatal(err)
	}
	hc := &http.Client{
		Transport:     apitest.Transport(t, doc, server.Client().Transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &caller{t: t, url: server.URL, client: hc}
}

type caller struct {
	t      testing.TB
	url    string
	client *http.Client
}

// do sends a request. Headers are "Name: value"; a Content-Type is added to a
// body unless there is one.
func (c *caller) do(method, path, body string, headers ...string) *reply {
	c.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, content)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	if body != "" && r.Header["Content-Type"] == nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.send(r)
}

func (c *caller) send(r *http.Request) *reply {
	c.t.Helper()
	res, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	re := &reply{Response: res, text: string(text)}
	if res.StatusCode >= 400 && r.Method != http.MethodHead {
		var e struct{ Error client.Error }
		if err := json.Unmarshal(text, &e, json.MatchCaseInsensitiveNames(true)); err != nil {
			c.t.Fatalf("%s %s: %d %s", r.Method, r.URL.Path, res.StatusCode, text)
		}
		re.fault = e.Error
	}
	return re
}

type reply struct {
	*http.Response
	text  string
	fault client.Error
}

// field is what the details of a failure call the field that is wrong.
func (r *reply) field() string {
	f, _ := r.fault.Details["field"].(string)
	return f
}

func (r *reply) wants(t testing.TB, status int, code, field string) bool {
	t.Helper()
	ok := r.StatusCode == status && r.fault.Code == code && r.field() == field
	if !ok {
		t.Errorf("%s %s: %d %s, want %d %s about %q", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.text, status, code, field)
	}
	return ok
}

const key = "Authorization: Bearer ra_key"

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
