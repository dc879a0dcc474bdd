package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
)

// callShell runs script as an agent does, and returns what it answered.
func callShell(ctx context.Context, t *testing.T, script string, l agent.Limits, to sink) (answer, error) {
	t.Helper()
	r := &Runs{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	d := shell(script)
	d.Runner.Limits = l
	return r.callCommand(ctx, agent.Agent{Definition: d}, "run", []byte(`{}`), to)
}

// callService runs an agent that is a web service, and returns what it answered.
func (h *house) callService(ctx context.Context, t *testing.T, serve http.HandlerFunc, to sink) (answer, error) {
	t.Helper()
	id := db.NewID()
	h.service(t, id, serve)
	a, err := h.Agents.Find(t.Context(), h.jane, id)
	if err != nil {
		t.Fatal(err)
	}
	return h.callHTTP(ctx, a, "run", []byte(`{}`), to)
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// The program goes on when it has been heard.
func TestWhatAProgramSaysIsHeardWhileItRuns(t *testing.T) {
	for name, says := range map[string]string{"a log line": `echo hello >&2`, "a chunk": `echo '{"chunk":"hello"}'`} {
		heard := filepath.Join(t.TempDir(), "heard")
		got := &collector{seen: func() { _ = os.WriteFile(heard, nil, 0o600) }}
		a, err := callShell(soon(t), t, says+"; while ! [ -e "+heard+" ]; do sleep 0.01; done; echo '{\"output\":1}'", agent.Limits{}, got)
		if err != nil || string(a.Output) != "1" || len(got.chunks)+len(got.lines) != 1 {
			t.Errorf("%s: %+v, %v, %q, %q", name, a, err, got.chunks, got.lines)
		}
	}
}

func TestLinesOfAProgramAreChunksLogOrAnswer(t *testing.T) {
	var got collector
	a, err := callShell(soon(t), t, `
		echo plain; echo one >&2; echo '{"chunk":1}'; echo '{"chunk":{"a":2}}  '; echo '{"output":"not the last"}'; printf '{"chu'; sleep 0.1; echo 'nk":3}'
		printf two >&2; sleep 0.1; echo ' words' >&2; echo '{"chunk":'; echo '{"output":4}'; echo; printf 'no line end' >&2`, agent.Limits{}, &got)
	if chunks, lines := strings.Join(got.chunks, " "), got.joined(); err != nil || string(a.Output) != "4" || chunks != `1 {"a":2} 3` || lines != "one\ntwo words\nno line end" {
		t.Errorf("%s, %v, chunks %s, log %q", a.Output, err, chunks, lines)
	}
	if a, err := callShell(soon(t), t, `echo '{"chunk":1}'`, agent.Limits{}, &got); err == nil || err.Error() != "The agent ended without an answer, after its chunks." {
		t.Errorf("chunks alone: %s, %v", a.Output, err)
	}
}

// The service goes on when it has been heard.
func TestChunksOfAServiceAreHeardAsTheyCome(t *testing.T) {
	h := onSQLite(t)
	for name, tt := range map[string]struct{ mediaType, chunk, answer string }{
		"lines":                {"application/x-ndjson", "{\"chunk\":\"a\"}\n", "{\"output\":1}\n"},
		"no line ends":         {"application/json", `{"chunk":"a"}`, `{"output":1}`},
		"events":               {"text/event-stream", "data: {\"chunk\":\"a\"}\n\n", "data: {\"output\":1}\n\n"},
		"events with more":     {"text/event-stream; charset=utf-8", ": hi\r\nid: 1\r\nevent: chunk\r\ndata:{\"chunk\":\r\ndata: \"a\"}\r\n\r\n", "event: done\ndata: {\"output\":1}"},
		"a line that is long":  {"text/event-stream", ":" + strings.Repeat("data:", 5000) + "\ndata: {\"chunk\":\"a\"}\n", "data: {\"output\":1,\"x\":\"" + strings.Repeat("data: ", 5000) + "\"}\n"},
		"only data, at length": {"text/event-stream", "data: {\"chunk\":\"a\"}" + strings.Repeat(" ", 9000) + "\n", "data:\ndata: {\"output\":1}\n\n"},
	} {
		heard := make(chan struct{})
		var once sync.Once
		got := &collector{seen: func() { once.Do(func() { close(heard) }) }}
		a, err := h.callService(soon(t), t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", tt.mediaType)
			fmt.Fprint(w, tt.chunk)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-heard:
			case <-r.Context().Done():
			}
			fmt.Fprint(w, tt.answer)
		}, got)
		if err != nil || string(a.Output) != "1" || strings.Join(got.chunks, " ") != `"a"` {
			t.Errorf("%s: %s, %v, %q", name, a.Output, err, got.chunks)
		}
	}
}

