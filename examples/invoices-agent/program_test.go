package invoices_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/examples/portal"
)

// program is one writing of the agent: the command line that starts it.
type program struct {
	name    string
	command []string
}

var programs []program

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "invoices-agent")
	if err != nil {
		panic(err)
	}
	binary := filepath.Join(dir, "invoices-agent")
	if out, err := exec.Command("go", "build", "-o", binary, "./cmd/invoices-agent").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build the agent: %v\n%s", err, out))
	}
	programs = []program{{"go", []string{binary}}, {"python", []string{"python3", "invoices_agent.py"}}}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// everyProgram runs a test on the agent in Go and on the one in Python.
func everyProgram(t *testing.T, test func(t *testing.T, p program)) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			if _, err := exec.LookPath(p.command[0]); err != nil {
				if os.Getenv("KEYWARD_TEST_REQUIRE") == "all" {
					t.Fatal("python3 is needed, and missing")
				}
				t.Skip("python3 is missing")
			}
			test(t, p)
		})
	}
}

// cmd is the program on a portal, with nothing of this process's environment
// but what it takes to start.
func (p program) cmd(t *testing.T, portal string, env []string, flags ...string) *exec.Cmd {
	args := append(append(p.command[1:len(p.command):len(p.command)], "--portal", portal), flags...)
	cmd := exec.CommandContext(t.Context(), p.command[0], args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "http_proxy=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"}, env...)
	return cmd
}

// serve starts the program as a web service and answers its address. All
// that it prints must be free of the account's values.
func (p program) serve(t *testing.T, portal string, env []string, flags ...string) string {
	t.Helper()
	cmd := p.cmd(t, portal, env, append(flags, "--addr", "127.0.0.1:0")...)
	var printed bytes.Buffer
	cmd.Stderr = &printed
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		rest, _ := io.ReadAll(stdout)
		cmd.Wait()
		wantNoValues(t, string(rest)+printed.String())
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if address, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			return address
		}
	}
	t.Fatalf("the agent did not start: %s", &printed)
	return ""
}

type answer struct {
	Output *struct {
		Invoices     []portal.Invoice `json:"invoices"`
		SignedInWith string           `json:"signed_in_with"`
	} `json:"output"`
	Session json.RawMessage `json:"session"`
	Error   string          `json:"error"`
}

func readAnswer(t *testing.T, body []byte) answer {
	t.Helper()
	wantNoValues(t, string(body))
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("the answer is not JSON: %q", body)
	}
	if (a.Output == nil) == (a.Error == "") || (a.Output == nil) != (a.Session == nil) {
		t.Fatalf("the answer is neither an output with a session nor an error: %s", body)
	}
	return a
}

func post(t *testing.T, address string, body []byte, header http.Header) (int, answer) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answered, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, readAnswer(t, answered)
}

// wantNoValues fails if what an agent said tells a value of the account.
func wantNoValues(t *testing.T, text string) {
	t.Helper()
	for _, value := range []string{jane.User, jane.Password, jane.TOTP, "canary", "Traceback"} {
		if strings.Contains(text, value) {
			t.Errorf("the agent tells a value it was given: %q", text)
		}
	}
}

// runner runs the agent once, in whichever way.
type runner func(arguments map[string]any, session json.RawMessage) answer

// served is the program as a web service that takes signed runs.
func (p program) served(t *testing.T, portal string) runner {
	address := p.serve(t, portal, []string{"KEYWARD_RUNNER_SECRET=" + secret})
	return func(arguments map[string]any, session json.RawMessage) answer {
		t.Helper()
		body := runBody(t, arguments, session)
		status, a := post(t, address, body, signed(body, time.Now()))
		if status != http.StatusOK {
			t.Errorf("status %d, want 200", status)
		}
		return a
	}
}

// started is the program as a command, started once for each run.
func (p program) started(t *testing.T, portal string) runner {
	return func(arguments map[string]any, session json.RawMessage) answer {
		t.Helper()
		return p.runOnce(t, portal, runBody(t, arguments, session))
	}
}

// runOnce runs the program with --stdin and reads its last line; the lines
// before it must be chunks.
func (p program) runOnce(t *testing.T, portal string, body []byte) answer {
	t.Helper()
	cmd := p.cmd(t, portal, nil, "--stdin")
	cmd.Stdin = bytes.NewReader(body)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	wantNoValues(t, string(stdout)+stderr.String())
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	a := readLines(t, string(stdout))
	if a.Error != notARun && a.Error != tooLarge && !strings.Contains(stderr.String(), "GET /") {
		t.Errorf("its log is %q", &stderr)
	}
	return a
}

// readLines reads chunks and, in the last line, the answer.
func readLines(t *testing.T, text string) answer {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines[:len(lines)-1] {
		var chunk struct{ Chunk string }
		if err := json.Unmarshal([]byte(line), &chunk); err != nil || chunk.Chunk == "" {
			t.Errorf("line %q is no chunk", line)
		}
	}
	return readAnswer(t, []byte(lines[len(lines)-1]))
}

func runBody(t *testing.T, arguments map[string]any, session json.RawMessage) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"run_id": "run-1", "agent_id": "invoices", "arguments": arguments, "session": session})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func signed(body []byte, at time.Time) http.Header {
	return signedWith(secret, "msg_1", strconv.FormatInt(at.Unix(), 10), body)
}

func signedWith(secret, id, stamp string, body []byte) http.Header {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		panic(err)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", stamp)
	h.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return h
}
