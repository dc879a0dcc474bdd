package keywardtest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/keywardtest"
)

// event is one of a stream of them.
type event struct{ ID, Name, Data string }

func (e event) String() string { return e.ID + " " + e.Name + " " + e.Data }

// field returns what an event says under a name.
func (e event) field(name string) string {
	var all map[string]any
	_ = json.Unmarshal([]byte(e.Data), &all)
	text, _ := all[name].(string)
	return text
}

// watched is a stream that is being read.
type watched struct {
	t   *testing.T
	res *http.Response
	in  *bufio.Reader
}

// watch opens a stream.
func (h *house) watch(method, path string, body any, headers ...string) *watched {
	h.t.Helper()
	var text io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		text = strings.NewReader(string(b))
	}
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.URL+path, text)
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
	res, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 {
		said, _ := io.ReadAll(res.Body)
		h.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, said)
	}
	return &watched{h.t, res, bufio.NewReaderSize(res.Body, 64<<10)}
}

func (w *watched) runID() string { return w.res.Header.Get("X-Run-Id") }

// next returns the next event; at the end there is none.
func (w *watched) next() (e event, more bool) {
	w.t.Helper()
	for {
		line, err := w.in.ReadString('\n')
		if err == io.EOF && line == "" && e == (event{}) {
			return event{}, false
		}
		if err != nil {
			w.t.Errorf("the stream broke off: %v, after %.100q", err, line)
			return event{}, false
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.ID = value
		case "event":
			e.Name = value
		case "data":
			e.Data = value
		case "":
			if e != (event{}) {
				return e, true
			}
		}
	}
}

// all reads what is left.
func (w *watched) all() (all []event) {
	w.t.Helper()
	for {
		e, more := w.next()
		if !more {
			return all
		}
		all = append(all, e)
	}
}

func names(all []event) (names []string) {
	for _, e := range all {
		names = append(names, e.ID+" "+e.Name)
	}
	return names
}

func TestAStreamTellsWhatHappensAndGoesOnWhereItWas(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		release := h.speaker(p, "a", "n")
		w := h.watch("POST", "/v1/agents/a/stream", parameters("say", "{\"chunk\":\"Hello\\r\\n\"}\n{\"chunk\":{\"n\" : 1}}\n-\n{\"chunk\":[]}\n{\"output\":{\"all\":true}}"), p.withKey())
		for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"} {
			if got := w.res.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		id := w.runID()
		var got []event
		for range 3 {
			e, _ := w.next()
			got = append(got, e)
		}
		release() // what comes after waits for what came before to have arrived
		got = append(got, w.all()...)
		run := h.must(200, "GET", "/v1/runs/"+id, nil, p.withKey())
		want := []event{
			{"1", "start", `{"agent_id":"a","run_id":"` + id + `"}`}, {"2", "chunk", `"Hello\r\n"`}, {"3", "chunk", `{"n":1}`}, {"4", "chunk", `[]`}, {"5", "done", run.Text},
		}
		if len(got) == len(want) {
			var start, done map[string]any
			_ = json.Unmarshal([]byte(got[0].Data), &start)
			_ = json.Unmarshal([]byte(got[4].Data), &done)
			if start["run_id"] != id || start["agent_id"] != "a" || !reflect.DeepEqual(done, run.JSON) || got[4].field("status") != "succeeded" || run.get("output.all") != true {
				t.Errorf("%v", got)
			}
			want[0].Data, want[4].Data = got[0].Data, got[4].Data
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v\nwant %v", got, want)
		}

		events := "/v1/runs/" + id + "/events"
		for n := range 5 {
			for name, w := range map[string]*watched{
				"header": h.watch("GET", events, nil, p.withKey(), "Last-Event-ID: "+fmt.Sprint(n)),
				"query":  h.watch("GET", fmt.Sprintf("%s?last_event_id=%d", events, n), nil, p.withKey()),
				// A browser that comes again has both, and the query is the older.
				"both": h.watch("GET", events+"?last_event_id=5", nil, p.withKey(), "Last-Event-ID: "+fmt.Sprint(n)),
			} {
				if again := w.all(); !slices.Equal(again, want[n:]) || w.runID() != id {
					t.Errorf("after %d in the %s: %v", n, name, again)
				}
			}
		}
		if again := h.watch("GET", events, nil, p.withKey()).all(); !slices.Equal(again, want) {
			t.Errorf("once more: %v", again)
		}
		if a := h.must(204, "GET", events, nil, p.withKey(), "Last-Event-ID: 5"); a.Text != "" {
			t.Errorf("after the last: %s", a.Text)
		}
		for _, bad := range []string{"6", "99999999999", "-1", "1.5", "x", "0x1", strings.Repeat("9", 30)} {
			if a := h.refused(400, "INVALID_REQUEST", "GET", events, nil, p.withKey(), "Last-Event-ID: "+bad); a.text("error.details.field") != "Last-Event-ID" {
				t.Errorf("%s", a.Text)
			}
		}
		h.refused(400, "INVALID_REQUEST", "GET", events+"?last_event_id=x", nil, p.withKey())
		h.refused(400, "UNKNOWN_FIELD", "GET", events+"?after=3", nil, p.withKey())

		failed := h.watch("POST", "/v1/agents/a/stream", parameters("say", `{"error":"the portal is closed"}`), p.withKey()).all()
		if !slices.Equal(names(failed), []string{"1 start", "2 error", "3 done"}) || failed[1].field("code") != "RUN_FAILED" || failed[1].field("message") != "the portal is closed" || failed[1].field("status") != "failed" || failed[2].field("error_message") != "the portal is closed" {
			t.Errorf("a run that failed: %v", failed)
		}
	})
}

