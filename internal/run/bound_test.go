package run

import (
	"testing"
	"time"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

func (h *house) bound(t *testing.T, id string, most int64) {
	t.Helper()
	if _, err := h.Agents.Change(t.Context(), h.op, id, agent.Change{MaxConcurrent: &most}); err != nil {
		t.Fatal(err)
	}
}

// The bound of an agent that is changed holds at once, also for the runs that wait
// already: they neither pass it nor keep others from being taken up.
func TestAChangedBoundHoldsForRunsThatWait(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 8
		s := newTurnstile()
		h.shared(t, "hold", s.ServeHTTP, agent.Definition{})
		for range 6 { // all the places that jane may have
			h.later(t, h.jane, "public/hold")
		}
		s.through(t, 6)
		bounded := newTurnstile()
		h.shared(t, "a", bounded.ServeHTTP, agent.Definition{})
		h.service(t, "free", says(`{"output":1}`))
		for range 2*maxSetAside + 10 {
			h.later(t, h.jane, "public/a")
		}
		free := h.later(t, h.jane, "free")
		h.bound(t, "a", 1)
		for range 6 {
			s.pass <- struct{}{}
		}
		if run := h.ended(t, free.ID); run.Status != Succeeded {
			t.Errorf("the other agent's: %+v", run)
		}
		bounded.through(t, 1)
		h.bound(t, "a", 5)
		h.tick(t)
		bounded.through(t, 5)
		eventually(t, "nobody is about to begin one", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(h.known) == 5 && !h.queue.looking
		})
		h.bound(t, "a", 2)
		for range 3 {
			bounded.pass <- struct{}{}
		}
		time.Sleep(100 * time.Millisecond)
		h.tick(t)
		if n := len(bounded.called()); n != 5 {
			t.Errorf("%d calls, of which 3 have ended, while there may be 2", n)
		}
		change(t, d, `DELETE FROM runs WHERE status = 'queued'`)
		close(bounded.pass)
	})
}
