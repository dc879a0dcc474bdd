// Package keywardtest runs a whole Keyward server inside a Go test: for users of
// package client, and for Keyward's own tests.
//
//	func TestOrders(t *testing.T) {
//		server := keywardtest.Start(t)
//		c := server.Client(t)
//		key, err := c.Keys.Create(t.Context(), client.CreateKey{Name: "a customer's", Scopes: []string{"run"}})
//
// It is the server that keyward serve starts, with a database of its own, in a
// temporary folder. It takes a fraction of a second to start, and is stopped and
// removed at the end of the test.
package keywardtest

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/serve"
)

// Options say how a server is started. The zero Options is an empty server on
// SQLite, in a temporary folder, on a free port of loopback. Unless they set
// default_tier it is enterprise, so that a test's API keys may be used as often
// as it likes.
type Options struct {
	// Data is the data folder; "" is a new one that goes with the test.
	Data string

	// Settings are the server's settings by their names, as they stand in its
	// environment: "signup": "closed" is KEYWARD_SIGNUP=closed.
	Settings map[string]string

	// File is the text of a config file.
	File string

	// RootKey is the text of a root key, as KEYWARD_ROOT_KEY has it; "" means
	// the data folder's.
	RootKey string
}

// Server is a server that runs in this process.
type Server struct {
	URL  string
	Data string

	said, logged *output
	cancel       context.CancelFunc
	done         chan struct{}
	err          error
}

// Start starts a server that is stopped at the end of the test. Without Options it
// is as the zero Options say.
func Start(t testing.TB, options ...Options) *Server {
	t.Helper()
	var o Options
	switch len(options) {
	case 0:
	case 1:
		o = options[0]
	default:
		t.Fatal("a server is started with one Options")
	}
	s, err := start(t, o)
	if err != nil {
		t.Fatalf("the server does not start: %v\n%s", err, s.Log())
	}
	return s
}

// StartError starts a server that must refuse to start, and returns why.
func StartError(t testing.TB, o Options) error {
	t.Helper()
	_, err := start(t, o)
	if err == nil {
		t.Fatal("the server started")
	}
	return err
}

func start(t testing.TB, o Options) (*Server, error) {
	t.Helper()
	if o.Data == "" {
		o.Data = t.TempDir()
	}
	environ := []string{"KEYWARD_ADDR=127.0.0.1:0", "KEYWARD_DATA=" + o.Data}
	if o.Settings["default_tier"] == "" && !strings.Contains(o.File, "default_tier:") { // the environment goes before the file
		environ = append(environ, "KEYWARD_DEFAULT_TIER=enterprise")
	}
	for name, value := range o.Settings {
		environ = append(environ, "KEYWARD_"+strings.ToUpper(strings.ReplaceAll(name, ".", "_"))+"="+value)
	}
	if o.File != "" {
		environ = append(environ, "KEYWARD_CONFIG=keyward.yaml")
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.Flags(flags)
	c, _, err := config.Load(flags, environ, func(string) ([]byte, error) { return []byte(o.File), nil })

	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Data: o.Data, said: &output{}, logged: &output{}, cancel: cancel, done: make(chan struct{})}
	if err != nil {
		cancel()
		return s, err
	}
	ready := make(chan string, 1)
	go func() {
		defer close(s.done)
		s.err = serve.Run(ctx, serve.Options{
			Config: c, Version: "test", Say: s.said, Log: s.logged,
			Lookup: func(name string) (string, bool) { return o.RootKey, name == "KEYWARD_ROOT_KEY" && o.RootKey != "" },
			Ready:  func(url string) { ready <- url },
		})
	}()
	select {
	case s.URL = <-ready:
		t.Cleanup(func() {
			s.Stop(t)
			if t.Failed() {
				t.Logf("the server's log:\n%s", s.Log())
			}
		})
		return s, nil
	case <-s.done:
		cancel()
		return s, s.err
	case <-time.After(time.Minute):
		cancel()
		<-s.done
		return s, context.DeadlineExceeded
	}
}

// Stop stops the server as SIGTERM would, and waits until it has ended. It may
// be called twice.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.cancel()
	<-s.done
	if s.err != nil {
		t.Errorf("the server ended with: %v", s.err)
	}
}

// Said returns what the server has told people so far.
func (s *Server) Said() string { return s.said.String() }

// Log returns what the server has recorded so far.
func (s *Server) Log() string { return s.logged.String() }

// SetupCode returns the code that makes whoever registers with it the operator.
func (s *Server) SetupCode(t testing.TB) string {
	t.Helper()
	for line := range strings.Lines(s.Said()) {
		if code, ok := strings.CutPrefix(line, "setup code: "); ok {
			return strings.TrimSpace(code)
		}
	}
	t.Fatal("the server said no setup code")
	return ""
}

// output is a buffer that is read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
