package keywardtest_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

// is waits until a run has a status.
func (h *house) is(p person, runID, status string) answer {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		run := h.must(200, "GET", "/v1/runs/"+runID, nil, p.withKey())
		if run.text("status") == status {
			return run
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s, want %s", run.Text, status)
		}
	}
}

func parameters(pairs ...any) map[string]any {
	all := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1]
	}
	return map[string]any{"parameters": all}
}

func TestInvokeWaitsForTheResult(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		h.speaker(p, "a", "query", "n")
		invoke := func(body any) answer {
			return h.must(200, "POST", "/v1/agents/a/invoke", body, p.withKey(), "X-Request-Id: mine")
		}

		got := invoke(parameters("n", 12))
		id := got.text("metadata.run_id")
		seconds, timed := got.get("metadata.execution_time").(float64)
		if got.get("result.n") != 12.0 || got.text("metadata.request_id") != "mine" || !timed || seconds < 0 || seconds > 60 || id == "" || got.Header.Get("X-Run-Id") != id {
			t.Errorf("%s %v", got.Text, got.Header)
		}
		if run := h.must(200, "GET", "/v1/runs/"+id, nil, p.withKey()); run.text("status") != "succeeded" || run.get("output.n") != 12.0 {
			t.Errorf("the run: %s", run.Text)
		}
		for _, body := range []any{map[string]any{"query": "hello"}, parameters("query", "hello"), map[string]any{"query": "hello", "parameters": nil}} {
			if got := invoke(body); got.get("result.query") != "hello" {
				t.Errorf("%v: %s", body, got.Text)
			}
		}
		for _, body := range []any{nil, map[string]any{}, map[string]any{"query": nil}} {
			if got := invoke(body); len(got.get("result").(map[string]any)) != 0 {
				t.Errorf("%v: %s", body, got.Text)
			}
		}
		if got := invoke(parameters("say", `{"output":null}`)); !strings.HasPrefix(got.Text, `{"metadata":`) && !strings.Contains(got.Text, `"result":null`) {
			t.Errorf("%s", got.Text)
		}

		for field, body := range map[string]any{
			"query":        map[string]any{"query": "a", "parameters": map[string]any{"query": "a"}},
			"auth_token":   map[string]any{"auth_token": ""},
			"prompt":       map[string]any{"prompt": "a"},
			"parameters":   parameters("nonsense", 1),
			"parameters.n": nil,
		} {
			if body == nil {
				continue
			}
			for _, call := range []string{"invoke", "runs", "stream"} {
				if a := h.send("POST", "/v1/agents/a/"+call, body, p.withKey()); a.Status != 400 || a.text("error.details.field") != field {
					t.Errorf("%s %v: %d %s", call, body, a.Status, a.Text)
				}
			}
		}
		for _, call := range []string{"invoke", "runs", "stream"} {
			h.refused(404, "AGENT_NOT_FOUND", "POST", "/v1/agents/none/"+call, nil, p.withKey())
			h.refused(404, "AUTH_PROFILE_NOT_FOUND", "POST", "/v1/agents/a/"+call, map[string]any{"auth_token": "nonsense"}, p.withKey())
			h.refused(401, "INVALID_API_KEY", "POST", "/v1/agents/a/"+call, nil)
		}
	})
}

