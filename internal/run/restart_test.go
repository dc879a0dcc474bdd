package run

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

// die ends a server as kill -9 does, as far as its database can tell: nothing of
// it reaches the disk any more.
func (h *house) die(t *testing.T, d *db.DB) {
	t.Helper()
	dead := h.Runs
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	dead.Shutdown(now)
}

// reopen opens a database once more.
func reopen(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAfterARestartWhatWaitedGoesOnAndWhatWasUnderWayDoesNot(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := reopen(t, url)
		h := newHouse(t, d)
		h.AtOnce = 4
		once, again := newTurnstile(), newTurnstile()
		h.shared(t, "once", once.ServeHTTP, agent.Definition{})
		h.shared(t, "again", again.ServeHTTP, agent.Definition{Idempotent: true})
		h.profiles["t"] = &Profile{Name: "p", Values: map[string]jsontext.Value{}}
		under, twice := h.later(t, h.jane, "public/once"), h.later(t, h.jane, "public/again")
		withProfile, err := h.Start(t.Context(), h.jane, Request{AgentID: "public/once", Token: seal.NewSecret("t")})
		if err != nil {
			t.Fatal(err)
		}
		once.through(t, 2)
		again.through(t, 1)
		waiting, cancelled := h.later(t, h.jane, "public/once"), h.later(t, h.jane, "public/once")
		if run, err := h.Cancel(t.Context(), h.jane, cancelled.ID); err != nil || run.Status != Cancelled {
			t.Fatalf("%+v, %v", run, err)
		}
		h.die(t, d)

		d = reopen(t, url)
		t.Cleanup(func() { d.Close() })
		h.start(t, d, h.Root, "node-2")
		if err := h.Tend(t.Context(), only("node-2")); err != nil {
			t.Fatal(err)
		}
		if err := h.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(once.pass)
		close(again.pass)
		for _, tt := range []struct {
			run    Run
			status Status
			calls  int
		}{{under, Interrupted, 1}, {withProfile, Interrupted, 1}, {twice, Succeeded, 2}, {waiting, Succeeded, 1}, {cancelled, Cancelled, 0}} {
			run := h.ended(t, tt.run.ID)
			calls := 0
			for _, id := range append(once.called(), again.called()...) {
				if id == run.ID {
					calls++
				}
			}
			if run.Status != tt.status || calls != tt.calls {
				t.Errorf("%+v after %d calls, want %s after %d", run, calls, tt.status, tt.calls)
			}
		}
		if n := number(t, d, `SELECT count(*) FROM run_inputs`); n != 0 {
			t.Errorf("of %d runs that have ended the inputs are left", n)
		}
		kinds := h.kinds(t, twice.ID, 0)
		if kinds != "1start 2start 3done" {
			t.Errorf("one that was done twice tells %s", kinds)
		}
	})
}

// kinds are the events of a run of jane's after seq.
func (h *house) kinds(t *testing.T, id string, seq int64) string {
	t.Helper()
	var all []string
	for _, e := range h.eventsOf(t, id, seq) {
		all = append(all, string(rune('0'+e.Seq))+string(e.Kind))
	}
	return strings.Join(all, " ")
}