// A program that sends its POST again by itself after its connection broke off
// starts nothing: it goes on with the run that its Idempotency-Key names.
func TestAStreamThatIsAskedForAgainStartsNoSecondRun(t *testing.T) {
	eachHouse(t, func(t *testing.T, h *house) {
		p := h.person("")
		h.speaker(p, "a", "n")
		body := parameters("say", "{\"chunk\":1}\n{\"output\":2}")
		stream := func(headers ...string) []event {
			return h.watch("POST", "/v1/agents/a/stream", body, append(headers, p.withKey())...).all()
		}
		first := stream("Idempotency-Key: k")
		if again := stream("Idempotency-Key: k"); len(first) != 3 || !slices.Equal(again, first) {
			t.Errorf("%v\n%v", first, again)
		}
		if rest := stream("Idempotency-Key: k", "Last-Event-ID: 2"); !slices.Equal(rest, first[2:]) {
			t.Errorf("%v", rest)
		}
		post := func(status int, code string, headers ...string) {
			t.Helper()
			a := h.send("POST", "/v1/agents/a/stream", body, append(headers, p.withKey())...)
			if a.Status != status || a.code() != code {
				t.Errorf("%v: %d %s", headers, a.Status, a.Text)
			}
		}
		post(204, "", "Idempotency-Key: k", "Last-Event-ID: 3")
		post(400, "INVALID_REQUEST", "Idempotency-Key: k", "Last-Event-ID: 4")
		post(400, "INVALID_REQUEST", "Last-Event-ID: 2")
		post(404, "RUN_NOT_FOUND", "Idempotency-Key: another", "Last-Event-ID: 2")
		if runs := h.must(200, "GET", "/v1/runs", nil, p.withKey()).get("data").([]any); len(runs) != 1 {
			t.Errorf("there are %d runs", len(runs))
		}
	})
}

// A run's log is told as it is written, and what the run was given is cut out.
func TestAStreamHasTheLogOfAProgram(t *testing.T) {
	h := newHouse(t, keywardtest.Options{File: `
agents:
  - id: program
    name: Program
    input_arguments: [{name: password, type: string, sensitive: true}]
    runner: {type: command, command: [/bin/sh, -c, 'echo opening >&2; echo "it is hunter2-hunter2" >&2; echo "{\"chunk\":1}"; echo "{\"output\":2}"']}
`})
	p := h.person(h.SetupCode(t))
	got := h.watch("POST", "/v1/agents/program/stream", parameters("password", "hunter2-hunter2"), p.withKey()).all()
	var lines []string
	for _, e := range got {
		if e.Name == "log" {
			lines = append(lines, e.Data)
		}
	}
	if len(got) != 5 || !slices.Equal(lines, []string{`"opening"`, `"it is [redacted]"`}) || got[4].Name != "done" {
		t.Errorf("%v", got)
	}
}

// talker is an agent's web service that goes on until its client goes or release
// is called: a chunk now and then.
func (h *house) talker(p person, id string, pause time.Duration) (release func()) {
	h.t.Helper()
	gate := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-ndjson")
		for n := 0; ; n++ {
			fmt.Fprintf(w, "{\"chunk\":%d}\n", n)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(pause):
				continue
			case <-r.Context().Done():
				return
			case <-gate:
			}
			fmt.Fprintln(w, `{"output":"end"}`)
			return
		}
	}))
	h.t.Cleanup(srv.Close)
	h.must(201, "POST", "/v1/agents", map[string]any{"id": id, "name": id, "runner": map[string]any{"type": "http", "url": srv.URL}}, p.withKey())
	return func() { close(gate) }
}

