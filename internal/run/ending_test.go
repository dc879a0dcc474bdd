package run

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

// holdEnds keeps the ends of the runs that are under way from being written, until
// the returned function is called.
func (h *house) holdEnds(t *testing.T) (letGo func()) {
	t.Helper()
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		err := h.DB.Tx(t.Context(), func(tx *db.Tx) error {
			if _, err := tx.Exec(t.Context(), `UPDATE runs SET has_log = has_log WHERE status = 'running'`); err != nil {
				return err
			}
			close(held)
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}()
	<-held
	return sync.OnceFunc(func() { close(release); <-done })
}

func (r *Runs) places() (busy, ending, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue.busy, r.queue.ending, r.queue.waiting
}

func TestAPlaceIsFreeWhenItsAgentHasEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 2
		called, answer := make(chan struct{}), make(chan struct{})
		h.service(t, "a", func(w http.ResponseWriter, _ *http.Request) {
			called <- struct{}{}
			<-answer
			says(`{"output":1}`)(w, nil)
		})
		var wg sync.WaitGroup
		begin := func() {
			wg.Go(func() {
				if run := h.run(t, "a", ""); run.Status != Succeeded {
					t.Errorf("a run ended as %s: %s", run.Status, run.ErrorMessage)
				}
			})
		}
		begin()
		<-called
		letGo := h.holdEnds(t)
		defer letGo()
		answer <- struct{}{}
		eventually(t, "the place is free and the end is not written", func() bool {
			busy, ending, _ := h.places()
			return busy == 0 && ending == 1
		})
		if n := number(t, d, `SELECT count(*) FROM runs WHERE status = 'running'`); n != 1 {
			t.Errorf("%d runs are under way by the database, want the one whose end is held", n)
		}
		if d.Shared() { // SQLite has one writer, which is held
			begin()
			<-called
			answer <- struct{}{}
		}
		letGo()
		wg.Wait()
		eventually(t, "all is given back", func() bool {
			busy, ending, waiting := h.places()
			return busy+ending+waiting == 0
		})
	})
}

func TestWhileEndsAreNotWrittenNoMoreRunsBegin(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 1
		var calls atomic.Int64
		answer := make(chan struct{})
		h.service(t, "a", func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			<-answer
			says(`{"output":1}`)(w, nil)
		})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { h.run(t, "a", "") })
		}
		eventually(t, "one is called and two wait", func() bool {
			_, _, waiting := h.places()
			return calls.Load() == 1 && waiting == 2
		})
		letGo := h.holdEnds(t)
		defer letGo()
		answer <- struct{}{}
		eventually(t, "its end is not written", func() bool { _, ending, _ := h.places(); return ending == 1 })
		if busy, _, waiting := h.places(); busy != 0 || waiting != 2 || calls.Load() != 1 {
			t.Errorf("%d have a place, %d wait and %d were called, want 0, 2 and 1", busy, waiting, calls.Load())
		}
		close(answer)
		letGo()
		wg.Wait()
	})
}

func TestAPlaceInALaneIsKeptUntilTheEndIsWritten(t *testing.T) {
	h := onSQLite(t)
	h.AtOnce = 4
	h.profiles["t"] = &Profile{Name: "p", KeepSession: true}
	called, answer := make(chan struct{}), make(chan struct{})
	h.service(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		called <- struct{}{}
		<-answer
		says(`{"output":1}`)(w, nil)
	})
	var wg sync.WaitGroup
	wg.Go(func() { h.run(t, "a", "t") })
	<-called
	j := h.first()
	letGo := h.holdEnds(t)
	defer letGo()
	answer <- struct{}{}
	eventually(t, "the agent has ended", func() bool { return j.events.isClosed() })
	if busy, ending, _ := h.places(); busy != 1 || ending != 0 {
		t.Errorf("%d have a place and %d are ending, want 1 and 0", busy, ending)
	}
	letGo()
	wg.Wait()
}

func (r *Runs) first() (first *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.known {
		first = j
	}
	return first
}

func (r *recorder) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
