package folder

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func mustOpen(t *testing.T, path string) *Folder {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mustLock(t *testing.T, path string) *Folder {
	t.Helper()
	f := mustOpen(t, path)
	if err := f.Lock(); err != nil {
		t.Fatal(err)
	}
	return f
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want an error with %q", err, part)
		}
	}
}

func TestOpenMakesAFolderForItsOwnerAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "a", "b")
	f := mustOpen(t, path)
	wantMode(t, path, 0o700)
	if !filepath.IsAbs(f.Path()) || f.Database() != filepath.Join(f.Path(), "keyward.db") {
		t.Errorf("path %s, database %s", f.Path(), f.Database())
	}
	if text, err := os.ReadFile(filepath.Join(path, ".gitignore")); err != nil || string(text) != "*\n" {
		t.Errorf(".gitignore holds %q, %v", text, err)
	}
	mustOpen(t, path)
}

func TestOpenTakesAnEmptyFolderAndClosesIt(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{"lost+found", ".gitignore"} { // the second as a start that was cut off leaves it
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
	wantMode(t, path, 0o700)
	if text, _ := os.ReadFile(filepath.Join(path, ".gitignore")); string(text) != "*\n" {
		t.Errorf(".gitignore holds %q", text)
	}
}

func TestOpenRefusesAFolderThatOthersCanEnter(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "keyward.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o755, 0o750, 0o701} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		wantError(t, err, "chmod 700 "+path)
		wantMode(t, path, mode)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
	if _, err := os.Lstat(filepath.Join(path, ".gitignore")); err == nil {
		t.Error("a .gitignore was put into a folder that was not made by us")
	}
}

func TestOpenRefusesWhatIsNoFolderOfOurs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(file)
	wantError(t, err, "is not a folder")
	_, err = Open(filepath.Join(file, "below"))
	wantError(t, err, "make the data folder")

	foreign := "/usr" // is root's
	if os.Geteuid() == 0 {
		foreign = t.TempDir()
		if err := os.Chown(foreign, 4711, -1); err != nil {
			t.Fatal(err)
		}
	}
	_, err = Open(foreign)
	wantError(t, err, "belongs to another user", "--data "+filepath.Join(foreign, "keyward"), "chown "+strconv.Itoa(os.Geteuid()))
}

func TestOpenFollowsALinkToTheFolder(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(real)
	if err != nil {
		t.Fatal(err)
	}
	if f := mustOpen(t, link); f.Path() != want {
		t.Errorf("path %s, want %s", f.Path(), want)
	}
}

func TestOnlyOneHasTheLock(t *testing.T) {
	path := t.TempDir()
	first := mustLock(t, path)
	second := mustOpen(t, path)
	pid := "(pid " + strconv.Itoa(os.Getpid())
	wantError(t, second.Lock(), "another keyward "+pid+") is using the data folder "+second.Path(), "--data")
	if err := first.Announce("http://127.0.0.1:8080"); err != nil {
		t.Fatal(err)
	}
	wantError(t, second.Lock(), pid+", http://127.0.0.1:8080)")
	if err := first.Announce("x"); err != nil {
		t.Fatal(err)
	}
	wantError(t, second.Lock(), pid+", x)")

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if err := second.Lock(); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
}

func TestNobodyWritesWithoutTheLock(t *testing.T) {
	f := mustOpen(t, t.TempDir())
	_, listen := f.ListenControl()
	for _, err := range []error{f.Write("x", nil), f.Create("x", nil), f.Supersede("x", nil), f.Remove("x"), f.Announce("x"), listen} {
		wantError(t, err, "without its lock")
	}
}

func TestASecretFileIsForItsOwnerAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	f := mustLock(t, t.TempDir())
	if err := f.Write("setup.code", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := f.Write("setup.code", []byte("two")); err != nil {
		t.Fatal(err)
	}
	wantMode(t, filepath.Join(f.Path(), "setup.code"), 0o600)
	if text, err := f.Read("setup.code"); err != nil || string(text) != "two" {
		t.Errorf("read %q, %v", text, err)
	}
	if err := f.Create("setup.code", []byte("three")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a file: %v", err)
	}
	for range 2 {
		if err := f.Remove("setup.code"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Read("setup.code"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read after Remove: %v", err)
	}
	if err := f.Create("setup.code", []byte("four")); err != nil {
		t.Fatal(err)
	}
	if text, err := f.Read("setup.code"); err != nil || string(text) != "four" {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestWhatASupersededFileHeldIsOverwritten(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	f := mustLock(t, t.TempDir())
	if err := f.Supersede(RunKeyFile, []byte("one and two")); err != nil {
		t.Fatal(err)
	}
	// A second name for the file shows what becomes of its blocks.
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.Link(filepath.Join(f.Path(), RunKeyFile), kept); err != nil {
		t.Fatal(err)
	}
	if err := f.Supersede(RunKeyFile, []byte("two")); err != nil {
		t.Fatal(err)
	}
	wantMode(t, filepath.Join(f.Path(), RunKeyFile), 0o600)
	if text, err := f.Read(RunKeyFile); err != nil || string(text) != "two" {
		t.Errorf("read %q, %v", text, err)
	}
	if old, err := os.ReadFile(kept); err != nil || string(old) != strings.Repeat("\x00", 11) {
		t.Errorf("of the old file %q is left, %v", old, err)
	}
	wantNames(t, f.Path(), ".gitignore", "lock", RunKeyFile)
}

func TestWhatAWriterLeftThatWasCutOffIsOverwritten(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(path, unfinished+RunKeyFile+"-1")
	if err := os.WriteFile(left, []byte("one and two"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.Link(left, kept); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(path, unfinished+"link")); err != nil {
		t.Fatal(err)
	}
	mustLock(t, path)
	if old, err := os.ReadFile(kept); err != nil || string(old) != strings.Repeat("\x00", 11) {
		t.Errorf("of what was left there is %q, %v", old, err)
	}
	if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "mine" {
		t.Errorf("what a link led to holds %q, %v", text, err)
	}
	wantNames(t, path, "lock")
}

func TestALinkIsNotSuperseded(t *testing.T) {
	f := mustLock(t, t.TempDir())
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(f.Path(), RunKeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := f.Supersede(RunKeyFile, []byte("two")); err == nil {
		t.Error("a link was followed")
	}
	if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "mine" {
		t.Errorf("what it led to holds %q, %v", text, err)
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	f := mustLock(t, t.TempDir())
	if err := os.Mkdir(filepath.Join(f.Path(), "x"), 0o700); err != nil { // a file can't be renamed over a folder
		t.Fatal(err)
	}
	wantError(t, f.Write("x", []byte("secret")), "write "+filepath.Join(f.Path(), "x"))
	wantNames(t, f.Path(), ".gitignore", "lock", "x")
}

func wantNames(t *testing.T, path string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

// cutOff runs this test binary as a process that writes root.key into path and
// is killed after the given step, and returns when it is gone.
func cutOff(t *testing.T, path, step string) {
	t.Helper()
	writer := exec.Command(os.Args[0], "-test.run=^TestWriterThatIsCutOff$")
	writer.Env = append(os.Environ(), "KEYWARD_TEST_FOLDER="+path, "KEYWARD_TEST_STOP_AFTER="+step)
	out, err := writer.CombinedOutput()
	if status, ok := writer.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the writer was not killed after %s: %v\n%s", step, err, out)
	}
}

// TestWriterThatIsCutOff is the process that cutOff starts. By itself it is a
// write that nothing cuts off.
func TestWriterThatIsCutOff(t *testing.T) {
	path, stop := os.Getenv("KEYWARD_TEST_FOLDER"), os.Getenv("KEYWARD_TEST_STOP_AFTER")
	if path == "" {
		path = t.TempDir()
	}
	f := mustLock(t, path)
	f.step = func(done string) {
		if done == stop {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if err := f.Write(RootKeyFile, []byte("the new key\n")); err != nil {
		t.Fatal(err)
	}
	if text, err := f.Read(RootKeyFile); err != nil || string(text) != "the new key\n" {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestACrashLeavesAWholeFileOrNone(t *testing.T) {
	for _, before := range []string{"", "the old key\n"} {
		for _, step := range []string{"made", "written", "synced", "renamed"} {
			t.Run(step+" over "+strconv.Quote(before), func(t *testing.T) {
				path := t.TempDir()
				f := mustLock(t, path)
				if before != "" {
					if err := f.Write(RootKeyFile, []byte(before)); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				cutOff(t, path, step)

				want := before
				if step == "renamed" {
					want = "the new key\n"
				}
				f = mustOpen(t, path)
				text, err := f.Read(RootKeyFile)
				if string(text) != want || want == "" != errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the file holds %q (%v), want %q", text, err, want)
				}

				// The lock died with its holder, and the next one sweeps.
				if err := f.Lock(); err != nil {
					t.Fatal(err)
				}
				names := []string{".gitignore", "lock"}
				if want != "" {
					names = append(names, "root.key")
				}
				wantNames(t, path, names...)
			})
		}
	}
}

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, pair := range pairs {
			if k, v, _ := strings.Cut(pair, "="); k == name {
				return v, true
			}
		}
		return "", false
	}
}

func TestTheRootKeyIsFoundInItsOrder(t *testing.T) {
	f := mustLock(t, t.TempDir())
	if _, err := f.FindRootKey(env()); !errors.Is(err, ErrNoRootKey) {
		t.Errorf("nowhere: %v", err)
	}
	if err := f.Create(RootKeyFile, []byte("of the folder")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(file, []byte("elsewhere"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		env  []string
		text string
		from string
	}{
		{nil, "of the folder", filepath.Join(f.Path(), "root.key")},
		{[]string{"KEYWARD_ROOT_KEY_FILE=" + file}, "elsewhere", file},
		{[]string{"KEYWARD_ROOT_KEY_FILE=" + file, "KEYWARD_ROOT_KEY=direct"}, "direct", "KEYWARD_ROOT_KEY"},
	} {
		key, err := f.FindRootKey(env(tc.env...))
		if err != nil || string(key.Text) != tc.text || key.From != tc.from || key.Warning != "" {
			t.Errorf("got %q from %s (%q), %v; want %q from %s", key.Text, key.From, key.Warning, err, tc.text, tc.from)
		}
	}
}

func TestWhatCannotBeUsedIsNeverNoRootKey(t *testing.T) {
	f := mustLock(t, t.TempDir())
	root := filepath.Join(f.Path(), RootKeyFile)
	other := filepath.Join(t.TempDir(), "other")
	write := func(path string, mode fs.FileMode, size int) func() error {
		return func() error { return errors.Join(os.WriteFile(path, make([]byte, size), 0o600), os.Chmod(path, mode)) }
	}
	cases := map[string]struct {
		make func() error
		env  string
		want string
	}{
		"empty variable":      {nil, "KEYWARD_ROOT_KEY=", "KEYWARD_ROOT_KEY is empty"},
		"blank variable":      {nil, "KEYWARD_ROOT_KEY= \n", "KEYWARD_ROOT_KEY is empty"},
		"empty path":          {nil, "KEYWARD_ROOT_KEY_FILE=", "KEYWARD_ROOT_KEY_FILE: is empty"},
		"no such file":        {nil, "KEYWARD_ROOT_KEY_FILE=" + other, "no such file"},
		"a folder":            {nil, "KEYWARD_ROOT_KEY_FILE=/", "is not a file"},
		"changed by others":   {write(other, 0o622, 1), "KEYWARD_ROOT_KEY_FILE=" + other, "chmod 600 " + other},
		"too large elsewhere": {write(other, 0o600, maxSecret+1), "KEYWARD_ROOT_KEY_FILE=" + other, "larger than 1 MiB"},
		"read by the group":   {write(root, 0o640, 1), "", "chmod 600 " + root},
		"read by the world":   {write(root, 0o604, 1), "", "chmod 600 " + root},
		"too large":           {write(root, 0o600, maxSecret+1), "", "larger than 1 MiB"},
		"a link":              {func() error { return errors.Join(os.Remove(root), os.Symlink(other, root)) }, "", root + " is a link"},
		"a broken link":       {func() error { return errors.Join(os.Remove(root), os.Symlink("nowhere", root)) }, "", root + " is a link"},
		"a pipe":              {func() error { return errors.Join(os.Remove(root), syscall.Mkfifo(root, 0o600)) }, "", "is not a file"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			os.Remove(other)
			os.Remove(root)
			if err := f.Create(RootKeyFile, nil); err != nil {
				t.Fatal(err)
			}
			if tc.make != nil {
				if err := tc.make(); err != nil {
					t.Fatal(err)
				}
			}
			key, err := f.FindRootKey(env(tc.env))
			wantError(t, err, tc.want)
			if errors.Is(err, ErrNoRootKey) || len(key.Text) > 0 {
				t.Errorf("got %q, %v", key.Text, err)
			}
		})
	}
}

func TestAnothersFileIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		if info, err := os.Stat("/"); err != nil || mine(info) {
			t.Errorf("the file system's root is ours, %v", err)
		}
		return // only root can give a file away
	}
	f := mustLock(t, t.TempDir())
	if err := f.Create(RootKeyFile, []byte("x")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.Path(), RootKeyFile)
	if err := os.Chown(path, 4711, -1); err != nil {
		t.Fatal(err)
	}
	_, err := f.FindRootKey(env())
	wantError(t, err, "belongs to another user", "chown 0 "+path)
}

func TestAMountedSecretIsReadWithAWarning(t *testing.T) {
	f := mustOpen(t, t.TempDir())
	mount := t.TempDir() // as Kubernetes lays it out
	if err := errors.Join(
		os.Mkdir(filepath.Join(mount, "..2024"), 0o755),
		os.WriteFile(filepath.Join(mount, "..2024", "root.key"), []byte("mounted"), 0o444),
		os.Symlink("..2024", filepath.Join(mount, "..data")),
		os.Symlink("..data/root.key", filepath.Join(mount, "root.key")),
	); err != nil {
		t.Fatal(err)
	}
	key, err := f.FindRootKey(env("KEYWARD_ROOT_KEY_FILE=" + filepath.Join(mount, "root.key")))
	if err != nil || string(key.Text) != "mounted" || !strings.Contains(key.Warning, "chmod 600") {
		t.Errorf("got %q (%q), %v", key.Text, key.Warning, err)
	}
}

func TestTheControlSocketIsReachedThroughItsFolder(t *testing.T) {
	for name, path := range map[string]string{
		"short": filepath.Join(t.TempDir(), "d"),
		"long":  filepath.Join(t.TempDir(), strings.Repeat("long/", 40), "d"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DialControl(t.Context(), path); err == nil {
				t.Fatal("reached a server that is not there")
			} else {
				wantError(t, err, "no keyward server is using the data folder "+path, "--data")
			}
			if _, err := os.Lstat(path); err == nil {
				t.Fatal("DialControl made the folder")
			}
			f := mustLock(t, path)
			for range 2 { // the second finds what a killed server leaves
				listener, err := f.ListenControl()
				if err != nil {
					t.Fatal(err)
				}
				wantMode(t, filepath.Join(path, "control.sock"), 0o600)
				wantEcho(t, listener, path)
				listener.(control).UnixListener.Close()
			}
			_, err := DialControl(t.Context(), path)
			wantError(t, err, "no keyward server")

			listener, err := f.ListenControl()
			if err != nil {
				t.Fatal(err)
			}
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			wantNames(t, path, ".gitignore", "lock")
		})
	}
}

func wantEcho(t *testing.T, listener net.Listener, path string) {
	t.Helper()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(conn, conn)
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn, err := DialControl(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTheControlSocketTakesNothingElsesPlace(t *testing.T) {
	f := mustLock(t, t.TempDir())
	path := filepath.Join(f.Path(), "control.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := f.ListenControl()
	wantError(t, err, path+" is something else")
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Error("it was taken away")
	}
}