// Whoever reads nothing at all of eight megabytes holds nothing back: the run ends
// when its agent does, and all of it is there when it is read in the end.
func TestASlowReaderHoldsNoRunBackAndLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		if testing.Short() && o.RootKey != "" {
			t.Skip("the race detector has seen all of it on SQLite")
		}
		h := newHouse(t, o)
		p := h.person("")
		const chunks, size = 240, 32 << 10
		text := strings.Repeat("x", size-10)
		var took time.Duration
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-ndjson")
			began := time.Now()
			for n := range chunks {
				fmt.Fprintf(w, "{\"chunk\":\"%06d%s\"}\n", n, text)
				_ = http.NewResponseController(w).Flush()
			}
			fmt.Fprintln(w, `{"output":"end"}`)
			took = time.Since(began)
		}))
		t.Cleanup(srv.Close)
		h.must(201, "POST", "/v1/agents", map[string]any{"id": "a", "name": "a", "runner": map[string]any{"type": "http", "url": srv.URL}}, p.withKey())

		conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		began := time.Now()
		fmt.Fprintf(conn, "POST /v1/agents/a/stream HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: 0\r\n\r\n", p.withKey())

		var id string
		for id == "" {
			if data := h.must(200, "GET", "/v1/runs", nil, p.withKey()).get("data").([]any); len(data) == 1 {
				id = data[0].(map[string]any)["id"].(string)
			}
		}
		h.is(p, id, "succeeded")
		t.Logf("the agent wrote for %v, and the run had ended after %v", took, time.Since(began))
		if beside := h.watch("GET", "/v1/runs/"+id+"/events", nil, p.withKey()).all(); len(beside) != chunks+2 {
			t.Errorf("who reads beside it got %d events", len(beside))
		}

		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		late := (&watched{t, res, bufio.NewReader(res.Body)}).all()
		if len(late) != chunks+2 || late[0].Name != "start" || late[chunks+1].Name != "done" {
			t.Fatalf("%d events, want %d; the last is %s %s", len(late), chunks+2, late[len(late)-1].ID, late[len(late)-1].Name)
		}
		for n, e := range late {
			if e.ID != fmt.Sprint(n+1) || n > 0 && n <= chunks && e.Data != fmt.Sprintf(`"%06d%s"`, n-1, text) {
				t.Fatalf("event %d is %s %s of %d bytes", n+1, e.ID, e.Name, len(e.Data))
			}
		}
	})
}

func TestARunGoesOnWithoutWhoeverWatchedIt(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	release := h.talker(p, "a", 10*time.Millisecond)
	w := h.watch("POST", "/v1/agents/a/stream", nil, p.withKey())
	for range 3 {
		w.next()
	}
	w.res.Body.Close()
	time.Sleep(100 * time.Millisecond) // if anything ended the run, it would be this
	if run := h.must(200, "GET", "/v1/runs/"+w.runID(), nil, p.withKey()); run.text("status") != "running" {
		t.Errorf("%s", run.Text)
	}
	rest := h.watch("GET", "/v1/runs/"+w.runID()+"/events", nil, p.withKey(), "Last-Event-ID: 3")
	release()
	got := rest.all()
	if len(got) < 2 || got[0].ID != "4" || got[len(got)-1].field("status") != "succeeded" {
		t.Errorf("%v", got)
	}
}

// Whoever may no longer watch is told so, whether much is said or nothing, and
// the run goes on.
func TestAStreamEndsWithTheKeyThatItWasAskedForWith(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Settings = withSetting(o.Settings, "runs.at_once", "8")
		h := newHouse(t, o)
		p := h.person("")
		defer h.talker(p, "busy", 20*time.Millisecond)()
		defer h.talker(p, "quiet", time.Hour)()
		key := func() (bearer, path string) {
			made := h.must(201, "POST", "/v1/keys", map[string]any{"name": fmt.Sprint("k", time.Now().UnixNano()), "type": "personal"}, p.bearer())
			return "Authorization: Bearer " + made.text("key"), fmt.Sprintf("/v1/keys/%v", int64(made.get("id").(float64)))
		}
		type ending struct {
			stream *watched
			code   string
		}
		var all []ending
		var enders []func()
		for _, agent := range []string{"busy", "quiet"} {
			revoked, path := key()
			all = append(all, ending{h.watch("POST", "/v1/agents/"+agent+"/stream", nil, revoked), "REVOKED_API_KEY"})
			enders = append(enders, func() { h.must(204, "DELETE", path, nil, p.bearer()) })
			narrowed, its := key()
			all = append(all, ending{h.watch("POST", "/v1/agents/"+agent+"/stream", nil, narrowed), "INSUFFICIENT_SCOPE"})
			enders = append(enders, func() { h.must(200, "PATCH", its, map[string]any{"scopes": []string{"keys:read"}}, p.bearer()) })
		}
		time.Sleep(50 * time.Millisecond)
		for _, end := range enders {
			end()
		}
		began := time.Now()
		for _, e := range all {
			got := e.stream.all()
			last := got[len(got)-1]
			if took := time.Since(began); last.Name != "error" || last.ID != "" || last.field("code") != e.code || last.field("message") == "" || last.field("request_id") != e.stream.res.Header.Get("X-Request-Id") || took > 4*time.Second {
				t.Errorf("after %v: %v, want %s", took, last, e.code)
			}
			if run := h.must(200, "GET", "/v1/runs/"+e.stream.runID(), nil, p.withKey()); run.text("status") != "running" {
				t.Errorf("%s", run.Text)
			}
		}
	})
}

