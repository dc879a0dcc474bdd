package keywardtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/runagent-dev/runagent-go/runagent"

	"github.com/keyward/keyward/keywardtest"
)

// speaker is an agent's web service that says what stands in its argument say,
// line by line, or in say under a name. A line "-" waits until release is called.
func (h *house) speaker(p person, id string, arguments ...string) (release func()) {
	h.t.Helper()
	gate := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got struct{ Arguments map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			h.t.Errorf("the runner got no JSON: %v", err)
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		say, _ := got.Arguments["say"].(string)
		if say == "" {
			all, _ := json.Marshal(got.Arguments)
			say = `{"output":` + string(all) + `}`
		}
		for line := range strings.Lines(say) {
			if strings.TrimSpace(line) == "-" {
				<-gate
				continue
			}
			fmt.Fprintln(w, strings.TrimSpace(line))
			_ = http.NewResponseController(w).Flush()
		}
	}))
	h.t.Cleanup(srv.Close)
	defined := []map[string]any{{"name": "say", "type": "string"}}
	for _, name := range arguments {
		defined = append(defined, map[string]any{"name": name, "type": "json"})
	}
	h.must(201, "POST", "/v1/agents", map[string]any{"id": id, "name": id, "input_arguments": defined, "runner": map[string]any{"type": "http", "url": srv.URL}}, p.withKey())
	return func() { close(gate) }
}

func sdk(h *house, agentID, tag, key string) *runagent.RunAgentClient {
	return runagent.NewRunAgentClient(runagent.Config{
		AgentID: agentID, EntrypointTag: tag, APIKey: key, BaseURL: h.URL, BaseSocketURL: strings.Replace(h.URL, "http", "ws", 1),
	})
}

func TestTheOlderGoSDKInitialisesRunsAndStreams(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.speaker(p, "a", "role", "count")
	key := h.keyWith(p, []string{"agents:run"}, map[string]any{"agent_ids": []string{"a"}})

	c := sdk(h, "a", "main", key)
	if err := c.Initialize(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := c.Run(t.Context(), map[string]any{"role": "user", "count": 3})
	if want := any(map[string]any{"role": "user", "count": 3.0}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("it ran and got %v, %v, want %v", got, err, want)
	}
	if got, err := c.Run(t.Context(), map[string]any{"say": `{"error":"the portal is closed"}`}); err == nil || !strings.Contains(err.Error(), "the portal is closed") {
		t.Errorf("a run that failed: %v, %v", got, err)
	}
	if got, err := c.Run(t.Context(), map[string]any{"nonsense": 1}); err == nil || !strings.Contains(err.Error(), "UNKNOWN_INPUT_ARGUMENT") {
		t.Errorf("a run that was refused: %v, %v", got, err)
	}

	stream := func(say string) (parts []any, err error) {
		t.Helper()
		c := sdk(h, "a", "main_stream", key)
		if err := c.Initialize(t.Context()); err != nil {
			t.Fatal(err)
		}
		opened, err := c.Run(t.Context(), map[string]any{"say": say})
		if err != nil {
			return nil, err
		}
		it := opened.(*runagent.StreamIterator)
		defer it.Close()
		for {
			part, more, err := it.Next(t.Context())
			if err != nil || !more {
				return parts, err
			}
			parts = append(parts, part)
		}
	}
	if parts, err := stream(`{"chunk":"Hello"}` + "\n" + `{"chunk":{"n":1}}` + "\n" + `{"output":"all of it"}`); err != nil || !reflect.DeepEqual(parts, []any{"Hello", map[string]any{"n": 1.0}}) {
		t.Errorf("a stream: %v, %v", parts, err)
	}
	if parts, err := stream(`{"output":"all of it"}`); err != nil || !reflect.DeepEqual(parts, []any{"all of it"}) {
		t.Errorf("a stream of an agent that puts all out at once: %v, %v", parts, err)
	}
	if parts, err := stream(`{"chunk":1}` + "\n" + `{"error":"no more"}`); err == nil || !strings.Contains(err.Error(), "no more") || len(parts) != 1 {
		t.Errorf("a stream of a run that fails: %v, %v", parts, err)
	}

	if err := sdk(h, "a", "other", key).Initialize(t.Context()); err == nil || !strings.Contains(err.Error(), "entrypoint `other` not found") {
		t.Errorf("an entry point that there is not: %v", err)
	}
	if err := sdk(h, "b", "main", key).Initialize(t.Context()); err == nil || !strings.Contains(err.Error(), "AGENT_NOT_ALLOWED") {
		t.Errorf("an agent that the key is not made for: %v", err)
	}
	bad := sdk(h, "a", "main_stream", key[:len(key)-1]+"0")
	if err := bad.Initialize(t.Context()); err == nil || !strings.Contains(err.Error(), "INVALID_API_KEY") {
		t.Errorf("a bad key: %v", err)
	}
	if _, err := bad.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "bad handshake") {
		t.Errorf("a stream with a bad key: %v", err)
	}
}

