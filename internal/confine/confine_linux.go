package confine

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// helper is the name under which this program is started to become another.
	helper = "keyward: confine"

	// self stays what was started, when the file has been replaced meanwhile.
	self = "/proc/self/exe"

	// openFiles is what a process may have open unless it asks for more: what
	// systems give. Go's own programs do ask, and the helper is one.
	openFiles = 1024

	reportFD = 3 // where the helper says why the program can't be started
)

// Prepare makes cmd start its program under l. Once cmd is started, begun must
// be called: it returns when the program has begun, or why it can't. If cmd
// can't be started it must be called as well.
func Prepare(cmd *exec.Cmd, l Limits) (begun func() error, err error) {
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	cmd.Args = append([]string{helper, number(l.MemoryBytes), number(l.CPUSeconds), number(l.FileBytes), cmd.Path}, cmd.Args...)
	cmd.Path = self
	cmd.ExtraFiles = []*os.File{write}
	return func() error {
		write.Close()
		defer read.Close()
		report, err := io.ReadAll(read) // ends when the program begins, or the helper dies
		if err == nil && len(report) > 0 {
			err = fmt.Errorf("start the program: %w", syscall.Errno(report[0]))
		}
		return err
	}, nil
}

func init() {
	if len(os.Args) > 5 && os.Args[0] == helper {
		become(os.Args[1:4], os.Args[4], os.Args[5:])
	}
}

// limit is a resource, with its limit as the kernel takes it.
type limit struct {
	resource uintptr
	value    unix.Rlimit
}

// become limits this process and makes it run the program at path. It does not
// return.
//
// From the first limit on nothing is allocated: what this program needs itself
// may be more than the other one is to have.
func become(numbers []string, path string, args []string) {
	limits, err := limitsOf(numbers)
	if err != nil {
		os.Exit(2) // nobody but Prepare has business here
	}
	name, err1 := syscall.BytePtrFromString(path)
	argv, err2 := syscall.SlicePtrFromStrings(args)
	envv, err3 := syscall.SlicePtrFromStrings(os.Environ())
	if err1 != nil || err2 != nil || err3 != nil {
		os.Exit(2)
	}
	debug.SetGCPercent(-1)
	syscall.CloseOnExec(reportFD)
	for i := range limits {
		if _, _, errno := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, limits[i].resource, uintptr(unsafe.Pointer(&limits[i].value)), 0, 0, 0); errno != 0 {
			giveUp(errno)
		}
	}
	_, _, errno := syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
	giveUp(errno)
}

func giveUp(errno syscall.Errno) {
	report := byte(errno)
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, reportFD, uintptr(unsafe.Pointer(&report)), 1)
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// limitsOf reads what Prepare has written. Limits that this process has already
// and that are lower stay.
func limitsOf(numbers []string) ([]limit, error) {
	limits := []limit{{unix.RLIMIT_CORE, unix.Rlimit{}}}
	for i, resource := range []int{unix.RLIMIT_DATA, unix.RLIMIT_CPU, unix.RLIMIT_FSIZE} {
		n, err := strconv.ParseUint(numbers[i], 10, 63)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		most := n
		if resource == unix.RLIMIT_CPU {
			most++ // the first ends it with a signal that says why
		}
		limits = append(limits, limit{uintptr(resource), unix.Rlimit{Cur: n, Max: most}})
	}
	limits = append(limits, limit{unix.RLIMIT_NOFILE, unix.Rlimit{Cur: openFiles, Max: unix.RLIM_INFINITY}})
	for i := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(int(limits[i].resource), &now); err != nil {
			return nil, err
		}
		v := &limits[i].value
		v.Max = min(v.Max, now.Max)
		v.Cur = min(v.Cur, v.Max)
	}
	return limits, nil
}
