package run

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
)

func TestAQuotaBoundsTheRunsThatNobodyWaitsFor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 1
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		jane := h.jane
		jane.Quotas.QueuedRuns = 5
		var started atomic.Int64
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				switch _, err := h.Start(t.Context(), jane, Request{AgentID: "public/a"}); {
				case err == nil:
					started.Add(1)
				case !errors.Is(err, fault.ErrQuota):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if started.Load() != 5 {
			t.Fatalf("%d of 12 were let in, want 5", started.Load())
		}
		bob := h.later(t, owner("bob"), "public/a")

		// Whatever ends one makes room.
		counted := func() int64 {
			return number(t, d, `SELECT COALESCE(sum(used), 0) FROM quota_uses WHERE kind = 'queued_runs' AND organization_id = 'jane'`)
		}
		if counted() != 5 {
			t.Fatalf("%d are counted, want 5", counted())
		}
		first := s.through(t, 1)[0]
		var waits string
		for _, run := range mustList(t, h) {
			if run.Status == Queued {
				waits = run.ID
			}
		}
		if _, err := h.Cancel(t.Context(), h.jane, waits); err != nil {
			t.Fatal(err)
		}
		if counted() != 4 {
			t.Errorf("after a cancel %d are counted, want 4", counted())
		}
		s.pass <- struct{}{}
		h.ended(t, first)
		if counted() != 3 {
			t.Errorf("after an end %d are counted, want 3", counted())
		}
		for range 4 {
			s.pass <- struct{}{}
		}
		eventually(t, "all have ended", func() bool { return number(t, d, `SELECT count(*) FROM runs WHERE ended_at = 0`) == 0 })
		if n := number(t, d, `SELECT sum(used) FROM quota_uses WHERE kind = 'queued_runs'`); n != 0 {
			t.Errorf("at the end %d are counted, %s among them", n, bob.ID)
		}
	})
}

func mustList(t *testing.T, h *house) []Run {
	t.Helper()
	runs, err := h.List(t.Context(), h.jane, Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// Callers of one organization never fill the line for all.
func TestAnOrganizationAloneDoesNotTakeTheWholeLine(t *testing.T) {
	h := onSQLite(t)
	h.AtOnce = 1
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	h.later(t, h.jane, "public/a")
	s.through(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wait := func() error {
		_, err := h.Start(ctx, h.jane, Request{AgentID: "public/a", Wait: true})
		return err
	}
	for range maxCallersOfOne {
		wg.Go(func() { _ = wait() })
	}
	eventually(t, "the line is full", func() bool { return inLine(h) == maxCallersOfOne })
	if err := wait(); !errors.Is(err, errBusy) {
		t.Errorf("one more: %v", err)
	}
	gone := make(chan error, 1)
	wg.Go(func() {
		_, err := h.Start(ctx, owner("bob"), Request{AgentID: "public/a", Wait: true})
		gone <- err
	})
	eventually(t, "bob waits", func() bool { return inLine(h) > maxCallersOfOne || len(gone) > 0 })
	if len(gone) > 0 {
		t.Errorf("bob does not wait: %v", <-gone)
	}
	cancel()
	close(s.pass)
	wg.Wait()
}

func inLine(h *house) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queue.waiting
}