// unwrap returns the value in a data that has the type and the JSON of it.
func unwrap(t *testing.T, data any) (kind string, value any) {
	t.Helper()
	text, ok := data.(string)
	var structured struct{ Type, Payload string }
	if !ok || json.Unmarshal([]byte(text), &structured) != nil || json.Unmarshal([]byte(structured.Payload), &value) != nil {
		t.Fatalf("no value: %v", data)
	}
	return structured.Type, value
}

func TestTheSDKsOfTodayRunAgents(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		h.speaker(p, "a", "x", "y")
		run := func(body map[string]any) answer {
			t.Helper()
			return h.must(200, "POST", "/api/v1/agents/a/run", body, p.withKey())
		}
		say := func(line string) map[string]any { return map[string]any{"say": line} }

		for output, kind := range map[string]string{
			`"text with \"quotes\" and é"`: "string", `12`: "integer", `-9007199254740993`: "integer", `1.5`: "number", `1e3`: "number",
			`true`: "boolean", `[1,"a"]`: "array", `{"a":null}`: "object", `null`: "null",
		} {
			a := run(map[string]any{"entrypoint_tag": "anything", "input_args": []any{}, "input_kwargs": say(`{"output":` + output + `}`), "timeout_seconds": 60, "async_execution": false, "user_id": "u", "persistent_memory": true})
			var want any
			if err := json.Unmarshal([]byte(output), &want); err != nil {
				t.Fatal(err)
			}
			if got, value := unwrap(t, a.get("data")); got != kind || !reflect.DeepEqual(value, want) {
				t.Errorf("%s: it is %s %v", output, got, value)
			}
			if a.get("success") != true || a.get("error") != nil || a.text("message") == "" || a.text("request_id") != a.Header.Get("X-Request-Id") || a.text("run_id") == "" {
				t.Errorf("%s", a.Text)
			}
			if _, err := time.Parse("2006-01-02T15:04:05.000Z", a.text("timestamp")); err != nil {
				t.Error(err)
			}
		}

		failed := run(map[string]any{"input_kwargs": say(`{"error":"the portal is closed"}`)})
		if failed.get("success") != false || failed.get("data") != nil || failed.code() != "RUN_FAILED" || failed.text("error.message") != "the portal is closed" || failed.text("message") != "the portal is closed" {
			t.Errorf("a run that failed: %s", failed.Text)
		}

		if _, got := unwrap(t, run(map[string]any{"input_args": []any{"", 1}, "input_kwargs": map[string]any{"y": 2}}).get("data")); !reflect.DeepEqual(got, map[string]any{"say": "", "x": 1.0, "y": 2.0}) {
			t.Errorf("values without names: %v", got)
		}
		for _, args := range []map[string]any{
			{"input_args": []any{"", 1, 2, 3}}, {"input_args": []any{"a"}, "input_kwargs": say("b")},
		} {
			if a := h.refused(400, "INVALID_REQUEST", "POST", "/api/v1/agents/a/run", args, p.withKey()); a.text("error.field") != "input_args" {
				t.Errorf("%s", a.Text)
			}
		}

		started := run(map[string]any{"async_execution": true, "input_kwargs": say(`{"output":7}`)})
		kind, value := unwrap(t, started.get("data"))
		id, _ := value.(map[string]any)["run_id"].(string)
		if kind != "object" || id == "" || id != started.text("run_id") {
			t.Errorf("a run that is not waited for: %s", started.Text)
		}
		for h.must(200, "GET", "/v1/runs/"+id, nil, p.withKey()).text("status") != "succeeded" {
			time.Sleep(10 * time.Millisecond)
		}

		again := func(kwargs map[string]any) answer {
			return h.send("POST", "/api/v1/agents/a/run", map[string]any{"input_kwargs": kwargs}, p.withKey(), "Idempotency-Key: once")
		}
		first := again(map[string]any{"x": 1})
		if second := again(map[string]any{"x": 1}); second.Status != 200 || second.text("run_id") != first.text("run_id") {
			t.Errorf("the same Idempotency-Key: %s, %s", first.Text, second.Text)
		}
		if other := again(map[string]any{"x": 2}); other.Status != 409 || other.code() != "IDEMPOTENCY_KEY_REUSED" {
			t.Errorf("another body under it: %s", other.Text)
		}
	})
}

