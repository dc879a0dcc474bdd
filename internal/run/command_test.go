package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/dbtest"
)

func command(words ...string) agent.Definition {
	return agent.Definition{ID: "c", Visibility: agent.Public, TimeoutSeconds: 120, Runner: agent.Runner{Type: agent.Command, Command: words}}
}

// shell is an agent that is a shell script.
func shell(script string) agent.Definition { return command("/bin/sh", "-c", script) }

// declare makes d what public/c is.
func (h *house) declare(t *testing.T, d agent.Definition) {
	t.Helper()
	if err := h.Agents.Declare(t.Context(), []agent.Definition{d}); err != nil {
		t.Fatal(err)
	}
}

// gone reports whether the process whose number is in file has ended. Where
// nobody buries the dead it may remain as a zombie.
func gone(t *testing.T, file string) bool {
	t.Helper()
	pid := pidIn(t, file)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return state[0] == 'Z' || state[0] == 'X'
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	var text []byte
	eventually(t, "a process says its number", func() bool { text, _ = os.ReadFile(file); return strings.HasSuffix(string(text), "\n") })
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestWhateverAProgramDoesTheRunEndsClearly(t *testing.T) {
	programs := map[string]struct {
		program agent.Definition
		want    string // the output, or the error
	}{
		"answers":                           {shell(`echo log; echo '{"chunk":1}'; echo '{"output":{"a":1}}'; echo`), `{"a":1}`},
		"without a newline":                 {shell(`printf '{"output":1}'`), `1`},
		"gives an error":                    {shell(`echo '{"error":"no luck"}'`), `no luck`},
		"error and status":                  {shell(`echo '{"error":"no luck"}'; exit 3`), `no luck`},
		"output and status":                 {shell(`echo '{"output":1}'; exit 3`), `The agent's program failed with exit status 3.`},
		"fails":                             {shell(`echo oops; exit 7`), `The agent's program failed with exit status 7.`},
		"crashes":                           {shell(`kill -SEGV $$`), `The agent's program was ended by a signal (segmentation fault).`},
		"says nothing":                      {shell(`:`), `The agent's program ended without an answer.`},
		"says nonsense":                     {shell(`echo '{"output":1}'; echo bye`), `The last line that the agent's program put out is not valid JSON. Its answer must be one line.`},
		"says a list":                       {shell(`echo '[]'`), `The agent's answer must be an object: {"output": …} or {"error": "…"}.`},
		"closes its input":                  {shell(`exec <&-; echo '{"output":1}'`), `1`},
		"closes its output":                 {shell(`echo '{"output":1}'; exec >&-; read -r x || :`), `1`},
		"does not exist":                    {command("/no/such/program"), `The agent's program can't be started.`},
		"is not in PATH":                    {command("no-such-program"), `The agent's program can't be started.`},
		"is no program":                     {command("/etc/passwd"), `The agent's program can't be started.`},
		"prints for ever":                   {shell(`yes`), `The agent's program put out more than 8 MiB and was ended.`},
		"prints a long line, then for ever": {shell(`yes | tr -d '\n'`), `The agent's program put out more than 8 MiB and was ended.`},
		"complains at length":               {shell(`yes | head -c 30000000 >&2; echo '{"output":1}'`), `1`},
		"an output too large":               {shell(`printf '{"output":"'; yes a | tr -d '\n' | head -c 4194304; echo '"}'`), `The agent's output is larger than 4 MiB.`},
	}
	h := onSQLite(t)
	for name, p := range programs {
		h.declare(t, p.program)
		run := h.run(t, "public/c", "")
		if got := string(run.Output) + run.ErrorMessage; got != p.want || (run.Status == Succeeded) != (run.Output != nil) || (run.Status == Failed) == (run.Output != nil) {
			t.Errorf("%s: %s, %.200q, want %.200q", name, run.Status, got, p.want)
		}
	}
	if left, err := os.ReadDir(h.Dir); err != nil || len(left) != 0 {
		t.Errorf("%d working folders are left, %v", len(left), err)
	}
}

func TestAProgramNeedNotReadWhatItIsGiven(t *testing.T) {
	h := onSQLite(t)
	h.profiles["t"] = &Profile{Name: "p", KeepSession: true, Session: jsontext.Value(`{"x":"` + strings.Repeat("a", 4<<20) + `"}`)}
	h.declare(t, shell(`echo '{"output":1}'`))
	if run := h.run(t, "public/c", "t"); run.Status != Succeeded {
		t.Errorf("one that does not read: %s %q", run.Status, run.ErrorMessage)
	}
	h.declare(t, shell(`n=$(wc -c); echo "{\"output\":$n}"`))
	if run := h.run(t, "public/c", "t"); run.Status != Succeeded || len(run.Output) != len("4194400") {
		t.Errorf("one that does: %s %q %s", run.Status, run.ErrorMessage, run.Output)
	}
}

func TestTheWholeGroupEndsWithItsRun(t *testing.T) {
	h := onSQLite(t)
	for name, tt := range map[string]struct {
		script string
		want   Status
	}{
		"at the timeout":             {`sleep 1000 & echo $! >PID; wait`, TimedOut},
		"at the end":                 {`sleep 1000 & echo $! >PID; echo '{"output":1}'`, Succeeded},
		"with ears shut":             {`trap '' TERM INT HUP; sh -c 'trap "" TERM INT HUP; echo $$ >PID; sleep 1000' & wait`, TimedOut},
		"when it prints for ever":    {`sleep 1000 & echo $! >PID; yes`, Failed},
		"a grandchild of a grandson": {`sh -c 'sh -c "sleep 1000 & echo \$! >PID; wait" & wait' & wait`, TimedOut},
	} {
		file := filepath.Join(t.TempDir(), "pid")
		program := shell(strings.ReplaceAll(tt.script, "PID", file))
		if tt.want == TimedOut {
			program.TimeoutSeconds = 2
		}
		h.declare(t, program)
		if run := h.run(t, "public/c", ""); run.Status != tt.want {
			t.Errorf("%s: %s %q", name, run.Status, run.ErrorMessage)
		}
		eventually(t, name+": the process that it left ends", func() bool { return gone(t, file) })
	}
}

// One that leaves the group lives on, and does not hold the run up.
func TestAProcessThatGotAwayDoesNotHoldTheRunUp(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		if dbtest.Required() {
			t.Fatal(err)
		}
		t.Skip("setsid is not installed here (Debian: apt-get install util-linux)")
	}
	h := onSQLite(t)
	file := filepath.Join(t.TempDir(), "pid")
	t.Cleanup(func() { _ = syscall.Kill(pidIn(t, file), syscall.SIGKILL) })
	h.declare(t, shell(strings.ReplaceAll(`setsid sh -c 'echo $$ >PID; exec sleep 1000' & while ! [ -s PID ]; do :; done; echo '{"output":1}'`, "PID", file)))
	if run := h.run(t, "public/c", ""); run.Status != Succeeded || run.EndedAt.Sub(run.StartedAt) > 60*time.Second {
		t.Errorf("%s %q after %s", run.Status, run.ErrorMessage, run.EndedAt.Sub(run.StartedAt))
	}
}

