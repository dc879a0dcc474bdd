package keywardtest_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/keywardtest"
)

// each runs f with a server on each database.
func each(t *testing.T, f func(t *testing.T, o keywardtest.Options)) {
	t.Run("sqlite", func(t *testing.T) { f(t, keywardtest.Options{}) })
	t.Run("postgres", func(t *testing.T) {
		_, line := seal.NewRoot()
		f(t, keywardtest.Options{Settings: map[string]string{"database": dbtest.Postgres(t)}, RootKey: string(line)})
	})
}

func get(t *testing.T, url string) (int, http.Header, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(body)
}

func TestAServerSaysWhatItIsAndWhatToDoNext(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		s := keywardtest.Start(t, o)
		said := s.Said()
		for _, want := range []string{
			"address: " + s.URL, "data folder: " + s.Data, "root key: ", "setup code: ",
			"next: curl " + s.URL + "/auth/register -H 'X-Setup-Code: " + s.SetupCode(t) + "' --json ",
			"or: keyward setup --server " + s.URL + " --sign-up",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q:\n%s", want, said)
			}
		}
		if !strings.HasSuffix(said, "listening on "+s.URL+"\n") {
			t.Errorf("the last line is another:\n%s", said)
		}
		for path, want := range map[string]string{"/healthz": `"ok"`, "/readyz": `"ready"`} {
			if status, _, body := get(t, s.URL+path); status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
		status, header, body := get(t, s.URL+"/")
		if status != 200 || !strings.Contains(body, "running Keyward server") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("/: %d %v\n%s", status, header, body)
		}
		if status, _, _ := get(t, s.URL+"/nothing"); status != 404 {
			t.Errorf("/nothing: %d", status)
		}
	})
}

func TestASecondServerOnAFolderIsRefused(t *testing.T) {
	s := keywardtest.Start(t, keywardtest.Options{})
	err := keywardtest.StartError(t, keywardtest.Options{Data: s.Data})
	if !strings.Contains(err.Error(), "is using the data folder") || !strings.Contains(err.Error(), s.URL) {
		t.Errorf("refused with: %v", err)
	}
	if status, _, _ := get(t, s.URL+"/readyz"); status != 200 {
		t.Errorf("the first server answers %d", status)
	}
}

func TestAWrongOrMissingRootKeyIsRefusedByTheIDItNeeds(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Data = t.TempDir()
		s := keywardtest.Start(t, o)
		id := regexp.MustCompile(`root key: (\S+) `).FindStringSubmatch(s.Said())[1]
		s.Stop(t)

		_, other := seal.NewRoot()
		wrong := o
		wrong.RootKey = string(other)
		if err := keywardtest.StartError(t, wrong); !strings.Contains(err.Error(), id) {
			t.Errorf("another root key: %v, which does not name %s", err, id)
		}

		missing := o
		missing.RootKey = ""
		key := filepath.Join(o.Data, "root.key")
		aside := filepath.Join(t.TempDir(), "root.key")
		if o.RootKey == "" {
			if err := os.Rename(key, aside); err != nil {
				t.Fatal(err)
			}
		}
		if err := keywardtest.StartError(t, missing); !strings.Contains(err.Error(), id) {
			t.Errorf("no root key: %v, which does not name %s", err, id)
		}
		if _, err := os.Stat(key); !os.IsNotExist(err) {
			t.Errorf("a new root key was made beside existing data (%v)", err)
		}
		if o.RootKey == "" {
			if err := os.Rename(aside, key); err != nil {
				t.Fatal(err)
			}
		}
		keywardtest.Start(t, o)
	})
}

func TestAnEmptyPostgresDatabaseAsksForARootKey(t *testing.T) {
	err := keywardtest.StartError(t, keywardtest.Options{Settings: map[string]string{"database": dbtest.Postgres(t)}})
	if !strings.Contains(err.Error(), "keyward root init") {
		t.Errorf("refused with: %v", err)
	}
}

func TestTheSetupCodeStaysUntilThereIsAnOperator(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Data = t.TempDir()
		s := keywardtest.Start(t, o)
		code := s.SetupCode(t)
		s.Stop(t)
		s = keywardtest.Start(t, o)
		if again := s.SetupCode(t); again != code {
			t.Errorf("the code changed from %s to %s at a restart", code, again)
		}
		if info, err := os.Stat(filepath.Join(o.Data, "setup.code")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("setup.code: %v %v", info, err)
		}
		r, err := http.Post(s.URL+"/auth/register", "application/json",
			strings.NewReader(`{"name":"Op","email":"op@example.com","password":"at least 8","setupCode":"`+code+`"}`))
		if err != nil || r.StatusCode != 201 {
			t.Fatalf("register with the code: %v %v", r, err)
		}
		r.Body.Close()
		if _, err := os.Stat(filepath.Join(o.Data, "setup.code")); !os.IsNotExist(err) {
			t.Errorf("setup.code is still there (%v)", err)
		}
		s.Stop(t)
		s = keywardtest.Start(t, o)
		if strings.Contains(s.Said(), "setup code:") {
			t.Errorf("a code although there is an operator:\n%s", s.Said())
		}
	})
}

func TestARequestThatWaitsForARunIsAnsweredWhenTheServerStops(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"shutdown_timeout": "1s"}})
	p := h.person("")
	called, release := make(chan struct{}), make(chan struct{})
	h.agent(p, "slow", h.runner(func(map[string]any) string { close(called); <-release; return `{"output":1}` }))
	defer close(release)

	answered := make(chan error, 1)
	var status int
	var text []byte
	go func() {
		body := strings.NewReader(`{"agent_id":"slow","api_key":"` + p.key + `","run_async":false,"parameters":{"username":"jane"}}`)
		got, err := http.Post(h.URL+"/run_agent", "application/json", body)
		if err == nil {
			defer got.Body.Close()
			status = got.StatusCode
			text, err = io.ReadAll(got.Body)
		}
		answered <- err
	}()
	select {
	case <-called:
	case err := <-answered:
		t.Fatalf("%d %s (%v) before the agent was called", status, text, err)
	}
	h.Stop(t)
	if err := <-answered; err != nil || status != 200 || !strings.Contains(string(text), "The server was stopped") {
		t.Errorf("%d %s (%v), want how the run ended", status, text, err)
	}
}