// Whoever waits for a run that does not succeed learns why, and which it was.
func TestInvokeTellsHowARunHasFailed(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"shutdown_timeout": "1s"}})
	p := h.person("")
	t.Cleanup(h.speaker(p, "a"))
	h.must(200, "PATCH", "/v1/agents/a", map[string]any{"timeout_seconds": 1}, p.withKey())
	t.Cleanup(h.speaker(p, "patient"))

	check := func(a answer, status int, code, runStatus, message string) {
		t.Helper()
		id := a.text("error.details.run_id")
		if a.Status != status || a.code() != code || a.text("error.details.status") != runStatus || !strings.Contains(a.text("error.message"), message) || id == "" || a.Header.Get("X-Run-Id") != id {
			t.Errorf("%d %s, want %d %s %s", a.Status, a.Text, status, code, message)
		}
	}
	running := func(during func(id string)) answer {
		t.Helper()
		answered := make(chan answer, 1)
		go func() { answered <- h.send("POST", "/v1/agents/patient/invoke", parameters("say", "-"), p.withKey()) }()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if list := h.must(200, "GET", "/v1/runs?status=running&agent_id=patient", nil, p.withKey()).get("data").([]any); len(list) == 1 {
				during(list[0].(map[string]any)["id"].(string))
				break
			}
		}
		return <-answered
	}
	check(h.send("POST", "/v1/agents/a/invoke", parameters("say", `{"error":"the portal is closed"}`), p.withKey()), 422, "RUN_FAILED", "failed", "the portal is closed")
	check(h.send("POST", "/v1/agents/a/invoke", parameters("say", "-"), p.withKey()), 504, "RUN_TIMED_OUT", "timed_out", "")
	check(running(func(id string) {
		if run := h.must(200, "POST", "/v1/runs/"+id+"/cancel", nil, p.withKey()); run.text("status") != "cancelled" || run.text("id") != id {
			t.Errorf("cancel: %s", run.Text)
		}
	}), 409, "RUN_CANCELLED", "cancelled", "")
	check(running(func(string) { go h.Stop(t) }), 409, "RUN_INTERRUPTED", "interrupted", "")
}

func TestRunsAreStartedAndCancelled(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Settings = withSetting(o.Settings, "runs.at_once", "1")
		h := newHouse(t, o)
		p, other := h.person(""), h.person("")
		t.Cleanup(h.speaker(p, "a"))
		start := func() string {
			a := h.must(202, "POST", "/v1/agents/a/runs", parameters("say", "-"), p.withKey())
			id := a.text("id")
			if a.text("status") != "queued" || a.text("agent_id") != "a" || a.Header.Get("X-Run-Id") != id || a.Header.Get("Location") != "/v1/runs/"+id {
				t.Errorf("%s %v", a.Text, a.Header)
			}
			h.must(200, "GET", a.Header.Get("Location"), nil, p.withKey())
			return id
		}
		first := start()
		h.is(p, first, "running")
		second := start()
		for _, call := range []struct{ method, path string }{{"GET", ""}, {"POST", "/cancel"}, {"GET", "/events"}} {
			h.refused(404, "RUN_NOT_FOUND", call.method, "/v1/runs/"+first+call.path, nil, other.withKey())
		}
		if run := h.must(200, "POST", "/v1/runs/"+second+"/cancel", nil, p.withKey()); run.text("status") != "cancelled" {
			t.Errorf("one that waits: %s", run.Text)
		}
		h.refused(409, "RUN_ENDED", "POST", "/v1/runs/"+second+"/cancel", nil, p.withKey())
		if run := h.must(200, "POST", "/v1/runs/"+first+"/cancel", nil, p.withKey()); run.text("status") != "cancelled" {
			t.Errorf("one that is under way: %s", run.Text)
		}
		h.refused(409, "RUN_ENDED", "POST", "/v1/runs/"+first+"/cancel", nil, p.withKey())
		h.refused(404, "RUN_NOT_FOUND", "POST", "/v1/runs/nonsense/cancel", nil, p.withKey())
	})
}

func withSetting(settings map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	maps.Copy(all, settings)
	return all
}