func TestSDKsRunWithAnAuthProfile(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	seen := make(chan any, 10)
	h.agent(p, "a", h.runner(func(got map[string]any) string {
		seen <- got["arguments"].(map[string]any)["password"]
		return `{"output":"seen"}`
	}))
	token := h.must(200, "POST", "/api/create_agent_auth_profile", map[string]any{
		"name": "n", "agent_id": "a", "api_key": p.key, "auth_data": map[string]any{"username": "jane", "password": "stored password"}}).text("auth_token")
	for name, body := range map[string]map[string]any{
		"beside": {"auth_token": token, "input_kwargs": map[string]any{"pages": 1}},
		"within": {"input_kwargs": map[string]any{"pages": 1, "auth_token": token}},
		"both":   {"auth_token": token, "input_kwargs": map[string]any{"auth_token": token}},
		"null":   {"auth_token": token, "input_kwargs": map[string]any{"auth_token": nil}},
	} {
		if h.must(200, "POST", "/api/v1/agents/a/run", body, p.withKey()); <-seen != "stored password" {
			t.Errorf("%s: the agent was not given the profile", name)
		}
	}
	h.must(200, "POST", "/api/v1/agents/a/execute/main", map[string]any{"auth_token": token}, p.withKey())
	<-seen
	got, err := sdk(h, "a", "main", p.key).Run(t.Context(), map[string]any{"auth_token": token})
	if err != nil || got != "seen" || <-seen != "stored password" {
		t.Errorf("the SDK: %v, %v", got, err)
	}
	for field, body := range map[string]map[string]any{
		"auth_token":              {"auth_token": ""},
		"input_kwargs.auth_token": {"auth_token": token, "input_kwargs": map[string]any{"auth_token": "another"}},
	} {
		if a := h.refused(400, "INVALID_REQUEST", "POST", "/api/v1/agents/a/run", body, p.withKey()); a.text("error.field") != field {
			t.Errorf("%s", a.Text)
		}
	}
	h.refused(400, "INVALID_FIELD_TYPE", "POST", "/api/v1/agents/a/run", map[string]any{"input_kwargs": map[string]any{"auth_token": 5}}, p.withKey())
	h.refused(404, "AUTH_PROFILE_NOT_FOUND", "POST", "/api/v1/agents/a/run", map[string]any{"input_kwargs": map[string]any{"auth_token": "nonsense"}}, p.withKey())

	// An agent may have an input argument of that name, which then is one.
	h.speaker(p, "b", "auth_token")
	if _, got := unwrap(t, h.must(200, "POST", "/api/v1/agents/b/run", map[string]any{"input_kwargs": map[string]any{"auth_token": "mine"}}, p.withKey()).get("data")); !reflect.DeepEqual(got, map[string]any{"auth_token": "mine"}) {
		t.Errorf("%v", got)
	}
}

