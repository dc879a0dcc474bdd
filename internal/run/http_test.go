package run

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
)

// hijacked is a service that writes text on the bare connection and closes it.
func hijacked(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or closing would reset the connection
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(conn, text)
		conn.Close()
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/secret-place")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func TestWhateverAServiceDoesTheRunEndsClearly(t *testing.T) {
	services := map[string]struct {
		serve http.HandlerFunc
		want  string // the output, or the error
	}{
		"chunks first": {says("{\"chunk\":\"a\"}\n{\"chunk\":2}\n{\"output\":3}\n"), `3`},
		"an odd media type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `{"output":1}`)
		}, `1`},
		"more than was asked": {says(`{"output":1,"version":2,"error":null,"session":null}`), `1`},
		"an empty error":      {says(`{"output":1,"error":""}`), `1`},
		"created":             {status(201, `{"output":1}`), `1`},

		"an error":            {says(`{"error":" The portal is down. "}`), `The portal is down.`},
		"error and output":    {says(`{"error":"no","output":1}`), `no`},
		"an unsaid error":     {says(`{"error":" "}`), `The agent failed and did not say why.`},
		"an error object":     {says(`{"error":{"message":"x"}}`), `The agent failed, and its "error" is not a text.`},
		"a long error":        {says(`{"error":"` + strings.Repeat("ü", 5000) + `"}`), strings.Repeat("ü", 1999) + "…"},
		"neither":             {says(`{"result":1}`), `The agent's answer has neither "output" nor "error".`},
		"chunks alone":        {says("{\"chunk\":1}\n{\"chunk\":2}"), `The agent ended without an answer, after its chunks.`},
		"two answers":         {says("{\"output\":1}\n{\"output\":2}"), `The agent gave more than one answer.`},
		"nothing":             {says(""), `The agent gave no answer.`},
		"no content":          {status(204, ""), `The agent gave no answer.`},
		"a list":              {says(`[1]`), `The agent's answer must be an object: {"output": …} or {"error": "…"}.`},
		"null":                {says(`null`), `The agent's answer has neither "output" nor "error".`},
		"garbage":             {says("{\"output\":1} <html>"), `The agent's answer is not valid JSON (at byte 13).`},
		"a name twice":        {says(`{"output":1,"output":2}`), `The agent's answer is not valid JSON (at byte 12).`},
		"no UTF-8":            {says("{\"output\":\"\xff\"}"), `The agent's answer is not valid JSON (at byte 11).`},
		"half an answer":      {says(`{"output":"`), `The agent's answer is not valid JSON (at byte 11).`},
		"500":                 {status(500, "<html>secret page</html>"), `The agent answered with HTTP status 500.`},
		"503 and why":         {status(503, `{"error":"try later"}`), `The agent answered with HTTP status 503: try later`},
		"503 and an output":   {status(503, `{"output":"not me"}`), `The agent answered with HTTP status 503.`},
		"404":                 {status(404, `{"error":{"code":"X"}}`), `The agent answered with HTTP status 404.`},
		"a redirect":          {status(302, ""), `The agent answered with a redirect (HTTP status 302), which is not followed. Its runner must be defined with the address that it redirects to.`},
		"a redirect of POST":  {status(307, ""), `The agent answered with a redirect (HTTP status 307), which is not followed. Its runner must be defined with the address that it redirects to.`},
		"closes at once":      {hijacked(""), `The agent closed the connection before it had answered.`},
		"breaks off":          {hijacked("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"output\""), `The agent broke off in the middle of its answer.`},
		"speaks another way":  {hijacked("+OK POP3 server ready\r\n"), `The agent could not be reached, or broke off before it had answered.`},
		"an endless header":   {hijacked("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20)), `The agent could not be reached, or broke off before it had answered.`},
		"deeply nested":       {says(`{"output":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`), `The agent's answer is not valid JSON (at byte 10009).`},
		"an output too large": {says(`{"output":"` + strings.Repeat("a", maxOutput) + `"}`), `The agent's output is larger than 4 MiB.`},
		"an endless answer": {func(w http.ResponseWriter, r *http.Request) {
			line := []byte(strings.Repeat(`{"chunk":"a"}`+"\n", 1000))
			for r.Context().Err() == nil {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, `The agent's answer is larger than 8 MiB.`},
		"a bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			for range 16 {
				_, _ = z.Write(make([]byte, 1<<20))
			}
		}, `The agent's answer is compressed, which was not asked for (Content-Encoding).`},
	}
	h := onSQLite(t)
	for name, s := range services {
		id := strings.ReplaceAll(name, " ", "-")
		h.service(t, id, s.serve)
		run := h.run(t, id, "")
		if got := string(run.Output) + run.ErrorMessage; got != s.want || (run.Status == Succeeded) != (run.Output != nil) || (run.Status == Failed) == (run.Output != nil) {
			t.Errorf("%s: %s, %.200q, want %.200q", name, run.Status, got, s.want)
		}
	}
}

func TestASlowServiceIsTimedOut(t *testing.T) {
	h := onSQLite(t)
	dribble := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for tick := time.NewTicker(10 * time.Millisecond); r.Context().Err() == nil; <-tick.C {
			fmt.Fprint(w, " ")
			_ = http.NewResponseController(w).Flush()
		}
	}
	silent := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does it notice that its caller is gone
		<-r.Context().Done()
	}
	const want = "The agent did not end within 1 seconds, which is its timeout."
	second := int64(1)
	for id, serve := range map[string]http.HandlerFunc{"dribble": dribble, "silent": silent} {
		h.service(t, id, serve)
		if _, err := h.Agents.Change(t.Context(), h.jane, id, agent.Change{TimeoutSeconds: &second}); err != nil {
			t.Fatal(err)
		}
		if run := h.run(t, id, ""); run.Status != TimedOut || run.ErrorMessage != want || run.Output != nil {
			t.Errorf("%s: %+v", id, run)
		}
	}
}

