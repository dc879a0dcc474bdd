package run

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/confine"
)

// leftOpen is how long a program that has ended may leave its output open, in
// the hands of one that got away from its group.
const leftOpen = time.Second

// PrepareDir makes the folder in which runs of commands have their working
// folders, and removes what a server that was killed left there. It is called
// once, before the first run.
func (r *Runs) PrepareDir() error {
	if err := removeTree(r.Dir); err != nil {
		return err
	}
	return os.MkdirAll(r.Dir, 0o700)
}

// removeTree removes a folder with all that is in it, also where a program has
// closed folders of its own to writers, as package managers do.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() { // called before the folder is read
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// callCommand starts the agent's program, gives it input, and returns its
// answer, the last line that it puts out. Lines before that may be chunks; what
// it writes to standard error is the log. Nothing that it started is left
// running, unless it left its process group.
func (r *Runs) callCommand(ctx context.Context, a agent.Agent, runID string, input []byte, to sink) (answer, error) {
	dir, err := filepath.Abs(r.Dir) // for HOME
	if err == nil {
		dir, err = os.MkdirTemp(dir, "run-")
	}
	if err != nil {
		return answer{}, err
	}
	defer func() {
		if err := removeTree(dir); err != nil {
			r.Log.Warn("the working folder of a run can't be removed", "run", runID, "err", err)
		}
	}()

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &stdout{room: maxAnswer, full: func() { stop(errTooMuch) }, to: to}
	log := &stderr{room: maxLog, to: to}
	cmd := exec.Command(a.Runner.Command[0], a.Runner.Command[1:]...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8", "KEYWARD_RUN_ID=" + runID}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, log
	cmd.WaitDelay = leftOpen
	err = runGroup(ctx, cmd, a.Limits())
	out.end()
	log.end()

	var exit *exec.ExitError
	switch {
	case errors.Is(context.Cause(ctx), errTooMuch):
		return answer{}, errTooMuch
	case errors.As(err, &exit):
		return answer{}, exitFailure(ctx, exit, a.Limits(), out.last)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return answer{}, err
	}
	m, err := parseLine(out.last)
	if err != nil {
		return answer{}, err
	}
	return m.answer()
}

var errTooMuch = fails("The agent's program put out more than 8 MiB and was ended.")

// exitFailure says why a program failed: in its own words, if it has any.
func exitFailure(ctx context.Context, exit *exec.ExitError, l agent.Limits, last []byte) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGXCPU:
		return fails("The agent's program was ended: it used up its %d seconds of CPU time (limits.cpu_seconds of its runner).", l.CPUSeconds)
	case status.Signaled() && status.Signal() == syscall.SIGXFSZ:
		return fails("The agent's program was ended: it wrote a file of more than %d MiB (limits.file_mb of its runner).", l.FileMB)
	case status.Signaled():
		return fails("The agent's program was ended by a signal (%s).", status.Signal())
	}
	if m, err := parseLine(last); err == nil {
		if text, ok := m.errorText(); ok && text != "" {
			return fails("%s", text)
		}
	}
	return fails("The agent's program failed with exit status %d.", exit.ExitCode())
}

// runGroup runs cmd as a process group of its own, within l, and ends the whole
// group when the program ends or ctx does.
func runGroup(ctx context.Context, cmd *exec.Cmd, l agent.Limits) error {
	const cannot = "The agent's program can't be started."
	begun, err := confine.Prepare(cmd, confine.Limits{MemoryBytes: l.MemoryMB << 20, CPUSeconds: l.CPUSeconds, FileBytes: l.FileMB << 20})
	if err != nil {
		return failsBecause(err, cannot)
	}

	// The signal at a parent's death is for the death of the thread that
	// started the child: this one must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return failsBecause(errors.Join(err, begun()), cannot)
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // it may be gone already

	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ctx.Done():
			kill()
		case <-ended:
		}
	}()
	refused := begun()
	err = wait(cmd, func() {
		close(ended)
		<-watched
		kill()
	})
	if refused != nil {
		return failsBecause(refused, cannot)
	}
	return err
}
