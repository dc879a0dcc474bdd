package keywardtest_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

// A run that waits when its server stops goes on where run.key is. With the
// database and the root key alone it does not: it is interrupted, and its agent
// is not called.
func TestAWaitingRunGoesOnWithItsRunKeyAlone(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		settings := map[string]string{"runs.at_once": "1", "shutdown_timeout": "1s"}
		maps.Copy(settings, o.Settings)
		o.Settings, o.Data = settings, t.TempDir()
		h := newHouse(t, o)
		p := h.person("")
		release := make(chan struct{})
		var once sync.Once
		free := func() { once.Do(func() { close(release) }) }
		defer free()
		var mu sync.Mutex
		var got []string
		url := h.runner(func(run map[string]any) string {
			id, _ := run["run_id"].(string)
			mu.Lock()
			got = append(got, id)
			first := len(got) == 1
			mu.Unlock()
			if first {
				<-release
			}
			arguments, _ := run["arguments"].(map[string]any)
			if arguments["password"] != "hunter2-hunter2" || arguments["pages"] != 7.0 {
				t.Errorf("the runner got %v", run)
			}
			return `{"output":"done"}`
		})
		called := func(id string) bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(strings.Join(got, " "), id)
		}
		h.agent(p, "portal", url)
		up := h.must(200, "POST", "/api/upsert_agent_auth_profile", map[string]any{
			"agent_id": "portal", "api_key": p.key, "name": "jane", "auth_data": map[string]any{"username": "jane", "password": "hunter2-hunter2"}})
		start := func() string {
			return h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "portal", "api_key": p.key, "auth_token": up.text("auth_token"),
				"parameters": map[string]any{"pages": 7}}).text("session_id")
		}
		is := func(id string, status string) answer {
			t.Helper()
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				run := h.must(200, "GET", "/v1/runs/"+id, nil, p.withKey())
				if run.text("status") == status {
					return run
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s, want %s", run.Text, status)
				}
			}
		}
		hangs := start()
		is(hangs, "running")
		goesOn := start()
		h.Stop(t)

		h = newHouse(t, o)
		is(hangs, "interrupted")
		is(goesOn, "succeeded")

		// Once more, and this time the file is not there.
		mu.Lock()
		got = nil
		mu.Unlock()
		is(start(), "running")
		lost := start()
		h.Stop(t)
		if text, err := os.ReadFile(filepath.Join(o.Data, "run.key")); err != nil || !strings.HasPrefix(string(text), "kwrun1 ") {
			t.Fatalf("run.key: %v", err)
		}
		if err := os.Remove(filepath.Join(o.Data, "run.key")); err != nil {
			t.Fatal(err)
		}
		h = newHouse(t, o)
		run := is(lost, "interrupted")
		if !strings.HasPrefix(run.text("error_message"), "CREDENTIALS_GONE") || called(lost) {
			t.Errorf("its agent was called: %v; %s", called(lost), run.Text)
		}
		free()
		is(start(), "succeeded")
	})
}