func TestFailuresOfTheSDKSurfaceHaveItsShape(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"default_tier": "pro"}})
	p := h.person("")
	h.speaker(p, "a", "x")
	h.agent(p, "needs", h.runner(func(map[string]any) string { return `{"output":1}` }))
	small := h.keyWith(p, []string{"agents:run"}, map[string]any{"limits": map[string]any{"requests_per_hour": 1}})
	elsewhere := h.keyWith(p, []string{"agents:run"}, map[string]any{"allowed_ips": []string{"203.0.113.1"}})
	reads := h.keyWith(p, []string{"profiles:read"}, nil)
	h.must(200, "GET", "/api/v1/agents/a/status", nil, "X-API-Key: "+small)

	for _, c := range []struct {
		status       int
		code         string
		method, path string
		body         any
		key          string
		field        string
	}{
		{401, "INVALID_API_KEY", "GET", "agents/a/architecture", nil, "", ""},
		{401, "INVALID_API_KEY", "POST", "agents/a/run", map[string]any{}, "ra_live_nonsense", ""},
		{403, "INSUFFICIENT_SCOPE", "POST", "agents/a/run", map[string]any{}, reads, ""},
		{403, "IP_NOT_ALLOWED", "POST", "agents/a/execute/main", map[string]any{}, elsewhere, "allowed_ips"},
		{429, "RATE_LIMITED", "POST", "agents/a/run", map[string]any{}, small, ""},
		{404, "AGENT_NOT_FOUND", "POST", "agents/none/run", map[string]any{}, p.key, ""},
		{404, "AGENT_NOT_FOUND", "GET", "agents/none/architecture", nil, p.key, ""},
		{404, "AGENT_NOT_FOUND", "GET", "agents/none/status", nil, p.key, ""},
		{400, "MISSING_REQUIRED_FIELD", "POST", "agents/needs/run", map[string]any{}, p.key, "parameters.username"},
		{400, "UNKNOWN_INPUT_ARGUMENT", "POST", "agents/a/run", map[string]any{"input_kwargs": map[string]any{"z": 1}}, p.key, "parameters"},
		{400, "INVALID_FIELD_TYPE", "POST", "agents/a/run", map[string]any{"input_kwargs": 5}, p.key, "input_kwargs"},
		{400, "INVALID_FIELD_TYPE", "POST", "agents/a/execute/main", map[string]any{"input_data": map[string]any{"input_args": "x"}}, p.key, "input_data.input_args"},
		{400, "INVALID_REQUEST", "POST", "agents/a/run", `{"input_kwargs":{},"input_kwargs":{}}`, p.key, "input_kwargs"},
		{400, "INVALID_REQUEST", "POST", "agents/a/run", `nonsense`, p.key, ""},
		{400, "INVALID_REQUEST", "GET", "agents/a/run-stream", nil, p.key, ""},
		{400, "INVALID_REQUEST", "GET", "agents/a/execute/main", nil, p.key, ""},
		{413, "BODY_TOO_LARGE", "POST", "agents/a/run", `{"input_kwargs":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`, p.key, ""},
		{404, "ROUTE_NOT_FOUND", "POST", "agents/a/start", map[string]any{}, p.key, ""},
		{405, "METHOD_NOT_ALLOWED", "GET", "agents/a/run", nil, p.key, ""},
	} {
		var headers []string
		if c.key != "" {
			headers = append(headers, "Authorization: Bearer "+c.key)
		}
		a := h.refused(c.status, c.code, c.method, "/api/v1/"+c.path, c.body, headers...)
		names := []string{}
		for name := range a.JSON {
			names = append(names, name)
		}
		slices.Sort(names)
		if want := []string{"data", "error", "message", "request_id", "success", "timestamp"}; !slices.Equal(names, want) {
			t.Errorf("%s %s has %v", c.method, c.path, names)
		}
		problem, _ := a.JSON["error"].(map[string]any)
		_, details := problem["details"]
		_, field := problem["field"]
		if a.get("success") != false || a.get("data") != nil || a.text("message") == "" || a.get("error.message") != a.get("message") || a.get("error.status") != float64(c.status) || !details || !field || a.text("error.field") != c.field {
			t.Errorf("%s %s: %s", c.method, c.path, a.Text)
		}
		if (a.Header.Get("WWW-Authenticate") != "") != (c.status == 401) || (a.Header.Get("Retry-After") != "") != (c.status == 429) {
			t.Errorf("%s %s: %v", c.method, c.path, a.Header)
		}
	}
}

