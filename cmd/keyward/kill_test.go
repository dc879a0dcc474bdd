package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKillsLoseNothingThatWasAnswered ends the server with SIGKILL again and
// again while it is in full use, and then asks for everything that it has ever
// answered: profiles open with their values and sessions, keys work, what was
// revoked, replaced or deleted stays so, runs have their records and acts their
// audit entries. Of a change that was not answered either outcome is right, but
// never a mixture.
//
// It is the plain binary that is killed, also when the test itself runs under
// the race detector, which makes SQLite too slow to get anywhere in a round.
func TestKillsLoseNothingThatWasAnswered(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 10
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	moments := rand.New(rand.NewPCG(seed, 0))

	k := newKillable(t)
	k.start()
	o := k.signUp()
	users := make([]*user, 8)
	for i := range users {
		users[i] = o.newUser(i, rand.New(rand.NewPCG(seed, uint64(i+1))))
	}

	for round := range kills {
		enough := k.after(1 + moments.Int64N(150))
		var wg sync.WaitGroup
		for _, u := range users {
			wg.Go(u.useUntilKilled)
		}
		select {
		case <-enough:
		case <-time.After(time.Minute):
			t.Error("the server hardly answers")
		}
		time.Sleep(time.Duration(moments.IntN(3000)) * time.Microsecond) // the moment, and not a wait for anything
		k.kill()
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
		if round%5 == 0 { // and once while it starts
			k.launch()
			time.Sleep(time.Duration(moments.IntN(60)) * time.Millisecond)
			k.kill()
		}
		k.start()
	}

	for _, u := range users {
		u.check()
	}
	o.checkAudit(users)
	k.stop()
	k.checkDatabase()
}

// killable is a server that can be killed and started again on its folder.
type killable struct {
	*testing.T
	binary, folder string
	runner         *httptest.Server
	given          sync.Map // by run id: the input of the run, as the runner got it

	answers atomic.Int64 // until there are enough
	enough  chan struct{}

	process *exec.Cmd
	out     io.Reader
	logged  *bytes.Buffer
	url     string
	http    *http.Client
}

func newKillable(t *testing.T) *killable {
	dir := t.TempDir()
	k := &killable{T: t, binary: filepath.Join(dir, "keyward"), folder: filepath.Join(dir, "data")}
	if out, err := exec.Command("go", "build", "-o", k.binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build keyward: %v\n%s", err, out)
	}
	k.runner = httptest.NewServer(http.HandlerFunc(k.serveRun))
	t.Cleanup(k.runner.Close)
	t.Cleanup(func() {
		if k.process != nil {
			k.process.Process.Kill()
			k.process.Wait()
		}
		if t.Failed() && k.logged != nil {
			t.Logf("the log of the last server:\n%s", k.logged)
		}
	})
	return k
}

// input is what a runner is given.
type input struct {
	RunID     string            `json:"run_id"`
	Arguments map[string]string `json:"arguments"`
	Session   *session          `json:"session"`
}

// session is what the runner wants to find again: the name of the visit that
// left it.
type session struct {
	Visit string `json:"visit"`
}

// serveRun is the agent: it remembers what it was given and leaves a session.
func (k *killable) serveRun(w http.ResponseWriter, r *http.Request) {
	var in input
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		k.Errorf("the runner got something else than a run: %v", err)
	}
	k.given.Store(in.RunID, in)
	json.NewEncoder(w).Encode(map[string]any{"output": "done", "session": session{in.Arguments["visit"]}})
}

// after returns a channel that is closed when n more requests were answered.
func (k *killable) after(n int64) <-chan struct{} {
	k.enough = make(chan struct{})
	k.answers.Store(n)
	return k.enough
}

func (k *killable) countAnswer() {
	if k.answers.Add(-1) == 0 {
		close(k.enough)
	}
}

// launch starts a process and does not wait for it to serve. Each listens on
// another port, so its public address is set: else the access tokens would be
// of another issuer each time.
func (k *killable) launch() {
	k.process = exec.Command(k.binary, "serve", "--addr", "127.0.0.1:0", "--url", "http://keyward.example", "--data", k.folder,
		"--runners-allow", k.runner.Listener.Addr().String(), "--log-level", "error",
		"--quotas-auth-profiles", "unlimited", "--quotas-keys", "unlimited", "--default-tier", "enterprise")
	k.process.Env = []string{} // nothing of this process's own settings
	k.logged = &bytes.Buffer{}
	k.process.Stderr = k.logged
	var err error
	if k.out, err = k.process.StdoutPipe(); err != nil {
		k.Fatal(err)
	}
	if err := k.process.Start(); err != nil {
		k.Fatal(err)
	}
}

// start starts a process and waits until it serves.
func (k *killable) start() {
	k.Helper()
	k.launch()
	for lines := bufio.NewScanner(k.out); lines.Scan(); {
		if _, address, ok := strings.Cut(lines.Text(), "listening on "); ok {
			go io.Copy(io.Discard, k.out)
			k.url = address
			k.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			return
		}
	}
	k.Fatalf("the server does not start: %v\n%s", k.process.Wait(), k.logged)
}

func (k *killable) kill() {
	if err := k.process.Process.Kill(); err != nil {
		k.Fatal(err)
	}
	var ended *exec.ExitError
	if err := k.process.Wait(); !errors.As(err, &ended) || ended.Exited() {
		k.Fatalf("the server ended before it was killed: %v\n%s", err, k.logged)
	}
}
