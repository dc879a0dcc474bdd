package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// broadcast is an API with one stream.
type broadcast struct {
	*API
	*httptest.Server
	messages chan Message // what is told; closed: that was all
	gone     atomic.Bool  // the key
	stopping atomic.Bool
	opened   atomic.Int64
	closed   atomic.Int64
	refuses  error
}

func newBroadcast(t *testing.T) *broadcast {
	t.Helper()
	b := &broadcast{messages: make(chan Message, 10)}
	b.API = New(Config{
		Log: slog.New(slog.DiscardHandler), Stopping: b.stopping.Load,
		Authenticate: func(_ context.Context, c Credentials, _ Client) (access.Caller, Headers, error) {
			if b.gone.Load() {
				return access.Caller{}, nil, fault.New(fault.Unauthenticated, "REVOKED_API_KEY", "It is gone.")
			}
			if again := b.opened.Load() > b.closed.Load(); c.Again != again && c.Again {
				t.Errorf("it was asked again for who has asked nothing")
			}
			// Whoever it is: the credential is the organization, and the key.
			organization, key, _ := strings.Cut(string(c.Secret.Bytes()), ".")
			return access.Caller{OrganizationID: organization, AccountID: key}, nil, nil
		},
	})
	b.pace = pace{check: 20 * time.Millisecond, silence: 50 * time.Millisecond, write: 100 * time.Millisecond}
	RegisterStream(b.API, Operation{
		Method: "GET", Path: "/x", Name: "x", Summary: "x", Tag: "x", Security: KeyOrToken, Action: access.ReadRuns, Headers: map[string]string{"X-Run-Id": "x"},
	}, func(context.Context, access.Caller, *struct{}) (*Source, Headers, error) {
		if b.refuses != nil {
			return nil, Headers{"X-Run-Id", "7"}, b.refuses
		}
		b.opened.Add(1)
		return &Source{
			Next: func(ctx context.Context) (Message, error) {
				select {
				case <-ctx.Done():
					return Message{}, ctx.Err()
				case m, more := <-b.messages:
					if !more {
						return m, io.EOF
					}
					if err, is := m.Data.(error); is {
						return m, err
					}
					return m, nil
				}
			},
			Still: func(_ context.Context, who access.Caller, stopping bool) error {
				if stopping {
					return errStopping
				}
				return nil
			},
			Close: func() { b.closed.Add(1) },
		}, Headers{"X-Run-Id", "7"}, nil
	})
	b.Server = httptest.NewServer(b.API)
	t.Cleanup(b.Server.Close)
	return b
}

func (b *broadcast) open(t *testing.T, method, who string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.URL+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+who)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func told(t *testing.T, res *http.Response) string {
	t.Helper()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("after %q: %v", all, err)
	}
	return string(all)
}

// settle waits until all streams have been let go.
func (b *broadcast) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); b.closed.Load() < b.opened.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d streams are not closed", b.opened.Load()-b.closed.Load(), b.opened.Load())
		}
	}
}

func TestAStreamIsWrittenAsBrowsersReadIt(t *testing.T) {
	b := newBroadcast(t)
	b.messages <- Message{ID: 1, Event: "start", Data: map[string]any{"b": 1, "a": "x\r\ny\u2028z"}}
	b.messages <- Message{Event: "log", Data: "line"}
	close(b.messages)
	res := b.open(t, "GET", "o.k")
	want := "retry: 2000\n\nid: 1\nevent: start\ndata: {\"a\":\"x\\r\\ny\u2028z\",\"b\":1}\n\nevent: log\ndata: \"line\"\n\n"
	if got := told(t, res); got != want || res.StatusCode != 200 || res.Header.Get("X-Run-Id") != "7" {
		t.Errorf("%d %v\n%q\nwant\n%q", res.StatusCode, res.Header, got, want)
	}
	if head := b.open(t, "HEAD", "o.k"); head.StatusCode != 200 || head.Header.Get("Content-Type") != eventStream {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	b.refuses = fault.ErrUnavailable
	if res := b.open(t, "GET", "o.k"); res.StatusCode != 503 || res.Header.Get("X-Run-Id") != "7" || res.Header.Get("Content-Type") != mediaType {
		t.Errorf("one that is refused: %d %v", res.StatusCode, res.Header)
	}
	b.settle(t)
}

// What is between hears something, so that it does not hang up; and whoever is
// told is asked for again all the while.
func TestASilentStreamIsHeardAndChecked(t *testing.T) {
	b := newBroadcast(t)
	res := b.open(t, "GET", "o.k")
	in := bufio.NewReader(res.Body)
	for beats := 0; beats < 3; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == ":\n" {
			beats++
		}
	}
	b.gone.Store(true)
	rest, err := io.ReadAll(in)
	want := "event: error\ndata: {\"code\":\"REVOKED_API_KEY\",\"message\":\"It is gone.\",\"request_id\":\"" + res.Header.Get("X-Request-Id") + "\"}\n\n"
	if got := strings.TrimLeft(string(rest), ":\n"); err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	b.settle(t)
}