func TestSDKsLearnWhoseKeyTheyHave(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		h.speaker(p, "a")
		me := h.must(200, "GET", "/auth/me", nil, p.bearer())
		organization := me.get("organizations").([]any)[0].(map[string]any)

		inURL := h.must(200, "POST", "/api/v1/tokens/validate?token="+p.key, nil)
		inHeader := h.must(200, "POST", "/api/v1/tokens/validate", nil, p.withKey())
		h.must(200, "POST", "/api/v1/tokens/validate?token="+p.key, nil, p.withKey())
		for _, a := range []answer{inURL, inHeader} {
			want := map[string]any{"valid": true, "user_email": p.email, "user_id": me.text("id"), "user_tier": "enterprise",
				"default_project_name": organization["name"], "default_project_id": organization["id"]}
			if !reflect.DeepEqual(a.get("data"), want) || a.get("success") != true {
				t.Errorf("%s, want %v", a.Text, want)
			}
		}
		for name, token := range map[string]string{"none": "", "nonsense": "nonsense", "a wrong one": p.key[:len(p.key)-1] + "0", "one from elsewhere": h.keyWith(p, []string{"run"}, map[string]any{"allowed_ips": []string{"203.0.113.1"}})} {
			a := h.must(200, "POST", "/api/v1/tokens/validate?token="+token, nil)
			if data, _ := a.get("data").(map[string]any); data["valid"] != false || data["reason"] == "" || len(data) != 2 || a.get("success") != true {
				t.Errorf("%s: %s", name, a.Text)
			}
		}
		h.refused(400, "INVALID_REQUEST", "POST", "/api/v1/tokens/validate?token="+p.key, nil, "X-API-Key: "+h.keyWith(p, []string{"run"}, nil))

		service := h.keyWith(p, []string{"agents:read"}, map[string]any{"type": "service"})
		if a := h.must(200, "POST", "/api/v1/tokens/validate?token="+service, nil); a.get("data.user_email") != nil || a.get("data.user_id") != organization["id"] {
			t.Errorf("a service key: %s", a.Text)
		}
		if a := h.must(200, "GET", "/api/v1/users/profile", nil, p.withKey()); a.text("data.email") != p.email || a.text("data.name") != "Somebody" || a.text("data.id") != me.text("id") {
			t.Errorf("%s", a.Text)
		}
		if a := h.must(200, "GET", "/api/v1/projects", nil, "X-API-Key: "+service); !reflect.DeepEqual(a.get("data.projects"), []any{map[string]any{"id": organization["id"], "name": organization["name"], "is_default": true}}) {
			t.Errorf("%s", a.Text)
		}
		if a := h.must(200, "GET", "/api/v1/limits/agents", nil, p.withKey()); a.get("data.current_agents") != 1.0 || a.get("max_agents") != a.get("data.max_agents") {
			t.Errorf("%s", a.Text)
		}
		if a := h.must(200, "GET", "/api/v1/health", nil); a.text("data.status") != "healthy" {
			t.Errorf("%s", a.Text)
		}
		if a := h.must(200, "GET", "/api/v1/agents/a/status", nil, p.withKey()); a.text("data.status") != "deployed" {
			t.Errorf("%s", a.Text)
		}
		a := h.must(200, "GET", "/api/v1/agents/a/architecture", nil, p.withKey())
		first := map[string]any{"tag": "main", "file": "", "module": "", "extractor": map[string]any{}}
		if list, _ := a.get("data.entrypoints").([]any); len(list) == 0 || !reflect.DeepEqual(list[0], first) || !reflect.DeepEqual(a.get("entrypoints"), a.get("data.entrypoints")) || a.text("data.agent_id") != "a" {
			t.Errorf("%s", a.Text)
		}
	})
}

