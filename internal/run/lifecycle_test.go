package run

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

func TestARunMovesAlongTheTableAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for from := range moves {
			for to := range moves {
				run := Run{ID: db.NewID(), OrganizationID: "jane", AgentID: "a", Status: from, CreatedAt: time.Now()}
				if err := d.Tx(t.Context(), func(tx *db.Tx) error { return h.insert(t.Context(), tx, run) }); err != nil {
					t.Fatal(err)
				}
				allowed := false
				for _, s := range moves[from] {
					allowed = allowed || s == to
				}
				if to == Running {
					run.tries++
				}
				moved, err := h.move(t.Context(), &run, to)
				if moved != allowed || (err == nil) != allowed {
					t.Errorf("%s to %s: moved %v, %v", from, to, moved, err)
				}
				want := from
				if allowed {
					want = to
				}
				if kept, err := h.Get(t.Context(), h.jane, run.ID); err != nil || kept.Status != want || run.Status != want {
					t.Errorf("%s to %s: it is now %s, %v", from, to, kept.Status, err)
				}
			}
		}
		run := Run{ID: db.NewID(), OrganizationID: "jane", Status: Running}
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return h.insert(t.Context(), tx, run) }); err != nil {
			t.Fatal(err)
		}
		other := run
		if moved, err := h.move(t.Context(), &other, Interrupted); !moved || err != nil {
			t.Fatal(moved, err)
		}
		if moved, err := h.move(t.Context(), &run, Succeeded); moved || err != nil || run.Status != Running {
			t.Errorf("a run that somebody else has ended: moved %v, %v", moved, err)
		}
	})
}

// waiting is a service that says when it is called, and answers when told to.
func waiting() (serve http.HandlerFunc, called, release chan struct{}) {
	called, release = make(chan struct{}, 10), make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		called <- struct{}{}
		<-release
		fmt.Fprint(w, `{"output":"late"}`)
	}, called, release
}

func TestARestartInterruptsWhatItFindsOpen(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		serve, called, release := waiting()
		h.service(t, "a", serve)
		h.service(t, "quick", says(`{"output":1}`))
		done := h.run(t, "quick", "")
		lost, err := h.Start(t.Context(), h.jane, Request{AgentID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-called

		// As long as its server lives, nobody else ends it, and neither does it.
		old := h.Runs
		h.start(t, d, old.Root, "node-2")
		for _, r := range []*Runs{h.Runs, old} {
			if n, err := r.InterruptLost(t.Context(), only("node-1", "node-2")); n != 0 || err != nil {
				t.Errorf("%d runs of a living server were interrupted, %v", n, err)
			}
		}
		if n, err := h.InterruptLost(t.Context(), only("node-2")); n != 1 || err != nil {
			t.Errorf("%d lost runs were found, %v", n, err)
		}
		run, err := h.Get(t.Context(), h.jane, lost.ID)
		if err != nil || run.Status != Interrupted || !strings.Contains(run.ErrorMessage, "stopped") || run.EndedAt.IsZero() {
			t.Errorf("the lost run: %+v, %v", run, err)
		}

		// The old server was not gone after all. What it brings comes too late.
		close(release)
		eventually(t, "the old server gives up", func() bool { return !old.knows(lost.ID) })
		if again, err := h.Get(t.Context(), h.jane, lost.ID); err != nil || again.Status != Interrupted || again.Output != nil {
			t.Errorf("the lost run, later: %+v, %v", again, err)
		}
		if kept, err := h.Get(t.Context(), h.jane, done.ID); err != nil || kept.Status != Succeeded || string(kept.Output) != "1" {
			t.Errorf("a run that had ended: %+v, %v", kept, err)
		}
		if n, err := h.InterruptLost(t.Context(), only("node-2")); n != 0 || err != nil {
			t.Errorf("%d more, %v", n, err)
		}
	})
}

