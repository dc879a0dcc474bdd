package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/serve"
)

// server is a Keyward server in this process. A nil one is stopped.
type server struct {
	url    string
	cancel context.CancelFunc
	done   chan error
}

// startServer starts the server at an address of this machine, with nothing
// from the environment: the story is the same on every machine.
func (s *story) startServer(ctx context.Context, address string) error {
	flags := pflag.NewFlagSet("demo", pflag.ContinueOnError)
	config.Flags(flags)
	if err := flags.Parse([]string{"--addr", address, "--data", s.data(), "--log-level", "warn"}); err != nil {
		return err
	}
	settings, _, err := config.Load(flags, nil, os.ReadFile)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}

	// Not ended by ctx: what stops the story must not stop the server before it.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := &server{cancel: cancel, done: make(chan error, 1)}
	ready := make(chan string, 1)
	go func() {
		defer log.Close()
		started.done <- serve.Run(running, serve.Options{
			Config: settings, Version: s.version, Say: io.Discard, Log: log,
			Lookup: func(string) (string, bool) { return "", false },
			Ready:  func(url string) { ready <- url },
		})
	}()
	select {
	case started.url = <-ready:
		s.server = started
		return nil
	case err := <-started.done:
		cancel()
		return errors.Join(errors.New("the server did not start"), err)
	}
}

// stop lets the server finish and waits for its end.
func (s *server) stop() error {
	if s == nil {
		return nil
	}
	s.cancel()
	if err := <-s.done; err != nil {
		return fmt.Errorf("the server did not stop well: %w", err)
	}
	return nil
}
