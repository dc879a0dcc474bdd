package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/serve"
)

const patience = 30 * time.Second // for whatever should take milliseconds

func build(binary string) error {
	out, err := exec.Command("go", "build", "-o", binary, "github.com/keyward/keyward/cmd/keyward").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build keyward: %w\n%s", err, out)
	}
	return nil
}

// server is a running keyward.
type server struct {
	process *exec.Cmd
	address string
	said    bytes.Buffer // standard output and standard error
}

// start starts a server on a data folder and waits until it listens.
func start(program []string, folder string) (*server, error) {
	s := &server{}
	args := append(program[1:], "--addr", "127.0.0.1:0", "--data", folder, "--quotas-auth-profiles", "unlimited", "--default-tier", "enterprise",
		"--log-level", "warn")
	s.process = exec.Command(program[0], args...)
	s.process.Env = []string{} // none of this process's own settings
	s.process.Stderr = &s.said
	out, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, found, ok := strings.Cut(lines.Text(), "listening on http://"); ok {
			s.address = found
			go io.Copy(io.Discard, out)
			return s, nil
		}
	}
	err = s.process.Wait()
	return nil, fmt.Errorf("keyward did not start: %w\n%s", errors.Join(err, lines.Err()), &s.said)
}

func (b *bench) start(folder string) (*server, error) {
	return start([]string{b.binary, "serve"}, folder)
}

// stop lets the server finish, and returns what went wrong with it.
func (s *server) stop() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.wait()
}

func (s *server) wait() error {
	if err := s.process.Wait(); err != nil {
		return fmt.Errorf("keyward: %w\n%s", err, &s.said)
	}
	return nil
}

// kill ends the server as a power cut would.
func (s *server) kill() error {
	if err := s.process.Process.Kill(); err != nil {
		return err
	}
	_ = s.process.Wait() // "signal: killed"
	return nil
}

// awaitReady returns when /readyz answers 200 at address.
func awaitReady(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := c.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v", patience)
		case <-time.After(time.Millisecond):
		}
	}
}

// profiled is the first argument by which this program is the server itself,
// with a CPU profile taken from its start to its end.
const profiled = "serve-with-cpu-profile"

func serveProfiled(file string, args []string) error {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, _, err := config.Load(flags, os.Environ(), os.ReadFile)
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err = serve.Run(ctx, serve.Options{Config: c, Version: "bench", Say: os.Stdout, Log: os.Stderr, Lookup: os.LookupEnv})
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}

// profile takes CPU profiles of the server with one client and with many.
func (b *bench) profile(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.cpu, 0o755); err != nil {
		return err
	}
	for _, clients := range []int{1, manyClients} {
		file := filepath.Join(b.cpu, fmt.Sprintf("create-%d.pprof", clients))
		speed, err := b.overHTTP(ctx, []string{self, profiled, file}, b.newFolder(), clients)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %.0f profiles a second, with the profiler on\n", file, speed)
	}
	return nil
}
