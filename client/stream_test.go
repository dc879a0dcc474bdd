package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

const events = `id: 1
event: start
data: {"run_id":"r","agent_id":"a"}

: alive

id: 2
event: log
data: "a line"

id: 3
event: chunk
data: {"two":
data: 2}

id: 4
event: done
data: {"id":"r","status":"succeeded"}

`

// part returns the events with these numbers.
func part(from, to int) string {
	all := strings.SplitAfter(strings.Replace(events, ": alive\n\n", "", 1), "\n\n")
	return strings.Join(all[from-1:to], "")
}

func stream(body io.Reader) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}, Body: io.NopCloser(body)}
}

// told runs through a stream and returns what it told, in short, and its end.
func told(c *client.Client, ctx context.Context) (said string, err error) {
	for e, err := range c.Runs.Stream(ctx, "a", client.RunInput{}) {
		if err != nil {
			return said, err
		}
		said += fmt.Sprintf("%d%s ", e.ID, e.Kind)
	}
	return said, nil
}

const allOfThem = "1start 2log 3chunk 4done "

func TestAStreamThatBreaksGoesOnAfterTheLastEvent(t *testing.T) {
	for what, test := range map[string]struct {
		answers []func() (*http.Response, error)
		lasts   string
		end     error
		said    string
	}{
		"whole":                  {[]func() (*http.Response, error){yes(events)}, "", nil, allOfThem},
		"with CR and LF":         {[]func() (*http.Response, error){yes(strings.ReplaceAll(events, "\n", "\r\n"))}, "", nil, allOfThem},
		"goes on after it":       {[]func() (*http.Response, error){yes(events + part(1, 1))}, "", nil, allOfThem},
		"breaks":                 {[]func() (*http.Response, error){yes(part(1, 2)), yes(part(3, 4))}, ",2", nil, allOfThem},
		"breaks within an event": {[]func() (*http.Response, error){yes(part(1, 2) + "id: 3\nevent: chunk\ndata: {\"two\":"), yes(part(3, 4))}, ",2", nil, allOfThem},
		"breaks at once":         {[]func() (*http.Response, error){yes(""), no(errReset), yes(events)}, ",,", nil, allOfThem},
		"is told twice":          {[]func() (*http.Response, error){yes(part(1, 3)), yes(part(2, 4))}, ",3", nil, allOfThem},
		"its server stops": {[]func() (*http.Response, error){yes(part(1, 1) + "event: error\ndata: {\"code\":\"UNAVAILABLE\",\"message\":\"x\",\"request_id\":\"q\"}\n\n"), says(refuse(503, "UNAVAILABLE", "Retry-After: 1")), yes(part(2, 4))},
			",1,1", nil, allOfThem},
		"breaks at each event":     {[]func() (*http.Response, error){yes(part(1, 1)), yes(""), yes(""), yes(part(2, 2)), yes(""), yes(""), yes(part(3, 3)), yes(part(4, 4))}, ",1,1,1,2,2,2,3", nil, allOfThem},
		"there is nothing more":    {[]func() (*http.Response, error){yes(part(1, 3)), says(&http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody})}, ",3", nil, "1start 2log 3chunk "},
		"breaks too often":         {[]func() (*http.Response, error){yes(part(1, 1)), yes(""), yes(""), yes("")}, ",1,1,1", client.ErrUnreachable, "1start "},
		"its key is revoked":       {[]func() (*http.Response, error){yes(part(1, 1) + "event: error\ndata: {\"code\":\"REVOKED_API_KEY\",\"message\":\"x\",\"request_id\":\"q\"}\n\n")}, "", client.ErrRevokedAPIKey, "1start "},
		"is refused":               {[]func() (*http.Response, error){says(refuse(404, "AGENT_NOT_FOUND"))}, "", client.ErrAgentNotFound, ""},
		"is no stream":             {[]func() (*http.Response, error){says(answer(200, `{"id":1}`))}, "", client.ErrNotKeyward, ""},
		"has what is no JSON":      {[]func() (*http.Response, error){yes("id: 1\nevent: start\ndata: <html>\n\n")}, "", client.ErrNotKeyward, ""},
		"ends with what is not us": {[]func() (*http.Response, error){yes("event: error\ndata: {}\n\n")}, "", client.ErrNotKeyward, ""},
		"has too long a line":      {[]func() (*http.Response, error){yes("data: \"" + strings.Repeat("a", 33<<20) + "\"\n\n")}, "", client.ErrNotKeyward, ""},
		"has too many lines":       {[]func() (*http.Response, error){yes(strings.Repeat("data: \""+strings.Repeat("a", 1<<20)+"\"\n", 33) + "\n")}, "", client.ErrNotKeyward, ""},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, s := through(func(n int, _ *http.Request) (*http.Response, error) {
					if n > len(test.answers) {
						return nil, errors.New("it was sent too often")
					}
					return test.answers[n-1]()
				})
				said, err := told(connect(t, "https://keys.example.com", o), t.Context())
				if said != test.said || !errors.Is(err, test.end) || (err == nil) != (test.end == nil) {
					t.Errorf("told %q, and ended in %v", said, err)
				}
				var lasts []string
				for _, r := range s.r {
					lasts = append(lasts, r.Header.Get("Last-Event-ID"))
					if r.Header.Get("Idempotency-Key") == "" || r.Header.Get("Idempotency-Key") != s.r[0].Header.Get("Idempotency-Key") || r.Header.Get("Accept") != "text/event-stream" {
						t.Errorf("the headers %v", r.Header)
					}
				}
				if got := strings.Join(lasts, ","); got != test.lasts {
					t.Errorf("went on after %s", got)
				}
			})
		})
	}
}

