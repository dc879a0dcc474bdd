// Package home keeps what Keyward knows of a person on his machine: the servers
// that he uses, and for each the credential that he calls it with.
//
// Its laws:
//   - A credential is given for the one server that it was kept for.
//   - It lies in the system's keychain if there is one, else in a file that its
//     owner alone can read. A file that others can read is refused.
//   - A file is whole, whoever writes it at the same time and whenever the machine
//     stops; a broken one is never written over.
//
// Nothing of it is needed by who has a key in the environment.
package home

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	configFile     = "config.json"
	credentialFile = "credentials.json"
	lockFile       = "lock"

	maxFile = 1 << 20
)

// Home is a person's folder.
type Home struct {
	dir      string
	err      error // why there is none
	keychain keychain
	closed   error // see [Home.Closed]
}

// Open returns the home of who runs the command; lookup is os.LookupEnv. Nothing
// is read yet, and nothing made.
func Open(lookup func(string) (string, bool)) *Home {
	h := &Home{keychain: system(lookup)}
	if dir, ok := lookup("KEYWARD_CONFIG_DIR"); ok && dir != "" {
		h.dir = dir
		return h
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		h.err = fmt.Errorf("there is no folder for settings: %w; name one with KEYWARD_CONFIG_DIR", err)
		return h
	}
	h.dir = filepath.Join(dir, "keyward")
	return h
}

// Server is a server that a person uses.
type Server struct {
	Name    string `json:"name,omitzero"`
	Address string `json:"address"`
}

// Config is what a person has set.
type Config struct {
	Current string   `json:"current"` // the address of the server that is used unless another is named
	Servers []Server `json:"servers"`
}

// Find returns the server with this name or address.
func (c Config) Find(nameOrAddress string) (Server, bool) {
	for _, s := range c.Servers {
		if s.Name == nameOrAddress {
			return s, true
		}
	}
	for _, s := range c.Servers {
		if s.Address == nameOrAddress {
			return s, true
		}
	}
	return Server{}, false
}

// Use makes the server at an address the current one. A name, unless it is "",
// becomes its name; one that another server has is refused.
func (c *Config) Use(address, name string) error {
	if strings.Contains(name, "://") {
		return errors.New("the name of a server must not look like an address")
	}
	at := -1
	for i, s := range c.Servers {
		if s.Address == address {
			at = i
		} else if name != "" && s.Name == name {
			return fmt.Errorf("the server %s is named %s already: choose another name", s.Address, name)
		}
	}
	if at < 0 {
		at = len(c.Servers)
		c.Servers = append(c.Servers, Server{Address: address})
	}
	if name != "" {
		c.Servers[at].Name = name
	}
	c.Current = address
	return nil
}

// ConfigPath returns where the settings lie.
func (h *Home) ConfigPath() string { return filepath.Join(h.dir, configFile) }

// Config reads the settings. Without a file there are none.
func (h *Home) Config() (Config, error) {
	var c Config
	return c, h.read(configFile, &c)
}

// Change changes the settings. Nobody else does at the same time.
func (h *Home) Change(change func(*Config) error) error {
	return h.locked(func() error {
		c, err := h.Config()
		if err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		return h.write(configFile, c)
	})
}

// Writable returns why nothing can be kept here, or nil.
func (h *Home) Writable() error {
	return h.locked(func() error {
		f, err := os.CreateTemp(h.dir, ".try-*")
		if err != nil {
			return unwritable(h.dir, err)
		}
		f.Close()
		return os.Remove(f.Name())
	})
}

func unwritable(dir string, err error) error {
	if inside := (*fs.PathError)(nil); errors.As(err, &inside) {
		err = inside.Err
	}
	return fmt.Errorf("nothing can be kept in %s: %w; name another folder with KEYWARD_CONFIG_DIR, or keep nothing and give the key in KEYWARD_API_KEY", dir, err)
}

// locked calls do while no other process does.
func (h *Home) locked(do func() error) error {
	if h.err != nil {
		return h.err
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return unwritable(h.dir, err)
	}
	f, err := os.OpenFile(filepath.Join(h.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return unwritable(h.dir, err)
	}
	defer f.Close() // and with it the lock
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return do()
		}
		if !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", h.dir, err)
		}
	}
}

// read reads a file into to. One that is not there is empty.
func (h *Home) read(name string, to any) error {
	if h.err != nil {
		return nil // nothing was ever kept
	}
	path := filepath.Join(h.dir, name)
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return nil
	case err != nil:
		return err
	}
	defer f.Close()
	if name == credentialFile {
		if info, err := f.Stat(); err != nil {
			return err
		} else if info.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s can be read by others, and so may have been: close it with chmod 600, and rotate the keys in it", path)
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s is larger than 1 MiB, so it is none of Keyward's: move it away", path)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(to)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something stands after its end")
		}
	}
	if err == nil {
		return nil
	}
	// What it says of values could be a secret's.
	at, why := d.InputOffset(), "it is not as Keyward writes it"
	if wrong := (*json.SyntaxError)(nil); errors.As(err, &wrong) {
		at, why = wrong.Offset, "it is no JSON"
	} else if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
		why = "it has a field " + field + " that this version does not know"
	} else if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		at, why = int64(len(text)), "it ends too early"
	}
	line := 1 + bytes.Count(text[:min(int(at), len(text))], []byte("\n"))
	return fmt.Errorf("%s is broken: line %d: %s; mend it, or move it away and sign in again", path, line, why)
}

// write replaces a file. It is whole or as it was.
func (h *Home) write(name string, from any) (err error) {
	path := filepath.Join(h.dir, name)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // of who keeps his settings elsewhere
	}
	text, err := json.MarshalIndent(from, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+name+"-*") // for its owner alone
	if err != nil {
		return unwritable(h.dir, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return unwritable(h.dir, err)
	}
	if err := f.Sync(); err != nil {
		return unwritable(h.dir, err)
	}
	if err := f.Close(); err != nil {
		return unwritable(h.dir, err)
	}
	return os.Rename(f.Name(), path)
}