// socket is a client of a stream.
type socket struct {
	t *testing.T
	*websocket.Conn
}

func (h *house) dial(path string, headers ...string) (*socket, *http.Response, error) {
	h.t.Helper()
	header := http.Header{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		header.Set(name, value)
	}
	conn, res, err := websocket.Dial(h.t.Context(), h.URL+path, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return nil, res, err
	}
	h.t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(16 << 20)
	return &socket{h.t, conn}, res, nil
}

// stream opens a stream and asks for a run.
func (h *house) stream(path string, body any, headers ...string) *socket {
	h.t.Helper()
	s, _, err := h.dial(path, headers...)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.Write(h.t.Context(), websocket.MessageText, text); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// frame reads a frame; at the end there is none.
func (s *socket) frame() (text string, status websocket.StatusCode) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	_, got, err := s.Read(ctx)
	if err != nil {
		var closed websocket.CloseError
		if !errors.As(err, &closed) {
			s.t.Errorf("the stream broke off: %v", err)
		}
		return "", closed.Code
	}
	return string(got), 0
}

// frames reads all there are.
func (s *socket) frames() (all []string, status websocket.StatusCode) {
	s.t.Helper()
	for {
		text, status := s.frame()
		if text == "" {
			return all, status
		}
		all = append(all, text)
	}
}

func TestStreamsForTheSDKsOfToday(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		h.speaker(p, "a", "x")
		const (
			started   = `{"type":"status","status":"stream_started"}`
			completed = `{"type":"status","status":"stream_completed"}`
		)
		say := func(lines ...string) map[string]any {
			return map[string]any{"entrypoint_tag": "main_stream", "input_args": []any{}, "input_kwargs": map[string]any{"say": strings.Join(lines, "\n")}, "timeout_seconds": 600, "async_execution": false}
		}
		data := func(kind, payload string) string {
			quoted, _ := json.Marshal(payload)
			content, _ := json.Marshal(`{"type":"` + kind + `","payload":` + string(quoted) + `}`)
			return `{"type":"data","content":` + string(content) + `}`
		}
		for _, c := range []struct {
			body map[string]any
			want []string
		}{
			{say(`{"chunk":"a"}`, `{"chunk":[1]}`, `{"output":null}`), []string{started, data("string", `"a"`), data("array", "[1]"), completed}},
			{say(`{"output":{"n":1}}`), []string{started, data("object", `{"n":1}`), completed}},
			{say(`{"chunk":1}`, `{"error":"closed"}`), []string{started, data("integer", "1"), `{"type":"error","error":"closed"}`}},
		} {
			for _, how := range []string{"url", "header", "both"} {
				path, headers := "/api/v1/agents/a/run-stream", []string{}
				if how != "header" {
					path += "?token=" + p.key
				}
				if how != "url" {
					headers = append(headers, p.withKey(), "Origin: https://elsewhere.example")
				}
				if got, status := h.stream(path, c.body, headers...).frames(); !slices.Equal(got, c.want) || status != websocket.StatusNormalClosure {
					t.Errorf("%v with the key in %s:\n got %v %v\nwant %v", c.body, how, got, status, c.want)
				}
			}
		}

		for name, c := range map[string]struct {
			frame string
			want  string
		}{
			"no JSON":          {`nonsense`, "not"},
			"nothing":          {``, "needs a JSON object"},
			"a wrong type":     {`{"input_kwargs":5}`, "input_kwargs"},
			"U+0000":           {`{"input_kwargs":{"x":"\u0000"}}`, "U+0000"},
			"unknown argument": {`{"input_kwargs":{"z":5}}`, "no such input argument"},
		} {
			s, _, err := h.dial("/api/v1/agents/a/run-stream?token=" + p.key)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write(t.Context(), websocket.MessageText, []byte(c.frame)); err != nil {
				t.Fatal(err)
			}
			got, status := s.frames()
			var frame struct{ Type, Error string }
			if len(got) != 1 || json.Unmarshal([]byte(got[0]), &frame) != nil || frame.Type != "error" || !strings.Contains(frame.Error, c.want) || status != websocket.StatusPolicyViolation {
				t.Errorf("%s: %v, %v", name, got, status)
			}
		}
		if got, status := h.stream("/api/v1/agents/a/run-stream?token="+p.key, map[string]any{"input_kwargs": map[string]any{"x": strings.Repeat("x", 1<<20)}}).frames(); len(got) > 0 || status != websocket.StatusMessageTooBig {
			t.Errorf("too large a frame: %v, %v", got, status)
		}

		h.t.Run("refused", func(t *testing.T) {
			for name, c := range map[string]struct {
				path   string
				status int
			}{
				"a bad key":                   {"/api/v1/agents/a/run-stream?token=" + p.key[:len(p.key)-1] + "0", 401},
				"no key":                      {"/api/v1/agents/a/run-stream", 401},
				"a bad key to the older wire": {"/api/v1/agents/a/execute/main?token=nonsense", 401},
				"a scope less":                {"/api/v1/agents/a/run-stream?token=" + h.keyWith(p, []string{"agents:read"}, nil), 403},
			} {
				s, res, err := h.dial(c.path)
				if err == nil {
					s.CloseNow()
				}
				if err == nil || res == nil || res.StatusCode != c.status {
					t.Errorf("%s: %v, %v", name, res, err)
				}
			}
		})
	})
}