// startCalls are all calls that start a run, each with what it is sent for
// the same one, and where its answer has the run's id.
func startCalls(p person, agentID string, n any) []func(h *house, headers ...string) (answer, string) {
	call := func(id, path string, body map[string]any, headers ...string) func(h *house, more ...string) (answer, string) {
		return func(h *house, more ...string) (answer, string) {
			a := h.send("POST", path, body, append(headers, more...)...)
			if got := a.Header.Get("X-Run-Id"); id == "" {
				return a, got
			}
			return a, a.text(id)
		}
	}
	v1, sdk := "/v1/agents/"+agentID+"/", "/api/v1/agents/"+agentID+"/"
	body := map[string]any{"parameters": map[string]any{"n": n}}
	inBody := func(async bool) map[string]any {
		return map[string]any{"agent_id": agentID, "api_key": p.key, "parameters": map[string]any{"n": n}, "run_async": async}
	}
	kwargs := map[string]any{"input_kwargs": map[string]any{"n": n}}
	return []func(h *house, headers ...string) (answer, string){
		call("metadata.run_id", v1+"invoke", body, p.withKey()),
		call("id", v1+"runs", body, p.withKey()),
		call("", v1+"stream", body, p.withKey()),
		call("session_id", "/run_agent", inBody(true)),
		call("session_id", "/run_agent", inBody(false)),
		call("session_id", "/api/run_agent", inBody(false)),
		call("run_id", sdk+"run", kwargs, p.withKey()),
		call("run_id", sdk+"execute/main", map[string]any{"input_data": kwargs}, p.withKey()),
	}
}

// The same request under the same key is one run, whichever call asks for it and
// however it is written; another request is refused by each of them.
func TestAnIdempotencyKeyGivesOneRunThroughAllCalls(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p, other := h.person(""), h.person("")
		var called atomic.Int64
		url := h.runner(func(map[string]any) string { called.Add(1); return `{"output":"done"}` })
		for _, who := range []person{p, other} {
			h.must(201, "POST", "/v1/agents", map[string]any{"id": "a", "name": "a", "runner": map[string]any{"type": "http", "url": url},
				"input_arguments": []map[string]any{{"name": "n", "type": "json"}}}, who.withKey())
		}
		const key = "Idempotency-Key: one, and the same"
		runs := map[string]bool{}
		for i, call := range startCalls(p, "a", 1) {
			a, id := call(h, key)
			if runs[id] = true; a.Status > 202 || id == "" {
				t.Errorf("call %d: %d %s", i, a.Status, a.Text)
			}
		}
		for i, call := range startCalls(p, "a", 2) {
			if a, _ := call(h, key); a.Status != 409 || a.code() != "IDEMPOTENCY_KEY_REUSED" {
				t.Errorf("call %d with another body: %d %s", i, a.Status, a.Text)
			}
		}
		for i, call := range startCalls(p, "a", 1) {
			for _, bad := range []string{"", strings.Repeat("x", 256), "é"} {
				if a, _ := call(h, "Idempotency-Key: "+bad); a.Status != 400 || a.text("error.details.field") != "Idempotency-Key" {
					t.Errorf("call %d with the key %.9q: %d %s", i, bad, a.Status, a.Text)
				}
			}
		}
		if len(runs) != 1 || called.Load() != 1 {
			t.Errorf("the runs %v, and the agent was called %d times", runs, called.Load())
		}
		// Numbers are what was written, not what is left of them in a float.
		_, large := startCalls(p, "a", uint64(9007199254740993))[0](h, "Idempotency-Key: large")
		if a, _ := startCalls(p, "a", uint64(9007199254740992))[0](h, "Idempotency-Key: large"); a.Status != 409 || large == "" {
			t.Errorf("another number: %d %s", a.Status, a.Text)
		}
		// White space and order are nothing.
		h.must(200, "POST", "/v1/agents/a/invoke", `{ "parameters": {"n": {"a":1, "b":2}} }`, p.withKey(), "Idempotency-Key: order")
		h.must(200, "POST", "/v1/agents/a/invoke", `{"parameters":{"n":{"b":2,"a":1}}}`, p.withKey(), "Idempotency-Key: order")
		// Another organization has keys of its own.
		if _, id := startCalls(other, "a", 1)[0](h, key); id == "" || runs[id] {
			t.Errorf("another organization got the run %q", id)
		}
		if _, again := startCalls(p, "a", 1)[0](h, key); !runs[again] {
			t.Errorf("%q", again)
		}
	})
}

