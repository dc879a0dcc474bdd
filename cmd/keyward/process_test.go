package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built reports whether program was needed.
var built bool

// program is the binary as it is delivered.
var program = sync.OnceValues(func() (string, error) {
	built = true
	dir, err := os.MkdirTemp("", "keyward-program-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "keyward")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build keyward: %w\n%s", err, out)
	}
	return path, nil
})

// newCommand is keyward with nothing of this process's own settings.
func newCommand(t *testing.T, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environ...)
	c.Dir = t.TempDir()
	return c
}

// finish runs a command that ends by itself.
func finish(t *testing.T, c *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, failed bytes.Buffer
	c.Stdout, c.Stderr = &out, &failed
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { c.Process.Kill() })
	defer late.Stop()
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), failed.String()
}

// lines is what a process has written so far.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// process is a server in a process of its own.
type process struct {
	t         *testing.T
	command   *exec.Cmd
	url       string
	said, log *lines
	http      http.Client
	ended     chan struct{} // closed when it has
	key       string
}

// startProcess starts a server whose keys may be used as often as a test asks
// how far it has come, and waits until it serves.
func startProcess(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, said: &lines{}, log: &lines{}, ended: make(chan struct{})}
	p.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	p.command = newCommand(t, append([]string{"KEYWARD_DEFAULT_TIER=enterprise"}, environ...), append([]string{"serve"}, args...)...)
	p.command.Stderr = p.log
	out, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.command.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("the log of %v:\n%s", args, p.log)
		}
	})
	serves := make(chan string, 1)
	go func() {
		for read := bufio.NewScanner(out); read.Scan(); {
			fmt.Fprintln(p.said, read.Text())
			if address, ok := strings.CutPrefix(read.Text(), "listening on "); ok {
				serves <- address
			}
		}
		p.command.Wait()
		close(p.ended)
	}()
	select {
	case p.url = <-serves:
	case <-p.ended:
		t.Fatalf("the server does not start:\n%s%s", p.said, p.log)
	case <-time.After(time.Minute):
		t.Fatal("the server does not start within a minute")
	}
	return p
}

// eventually waits until it is as said.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("within a minute it is not so that %s", what)
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits until the process has ended, and returns how.
func (p *process) wait() *os.ProcessState {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.t.Fatal("it has not ended after 20 seconds")
	}
	return p.command.ProcessState
}

// stop ends the server as an operator does.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if state := p.wait(); state.ExitCode() != 0 {
		p.t.Errorf("it ended with %v", state)
	}
}

// call sends a request and returns the answer as JSON has it.
func (p *process) call(method, path, credential string, body any) (int, map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	r, err := http.NewRequest(method, p.url+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	got, err := p.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer got.Body.Close()
	all, err := io.ReadAll(got.Body)
	if err != nil {
		return 0, nil, err
	}
	answer := map[string]any{}
	_ = json.Unmarshal(all, &answer) // a page has no fields
	return got.StatusCode, answer, nil
}

func (p *process) must(status int, method, path, credential string, body any) map[string]any {
	p.t.Helper()
	got, answer, err := p.call(method, path, credential, body)
	if err != nil || got != status {
		p.t.Fatalf("%s %s: %d %v, %v", method, path, got, answer, err)
	}
	return answer
}

// slowAgent registers somebody with an API key and an agent that answers when
// it is released, and tells when it was asked.
func (p *process) slowAgent() (asked <-chan struct{}, release func()) {
	p.t.Helper()
	called, released := make(chan struct{}, 10), make(chan struct{})
	runner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// An unread body would keep the end of the connection from being seen.
		_, _ = io.Copy(io.Discard, r.Body)
		called <- struct{}{}
		select {
		case <-released:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, `{"output":"done after all"}`)
	}))
	p.t.Cleanup(runner.Close)
	person := map[string]any{"name": "Jane", "email": "jane@example.com", "password": "long enough"}
	p.must(201, "POST", "/auth/register", "", person)
	delete(person, "name")
	token := p.must(200, "POST", "/auth/token", "", person)["accessToken"].(string)
	p.key = p.must(201, "POST", "/v1/keys", token, map[string]any{"name": "k"})["key"].(string)
	p.must(201, "POST", "/v1/agents", p.key, map[string]any{"id": "slow", "name": "slow", "runner": map[string]any{"type": "http", "url": runner.URL}})
	return called, sync.OnceFunc(func() { close(released) })
}

func (p *process) runRequest(async bool) map[string]any {
	return map[string]any{"agent_id": "slow", "api_key": p.key, "run_async": async}
}