func TestFramesOfTheOlderWire(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.speaker(p, "a", "x")
	start := func(kwargs map[string]any) map[string]any {
		return map[string]any{"id": "stream_start", "type": "status", "timestamp": "", "metadata": nil, "data": map[string]any{
			"action": "start_stream", "agent_id": "a", "stream_config": map[string]any{}, "input_data": map[string]any{"input_args": []any{}, "input_kwargs": kwargs}}}
	}
	for _, c := range []struct {
		kwargs map[string]any
		want   [][3]any // type, data, error
	}{
		{map[string]any{"x": 1}, [][3]any{{"status", map[string]any{"status": "stream_started"}, nil}, {"raw_data", map[string]any{"x": 1.0}, nil}, {"status", map[string]any{"status": "stream_completed"}, nil}}},
		{map[string]any{"say": `{"error":"closed"}`}, [][3]any{{"status", map[string]any{"status": "stream_started"}, nil}, {"error", nil, "closed"}}},
	} {
		frames, status := h.stream("/api/v1/agents/a/execute/main_stream?token="+p.key, start(c.kwargs)).frames()
		var got [][3]any
		for _, text := range frames {
			var frame map[string]any
			if err := json.Unmarshal([]byte(text), &frame); err != nil || len(frame) != 6 || frame["id"] == "" || frame["timestamp"] == "" || frame["metadata"] != nil {
				t.Errorf("%s: %v", text, err)
			}
			got = append(got, [3]any{frame["type"], frame["data"], frame["error"]})
		}
		if !reflect.DeepEqual(got, c.want) || status != websocket.StatusNormalClosure {
			t.Errorf("got %v, %v, want %v", got, status, c.want)
		}
	}
}

func TestTheLastFrameOfAStreamComesByItself(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.speaker(p, "a")
	for say, want := range map[string]string{`{"output":1}`: "stream_completed", `{"chunk":1}` + "\n" + `{"error":"closed"}`: "closed"} {
		s := h.stream("/api/v1/agents/a/run-stream?token="+p.key, map[string]any{"input_kwargs": map[string]any{"say": say}})
		s.frame()
		s.frame()
		at := time.Now()
		if last, _ := s.frame(); !strings.Contains(last, want) || time.Since(at) < 20*time.Millisecond {
			t.Errorf("%s came after %s", last, time.Since(at))
		}
	}
}

