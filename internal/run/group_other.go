//go:build unix && !linux

package run

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a child the first of a process group.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// wait returns when cmd has ended and ended was called.
func wait(cmd *exec.Cmd, ended func()) error {
	defer ended()
	return cmd.Wait()
}
