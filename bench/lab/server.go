package lab

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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Patience is for whatever should take milliseconds.
const Patience = 30 * time.Second

// Build builds keyward as it is shipped.
func Build(binary string) error {
	out, err := exec.Command("go", "build", "-o", binary, "github.com/keyward/keyward/cmd/keyward").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build keyward: %w\n%s", err, out)
	}
	return nil
}

// Server is a running server.
type Server struct {
	Process *exec.Cmd
	Address string
	said    bytes.Buffer // standard output and standard error
}

// Start starts a program that serves, and waits until it says where it listens.
func Start(program ...string) (*Server, error) {
	s := &Server{Process: exec.Command(program[0], program[1:]...)}
	s.Process.Env = []string{} // none of this process's own settings
	s.Process.Stderr = &s.said
	out, err := s.Process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Process.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, found, ok := strings.Cut(lines.Text(), "listening on http://"); ok {
			s.Address = found
			go io.Copy(io.Discard, out)
			return s, nil
		}
	}
	err = s.Process.Wait()
	return nil, fmt.Errorf("%s did not start: %w\n%s", program[0], errors.Join(err, lines.Err()), &s.said)
}

// Stop lets the server finish, and returns what went wrong with it.
func (s *Server) Stop() error {
	if err := s.Process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := s.Process.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", s.Process.Path, err, &s.said)
	}
	return nil
}

// Kill ends the server as a power cut would.
func (s *Server) Kill() error {
	if err := s.Process.Process.Kill(); err != nil {
		return err
	}
	_ = s.Process.Wait() // "signal: killed"
	return nil
}

// AwaitReady returns when /readyz answers 200 at address.
func AwaitReady(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
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
			return fmt.Errorf("not ready after %v", Patience)
		case <-time.After(time.Millisecond):
		}
	}
}

// SettledMemory returns the resident memory in MB once it has stayed the same
// for two seconds: background work runs every second, and what it needs counts.
func (s *Server) SettledMemory() (megabytes float64, err error) {
	const within = 0.2
	last, since := -1.0, time.Now()
	for began := time.Now(); time.Since(began) < Patience; time.Sleep(100 * time.Millisecond) {
		now, err := s.ResidentMemory()
		if err != nil {
			return 0, err
		}
		if now > last+within || now < last-within {
			last, since = now, time.Now()
		} else if time.Since(since) > 2*time.Second {
			break
		}
	}
	return s.ResidentMemory()
}

// ResidentMemory returns the resident memory in MB.
func (s *Server) ResidentMemory() (megabytes float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("/proc has no VmRSS")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib * 1024 / 1e6, err
}

// ProcessorTime returns how long the server has kept the processor busy, in the
// program and in the system on its behalf.
func (s *Server) ProcessorTime() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Process.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in brackets; the 14th and 15th are times.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc has no times")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}
