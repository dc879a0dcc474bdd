package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Describe says what the figures were measured on, the disk's own speed
// included: how long it takes to make 8 KiB durable, which is about what a
// profile adds to the write-ahead log.
func Describe(dir string) (string, error) {
	system, err := fileSystem(dir)
	if err != nil {
		return "", err
	}
	flush, err := flushTime(dir)
	if err != nil {
		return "", err
	}
	load, _, _ := strings.Cut(inProc("loadavg"), " ")
	return fmt.Sprintf("%s; %d cores of %s; Linux %s; %s, where a durable write of 8 KiB takes %.0f µs; load before the start %s",
		runtime.Version(), runtime.GOMAXPROCS(0), processor(), inProc("sys/kernel/osrelease"), system, flush*1e6, load), nil
}

// processor returns the name that the first core gives itself.
func processor() string {
	_, rest, _ := strings.Cut(inProc("cpuinfo"), "model name")
	name, _, _ := strings.Cut(rest, "\n")
	return strings.Trim(name, "\t :")
}

// inProc returns what a file in /proc says, or "unknown".
func inProc(file string) string {
	b, err := os.ReadFile(filepath.Join("/proc", file))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// fileSystem names the file system of dir. In memory nothing is durable, so
// there is nothing to measure.
func fileSystem(dir string) (string, error) {
	const tmpfs, ext, xfs, btrfs, overlay = 0x01021994, 0xef53, 0x58465342, 0x9123683e, 0x794c7630
	var at syscall.Statfs_t
	if err := syscall.Statfs(dir, &at); err != nil {
		return "", err
	}
	switch int64(at.Type) {
	case tmpfs:
		return "", errors.New("the folder is in memory (tmpfs): name one on a disk with -dir")
	case ext:
		return "ext4", nil
	case xfs:
		return "XFS", nil
	case btrfs:
		return "Btrfs", nil
	case overlay:
		return "overlayfs", nil
	}
	return fmt.Sprintf("file system %#x", at.Type), nil
}

// flushTime returns the median time of a durable append, in seconds.
func flushTime(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "flush"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 8<<10)
	var times Series
	for range 200 {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began).Seconds())
	}
	return times.Median(), nil
}
