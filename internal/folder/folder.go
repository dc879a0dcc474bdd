// Package folder keeps the data folder: what lies in it under which name, who
// may read it, and that one server at a time uses it.
//
// Its laws:
//   - Nobody but its owner can enter the folder. One that others can is refused,
//     and not made tight in silence: what was in it may be known already.
//   - Who writes in it holds its lock.
//   - A secret file is whole or not there, whenever the machine stops.
//
// What is written in the files is the business of others.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The names in the folder.
const (
	RootKeyFile   = "root.key"
	RunKeyFile    = "run.key" // in no backup: what it held is to be gone for ever
	SetupCodeFile = "setup.code"

	databaseFile = "keyward.db"
	socketFile   = "control.sock"
	lockFile     = "lock"
	ignoreFile   = ".gitignore"
	unfinished   = ".unfinished-" // begins the name of a file that is being written
)

// Folder is a data folder.
type Folder struct {
	path string
	lock *os.File // nil: not held

	step func(done string) // called after each step of a write; for tests
}

// Open returns the data folder at path, an absolute one from here on. It makes
// the folder if it is not there. An empty one is made as if it had just been
// made; one with something in it must already be closed to others.
func Open(path string) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := makeAll(path); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	// The folder itself may be a link; what is in it may not.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	f := &Folder{path: path}
	if err := f.settle(); err != nil {
		return nil, err
	}
	return f, nil
}

// makeAll makes a folder and those above it that are not there. When it returns
// their names are on the disk: what a server answers is kept, so its folder is.
func makeAll(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeAll(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(path))
}

// settle makes an empty folder ours, and refuses any other that is not closed.
func (f *Folder) settle() error {
	at, err := os.Stat(f.path)
	switch {
	case err != nil:
		return fmt.Errorf("data folder: %w", err)
	case !at.IsDir():
		return fmt.Errorf("data folder %s is not a folder", f.path)
	case !mine(at):
		return fmt.Errorf("data folder %s belongs to another user: choose a folder inside it, such as --data %s, or make it yours with: chown %d %s",
			f.path, filepath.Join(f.path, "keyward"), os.Geteuid(), f.path)
	}
	empty, err := f.empty()
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	open := at.Mode().Perm()&0o077 != 0
	switch {
	case empty:
		if open {
			if err := os.Chmod(f.path, 0o700); err != nil {
				return fmt.Errorf("close the data folder to others: %w", err)
			}
		}
		return f.ignore()
	case open:
		return fmt.Errorf("data folder %s is open to other users of this machine, and what is in it may be known to them: close it with: chmod 700 %s",
			f.path, f.path)
	}
	return nil
}

// empty reports whether nobody has put anything into the folder.
func (f *Folder) empty() (bool, error) {
	entries, err := os.ReadDir(f.path)
	for _, e := range entries {
		if name := e.Name(); name != "lost+found" && name != ignoreFile {
			return false, err
		}
	}
	return true, err
}

// ignore keeps the folder out of the git repository that it may lie in. A file
// of this name is left as it is, unless a start that was cut off left it empty.
func (f *Folder) ignore() error {
	path := f.at(ignoreFile)
	if info, err := os.Lstat(path); err == nil && info.Size() > 0 {
		return nil
	}
	return os.WriteFile(path, []byte("*\n"), 0o600)
}

// Path returns the absolute path of the folder.
func (f *Folder) Path() string { return f.path }

// Database returns the path of the SQLite file.
func (f *Folder) Database() string { return f.at(databaseFile) }

func (f *Folder) at(name string) string { return filepath.Join(f.path, name) }

func mine(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
