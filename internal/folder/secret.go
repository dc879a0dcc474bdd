package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSecret is far more than any secret file takes.
const maxSecret = 1 << 20

// Write puts a file that only its owner can read into the folder, over an older
// one. When it returns, the file is on the disk; if the machine stops before,
// the older one is there, or none, but never a part. The lock must be held.
func (f *Folder) Write(name string, secret []byte) error {
	if err := f.held(); err != nil {
		return err
	}
	return f.put(name, secret)
}

// Supersede is Write for a file whose older content nobody may ever read again:
// when the new one is on the disk, the blocks of the old one are overwritten. A
// disk or a file system that never writes in place keeps them for a while.
func (f *Folder) Supersede(name string, secret []byte) (err error) {
	if err := f.held(); err != nil {
		return err
	}
	old, err := os.OpenFile(f.at(name), os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return f.put(name, secret)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	if err := f.put(name, secret); err != nil {
		return err
	}
	if err := overwrite(old); err != nil {
		return fmt.Errorf("overwrite what %s held: %w", f.at(name), err)
	}
	f.did("overwritten")
	return nil
}

// overwrite puts zeros over all that a file holds, on the disk.
func overwrite(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(make([]byte, info.Size()), 0); err != nil {
		return err
	}
	return file.Sync()
}

// Create is Write for a file that must not be there yet: then the error is
// fs.ErrExist.
func (f *Folder) Create(name string, secret []byte) error {
	if err := f.held(); err != nil {
		return err
	}
	// The lock keeps everyone else from making it between these two steps.
	if _, err := os.Lstat(f.at(name)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("make %s: %w", f.at(name), err)
	}
	return f.put(name, secret)
}

// Read returns a secret file. It refuses a link, another user's file, and one
// that other users can reach. A file that is not there is fs.ErrNotExist.
func (f *Folder) Read(name string) ([]byte, error) {
	path := f.at(name)
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a link: put the file itself there", path)
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case !mine(info):
		return nil, fmt.Errorf("%s belongs to another user, who can change it: make it yours with: chown %d %s", path, os.Geteuid(), path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s is open to other users of this machine and may be known to them: close it with: chmod 600 %s", path, path)
	}
	return readSmall(file)
}

// Remove takes a file away, if it is there, and the folder's disk knows it. The
// lock must be held.
func (f *Folder) Remove(name string) error {
	if err := f.held(); err != nil {
		return err
	}
	if err := os.Remove(f.at(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(f.path)
}

// put writes the whole file under another name, has it on the disk, gives it its
// name, and has that on the disk.
func (f *Folder) put(name string, text []byte) (err error) {
	file, err := os.CreateTemp(f.path, unfinished+name+"-*") // CreateTemp makes it 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", f.at(name), err)
	}
	defer func() {
		if err != nil {
			file.Close()
			_ = f.discard(filepath.Base(file.Name())) // it is not there if it has got its name
			err = fmt.Errorf("write %s: %w", f.at(name), err)
		}
	}()
	f.did("made")
	if _, err := file.Write(text); err != nil {
		return err
	}
	f.did("written")
	if err := file.Sync(); err != nil {
		return err
	}
	f.did("synced")
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), f.at(name)); err != nil {
		return err
	}
	f.did("renamed")
	return syncDir(f.path)
}

func (f *Folder) did(step string) {
	if f.step != nil {
		f.step(step)
	}
}

// syncDir has the names in a folder on the disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// sweep takes away what a writer who was cut off has left, and overwrites it: it
// may be keys that must not outlive their file.
func (f *Folder) sweep() error {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return fmt.Errorf("sweep the data folder: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			if err := f.discard(e.Name()); err != nil {
				return fmt.Errorf("sweep the data folder: %w", err)
			}
		}
	}
	return nil
}

// discard takes away a file that has no name but this one.
func (f *Folder) discard(name string) error {
	if file, err := os.OpenFile(f.at(name), os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0); err == nil {
		// A disk that is broken or full is no reason to leave it there.
		_ = errors.Join(overwrite(file), file.Close())
	}
	return os.Remove(f.at(name))
}

func readSmall(file *os.File) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		err = fmt.Errorf("%s is larger than 1 MiB", file.Name())
	}
	return text, err
}

// RootKey is the text of a root key as it was found.
type RootKey struct {
	Text    []byte // its lines, unchecked
	From    string // "KEYWARD_ROOT_KEY", or the path of a file
	Warning string // "": nothing is odd about it
}

// ErrNoRootKey says that there is no root key in any of its places.
var ErrNoRootKey = errors.New("there is no root key")

// FindRootKey returns the root key from the variable KEYWARD_ROOT_KEY, else from
// the file that KEYWARD_ROOT_KEY_FILE names, else from the folder's root.key.
// It is ErrNoRootKey only if the variables are not set and there is no
// root.key: what is there and can't be used never counts as none, or a new key
// would be made beside the old one.
func (f *Folder) FindRootKey(lookup func(variable string) (string, bool)) (RootKey, error) {
	if text, ok := lookup("KEYWARD_ROOT_KEY"); ok {
		if strings.TrimSpace(text) == "" {
			return RootKey{}, errors.New("KEYWARD_ROOT_KEY is empty: give it the root key, or unset it")
		}
		return RootKey{Text: []byte(text), From: "KEYWARD_ROOT_KEY"}, nil
	}
	if path, ok := lookup("KEYWARD_ROOT_KEY_FILE"); ok {
		key, err := elsewhere(path)
		if err != nil {
			return RootKey{}, fmt.Errorf("KEYWARD_ROOT_KEY_FILE: %w", err)
		}
		return key, nil
	}
	text, err := f.Read(RootKeyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return RootKey{}, ErrNoRootKey
	case err != nil:
		return RootKey{}, fmt.Errorf("root key: %w", err)
	}
	return RootKey{Text: text, From: f.at(RootKeyFile)}, nil
}

// elsewhere reads a root key that the operator keeps outside the folder. Docker
// and Kubernetes mount their secrets as links and readable to all of the
// container, so these two are allowed here, the second with a warning.
func elsewhere(path string) (RootKey, error) {
	if path == "" {
		return RootKey{}, errors.New("is empty: give it the path of a file, or unset it")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return RootKey{}, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return RootKey{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return RootKey{}, err
	case !info.Mode().IsRegular():
		return RootKey{}, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o022 != 0:
		return RootKey{}, fmt.Errorf("%s can be changed by other users of this machine: close it with: chmod 600 %s", path, path)
	}
	text, err := readSmall(file)
	if err != nil {
		return RootKey{}, err
	}
	key := RootKey{Text: text, From: path}
	if info.Mode().Perm()&0o044 != 0 {
		key.Warning = fmt.Sprintf("the root key in %s can be read by other users of this machine: close it with: chmod 600 %s", path, path)
	}
	return key, nil
}
