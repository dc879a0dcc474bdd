package confine

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// run starts a shell under l and returns what it has put out, once it has ended.
func run(t *testing.T, l Limits, script string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := shell(t, script)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := start(t, cmd, l); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	return out.String(), err
}

func shell(t *testing.T, script string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", script, "name of its own", "an argument")
	cmd.Env, cmd.Dir = []string{"PATH=" + os.Getenv("PATH"), "A=b c"}, t.TempDir()
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd, l Limits) error {
	t.Helper()
	begun, err := Prepare(cmd, l)
	if err != nil {
		return err
	}
	if err := errors.Join(cmd.Start(), begun()); err != nil {
		if cmd.Process != nil {
			_ = cmd.Wait()
		}
		return err
	}
	return nil
}

func TestAProgramBeginsAsItWouldWithoutLimits(t *testing.T) {
	const script = `echo "$0, $1, $A, $#"; env | grep -v PWD=; ls /proc/self/fd`
	got, err := run(t, Limits{}, script)
	plain := shell(t, script)
	want, plainErr := plain.Output()
	if err != nil || plainErr != nil || got != string(want) {
		t.Errorf("%q, %v, want %q, %v", got, err, want, plainErr)
	}
}

func TestLimitsHoldForAProgramAndItsChildren(t *testing.T) {
	const asks = `ulimit -d; ulimit -t; ulimit -f; ulimit -c; ulimit -n; `
	got, err := run(t, Limits{MemoryBytes: 64 << 20, CPUSeconds: 7, FileBytes: 1 << 20}, asks+`ulimit -H -d; sh -c '`+asks+`'`)
	if want := strings.Fields("65536 7 2048 0 1024 65536 65536 7 2048 0 1024"); err != nil || strings.Join(strings.Fields(got), " ") != strings.Join(want, " ") {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestWhoeverUsesMoreIsStopped(t *testing.T) {
	for name, tt := range map[string]struct {
		limits Limits
		script string
		signal syscall.Signal
	}{
		"CPU":   {Limits{CPUSeconds: 1}, `while :; do :; done`, syscall.SIGXCPU},
		"files": {Limits{FileBytes: 1 << 20}, `exec head -c 3000000 /dev/zero >file`, syscall.SIGXFSZ},
	} {
		_, err := run(t, tt.limits, tt.script)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != tt.signal {
			t.Errorf("%s: %v, want %v", name, err, tt.signal)
		}
	}
	// The shell keeps the text in memory.
	if out, err := run(t, Limits{MemoryBytes: 32 << 20}, `x=$(head -c 100000000 /dev/zero | tr '\0' a); echo ${#x}`); err == nil {
		t.Errorf("a program with 32 MiB kept 100 MB: %q", out)
	}
}

func TestAProgramThatCannotBeStartedIsToldOf(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "none"):                       os.ErrNotExist,
		"no-such-program":                                exec.ErrNotFound,
		file("plain", "x", 0o600):                        os.ErrPermission,
		file("interpreted", "#!/no/such/thing\n", 0o700): os.ErrNotExist,
		file("nonsense", "\x7fELF", 0o700):               syscall.ENOEXEC,
	} {
		if err := start(t, exec.Command(path), Limits{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for name, confined := range map[string]bool{"confined": true, "plain": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command("/bin/true")
				begun := func() error { return nil }
				if confined {
					begun, _ = Prepare(cmd, Limits{MemoryBytes: 1 << 30})
				}
				if err := errors.Join(cmd.Start(), begun(), cmd.Wait()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