func TestAStreamThatFailsSaysSo(t *testing.T) {
	b := newBroadcast(t)
	b.messages <- Message{ID: 1, Event: "start", Data: 1}
	b.messages <- Message{Data: errors.New("boom: hunter2")}
	got := told(t, b.open(t, "GET", "o.k"))
	if !strings.Contains(got, "event: error\ndata: {\"code\":\"INTERNAL_ERROR\"") || strings.Contains(got, "hunter2") {
		t.Errorf("%q", got)
	}
	b.settle(t)
}

// opener sends a request by hand, for one who does not read the answer.
func (b *broadcast) opener(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	fmt.Fprint(conn, "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer o.k\r\n\r\n")
	return conn
}

const large = 32 << 20 // of which no connection takes all by itself

func TestWhoDoesNotReadAStreamIsLetGo(t *testing.T) {
	b := newBroadcast(t)
	b.opener(t)
	b.messages <- Message{ID: 1, Event: "chunk", Data: strings.Repeat("x", large)}
	b.settleOne(t)
}

// Why a stream ends is not said within a message, of which it would be a part, and
// the reader never gets the end of that.
func TestAStreamThatEndsWithinAMessageEndsAtOnce(t *testing.T) {
	b := newBroadcast(t)
	b.pace.write = time.Minute
	conn := b.opener(t)
	b.messages <- Message{ID: 1, Event: "chunk", Data: strings.Repeat("x", large)}
	if _, err := io.CopyN(io.Discard, conn, 256<<10); err != nil {
		t.Fatal(err)
	}
	b.gone.Store(true)
	rest, _ := io.ReadAll(conn)
	if n := len(rest); n >= large || strings.Contains(string(rest), "event: error") || strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") {
		t.Errorf("%d bytes: …%q", n, rest[max(0, n-200):])
	}
	b.settleOne(t)
}

func (b *broadcast) settleOne(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); b.opened.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no stream was opened")
		}
	}
	b.settle(t)
}

func TestStreamsAreBounded(t *testing.T) {
	b := newBroadcast(t)
	b.pace = usualPace
	var open []*http.Response
	for range maxStreamsOfOne {
		open = append(open, b.open(t, "GET", "o.k0"))
	}
	refused := func(who string) {
		t.Helper()
		res := b.open(t, "GET", who)
		if got := told(t, res); res.StatusCode != 429 || !strings.Contains(got, "TOO_MANY_STREAMS") || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", who, res.StatusCode, got)
		}
	}
	refused("o.k0")
	for n := maxStreamsOfOne; n < maxStreamsOfOneCompany; n++ {
		open = append(open, b.open(t, "GET", fmt.Sprint("o.k", 1+n%(maxStreamsOfOneCompany/maxStreamsOfOne))))
	}
	refused("o.k9")
	if res := b.open(t, "GET", "other.k"); res.StatusCode != 200 {
		t.Errorf("another organization: %d", res.StatusCode)
	} else {
		open = append(open, res)
	}
	for _, res := range open {
		res.Body.Close()
	}
	b.settle(t)
	places := func() int {
		b.streams.mu.Lock()
		defer b.streams.mu.Unlock()
		return len(b.streams.of) + b.streams.all
	}
	for deadline := time.Now().Add(10 * time.Second); places() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("places are left: %v", b.streams.of)
		}
	}
	b.stopping.Store(true)
	if res := b.open(t, "GET", "o.k0"); res.StatusCode != 503 {
		t.Errorf("when the server stops: %d", res.StatusCode)
	}
}