func TestAServiceThatCannotBeReachedSaysWhyAndNotWhere(t *testing.T) {
	h := onSQLite(t)
	closed := httptest.NewServer(nil)
	closed.Close()
	untrusted := httptest.NewTLSServer(says(`{"output":1}`))
	t.Cleanup(untrusted.Close)
	plain := httptest.NewServer(says(`{"output":1}`))
	t.Cleanup(plain.Close)
	for id, tt := range map[string]struct{ url, want string }{
		"closed":    {closed.URL, "The agent could not be reached: nothing listens at its address."},
		"untrusted": {untrusted.URL, "The agent could not be reached: its TLS certificate is not valid for its address."},
		"no-tls":    {strings.Replace(plain.URL, "http:", "https:", 1), "The agent could not be reached: its address does not speak TLS."},
		"unknown":   {"https://no-such-host.invalid", "The agent could not be reached: the name of its host was not found."},
	} {
		h.define(t, agent.Definition{ID: id, Runner: agent.Runner{Type: agent.HTTP, URL: tt.url + "/?token=in-the-url"}})
		if run := h.run(t, id, ""); run.Status != Failed || run.ErrorMessage != tt.want {
			t.Errorf("%s: %s %q, want %q", id, run.Status, run.ErrorMessage, tt.want)
		}
	}
	// The database can be made to say what a definition may not.
	h.define(t, agent.Definition{ID: "inside", Runner: agent.Runner{Type: agent.HTTP, URL: "https://example.com"}})
	change(t, h.DB, `UPDATE agents SET runner = '{"type":"http","url":"https://10.0.0.1/"}' WHERE id = 'inside'`)
	if run := h.run(t, "inside", ""); run.Status != Failed || !strings.Contains(run.ErrorMessage, "runners.allow") || strings.Contains(run.ErrorMessage, "10.0") {
		t.Errorf("an address inside: %s %q", run.Status, run.ErrorMessage)
	}
	if strings.Contains(h.log.String(), "in-the-url") {
		t.Error("the log has the query of a runner's address")
	}
}

func TestOnlyTheOperatorsAgentsAreCalledAsTheOperators(t *testing.T) {
	h := onSQLite(t)
	var asOperator []bool
	client := h.Client
	h.Client = func(operator bool) *http.Client {
		asOperator = append(asOperator, operator)
		return client(operator)
	}
	h.service(t, "a", says(`{"output":1}`))
	a, err := h.Agents.Find(t.Context(), h.jane, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Agents.Create(t.Context(), h.op, agent.Definition{ID: "b", Visibility: agent.Public, Runner: a.Runner}); err != nil {
		t.Fatal(err)
	}
	h.run(t, "a", "")
	h.run(t, "public/b", "")
	if want := []bool{false, true}; !slices.Equal(asOperator, want) {
		t.Errorf("called as the operator's: %v, want %v", asOperator, want)
	}
}

// A service may answer before it has read all of a large request.
func TestAServiceNeedNotReadWhatItIsSent(t *testing.T) {
	h := onSQLite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = bufio.NewReader(conn).ReadString('\n')
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"output\":1}")
		// The rest of the request stays unread until the caller leaves.
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, 1))
		<-t.Context().Done()
		conn.Close()
	}()
	h.profiles["t"] = &Profile{Name: "p", KeepSession: true, Session: jsontext.Value(`{"x":"` + strings.Repeat("a", 4<<20) + `"}`)}
	h.define(t, agent.Definition{ID: "a", TimeoutSeconds: 120, Runner: agent.Runner{Type: agent.HTTP, URL: "http://" + l.Addr().String()}})
	if run := h.run(t, "a", "t"); run.Status != Succeeded {
		t.Errorf("%s %q", run.Status, run.ErrorMessage)
	}
}

func FuzzAnAnswerIsReadOrRefused(f *testing.F) {
	f.Add([]byte(`{"output":1,"session":{"a":"b"}}`))
	f.Add([]byte("{\"chunk\":1}\n{\"error\":\"x\"}"))
	f.Add([]byte("log\n{\"output\":null}\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for name, parse := range map[string]func([]byte) (answer, error){
			"body": func(text []byte) (answer, error) { return readBody(bytes.NewReader(text), discard{}) },
			"event": func(text []byte) (answer, error) {
				return readBody(&eventData{from: bufio.NewReader(bytes.NewReader(text))}, discard{})
			},
			"output": func(text []byte) (a answer, err error) {
				out := &stdout{room: maxAnswer, full: func() {}, to: discard{}}
				_, _ = out.Write(text)
				out.end()
				m, err := parseLine(out.last)
				if err == nil {
					a, err = m.answer()
				}
				return a, err
			},
		} {
			a, err := parse(text)
			if err == nil && (!a.Output.IsValid() || a.Session != nil && !a.Session.IsValid()) {
				t.Errorf("%s: %q was read as %+v", name, text, a)
			}
			if err != nil && (err.Error() == "" || a.Output != nil) {
				t.Errorf("%s: refused without a word: %q", name, text)
			}
		}
	})
}
