package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A server that is killed leaves runs in each state. After its next start those
// that had ended are as they were, those under way are interrupted, or done again
// if their agent says that this does no harm, and those that waited go on.
func TestRunsInEachStateSurviveAKill(t *testing.T) {
	var mu sync.Mutex
	calls := map[string]int{}
	release := make(chan struct{})
	runner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, rest, _ := strings.Cut(string(body), `"run_id":"`)
		id, _, _ := strings.Cut(rest, `"`)
		mu.Lock()
		calls[id]++
		mu.Unlock()
		if !strings.Contains(string(body), `"agent_id":"quick"`) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		fmt.Fprint(w, `{"output":1}`)
	}))
	defer runner.Close()
	called := func(id string) int { mu.Lock(); defer mu.Unlock(); return calls[id] }

	args := []string{"--addr", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--runs-at-once", "2", "--runners-allow", runner.Listener.Addr().String()}
	p := startProcess(t, nil, args...)
	person := map[string]any{"name": "Jane", "email": "jane@example.com", "password": "long enough"}
	p.must(201, "POST", "/auth/register", "", person)
	delete(person, "name")
	token := p.must(200, "POST", "/auth/token", "", person)["accessToken"].(string)
	key := p.must(201, "POST", "/v1/keys", token, map[string]any{"name": "k"})["key"].(string)
	for id, idempotent := range map[string]bool{"quick": false, "once": false, "again": true} {
		p.must(201, "POST", "/v1/agents", key, map[string]any{
			"id": id, "name": id, "idempotent": idempotent, "runner": map[string]any{"type": "http", "url": runner.URL}})
	}
	start := func(agent string) string {
		return p.must(200, "POST", "/run_agent", "", map[string]any{"agent_id": agent, "api_key": key})["session_id"].(string)
	}
	is := func(id string, status ...string) map[string]any {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			run := p.must(200, "GET", "/v1/runs/"+id, key, nil)
			if slices.Contains(status, run["status"].(string)) {
				return run
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v, want %v", run, status)
			}
		}
	}
	ended := start("quick")
	is(ended, "succeeded")
	once, again := start("once"), start("again")
	is(once, "running")
	is(again, "running")
	waiting := start("quick")
	caller := make(chan struct{})
	go func() {
		defer close(caller)
		r, err := p.http.Post(p.url+"/run_agent", "application/json", strings.NewReader(`{"agent_id":"once","run_async":false,"api_key":"`+key+`"}`))
		if err == nil {
			r.Body.Close()
			t.Errorf("a caller of a server that was killed is answered %s", r.Status)
		}
	}()
	var waited string // the run whose caller waits
	for waited == "" {
		for _, run := range p.must(200, "GET", "/v1/runs?status=queued", key, nil)["data"].([]any) {
			if id := run.(map[string]any)["id"].(string); id != waiting {
				waited = id
			}
		}
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	<-caller
	close(release)

	p = startProcess(t, nil, args...)
	is(ended, "succeeded")
	is(once, "interrupted")
	is(waited, "interrupted")
	want := map[string]int{ended: 1, once: 1, waited: 0, waiting: 1, again: 2}
	for _, id := range []string{waiting, again} {
		is(id, "succeeded")
	}
	for id, want := range want {
		if n := called(id); n != want {
			t.Errorf("the agent of run %s was called %d times, want %d", id, n, want)
		}
	}
	p.stop()
}
