package run

import (
	"slices"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

func TestCallersThatWaitForTheSameAgentBeginInTheirOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 8
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{MaxConcurrent: 1})
		first := h.later(t, h.jane, "public/a")
		s.through(t, 1)
		const callers = 20
		var wg sync.WaitGroup
		var mu sync.Mutex
		var ids []string
		for n := range callers {
			wg.Go(func() {
				run, err := h.Start(t.Context(), h.jane, Request{AgentID: "public/a", Wait: true})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				ids = append(ids, run.ID)
				mu.Unlock()
			})
			eventually(t, "it waits", func() bool { return held(h) > n })
		}
		// Another organization's caller is not behind all of them.
		wg.Go(func() {
			if _, err := h.Start(t.Context(), owner("bob"), Request{AgentID: "public/a", Wait: true}); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "bob waits", func() bool { return held(h) > callers })
		for range callers + 2 {
			s.pass <- struct{}{}
		}
		wg.Wait()
		slices.Sort(ids)
		got := s.called()
		janes := slices.DeleteFunc(slices.Clone(got), func(id string) bool { return !slices.Contains(ids, id) })
		if got[0] != first.ID || !slices.Equal(janes, ids) || s.most != 1 {
			t.Errorf("they came as\n%v, %d at once, want\n%v", janes, s.most, ids)
		}
		if n := held(h); n != 0 {
			t.Errorf("%d wait still", n)
		}
	})
}

// A run that waits for its profile holds up no other run of its agent.
func TestWhoWaitsForOneLaneHoldsUpNobodyInAnother(t *testing.T) {
	h := onSQLite(t)
	h.AtOnce = 8
	agentLane, profileLane := "agent:a", "profile:p"
	older := &job{run: Run{ID: "1", OrganizationID: "jane", AgentUID: "a", lane: profileLane, width: 2}}
	h.hold(older, laneFull(profileLane))
	younger := &job{run: Run{ID: "2", OrganizationID: "jane", AgentUID: "a", width: 2}}
	if lane := h.heldUp(younger); lane != "" {
		t.Errorf("a run of the agent is held up by %s", lane)
	}
	same := &job{run: Run{ID: "3", OrganizationID: "jane", AgentUID: "a", lane: profileLane, width: 2}}
	if lane := h.heldUp(same); string(lane) != profileLane {
		t.Errorf("a run of the profile is held up by %q", lane)
	}
	h.hold(older, laneFull(agentLane))
	if lane := h.heldUp(younger); string(lane) != agentLane {
		t.Errorf("a run of the agent is held up by %q", lane)
	}
	if lane := h.heldUp(older); lane != "" {
		t.Errorf("the oldest is held up by %q", lane)
	}
	h.release(older)
	if h.heldUp(younger) != "" || h.heldUp(same) != "" || held(h) != 0 {
		t.Error("they are held up by nobody")
	}
}

func held(h *house) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.queue.held {
		n += len(line)
	}
	return n
}