func TestAStreamIsLiveAndTheRunGoesOnWithoutIt(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	release := h.speaker(p, "a")
	body := map[string]any{"input_kwargs": map[string]any{"say": `{"chunk":"first"}` + "\n-\n" + `{"output":"the end"}`}}
	s := h.stream("/api/v1/agents/a/run-stream?token="+p.key, body)
	if _, status := s.frame(); status != 0 {
		t.Fatal(status)
	}
	if first, _ := s.frame(); !strings.Contains(first, "first") {
		t.Fatalf("%s", first)
	}
	s.CloseNow()
	running := h.must(200, "GET", "/v1/runs", nil, p.withKey()).get("data").([]any)
	id := running[0].(map[string]any)["id"].(string)
	release()
	h.eventually("the run ends", func() bool {
		return h.must(200, "GET", "/v1/runs/"+id, nil, p.withKey()).text("status") == "succeeded"
	})
}

func TestAClientThatDoesNotReadHoldsNoRunBack(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	large := strings.Repeat("x", 50_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		for range 100 {
			fmt.Fprintf(w, `{"chunk":%q}`+"\n", large)
		}
		fmt.Fprintln(w, `{"output":1}`)
	}))
	t.Cleanup(srv.Close)
	h.must(201, "POST", "/v1/agents", map[string]any{"id": "a", "name": "a", "runner": map[string]any{"type": "http", "url": srv.URL}}, p.withKey())
	s := h.stream("/api/v1/agents/a/run-stream?token="+p.key, map[string]any{})
	h.eventually("the run ends", func() bool {
		runs, _ := h.must(200, "GET", "/v1/runs", nil, p.withKey()).get("data").([]any)
		return len(runs) == 1 && runs[0].(map[string]any)["status"] == "succeeded"
	})
	if got, status := s.frames(); len(got) != 102 || status != websocket.StatusNormalClosure {
		t.Errorf("it reads %d frames later, %v", len(got), status)
	}
}

func TestAStreamIsToldThatTheServerStops(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"shutdown_timeout": "1s"}})
	p := h.person("")
	release := h.speaker(p, "a")
	defer release()
	s := h.stream("/api/v1/agents/a/run-stream?token="+p.key, map[string]any{"input_kwargs": map[string]any{"say": `{"chunk":1}` + "\n-\n"}})
	s.frame()
	s.frame()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		h.Stop(t)
	}()
	got, status := s.frames()
	if len(got) != 1 || !strings.Contains(got[0], `"type":"error"`) || !strings.Contains(got[0], "stopped") || status != websocket.StatusNormalClosure {
		t.Errorf("%v, %v", got, status)
	}
	<-stopped
}

func (h *house) eventually(what string, is func() bool) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("it never came to this: %s", what)
		}
	}
}

// A key in a URL is in no log line, whatever becomes of the request.
func TestAKeyInAURLIsNotLogged(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"log_level": "debug"}})
	p := h.person("")
	h.speaker(p, "a")
	wrong := p.key[:len(p.key)-1] + "0"
	for _, key := range []string{p.key, wrong} {
		for _, path := range []string{"tokens/validate", "agents/a/run-stream", "agents/a/execute/main", "agents/none/run-stream", "agents/a/architecture", "nothing", "health", "auth/device/poll"} {
			for _, method := range []string{"GET", "POST"} {
				h.send(method, "/api/v1/"+path+"?token="+key, nil)
				r, err := http.NewRequestWithContext(t.Context(), method, h.URL+"/api/v1/"+path+"?token="+key+"&bad=%zz;", nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
			}
		}
		if s, _, err := h.dial("/api/v1/agents/none/run-stream?token=" + key); err == nil {
			_ = s.Write(t.Context(), websocket.MessageText, []byte(`{}`))
			s.frames()
		}
	}
	h.Stop(t)
	for _, key := range []string{p.key, wrong} {
		if log := h.Log() + h.Said(); strings.Contains(log, key) || strings.Contains(log, key[8:30]) || strings.Contains(log, "token=") {
			t.Errorf("the log holds a key of a URL:\n%s", log)
		}
	}
	if !strings.Contains(h.Log(), "/api/v1/agents/{id}/run-stream") {
		t.Error("nothing was logged of these requests at all")
	}
}