func TestAWaitingRunFinishesBeforeTheServerStops(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := startProcess(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	asked, release := p.slowAgent()
	type answer struct {
		status int
		body   map[string]any
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		status, body, err := p.call("POST", "/run_agent", "", p.runRequest(false))
		answered <- answer{status, body, err}
	}()
	<-asked
	p.signal(syscall.SIGTERM)
	eventually(t, "no new connection is taken", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case a := <-answered:
		t.Fatalf("answered before the agent had: %v", a)
	case <-p.ended:
		t.Fatal("the server ended in the middle of a run")
	default:
	}
	release()
	if a := <-answered; a.err != nil || a.status != 200 || a.body["agent_output"] != "done after all" {
		t.Errorf("the run was answered with %v", a)
	}
	if state := p.wait(); state.ExitCode() != 0 {
		t.Errorf("it ended with %v", state)
	}

	again := startProcess(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	list := again.must(200, "GET", "/v1/runs", p.key, nil)
	if run := list["data"].([]any)[0].(map[string]any); run["status"] != "succeeded" {
		t.Errorf("the run's record: %v", run)
	}
	again.stop()
}

func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := startProcess(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	asked, release := p.slowAgent()
	defer release()
	gone := make(chan struct{})
	go func() {
		p.call("POST", "/run_agent", "", p.runRequest(false))
		close(gone)
	}()
	<-asked
	p.signal(syscall.SIGTERM)
	eventually(t, "the server says that it stops", func() bool { return strings.Contains(p.log.String(), "stopping") })
	p.signal(syscall.SIGTERM)
	if state := p.wait(); state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", state)
	}
	<-gone
}

func TestARunThatWasKilledBecomesInterrupted(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := startProcess(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	asked, release := p.slowAgent()
	defer release()
	id := p.must(200, "POST", "/run_agent", "", p.runRequest(true))["session_id"].(string)
	<-asked
	p.signal(syscall.SIGKILL)
	p.wait()

	again := startProcess(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	eventually(t, "the run is interrupted", func() bool {
		run := again.must(200, "GET", "/v1/runs/"+id, p.key, nil)
		if run["status"] != "running" && run["status"] != "interrupted" {
			t.Fatalf("the run is %v", run)
		}
		return run["status"] == "interrupted" && run["error_message"] != nil && run["ended_at"] != nil
	})
	again.stop()
}

// writeCertificate makes a certificate with that number and writes it and its
// key over the files.
func writeCertificate(t *testing.T, number int64, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(number), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestACertificateIsServedAndReplaced(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, 1001, cert, key)
	p := startProcess(t, nil, "--addr", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") || !strings.Contains(p.said.String(), "address: https://") {
		t.Errorf("it says:\n%s", p.said)
	}
	served := func() int64 {
		t.Helper()
		r, err := p.http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 200 {
			t.Errorf("/readyz: %d", r.StatusCode)
		}
		return r.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := served(); n != 1001 {
		t.Errorf("certificate %d is served", n)
	}
	writeCertificate(t, 1002, cert, key)
	eventually(t, "the new certificate is served", func() bool { return served() == 1002 })

	write(t, cert, "nonsense")
	eventually(t, "the server complains", func() bool { return strings.Contains(p.log.String(), "can't be read again") })
	if n := served(); n != 1002 {
		t.Errorf("after a broken replacement certificate %d is served", n)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server complains about the missing key", func() bool { return strings.Count(p.log.String(), "can't be read again") > 1 })
	if n := served(); n != 1002 {
		t.Errorf("without a key file certificate %d is served", n)
	}
	writeCertificate(t, 1003, cert, key)
	eventually(t, "the mended certificate is served", func() bool { return served() == 1003 })

	plain, err := http.Get("http" + strings.TrimPrefix(p.url, "https") + "/readyz")
	if err != nil || plain.StatusCode != 400 {
		t.Errorf("plain HTTP: %v, %v", plain, err)
	} else {
		plain.Body.Close()
	}
	p.stop()
}

func TestSettingsComeFromFileVariablesAndFlags(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keyward.yaml")
	write(t, file, `
addr: 127.0.0.1:0
data: `+filepath.Join(dir, "data")+`
signup: closed
log: text
key_prefix: file
`)
	p := startProcess(t, []string{"KEYWARD_CONFIG=" + file, "KEYWARD_LOG=json", "KEYWARD_KEY_PREFIX=variable"}, "--key-prefix", "flag")
	said := strings.Split(strings.TrimSpace(p.said.String()), "\n")
	if last := said[len(said)-1]; last != "listening on "+p.url {
		t.Errorf("the last line is %q", last)
	}
	if status, answer, err := p.call("POST", "/auth/register", "", map[string]any{"name": "N", "email": "n@example.com", "password": "long enough"}); status != 403 {
		t.Errorf("signup: closed in the file: %d %v %v", status, answer, err)
	}
	var code string
	for _, line := range said {
		if text, ok := strings.CutPrefix(line, "setup code: "); ok {
			code = text
		}
	}
	person := map[string]any{"name": "N", "email": "n@example.com", "password": "long enough", "setupCode": code}
	p.must(201, "POST", "/auth/register", "", person)
	token := p.must(200, "POST", "/auth/token", "", map[string]any{"email": "n@example.com", "password": "long enough"})["accessToken"].(string)
	if key := p.must(201, "POST", "/v1/keys", token, map[string]any{"name": "k"})["key"].(string); !strings.HasPrefix(key, "flag_") {
		t.Errorf("the key begins with %.5s, and not as the flag says", key)
	}
	p.stop()
	log := strings.TrimSpace(p.log.String())
	if log == "" {
		t.Error("there is no log")
	}
	for line := range strings.Lines(log) {
		var entry struct {
			Time       time.Time
			Level, Msg string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg == "" || entry.Level == "" || entry.Time.IsZero() {
			t.Errorf("no line of JSON: %s", line)
		}
	}
}

func TestBadSettingsAreRefusedBeforeAnythingIsMade(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		f, err := os.CreateTemp(dir, "*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		write(t, f.Name(), text)
		return f.Name()
	}
	for _, c := range []struct {
		environ, args []string
		want          []string
	}{
		{nil, []string{"--adr", "x"}, []string{"--adr", "See keyward serve --help."}},
		{nil, []string{"extra"}, []string{"takes no arguments", "See keyward serve --help."}},
		{nil, []string{"--addr", "nonsense"}, []string{"--addr"}},
		{nil, []string{"--log", "xml"}, []string{"--log", "text", "json"}},
		{nil, []string{"--log-level", "loud"}, []string{"--log-level"}},
		{nil, []string{"--url", "https://x.example/path"}, []string{"--url"}},
		{nil, []string{"--tls-cert", "x.pem"}, []string{"--tls-cert", "tls_key"}},
		{nil, []string{"--shutdown-timeout", "30"}, []string{"--shutdown-timeout", "30s"}},
		{nil, []string{"--database", "mysql://x"}, []string{"--database"}},
		{nil, []string{"--runners-allow", "nonsense"}, []string{"--runners-allow"}},
		{[]string{"KEYWARD_SIGNUP=maybe"}, nil, []string{"KEYWARD_SIGNUP", "open or closed"}},
		{[]string{"KEYWARD_SINGUP=open"}, nil, []string{"KEYWARD_SINGUP", "KEYWARD_SIGNUP"}},
		{[]string{"KEYWARD_QUOTAS_KEYS="}, nil, []string{"KEYWARD_QUOTAS_KEYS"}},
		{nil, []string{"--config", filepath.Join(dir, "missing.yaml")}, []string{"missing.yaml"}},
		{nil, []string{"--config", file("adr: x\n")}, []string{"adr", "addr"}},
		{nil, []string{"--config", file("addr: [\n")}, []string{".yaml"}},
		{nil, []string{"--config", file("agents: [{id: a, name: a, runner: {type: carrier-pigeon}}]\n")}, []string{"agents[0].runner.type", "command"}},
	} {
		data := filepath.Join(t.TempDir(), "data")
		args := append([]string{"serve", "--data", data}, c.args...)
		code, out, said := finish(t, newCommand(t, append(c.environ, "KEYWARD_ADDR=127.0.0.1:0"), args...))
		if code != 2 || out != "" {
			t.Errorf("%v %v: exit code %d, %s%s", c.environ, c.args, code, out, said)
		}
		for _, want := range c.want {
			if !strings.Contains(said, want) {
				t.Errorf("%v %v: the message does not have %q: %s", c.environ, c.args, want, said)
			}
		}
		if strings.Contains(said, "extra") { // which may be a key
			t.Errorf("%v %v: an argument is repeated: %s", c.environ, c.args, said)
		}
		if strings.Contains(said, "goroutine") || strings.Contains(said, "Usage:") {
			t.Errorf("%v %v: not a clear message: %s", c.environ, c.args, said)
		}
	}
}

func TestAPortInUseIsRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	code, out, said := finish(t, newCommand(t, nil, "serve", "--addr", taken.Addr().String(), "--data", filepath.Join(t.TempDir(), "data")))
	if code != 1 || out != "" || !strings.Contains(said, taken.Addr().String()) || !strings.Contains(said, "in use") || !strings.Contains(said, "--addr") {
		t.Errorf("exit code %d: %s%s", code, out, said)
	}
}