// A run of this server's that is on disk and that nobody does is lost as well:
// the answer to its insertion may have got lost.
func TestAServersOwnForgottenRunIsInterrupted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		run := Run{ID: db.NewID(), OrganizationID: "jane", NodeID: "node-1", Status: Running, CreatedAt: time.Now()}
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return h.insert(t.Context(), tx, run) }); err != nil {
			t.Fatal(err)
		}
		if n, err := h.InterruptLost(t.Context(), only("node-1")); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestAShutdownWaitsAndThenInterrupts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		serve, called, release := waiting()
		h.service(t, "a", serve)
		patient, err := h.Start(t.Context(), h.jane, Request{AgentID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-called
		stopped := make(chan struct{})
		go func() {
			h.Shutdown(t.Context())
			close(stopped)
		}()
		eventually(t, "no more runs are taken", func() bool {
			_, err := h.Start(t.Context(), h.jane, Request{AgentID: "a"})
			return isFault(err, "UNAVAILABLE")
		})
		select {
		case <-stopped:
			t.Error("the shutdown did not wait for the run")
		default:
		}
		close(release)
		<-stopped
		if run := h.ended(t, patient.ID); run.Status != Succeeded {
			t.Errorf("%+v", run)
		}

		h.start(t, d, h.Root, "node-2")
		file := filepath.Join(t.TempDir(), "pid")
		h.declare(t, shell("echo $$ >"+file+"; sleep 1000"))
		serve, called, release = waiting()
		defer close(release)
		h.service(t, "b", serve)
		var ids []string
		for _, id := range []string{"b", "public/c"} {
			run, err := h.Start(t.Context(), h.jane, Request{AgentID: id})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, run.ID)
		}
		waited := make(chan error)
		go func() {
			_, err := h.Start(t.Context(), h.jane, Request{AgentID: "b", Wait: true})
			waited <- err
		}()
		<-called
		<-called
		pidIn(t, file)
		now, cancel := context.WithCancel(t.Context())
		cancel()
		h.Shutdown(now)
		for _, id := range ids {
			if run, err := h.Get(t.Context(), h.jane, id); err != nil || run.Status != Interrupted || !strings.Contains(run.ErrorMessage, "stopped") {
				t.Errorf("%+v, %v", run, err)
			}
		}
		if err := <-waited; err != nil {
			t.Errorf("whoever waited is told: %v", err)
		}
		eventually(t, "the program ends", func() bool { return gone(t, file) })
	})
}

func TestAnEndThatCannotBeRecordedIsTriedAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		serve, called, release := waiting()
		h.service(t, "a", serve)
		run, err := h.Start(t.Context(), h.jane, Request{AgentID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-called
		change(t, d, `ALTER TABLE runs RENAME TO runs_away`)
		close(release)
		eventually(t, "recording it fails", func() bool { return strings.Contains(h.log.String(), "tried again") })
		change(t, d, `ALTER TABLE runs_away RENAME TO runs`)
		if run := h.ended(t, run.ID); run.Status != Succeeded || string(run.Output) != `"late"` {
			t.Errorf("%+v", run)
		}
	})
}

func TestARunWhoseRecordIsGoneEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			change(t, d, `DELETE FROM runs`)
			fmt.Fprint(w, `{"output":1}`)
		})
		if _, err := h.Start(t.Context(), h.jane, Request{AgentID: "a", Wait: true}); err == nil {
			t.Error("a run was answered that is not kept")
		}
		if len(h.known) != 0 {
			t.Error("it is still known")
		}
	})
}

func TestAPanicEndsItsRunAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "a", says(`{"output":1,"session":{"a":"secret-session"}}`))
		h.profiles["t"] = &Profile{Name: "p", KeepSession: true, SaveSession: func(_ context.Context, s []byte) error { panic(string(s)) }}
		if run := h.run(t, "a", "t"); run.Status != Failed || run.Output != nil || run.ErrorMessage == "" {
			t.Errorf("%+v", run)
		}
		if log := h.log.String(); !strings.Contains(log, "panicked") || strings.Contains(log, "secret-session") {
			t.Errorf("the log: %s", log)
		}
	})
}

func TestRecordsAreResealed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "good", says(`{"output":"x"}`))
		h.service(t, "bad", says(`{"error":"y"}`))
		serve, called, release := waiting()
		h.service(t, "open", serve)
		ids := []string{h.run(t, "good", "").ID, h.run(t, "bad", "").ID}
		open, err := h.Start(t.Context(), h.jane, Request{AgentID: "open"})
		if err != nil {
			t.Fatal(err)
		}
		<-called
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		all := 0
		for {
			n, err := h.Reseal(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			all += n
		}
		close(release)
		h.ended(t, open.ID)
		if n := number(t, d, `SELECT count(*) FROM runs WHERE root_version <> $1`, version); n != 0 || all != 3 {
			t.Errorf("%d are left, %d were renewed", n, all)
		}
		// The runner's secrets are the agents' to renew.
		if _, err := h.Agents.Reseal(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{`"x"`, "y"} {
			if run, err := h.Get(t.Context(), h.jane, ids[i]); err != nil || string(run.Output)+run.ErrorMessage != want {
				t.Errorf("without the old root key: %+v, %v", run, err)
			}
		}
	})
}

// A run that is begun with a closed profile would hand over what was cleared.
func TestAProfileIsClosedWhenItsRunHasEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		closed := make(chan struct{})
		closes := 0 // once when it was found good, and once at the end
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-closed:
				t.Error("closed while the runner is called")
			default:
			}
			fmt.Fprint(w, `{"output":"a-value"}`)
		}, agent.Argument{Name: "user"})
		h.profiles["t"] = &Profile{Name: "p", Values: map[string]jsontext.Value{"user": jsontext.Value(`"a-value"`)}, Close: func() {
			if closes++; closes == 2 {
				close(closed)
			}
		}}
		run, err := h.Start(t.Context(), h.jane, Request{AgentID: "a", Token: seal.NewSecret("t")})
		if err != nil {
			t.Fatal(err)
		}
		<-closed
		if run := h.ended(t, run.ID); string(run.Output) != `"[redacted]"` {
			t.Errorf("%+v", run)
		}
	})
}
