package run

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

// beside starts another server on the same database, with the same keys.
func (h *house) beside(t *testing.T, node string) *house {
	t.Helper()
	other := &house{op: h.op, jane: h.jane, log: &logbook{}, profiles: h.profiles, keyring: h.keyring}
	other.start(t, h.DB, h.Root, node)
	other.Waiting = h.Waiting
	return other
}

// only are the servers that are running.
func only(nodes ...string) Live {
	return func(context.Context) ([]string, error) { return nodes, nil }
}

// A server that starts while another looks for lost runs has lost none.
func TestAServerThatHasJustComeIsNotTakenForGone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s := newInTurn()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		lost := Run{ID: db.NewID(), OrganizationID: "jane", NodeID: "node-0", Status: Running, CreatedAt: time.Now()}
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return h.insert(t.Context(), tx, lost) }); err != nil {
			t.Fatal(err)
		}
		other := h.beside(t, "node-2")
		var run Run
		n, err := other.InterruptLost(t.Context(), func(context.Context) ([]string, error) {
			run = h.later(t, h.jane, "public/a") // by node-1, which is not known yet
			<-s.calls
			return []string{"node-2"}, nil
		})
		if n != 1 || err != nil {
			t.Errorf("%d runs, %v", n, err)
		}
		if got, err := h.Get(t.Context(), h.jane, run.ID); err != nil || got.Status != Running {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// inTurn is a service that says a chunk and then answers, each call when the test
// sends it the two.
type inTurn struct{ calls chan chan string }

func newInTurn() *inTurn { return &inTurn{make(chan chan string, 10)} }

func (s *inTurn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	say := make(chan string, 4)        // its caller may have gone
	_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that its caller goes
	s.calls <- say
	w.Header().Set("Content-Type", "application/x-ndjson")
	for {
		select {
		case text, open := <-say:
			if !open {
				return
			}
			fmt.Fprintln(w, text)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// A server stands still, the others take it for gone and do its run again, and
// then it comes back: it must neither end that run nor write into it, and it must
// stop what it does.
func TestAServerThatComesBackLeavesAloneWhatOthersDoAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s := newInTurn()
		h.shared(t, "again", s.ServeHTTP, agent.Definition{Idempotent: true, MaxConcurrent: 1})
		run := h.later(t, h.jane, "public/again")
		first := <-s.calls
		other := h.beside(t, "node-2")
		if err := other.Tend(t.Context(), only("node-2")); err != nil {
			t.Fatal(err)
		}
		if err := other.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := <-s.calls
		first <- `{"chunk":"of the first"}`
		second <- `{"chunk":"of the second"}`
		eventually(t, "the second is told", func() bool {
			return number(t, d, `SELECT count(*) FROM run_events WHERE run_id = $1`, run.ID) > 0
		})
		first <- `{"output":"of the first"}`
		close(first)
		eventually(t, "the first server has left the run", func() bool { return !h.knows(run.ID) })
		if got, err := h.Get(t.Context(), h.jane, run.ID); err != nil || got.Status != Running || got.NodeID != "node-2" {
			t.Fatalf("while the other does it: %+v, %v", got, err)
		}
		if n := number(t, d, `SELECT count(*) FROM run_lanes`); n != 1 {
			t.Errorf("it has %d places in its lane", n)
		}
		second <- `{"output":"of the second"}`
		close(second)
		if got := h.ended(t, run.ID); got.Status != Succeeded || string(got.Output) != `"of the second"` {
			t.Errorf("%+v", got)
		}
		var told []string
		for _, e := range h.eventsOf(t, run.ID, 0) {
			told = append(told, fmt.Sprint(e.Seq, string(e.Kind), string(e.Data)))
		}
		if all := strings.Join(told, " "); strings.Contains(all, "of the first") || !strings.Contains(all, "of the second") || len(told) != 4 {
			t.Errorf("its events: %s", all)
		}
	})
}

// What is not done again was interrupted for all: whoever waited on the server
// that comes back is told so, its agent is stopped, and its session is not kept.
func TestAServerThatComesBackStopsWhatWasGivenUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s, gone := newInTurn(), make(chan struct{})
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			defer close(gone)
			s.ServeHTTP(w, r)
		})
		told := make(chan Run, 1)
		go func() {
			run, err := h.Start(t.Context(), h.jane, Request{AgentID: "a", Wait: true})
			if err != nil {
				t.Error(err)
			}
			told <- run
		}()
		<-s.calls
		if err := h.beside(t, "node-2").Tend(t.Context(), only("node-2")); err != nil {
			t.Fatal(err)
		}
		if err := h.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case run := <-told:
			if run.Status != Interrupted || run.ErrorMessage != lost {
				t.Errorf("the caller is told %+v", run)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the caller is told nothing")
		}
		<-gone
	})
}