func TestTheSameRequestAtTheSameMomentIsOneRun(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		var called atomic.Int64
		url := h.runner(func(map[string]any) string {
			called.Add(1)
			time.Sleep(20 * time.Millisecond)
			return `{"output":"done"}`
		})
		h.must(201, "POST", "/v1/agents", map[string]any{"id": "a", "name": "a", "runner": map[string]any{"type": "http", "url": url},
			"input_arguments": []map[string]any{{"name": "n", "type": "json"}}}, p.withKey())
		calls := slices.Concat(startCalls(p, "a", 1), startCalls(p, "a", 1), startCalls(p, "a", 1))
		ids := make([]string, len(calls))
		var wg sync.WaitGroup
		for i, call := range calls {
			wg.Go(func() {
				a, id := call(h, "Idempotency-Key: at once")
				if ids[i] = id; a.Status > 202 {
					t.Errorf("call %d: %d %s", i, a.Status, a.Text)
				}
			})
		}
		wg.Wait()
		slices.Sort(ids)
		if ids = slices.Compact(ids); len(ids) != 1 || called.Load() != 1 {
			t.Errorf("the runs %v, and the agent was called %d times", ids, called.Load())
		}
	})
}

// The fingerprint has the auth token in it: the same parameters with another
// customer's login are another request.
func TestAnotherAuthTokenIsAnotherRequest(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.agent(p, "a", h.runner(func(map[string]any) string { return `{"output":1}` }))
	token := func(name string) string {
		return h.must(200, "POST", "/api/create_agent_auth_profile", map[string]any{"name": name, "agent_id": "a", "api_key": p.key, "auth_data": map[string]any{"username": name}}).text("auth_token")
	}
	jane, joe := token("jane"), token("joe")
	invoke := func(token string) answer {
		return h.send("POST", "/v1/agents/a/invoke", map[string]any{"auth_token": token}, p.withKey(), "Idempotency-Key: k")
	}
	if first, again := invoke(jane), invoke(jane); first.Status != 200 || again.text("metadata.run_id") != first.text("metadata.run_id") {
		t.Errorf("%s %s", first.Text, again.Text)
	}
	if a := invoke(joe); a.Status != 409 || a.code() != "IDEMPOTENCY_KEY_REUSED" {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	if run := h.must(200, "GET", "/v1/runs", nil, p.withKey()).get("data").([]any); len(run) != 1 || run[0].(map[string]any)["auth_profile"] != "jane" {
		t.Errorf("%v", run)
	}
}

// A key for one agent starts no run of another, watches none, and cancels none.
func TestAKeyForOneAgentCallsNoOther(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	for _, id := range []string{"mine", "other"} {
		h.speaker(p, id)
	}
	run := h.must(200, "POST", "/v1/agents/other/invoke", nil, p.withKey()).text("metadata.run_id")
	bearer := "Authorization: Bearer " + h.keyWith(p, []string{"agents:read", "agents:run"}, map[string]any{"agent_ids": []string{"mine"}})
	for _, id := range []string{"other", "nothing"} {
		for _, call := range []string{"invoke", "runs", "stream"} {
			h.refused(403, "AGENT_NOT_ALLOWED", "POST", "/v1/agents/"+id+"/"+call, nil, bearer)
		}
	}
	h.refused(404, "RUN_NOT_FOUND", "GET", "/v1/runs/"+run+"/events", nil, bearer)
	h.refused(404, "RUN_NOT_FOUND", "POST", "/v1/runs/"+run+"/cancel", nil, bearer)
	mine := h.must(200, "POST", "/v1/agents/mine/invoke", nil, bearer).text("metadata.run_id")
	h.must(200, "GET", "/v1/runs/"+mine+"/events", nil, bearer)
}