func yes(text string) func() (*http.Response, error) {
	return func() (*http.Response, error) { return stream(strings.NewReader(text)), nil }
}

func no(err error) func() (*http.Response, error) {
	return func() (*http.Response, error) { return nil, err }
}

func says(a *http.Response) func() (*http.Response, error) {
	return func() (*http.Response, error) { return a, nil }
}

// quiet is a body that says nothing more, until its request ends.
type quiet struct {
	text io.Reader
	r    *http.Request
}

func (q *quiet) Read(p []byte) (int, error) {
	if n, err := q.text.Read(p); err == nil {
		return n, nil
	}
	<-q.r.Context().Done()
	return 0, q.r.Context().Err()
}

func TestAStreamThatSaysNothingIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := through(func(n int, r *http.Request) (*http.Response, error) {
			switch n {
			case 1:
				return stream(&quiet{strings.NewReader(part(1, 2)), r}), nil
			case 2:
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return stream(strings.NewReader(part(3, 4))), nil
		})
		began := time.Now()
		said, err := told(connect(t, "https://keys.example.com", o), t.Context())
		if said != allOfThem || err != nil || s.n() != 3 {
			t.Errorf("told %q with %d requests: %v", said, s.n(), err)
		}
		if took := time.Since(began); took < 90*time.Second || took > 92*time.Second {
			t.Errorf("after %v", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		o, s := through(func(_ int, r *http.Request) (*http.Response, error) {
			return stream(&quiet{strings.NewReader(part(1, 2)), r}), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		said, err := told(connect(t, "https://keys.example.com", o), ctx)
		if said != "1start 2log " || !errors.Is(err, context.DeadlineExceeded) || s.n() != 1 {
			t.Errorf("told %q with %d requests: %v", said, s.n(), err)
		}
	})
}

// slow is a body that gives a sign of life now and then.
type slow struct {
	parts []string
	r     *http.Request
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(15 * time.Second):
	case <-s.r.Context().Done():
		return 0, s.r.Context().Err()
	}
	n := copy(p, s.parts[0])
	s.parts = s.parts[1:]
	return n, nil
}

func TestAStreamWithSignsOfLifeIsNotBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := []string{part(1, 1)}
		for range 20 {
			parts = append(parts, ": alive\n\n")
		}
		o, s := through(func(_ int, r *http.Request) (*http.Response, error) {
			return stream(&slow{append(parts, part(2, 4)), r}), nil
		})
		if said, err := told(connect(t, "https://keys.example.com", o), t.Context()); said != allOfThem || err != nil || s.n() != 1 {
			t.Errorf("told %q with %d requests: %v", said, s.n(), err)
		}
	})
}

func TestAStreamOutlivesItsAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const expired = `{"code":"EXPIRED_ACCESS_TOKEN","message":"x","request_id":"q"}`
		o, s := through(func(n int, r *http.Request) (*http.Response, error) {
			switch n {
			case 1:
				return stream(strings.NewReader(part(1, 2) + "event: error\ndata: " + expired + "\n\n")), nil
			case 2:
				return refuse(401, "EXPIRED_ACCESS_TOKEN"), nil
			case 3:
				return answer(200, `{"accessToken":"new","refreshToken":"new"}`), nil
			}
			if r.Header.Get("Authorization") != "Bearer new" {
				return refuse(401, "EXPIRED_ACCESS_TOKEN"), nil
			}
			return stream(strings.NewReader(part(3, 4))), nil
		})
		c := connect(t, "https://keys.example.com", o, client.WithSignIn(client.Tokens{AccessToken: "old", RefreshToken: "old"}, nil))
		if said, err := told(c, t.Context()); said != allOfThem || err != nil || s.n() != 4 {
			t.Errorf("told %q with %d requests: %v", said, s.n(), err)
		}
	})
}

// breaking is a network on which a stream breaks after so many bytes, every time a
// few more.
type breaking struct{ bytes int64 }

func (b *breaking) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		b.bytes += 150
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(a.Body, b.bytes), &failing{errReset}), a.Body}
	}
	return a, err
}

func TestARealStreamIsToldOnceHoweverOftenItBreaks(t *testing.T) {
	s := keywardtest.Start(t)
	var ran atomic.Int64
	agent := answers(t, func(w http.ResponseWriter, _ *http.Request) {
		ran.Add(1)
		for i := range 5 {
			fmt.Fprintf(w, "{\"chunk\": \"part %d%s\"}\n", i, strings.Repeat(".", 40))
		}
		fmt.Fprintln(w, `{"output": "the whole"}`)
	})
	c := s.Client(t)
	if _, err := c.Agents.Create(t.Context(), client.AgentDefinition{ID: "a", Name: "A", Runner: client.Runner{Type: "http", URL: agent.URL}}); err != nil {
		t.Fatal(err)
	}
	network := &breaking{}
	broken, err := c.With(client.WithHTTPClient(&http.Client{Transport: network}))
	if err != nil {
		t.Fatal(err)
	}
	const all = "1start 2chunk 3chunk 4chunk 5chunk 6chunk 7done "
	if said, err := told(broken, t.Context()); said != all || err != nil {
		t.Errorf("told %q: %v", said, err)
	}
	if ran.Load() != 1 || network.bytes < 450 {
		t.Errorf("the agent ran %d times, and the last connection had %d bytes", ran.Load(), network.bytes)
	}
}

func TestAnEventHasWhatItIsAbout(t *testing.T) {
	o, s := through(func(int, *http.Request) (*http.Response, error) { return stream(strings.NewReader(events)), nil })
	c := connect(t, "https://keys.example.com", o)
	run, err := c.Runs.Wait(t.Context(), "r")
	if err != nil || run.ID != "r" || run.Status != "succeeded" {
		t.Errorf("%+v, %v", run, err)
	}
	var texts []string
	for e, err := range c.Runs.Events(t.Context(), "r", 1) {
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, e.Text())
		if e.Kind == client.EventChunk {
			break
		}
		if _, err := e.Run(); err == nil {
			t.Errorf("%s is a run", e.Kind)
		}
		if _, err := e.Failure(); err == nil {
			t.Errorf("%s is a failure", e.Kind)
		}
	}
	if got := strings.Join(texts, "|"); got != "a line|{\"two\":\n2}" {
		t.Errorf("the texts are %q", got)
	}
	if got := s.r[1].Header.Get("Last-Event-ID"); got != "1" || s.r[0].Header.Get("Last-Event-ID") != "" {
		t.Errorf("read on after %q", got)
	}
	failed := client.Event{Data: []byte(`{"code":"RUN_FAILED","message":"No.","status":"failed"}`)}
	if f, err := failed.Failure(); err != nil || f.Code != string(client.ErrRunFailed) {
		t.Errorf("%+v, %v", f, err)
	}
}