func TestASessionOfARunThatWasGivenUpIsNotKept(t *testing.T) {
	h := onSQLite(t)
	saved := false
	h.profiles["t"] = &Profile{Name: "p", KeepSession: true, SaveSession: func(context.Context, []byte) error { saved = true; return nil }}
	h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
		if err := h.beside(t, "node-2").Tend(t.Context(), only("node-2")); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, `{"output":1,"session":{"cookie":"of a run that is over"}}`)
	})
	run, err := h.Start(t.Context(), h.jane, Request{AgentID: "a", Wait: true, Token: seal.NewSecret("t")})
	if err != nil || run.Status != Interrupted || saved {
		t.Errorf("%+v, %v, saved: %v", run, err, saved)
	}
}

// Of an organization that was deleted no agent goes on.
func TestTheRunsOfADeletedOrganizationAreStopped(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s := newInTurn()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		run := h.later(t, h.jane, "public/a")
		<-s.calls
		change(t, d, `DELETE FROM organizations WHERE id = 'jane'`)
		if err := h.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the run is stopped", func() bool { return !h.knows(run.ID) })
	})
}

// A run that somebody wants cancelled is not begun once more because its server
// was stopped at that moment.
func TestARunIsNotDoneAgainThatSomebodyWantsCancelled(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s := newInTurn()
		h.shared(t, "again", s.ServeHTTP, agent.Definition{Idempotent: true})
		run := h.later(t, h.jane, "public/again")
		<-s.calls
		other := h.beside(t, "node-2")
		if _, err := other.Cancel(t.Context(), h.jane, run.ID); err != nil {
			t.Fatal(err)
		}
		now, cancel := context.WithCancel(t.Context())
		cancel()
		h.Shutdown(now)
		if err := other.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.ended(t, run.ID); got.Status != Cancelled || len(s.calls) != 0 {
			t.Errorf("%+v after %d more calls", got, len(s.calls))
		}
	})
}

// An end that can't be recorded is tried again with pauses, also of a run that was
// cancelled, and does not keep the server from stopping.
func TestACancelledRunWhoseEndCannotBeRecordedDoesNotHoldTheServer(t *testing.T) {
	h := onSQLite(t)
	s := newInTurn()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	run := h.later(t, h.jane, "public/a")
	<-s.calls
	change(t, h.DB, `ALTER TABLE run_lanes RENAME TO lanes_away`)
	change(t, h.DB, `CREATE TRIGGER full BEFORE UPDATE OF status ON runs BEGIN SELECT RAISE(ABORT, 'no room'); END`)
	h.job(run.ID).cancel(errCancelled)
	eventually(t, "recording it fails", func() bool { return strings.Contains(h.log.String(), "tried again") })
	time.Sleep(300 * time.Millisecond)
	if n := strings.Count(h.log.String(), "tried again"); n > 6 {
		t.Errorf("it was tried %d times within a third of a second", n)
	}
	now, cancel := context.WithCancel(t.Context())
	cancel()
	stopped := make(chan struct{})
	go func() { h.Shutdown(now); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("the server does not stop")
	}
}