// A server that stops tells those who watch how their runs have ended; those whose
// runs go on without it are told to come again. It waits for neither.
func TestStreamsEndWithTheServer(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"shutdown_timeout": "3s", "runs.at_once": "1"}})
	p := h.person("")
	h.talker(p, "a", 20*time.Millisecond)
	running := h.watch("POST", "/v1/agents/a/stream", nil, p.withKey())
	running.next()
	waits := h.watch("POST", "/v1/agents/a/stream", nil, p.withKey())
	h.must(202, "POST", "/v1/agents/a/runs", nil, p.withKey(), "Idempotency-Key: k")
	asksAgain := make(chan answer, 1)
	go func() {
		asksAgain <- h.send("POST", "/v1/agents/a/invoke", nil, p.withKey(), "Idempotency-Key: k")
	}()
	time.Sleep(50 * time.Millisecond)
	stopped := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		h.Stop(t)
		stopped <- time.Since(began)
	}()
	got := waits.all()
	if len(got) != 1 || got[0].Name != "error" || got[0].ID != "" || got[0].field("code") != "UNAVAILABLE" {
		t.Errorf("one that waits: %v", got)
	}
	if a := <-asksAgain; a.Status != 503 || a.Header.Get("Retry-After") == "" {
		t.Errorf("a call that waits for one: %d %s", a.Status, a.Text)
	}
	got = running.all()
	if n := len(got); n < 3 || got[n-2].field("code") != "RUN_INTERRUPTED" || got[n-1].Name != "done" || got[n-1].field("status") != "interrupted" {
		t.Errorf("one that is under way: %v", got)
	}
	if took := <-stopped; took > 5*time.Second {
		t.Errorf("the server took %v to stop", took)
	}
}

// Events of a run are the same on the server that does it and on another, and
// whoever loses one of the servers goes on with the other.
func TestAnotherServerTellsTheSameEvents(t *testing.T) {
	_, line := seal.NewRoot()
	o := keywardtest.Options{Settings: map[string]string{"database": dbtest.Postgres(t)}, RootKey: string(line)}
	one, two := newHouse(t, o), newHouse(t, o)
	p := one.person("")
	release := one.talker(p, "a", 5*time.Millisecond)
	invoked := make(chan answer, 2)
	go func() { invoked <- one.send("POST", "/v1/agents/a/invoke", nil, p.withKey()) }() // that is done by the server that it is asked of
	var id string
	for id == "" {
		if data := two.must(200, "GET", "/v1/runs?status=running", nil, p.withKey()).get("data").([]any); len(data) == 1 {
			id = data[0].(map[string]any)["id"].(string)
		}
	}
	events := "/v1/runs/" + id + "/events"
	here, there := one.watch("GET", events, nil, p.withKey()), two.watch("GET", events, nil, p.withKey())
	var seen event
	for range 20 {
		seen, _ = here.next()
	}
	// What was told here may not be on the disk yet. It is waited for there.
	on := two.watch("GET", events, nil, p.withKey(), "Last-Event-ID: "+seen.ID)
	if next, _ := on.next(); next.ID != "21" {
		t.Errorf("after %s comes %v", seen.ID, next)
	}
	release()
	all := two.watch("GET", events, nil, p.withKey()).all()
	if n := len(all); n < 22 || all[n-1].field("status") != "succeeded" {
		t.Fatalf("%v", all)
	}
	if got := there.all(); !slices.Equal(got, all) {
		t.Errorf("on the other server: %v", names(got))
	}
	if got := here.all(); !slices.Equal(got, all[20:]) {
		t.Errorf("on its own server: %v", names(got))
	}
	if got := on.all(); !slices.Equal(got, all[21:]) {
		t.Errorf("gone on with: %v", names(got))
	}

	// Cancelled through the other server.
	gone := one.watch("POST", "/v1/agents/a/stream", nil, p.withKey())
	gone.all()
	one.talker(p, "b", time.Hour)
	go func() { invoked <- one.send("POST", "/v1/agents/b/invoke", nil, p.withKey()) }()
	for id = ""; id == ""; {
		if data := two.must(200, "GET", "/v1/runs?status=running", nil, p.withKey()).get("data").([]any); len(data) == 1 {
			id = data[0].(map[string]any)["id"].(string)
		}
	}
	cancelled := two.watch("GET", "/v1/runs/"+id+"/events", nil, p.withKey())
	two.must(200, "POST", "/v1/runs/"+id+"/cancel", nil, p.withKey())
	if got := cancelled.all(); got[len(got)-1].field("status") != "cancelled" {
		t.Errorf("%v", got)
	}
	if done, stopped := <-invoked, <-invoked; done.Status != 200 || stopped.code() != "RUN_CANCELLED" {
		t.Errorf("who waited: %s, %s", done.Text, stopped.Text)
	}
}

