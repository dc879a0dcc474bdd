package run

import (
	"strings"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

func TestARunThatWaitsIsNotBegunWithAKeyThatHasEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 1
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		h.later(t, h.jane, "public/a")
		s.through(t, 1)
		thief := h.jane
		thief.KeyID, thief.SignInID, thief.Scopes = 7, "", access.AgentsRun
		queued := h.later(t, thief, "public/a")
		waited := make(chan Run, 1)
		go func() {
			run, err := h.Start(t.Context(), thief, Request{AgentID: "public/a", Wait: true})
			if err != nil {
				t.Error(err)
			}
			waited <- run
		}()
		eventually(t, "both wait", func() bool { return number(t, d, `SELECT count(*) FROM runs WHERE status = 'queued'`) == 2 })
		h.keysEnded = map[int64]string{7: "its key has ended"}
		s.pass <- struct{}{}
		for _, run := range []Run{h.ended(t, queued.ID), <-waited} {
			if run.Status != Cancelled || run.ErrorMessage != "its key has ended" {
				t.Errorf("%s: %q", run.Status, run.ErrorMessage)
			}
		}
		if n := len(s.called()); n != 1 {
			t.Errorf("the agent was called %d times, want once", n)
		}
	})
}

func TestWhatARunWasGivenGoesNowhereElseThanItWasMeantFor(t *testing.T) {
	h := onSQLite(t)
	h.AtOnce = 1
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	h.shared(t, "elsewhere", s.ServeHTTP, agent.Definition{})
	h.later(t, h.jane, "public/a")
	s.through(t, 1)
	waits := h.later(t, h.jane, "public/a")
	elsewhere, err := h.Agents.Find(t.Context(), h.op, "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Agents.Change(t.Context(), h.op, "a", agent.Change{Runner: &elsewhere.Runner}); err != nil {
		t.Fatal(err)
	}
	s.pass <- struct{}{}
	if run := h.ended(t, waits.ID); run.Status != Failed || !strings.Contains(run.ErrorMessage, "pointed elsewhere") {
		t.Errorf("%s: %q", run.Status, run.ErrorMessage)
	}
	if n := len(s.called()); n != 1 {
		t.Errorf("%d calls, want one", n)
	}
}