// A run is done again a few times and no more.
func TestARunThatTakesItsServersDownIsNotDoneForEver(t *testing.T) {
	h := onSQLite(t)
	s := newTurnstile()
	h.shared(t, "again", s.ServeHTTP, agent.Definition{Idempotent: true})
	run := h.later(t, h.jane, "public/again")
	for n := range tries {
		s.through(t, n+1)
		now, cancel := context.WithCancel(t.Context())
		cancel()
		h.Shutdown(now)
		if n < tries-1 {
			if run, err := h.Get(t.Context(), h.jane, run.ID); err != nil || run.Status != Queued || !run.StartedAt.IsZero() {
				t.Fatalf("after shutdown %d: %+v, %v", n+1, run, err)
			}
		}
		h.start(t, h.DB, h.Root, db.NewID())
		if err := h.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if run := h.ended(t, run.ID); run.Status != Interrupted {
		t.Errorf("%+v", run)
	}
}

func TestARunIsInterruptedWhenNoLiveServerHasItsKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 1
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		h.later(t, h.jane, "public/a")
		s.through(t, 1)
		run := h.later(t, h.jane, "public/a")
		other := &house{op: h.op, jane: h.jane, log: h.log, profiles: h.profiles, keyring: newKeyring()}
		other.start(t, d, h.Root, "node-2")
		if err := other.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the other server says that it has no key", func() bool { return number(t, d, `SELECT count(*) FROM run_gone`) == 1 })
		if err := other.Tend(t.Context(), only("node-1", "node-2")); err != nil {
			t.Fatal(err)
		}
		if run, err := h.Get(t.Context(), h.jane, run.ID); err != nil || run.Status != Queued {
			t.Errorf("while a server lives that has the key: %+v, %v", run, err)
		}
		if err := other.Tend(t.Context(), only("node-2")); err != nil {
			t.Fatal(err)
		}
		if run, err := h.Get(t.Context(), h.jane, run.ID); err != nil || run.Status != Queued {
			t.Errorf("when it has just gone, to start again perhaps: %+v, %v", run, err)
		}
		other.Now = func() time.Time { return time.Now().Add(mayReturn) }
		if err := other.Tend(t.Context(), only("node-2")); err != nil {
			t.Fatal(err)
		}
		if run, err := h.Get(t.Context(), h.jane, run.ID); err != nil || run.Status != Interrupted || !strings.Contains(run.ErrorMessage, "CREDENTIALS_GONE") {
			t.Errorf("then: %+v, %v", run, err)
		}
	})
}

// What waits on the disk opens neither with the database nor with the root key,
// and is gone when the run has ended.
func TestWhatARunWaitsWithIsSealedAndRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 1
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{InputArguments: []agent.Argument{{Name: "pin"}}})
		h.later(t, h.jane, "public/a")
		s.through(t, 1)
		run, err := h.Start(t.Context(), h.jane, Request{AgentID: "public/a", Parameters: map[string]jsontext.Value{"pin": jsontext.Value(`"a-secret-pin"`)}})
		if err != nil {
			t.Fatal(err)
		}
		var tokens, inputs []byte
		if err := d.QueryRow(t.Context(), `SELECT tokens, inputs FROM run_inputs WHERE run_id = $1`, run.ID).Scan(&tokens, &inputs); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(inputs), "secret") || len(tokens) == 0 {
			t.Errorf("the row has %q and %q", tokens, inputs)
		}
		other := newKeyring().waiting(nil)
		if _, err := other.Open(tokens, run.at()); err == nil {
			t.Error("another key opens it")
		}
		if _, err := h.Cancel(t.Context(), h.jane, run.ID); err != nil {
			t.Fatal(err)
		}
		if n := number(t, d, `SELECT count(*) FROM run_inputs WHERE run_id = $1`, run.ID); n != 0 {
			t.Error("it is there after the end of the run")
		}
	})
}

func TestAProfileThatIsDeletedWhileItsRunWaitsEndsIt(t *testing.T) {
	h := onSQLite(t)
	h.AtOnce = 1
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	h.profiles["t"] = &Profile{Name: "p"}
	h.later(t, h.jane, "public/a")
	s.through(t, 1)
	run, err := h.Start(t.Context(), h.jane, Request{AgentID: "public/a", Token: seal.NewSecret("t")})
	if err != nil {
		t.Fatal(err)
	}
	open := h.Waiting.OpenProfile
	h.Waiting.OpenProfile = func(ctx context.Context, who access.Caller, a agent.Agent, token seal.Secret) (*Profile, error) {
		delete(h.profiles, "t")
		return open(ctx, who, a, token)
	}
	s.pass <- struct{}{}
	if run := h.ended(t, run.ID); run.Status != Failed || !strings.Contains(run.ErrorMessage, "deleted or replaced") || len(s.called()) != 1 {
		t.Errorf("%+v after %d calls", run, len(s.called()))
	}
}

func TestARunThatWaitsForLongerThanItsKeysLiveIsInterrupted(t *testing.T) {
	h := onSQLite(t)
	h.AtOnce = 1
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	h.later(t, h.jane, "public/a")
	s.through(t, 1)
	run := h.later(t, h.jane, "public/a")
	h.Now = func() time.Time { return time.Now().Add(mayWait + time.Minute) }
	if err := h.Tend(t.Context(), only("node-1")); err != nil {
		t.Fatal(err)
	}
	if run, err := h.Get(t.Context(), h.jane, run.ID); err != nil || run.Status != Interrupted {
		t.Errorf("%+v, %v", run, err)
	}
}