func init() {
	roles["say-surroundings"] = func() {
		input, _ := io.ReadAll(os.Stdin)
		dir, _ := os.Getwd()
		mode, _ := os.Stat(dir)
		_ = os.WriteFile("left-behind", input, 0o600)
		out, _ := jsontext.AppendQuote(nil, strings.Join(append(os.Environ(), dir, mode.Mode().String(), string(input)), "\n"))
		fmt.Printf("{\"output\":%s}\n", out)
	}
}

func TestAProgramSeesNothingOfTheServer(t *testing.T) {
	t.Setenv("KEYWARD_ROOT_KEY", "must not be seen")
	h := onSQLite(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.declare(t, command(self, "say-surroundings"))
	run := h.run(t, "public/c", "")
	if run.Status != Succeeded {
		t.Fatalf("%s %q", run.Status, run.ErrorMessage)
	}
	said := strings.Split(unquoted(run.Output), "\n")
	dir := said[len(said)-3]
	want := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8", "KEYWARD_RUN_ID=" + run.ID, dir, "drwx------",
		`{"run_id":"` + run.ID + `","agent_id":"c","arguments":{},"session":null}`,
	}
	if !slices.Equal(said, want) {
		t.Errorf("it sees %q, want %q", said, want)
	}
	if _, err := os.Stat(dir); filepath.Dir(dir) != h.Dir || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the working folder %s is left, %v", dir, err)
	}
}

func TestWhatAKilledServerLeftIsRemoved(t *testing.T) {
	r := &Runs{Dir: filepath.Join(t.TempDir(), "runs")}
	for range 2 {
		if err := r.PrepareDir(); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(r.Dir); err != nil || len(left) != 0 {
			t.Errorf("%d folders, %v", len(left), err)
		}
		if err := os.MkdirAll(filepath.Join(r.Dir, "run-1", "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func init() {
	roles["serve-one-run"] = func() {
		r := &Runs{Dir: os.Args[2], Log: slog.Default()}
		a := agent.Agent{Definition: shell("echo $$ >" + os.Args[3] + "; exec sleep 1000")}
		_, _ = r.callCommand(context.Background(), a, "run", nil, discard{})
	}
}

func TestAWorkingFolderIsRemovedWhateverAProgramDidToIt(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t) // nothing is closed to root
		return
	}
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.MkdirAll(filepath.Join(dir, "closed", "inner"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"closed/inner/file", "closed/file"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("a secret"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"closed/inner", "closed"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeTree(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("it is still there")
	}
}

// asNobody runs the test that calls it as a user who may do less than root.
func asNobody(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "keyward-nobody-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	copied := filepath.Join(dir, "test")
	if err := errors.Join(os.WriteFile(copied, program, 0o755), os.Chmod(copied, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	said, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, said)
	}
}

func TestAKilledServersProgramDies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(self, "serve-one-run", t.TempDir(), file)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill() })
	if pid := pidIn(t, file); gone(t, file) {
		t.Fatalf("process %d ended before the server did", pid)
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	eventually(t, "the program dies with its server", func() bool { return gone(t, file) })
}
