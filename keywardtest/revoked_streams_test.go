package keywardtest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/keyward/keyward/keywardtest"
)

// lending gives a key of its own and what revokes it.
func (h *house) lending(p person, settings map[string]any) (key string, id string) {
	h.t.Helper()
	body := map[string]any{"name": fmt.Sprint("lent ", time.Now().UnixNano()), "scopes": []string{"agents:run"}}
	for name, value := range settings {
		body[name] = value
	}
	made := h.must(201, "POST", "/v1/keys", body, p.withKey())
	return made.text("key"), fmt.Sprintf("%.0f", made.get("id"))
}

// What a key has opened ends with it, while its run goes on.
func TestAStreamEndsWithItsKey(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"runs.at_once": "20"}})
	p := h.person("")
	release := sync.OnceFunc(h.speaker(p, "a"))
	defer release()
	h.speaker(p, "b")
	say := map[string]any{"input_kwargs": map[string]any{"say": `{"chunk":1}` + "\n-\n" + `{"chunk":"too late"}` + "\n" + `{"output":2}`}}
	ends := map[string]func(id string){
		"revoked": func(id string) { h.must(204, "DELETE", "/v1/keys/"+id, nil, p.withKey()) },
		"disabled": func(id string) {
			h.must(200, "PATCH", "/v1/keys/"+id, map[string]any{"enabled": false}, p.withKey())
		},
		"less scopes": func(id string) {
			h.must(200, "PATCH", "/v1/keys/"+id, map[string]any{"scopes": []string{"profiles:read"}}, p.withKey())
		},
		"other agents": func(id string) {
			h.must(200, "PATCH", "/v1/keys/"+id, map[string]any{"agent_ids": []string{"b"}}, p.withKey())
		},
	}
	open := map[string]*socket{}
	for path, body := range map[string]map[string]any{
		"/api/v1/agents/a/run-stream": say, "/api/v1/agents/a/execute/main_stream": {"data": map[string]any{"input_data": say}},
	} {
		for name, end := range ends {
			key, id := h.lending(p, nil)
			s := h.stream(path+"?token="+key, body)
			s.frame()
			if first, status := s.frame(); status != 0 || !strings.Contains(first, "1") {
				t.Fatalf("%s: %s %v", name, first, status)
			}
			end(id)
			open[path+", "+name] = s
		}
	}
	began := time.Now()
	for name, s := range open {
		got, status := s.frames()
		if len(got) != 1 || !strings.Contains(got[0], `"type":"error"`) || status != websocket.StatusPolicyViolation {
			t.Errorf("%s: %v, %v", name, got, status)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	release()
	h.eventually("the runs end", func() bool {
		list := h.must(200, "GET", "/v1/runs?limit=100", nil, p.withKey())
		return strings.Count(list.Text, `"succeeded"`) == 2*len(ends)
	})
}

// Whoever was let in with a key and then takes his time does nothing with it when
// it has ended meanwhile.
func TestARevokedKeyThatWasLetInStartsNothing(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.speaker(p, "a")

	key, id := h.lending(p, nil)
	s, _, err := h.dial("/api/v1/agents/a/run-stream?token=" + key)
	if err != nil {
		t.Fatal(err)
	}
	// The same with the head of a request whose body comes later.
	var late []net.Conn
	paths := []string{"/api/v1/agents/a/run", "/v1/agents/a/runs", "/v1/agents/a/invoke", "/v1/agents/a/stream"}
	for _, path := range paths {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: keyward\r\nConnection: close\r\nX-API-Key: %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{", path, key)
		late = append(late, conn)
	}
	time.Sleep(300 * time.Millisecond) // until they have been let in, and were patient
	h.must(204, "DELETE", "/v1/keys/"+id, nil, p.withKey())

	if err := s.Write(t.Context(), websocket.MessageText, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if got, status := s.frames(); len(got) != 1 || !strings.Contains(got[0], "revoked") || status != websocket.StatusPolicyViolation {
		t.Errorf("%v, %v", got, status)
	}
	for i, conn := range late {
		_, _ = io.WriteString(conn, "}")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode != 401 || !strings.Contains(string(text), "REVOKED_API_KEY") {
			t.Errorf("%s: %d %s", paths[i], res.StatusCode, text)
		}
	}
	if list := h.must(200, "GET", "/v1/runs", nil, p.withKey()); len(list.get("data").([]any)) != 0 {
		t.Errorf("runs were started: %s", list.Text)
	}
}

// Streams that are open count together, whatever they are.
func TestAKeyHasOnlySoManyStreams(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.speaker(p, "a")
	key, _ := h.lending(p, nil)
	for i := range 64 {
		if _, _, err := h.dial("/api/v1/agents/a/run-stream?token=" + key); err != nil {
			t.Fatalf("stream %d: %v", i+1, err)
		}
	}
	if _, res, err := h.dial("/api/v1/agents/a/run-stream?token=" + key); err == nil || res == nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %v, %v", res, err)
	}
	if s, _, err := h.dial("/api/v1/agents/a/run-stream?token=" + p.key); err != nil {
		t.Errorf("another key: %v", err)
	} else {
		s.CloseNow()
	}
}

func TestWhoIsSignedInWatchesOnlySoManyLogs(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	release := sync.OnceFunc(h.speaker(p, "a"))
	defer release()
	run := h.must(200, "POST", "/run_agent", map[string]any{"agent_id": "a", "api_key": p.key, "parameters": map[string]any{"say": "-\n"}})
	b := newBrowser(t, h.URL).must(p)
	path := "/runs/" + run.text("session_id") + "/events"
	watch := func(method string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, h.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { got.Body.Close() })
		return got
	}
	for i := range 70 {
		// One who only asks what there is takes no place, and is answered.
		if got := watch("HEAD"); got.StatusCode != 200 || got.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("HEAD %d: %d", i, got.StatusCode)
		}
	}
	for i := range 64 {
		if got := watch("GET"); got.StatusCode != 200 {
			t.Fatalf("log %d: %d", i+1, got.StatusCode)
		}
	}
	if got := watch("GET"); got.StatusCode != 429 {
		t.Errorf("one more: %d", got.StatusCode)
	}
}
