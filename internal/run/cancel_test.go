package run

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
)

// However a cancel and the taking up of a run meet, it ends as cancelled, once,
// and whoever asks again is told that it has ended.
func TestARunThatIsCancelledWhileItIsTakenUpEndsOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		for range 30 {
			run := h.later(t, h.jane, "public/a")
			var wg sync.WaitGroup
			won := make(chan Status, 3)
			for range 3 {
				wg.Go(func() {
					switch got, err := h.Cancel(t.Context(), h.jane, run.ID); {
					case err == nil:
						won <- got.Status
					case !errors.Is(err, ErrEnded):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			close(won)
			if len(won) == 0 {
				t.Error("nobody was told that it is cancelled")
			}
			for status := range won {
				if status != Cancelled {
					t.Errorf("cancelled as %s", status)
				}
			}
			if got := h.ended(t, run.ID); got.Status != Cancelled {
				t.Errorf("%+v", got)
			}
			if _, err := h.Cancel(t.Context(), h.jane, run.ID); !errors.Is(err, ErrEnded) {
				t.Errorf("once more: %v", err)
			}
		}
		eventually(t, "all places are free", h.idle)
		if n := number(t, d, `SELECT (SELECT count(*) FROM run_inputs) + (SELECT count(*) FROM run_lanes)`); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	})
}

func TestARunOnAnotherServerIsCancelledThere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if !d.Shared() {
			t.Skip("there is no other server")
		}
		h := newHouse(t, d)
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		run := h.later(t, h.jane, "public/a")
		s.through(t, 1)
		other := &house{op: h.op, jane: h.jane, log: h.log, profiles: h.profiles, keyring: h.keyring}
		other.start(t, d, h.Root, "node-2")
		if got, err := other.Cancel(t.Context(), h.jane, run.ID); err != nil || got.Status != Running {
			t.Errorf("%+v, %v", got, err)
		}
		h.tick(t)
		if got := h.ended(t, run.ID); got.Status != Cancelled {
			t.Errorf("%+v", got)
		}
	})
}

// A caller that waits for its run to begin is told when that is cancelled, and one
// that goes away leaves a run that goes on.
func TestACallerWaitsForItsTurn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 1
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		first := h.later(t, h.jane, "public/a")
		s.through(t, 1)
		told := make(chan Run, 2)
		for range 2 {
			go func() {
				run, err := h.Start(t.Context(), h.jane, Request{AgentID: "public/a", Wait: true})
				if err != nil {
					t.Error(err)
				}
				told <- run
			}()
		}
		eventually(t, "both are written as waiting", func() bool {
			return number(t, d, `SELECT count(*) FROM runs WHERE status = 'queued' AND node_id = 'node-1'`) == 2
		})
		var id string
		if err := d.QueryRow(t.Context(), `SELECT max(id) FROM runs`).Scan(&id); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Cancel(t.Context(), h.jane, id); err != nil {
			t.Fatal(err)
		}
		if run := <-told; run.ID != id || run.Status != Cancelled || !strings.Contains(run.ErrorMessage, "before it began") {
			t.Errorf("the one that is cancelled: %+v", run)
		}
		s.pass <- struct{}{}
		s.pass <- struct{}{}
		if run := <-told; run.Status != Succeeded {
			t.Errorf("the other: %+v", run)
		}
		if run := h.ended(t, first.ID); run.Status != Succeeded {
			t.Errorf("the first: %+v", run)
		}
		eventually(t, "all places are free", h.idle)
	})
}

func TestNobodyElseCancelsARun(t *testing.T) {
	h := onSQLite(t)
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	run := h.later(t, h.jane, "public/a")
	if _, err := h.Cancel(t.Context(), owner("bob"), run.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another organization: %v", err)
	}
	reader := h.jane
	reader.KeyID = 7
	if _, err := h.Cancel(t.Context(), reader, run.ID); fault.Of(err).Kind != fault.Forbidden {
		t.Errorf("a key without the scope: %v", err)
	}
}