func TestAGigabyteOfLogCostsNothing(t *testing.T) {
	for name, says := range map[string]string{
		"lines":          `yes "a line of the log"`,
		"empty lines":    `yes ''`,
		"one long line":  `cat /dev/zero`,
		"lines too long": `yes "$(head -c 100000 /dev/zero | tr '\0' x)"`,
	} {
		const size = 1_000_000_000
		var got collector
		r := newRedactor(newCutter([]jsontext.Value{quoted("hunter22")}, nil), &got)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		a, err := callShell(soon(t), t, fmt.Sprintf(`%s | head -c %d >&2; echo '{"output":1}'`, says, size), agent.Limits{}, r)
		r.close()
		runtime.ReadMemStats(&after)
		if err != nil || string(a.Output) != "1" {
			t.Errorf("%s: %s, %v", name, a.Output, err)
		}
		if most := maxLog/perLine + 1; len(got.lines) > most || !strings.HasPrefix(got.lines[len(got.lines)-1], "The log is larger than 4 MiB.") {
			t.Errorf("%s: %d lines of at most %d, the last is %.100q", name, len(got.lines), most, got.lines[len(got.lines)-1])
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 200<<20 {
			t.Errorf("%s: %d MiB were allocated on the way", name, allocated>>20)
		}
		if !testing.Short() {
			t.Logf("%s: %v", name, time.Since(began).Round(time.Millisecond))
		}
	}
}

func TestAFloodOfOutputEndsTheRun(t *testing.T) {
	var got collector
	_, err := callShell(soon(t), t, `yes '{"chunk":"x"}' | head -c 1000000000`, agent.Limits{}, &got)
	if !errors.Is(err, errTooMuch) || len(got.chunks) > maxAnswer/len(`{"chunk":"x"}`) || len(got.chunks) == 0 {
		t.Errorf("a program: %v after %d chunks", err, len(got.chunks))
	}

	var chunks []string
	slow := &collector{}
	slow.seen = func() {
		if len(slow.chunks)%10000 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	h := onSQLite(t)
	_, err = h.callService(soon(t), t, func(w http.ResponseWriter, r *http.Request) {
		for i := 0; r.Context().Err() == nil; i++ {
			if _, err := fmt.Fprintf(w, "{\"chunk\":%d}\n", i); err != nil {
				return
			}
		}
	}, slow)
	for i := range slow.chunks {
		chunks = append(chunks, fmt.Sprint(i))
	}
	if !errors.Is(err, errTooLarge) || len(slow.chunks) < 100_000 || !slices.Equal(slow.chunks, chunks) {
		t.Errorf("a service: %v after %d chunks", err, len(slow.chunks))
	}
}

func TestWhatDripsForEverEndsAtTheTimeout(t *testing.T) {
	h := onSQLite(t)
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprintln(w, `{"chunk":"."}`)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}
	late := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		fmt.Fprintln(w, `{"chunk":"late"}`)
		fmt.Fprintln(w, `{"output":1}`)
	}
	for name, call := range map[string]func(ctx context.Context, to sink) (answer, error){
		"a service":              func(ctx context.Context, to sink) (answer, error) { return h.callService(ctx, t, drip, to) },
		"a service that is late": func(ctx context.Context, to sink) (answer, error) { return h.callService(ctx, t, late, to) },
		"a program": func(ctx context.Context, to sink) (answer, error) {
			return callShell(ctx, t, `while :; do echo '{"chunk":"."}'; echo . >&2; sleep 0.01; done`, agent.Limits{}, to)
		},
		"a program that is late": func(ctx context.Context, to sink) (answer, error) {
			return callShell(ctx, t, `trap '' TERM; sleep 3; echo '{"chunk":"late"}'; echo '{"output":1}'`, agent.Limits{}, to)
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		got := &collector{}
		a, err := call(ctx, got)
		if err == nil || ctx.Err() == nil || a.Output != nil {
			t.Errorf("%s: %s, %v", name, a.Output, err)
		}
		cancel()
		said := len(got.chunks) + len(got.lines)
		if late := strings.Contains(name, "late"); (said == 0) != late {
			t.Errorf("%s: %d chunks and lines", name, said)
		}
	}
}

func TestAllThatAProgramForkedIsDeadAfter(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := callShell(ctx, t, strings.ReplaceAll(`
		for i in 1 2 3 4 5 6 7 8 9 10; do
			(trap '' TERM INT HUP; sh -c 'echo $$ >DIR/$0; sleep 1000' $i & echo $! >DIR/outer-$i; wait) &
		done; wait`, "DIR", dir), agent.Limits{}, discard{})
	if err == nil {
		t.Error("it ended by itself")
	}
	files, readErr := os.ReadDir(dir)
	if readErr != nil || len(files) != 20 {
		t.Fatalf("%d files, %v", len(files), readErr)
	}
	for _, file := range files {
		eventually(t, "process "+file.Name()+" ends", func() bool { return gone(t, filepath.Join(dir, file.Name())) })
	}
}

func TestAProgramIsHeldToItsLimits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has them")
	}
	for name, tt := range map[string]struct {
		script string
		limits agent.Limits
		want   string
	}{
		"CPU":      {`while :; do :; done`, agent.Limits{CPUSeconds: 1}, `The agent's program was ended: it used up its 1 seconds of CPU time (limits.cpu_seconds of its runner).`},
		"files":    {`exec head -c 3000000 /dev/zero >file`, agent.Limits{FileMB: 1}, `The agent's program was ended: it wrote a file of more than 1 MiB (limits.file_mb of its runner).`},
		"a child":  {`head -c 3000000 /dev/zero >file; echo "{\"output\":$?}"`, agent.Limits{FileMB: 1}, `153`}, // 128 + SIGXFSZ
		"memory":   {`(x=$(head -c 100000000 /dev/zero | tr '\0' a); : ) || echo '{"output":"none"}'`, agent.Limits{MemoryMB: 32}, `"none"`},
		"defaults": {`echo "{\"output\":[$(ulimit -d),$(ulimit -t),$(ulimit -f),$(ulimit -c)]}"`, agent.Limits{}, `[4194304,120,2097152,0]`},
	} {
		a, err := callShell(soon(t), t, tt.script, tt.limits, discard{})
		got := string(a.Output)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestHealthAsksTheRunner(t *testing.T) {
	h := onSQLite(t)
	var asked *http.Request
	answers := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			asked = r
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	h.define(t, agent.Definition{ID: "closed", Runner: agent.Runner{Type: agent.HTTP, URL: closed.URL}})
	h.service(t, "well", answers(200))
	h.service(t, "post-alone", answers(405))
	h.service(t, "broken", answers(503))
	h.service(t, "moved", answers(307))
	h.service(t, "stream", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprintln(w, "for ever")
		}
	})
	check := func(id, want string) {
		t.Helper()
		health, err := h.Health(soon(t), h.jane, id)
		if err != nil || health.Reason != want || health.CheckedAt.IsZero() || health.Latency <= 0 {
			t.Errorf("%s: %+v, %v, want %q", id, health, err, want)
		}
	}
	check("closed", "The agent could not be reached: nothing listens at its address.")
	check("broken", "The agent answered with HTTP status 503.")
	check("moved", "The agent answered with a redirect (HTTP status 307), which is not followed. Its runner must be defined with the address that it redirects to.")
	check("post-alone", "")
	check("stream", "")
	check("well", "")
	if asked.Method != http.MethodGet || asked.URL.Path != "/run" || !strings.HasPrefix(asked.Header.Get("webhook-id"), "health_") || asked.Header.Get("webhook-signature") == "" {
		t.Errorf("%s %s with %v", asked.Method, asked.URL, asked.Header)
	}

	h.declare(t, shell("exit 1"))
	check("public/c", "")
	h.declare(t, command("/no/such/program"))
	check("public/c", "The agent's program is not there, or can't be executed.")
	if err := h.Agents.Declare(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	check("public/c", agent.ErrNotDeclared.Message)
	if _, err := h.Health(t.Context(), h.jane, "no-such-agent"); !errors.Is(err, agent.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestAServiceThatHangsIsNotWell(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds")
	}
	h := onSQLite(t)
	h.service(t, "hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	health, err := h.Health(soon(t), h.jane, "hangs")
	if err != nil || health.Reason != "The agent did not answer within 5 seconds." || health.Latency < healthTimeout {
		t.Errorf("%+v, %v", health, err)
	}
}
