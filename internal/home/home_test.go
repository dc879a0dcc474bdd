package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/zalando/go-keyring"
)

func at(dir string) *Home {
	return Open(func(name string) (string, bool) {
		v, ok := map[string]string{"KEYWARD_CONFIG_DIR": dir, "KEYWARD_KEYCHAIN": "off"}[name]
		return v, ok
	})
}

const server = "https://keys.example.com"

func keep(t *testing.T, h *Home, c Credential) string {
	t.Helper()
	where, err := h.ChangeCredential(c.Address, func(now *Credential) error { *now = c; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return where
}

func TestACredentialIsGivenForItsServerAlone(t *testing.T) {
	h := at(t.TempDir())
	keep(t, h, Credential{Address: server, APIKey: "a"})
	keep(t, h, Credential{Address: server + ":8443", APIKey: "b"})
	for address, want := range map[string]string{server: "a", server + ":8443": "b", "http://keys.example.com": "", server + "/": ""} {
		if c, _, err := h.Credential(address); err != nil || c.APIKey != want {
			t.Errorf("%s: %q, %v", address, c.APIKey, err)
		}
	}
	if where := keep(t, h, Credential{Address: server}); where != "" {
		t.Errorf("nothing is kept in %s", where)
	}
	text, err := os.ReadFile(filepath.Join(h.dir, credentialFile))
	if err != nil || strings.Contains(string(text), `"a"`) || !strings.Contains(string(text), `"b"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	h := at(filepath.Join(t.TempDir(), "new", "keyward"))
	path := keep(t, h, Credential{Address: server, APIKey: "a"})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := os.Stat(h.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Credential(server); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: %v", err)
	}
	if _, err := h.ChangeCredential(server, func(*Credential) error { return nil }); err == nil {
		t.Error("it was written over")
	}
}

func TestWritersAtOnceLoseNothing(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			h, address := at(dir), fmt.Sprintf("%s:%d", server, i) // as another process would
			if err := h.Change(func(c *Config) error { return c.Use(address, fmt.Sprint("n", i)) }); err != nil {
				t.Error(err)
			}
			keep(t, h, Credential{Address: address, APIKey: "k"})
		})
	}
	all.Wait()
	c, err := at(dir).Config()
	if err != nil || len(c.Servers) != 20 {
		t.Errorf("%d servers, %v", len(c.Servers), err)
	}
	for i := range 20 {
		if c, _, err := at(dir).Credential(fmt.Sprintf("%s:%d", server, i)); err != nil || c.APIKey != "k" {
			t.Errorf("%d: %+v, %v", i, c, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestABrokenFileIsToldWithItsLineAndLeft(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "line 1: it ends too early",
		"{\n\"current\": \"hunt":   "line 2: it ends too early",
		"{\n\n\"servers\": [,]}":   "line 3: it is no JSON",
		"{\"current\":\n3}":        "it is not as Keyward writes it",
		"{\"hunter2\": 1}":         "that this version does not know",
		"{} {}":                    "it is not as Keyward writes it",
		strings.Repeat(" ", 2<<20): "larger than 1 MiB",
	} {
		h := at(t.TempDir())
		if err := os.WriteFile(h.ConfigPath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := h.Change(func(*Config) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), h.ConfigPath()) {
			t.Errorf("%.30q: %v", text, err)
		}
		if now, _ := os.ReadFile(h.ConfigPath()); string(now) != text {
			t.Errorf("%.30q was written over", text)
		}
	}
}

func TestAChangeThatFailsChangesNothing(t *testing.T) {
	h := at(t.TempDir())
	keep(t, h, Credential{Address: server, APIKey: "a"})
	no := errors.New("no")
	if _, err := h.ChangeCredential(server, func(c *Credential) error { c.APIKey = ""; return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if c, _, err := h.Credential(server); err != nil || c.APIKey != "a" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAFolderThatCannotBeWrittenIsToldWithTheWayOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := at(filepath.Join(file, "keyward"))
	if err := h.Writable(); err == nil || !strings.Contains(err.Error(), "KEYWARD_CONFIG_DIR") || !strings.Contains(err.Error(), "KEYWARD_API_KEY") {
		t.Error(err)
	}
	if c, err := h.Config(); err != nil || len(c.Servers) != 0 {
		t.Errorf("nothing is kept, which is no failure: %v", err)
	}
}

func TestALinkToTheSettingsStaysOne(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "elsewhere.json")
	h := at(filepath.Join(dir, "keyward"))
	for _, err := range []error{os.WriteFile(real, []byte("{}"), 0o600), os.Mkdir(h.dir, 0o700), os.Symlink(real, h.ConfigPath())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Change(func(c *Config) error { return c.Use(server, "") }); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(real); err != nil || !strings.Contains(string(text), server) {
		t.Errorf("%s, %v", text, err)
	}
}

// With a keychain nothing lies in a file, and what lay there goes.
func TestAKeychainIsPreferredToAFile(t *testing.T) {
	h := at(t.TempDir())
	path := keep(t, h, Credential{Address: server, APIKey: "in a file"})
	keyring.MockInit()
	h.keychain = ring{}
	if c, where, err := h.Credential(server); err != nil || c.APIKey != "in a file" || where != path {
		t.Errorf("%+v in %s, %v", c, where, err)
	}
	if where := keep(t, h, Credential{Address: server, APIKey: "k", SignIn: &SignIn{Email: "e"}}); where != keychainName {
		t.Errorf("kept in %s", where)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), server) {
		t.Errorf("%s, %v", text, err)
	}
	if c, where, err := h.Credential(server); err != nil || c.APIKey != "k" || c.SignIn.Email != "e" || where != keychainName {
		t.Errorf("%+v in %s, %v", c, where, err)
	}
	keep(t, h, Credential{Address: server})
	if c, _, err := h.Credential(server); err != nil || !c.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}

	// One that has no room, or is locked, is done without.
	keyring.MockInitWithError(errors.New("failed to unlock"))
	if c, _, err := h.Credential(server); err != nil || !c.IsZero() || h.Closed() == nil {
		t.Errorf("%+v, %v, closed: %v", c, err, h.Closed())
	}
	if where := keep(t, h, Credential{Address: server, APIKey: "k"}); where != path {
		t.Errorf("kept in %s", where)
	}
}

func TestAKeychainIsAskedOnlyWhereThereMayBeOne(t *testing.T) {
	for bus, want := range map[string]keychain{"": noKeychain{}} {
		got := system(func(name string) (string, bool) {
			return map[string]string{"DBUS_SESSION_BUS_ADDRESS": bus}[name], true
		})
		if _, linux := os.Stat("/proc/self"); linux == nil && got != want {
			t.Errorf("%T", got)
		}
	}
	if got := system(func(name string) (string, bool) {
		return map[string]string{"DBUS_SESSION_BUS_ADDRESS": "x", "KEYWARD_KEYCHAIN": "off"}[name], true
	}); got != (noKeychain{}) {
		t.Errorf("%T", got)
	}
}
