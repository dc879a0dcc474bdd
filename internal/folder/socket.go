package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// longestSocket is the longest path that a socket's address has room for.
var longestSocket = len(syscall.RawSockaddrUnix{}.Path) - 1

// ListenControl makes the control socket and listens on it. Only the folder's
// owner can reach it. The lock must be held, so a socket that is there already
// is one that nobody listens on.
func (f *Folder) ListenControl() (net.Listener, error) {
	if err := f.held(); err != nil {
		return nil, err
	}
	path := f.at(socketFile)
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("control socket: %s is something else: move it away", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	var listener *net.UnixListener
	err := throughShortPath(path, func(short string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener.SetUnlinkOnClose(false) // it knows the socket by its short path, which is gone
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return control{listener, path}, nil
}

// control is a listener that takes its socket away when it is closed.
type control struct {
	*net.UnixListener
	path string
}

func (c control) Close() error {
	err := c.UnixListener.Close()
	if err == nil {
		err = os.Remove(c.path)
	}
	return err
}

// DialControl connects to the server that uses the data folder at path. It
// makes no folder.
func DialControl(ctx context.Context, path string) (net.Conn, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	var conn net.Conn
	err = throughShortPath(filepath.Join(path, socketFile), func(short string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", short)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("no keyward server is using the data folder %s: start one with keyward serve, or name its folder with --data", path)
	} else if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return conn, nil
}

// throughShortPath calls use with a path to the socket at path that is short
// enough for a socket's address. Linux has one for every file of an open folder.
func throughShortPath(path string, use func(short string) error) error {
	if len(path) <= longestSocket {
		return use(path)
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the path %s is longer than the %d letters that a socket may have: choose a shorter folder with --data", path, longestSocket)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