// A gateway that packs all it can and has no word about streams keeps none back:
// the agent goes on only when what it has said has arrived.
func TestAGatewayKeepsNoStreamBack(t *testing.T) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			if dbtest.Required() {
				t.Fatal("nginx is not installed")
			}
			t.Skip("nginx is not installed")
		}
	}
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	release := h.speaker(p, "a")

	dir := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	config := fmt.Sprintf("daemon off; pid pid; error_log stderr; events {}\nhttp { access_log off; gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;\n"+
		"server { listen %s; location / { proxy_pass %s; } } }\n", address, h.URL)
	for _, temporary := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config = strings.Replace(config, "http {", "http { "+temporary+"_temp_path "+temporary+";", 1)
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	nginx := exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	var said strings.Builder
	nginx.Stderr = &said
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nginx.Process.Signal(os.Interrupt)
		_ = nginx.Wait()
		if t.Failed() {
			t.Logf("nginx: %s", said.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			break
		}
	}
	behind := &house{Server: &keywardtest.Server{URL: "http://" + address}, t: t, client: &http.Client{}} // which asks for gzip by itself
	w := behind.watch("POST", "/v1/agents/a/stream", parameters("say", "{\"chunk\":1}\n-\n{\"output\":2}"), p.withKey())
	for _, want := range []string{"start", "chunk"} {
		if e, _ := w.next(); e.Name != want {
			t.Errorf("%v, want %s", e, want)
		}
	}
	release()
	if rest := w.all(); len(rest) != 1 || rest[0].Name != "done" || !w.res.Uncompressed {
		t.Errorf("%v, packed: %v", rest, w.res.Uncompressed)
	}
}

// TestTheGuideToRunsRunsAsPrinted pastes the blocks of docs/runs.md into a shell.
func TestTheGuideToRunsRunsAsPrinted(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			if dbtest.Required() {
				t.Fatalf("%s is not installed", program)
			}
			t.Skipf("%s is not installed", program)
		}
	}
	text, err := os.ReadFile("../docs/runs.md")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	url := h.runner(func(map[string]any) string { return `{"chunk":"1.pdf"}{"chunk":"2.pdf"}{"output":["1.pdf","2.pdf"]}` })
	h.must(201, "POST", "/v1/agents", map[string]any{"id": "invoices", "name": "Invoices", "runner": map[string]any{"type": "http", "url": url},
		"input_arguments": []map[string]any{{"name": "pages", "type": "number"}}}, p.withKey())
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(text, -1) {
		script.Write(block[1])
	}
	run := exec.CommandContext(t.Context(), "bash", "-eu")
	run.Dir, run.Stdin = t.TempDir(), strings.NewReader(script.String())
	run.Env = append(os.Environ(), "server="+h.URL, "key="+p.key, "agent=invoices")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for want, times := range map[string]int{
		`"result":["1.pdf","2.pdf"]`: 1, `"execution_time":`: 1,
		`"status":"queued"`: 1, // and it is looked at, and cancelled or has ended by then
		"event: start\n":    2, "event: done\n": 3, `data: "2.pdf"`: 1,
	} {
		if n := strings.Count(string(out), want); n < times {
			t.Errorf("%s is there %d times, want %d\n%s", want, n, times, out)
		}
	}
}
