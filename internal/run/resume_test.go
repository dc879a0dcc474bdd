package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

// A reader who sees that a run waits, and then what it has said since it began,
// does not take that for the beginning.
func TestARunThatBeginsWhileItIsReadHasItsStart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, `{"chunk":1}`)
			fmt.Fprintln(w, `{"output":2}`)
		})
		run := h.run(t, "a", "")
		set := func(text string) {
			t.Helper()
			if err := d.Tx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), text, run.ID)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		// The row as it was read, and the events as they are a moment later.
		set(`UPDATE runs SET status = 'queued', tries = 0, ended_at = 0 WHERE id = $1`)
		events, err := h.Events(t.Context(), h.jane, run.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if e, err := events.Next(ctx); err == nil {
			t.Fatalf("the first event is %d %s", e.Seq, e.Kind)
		}
		set(`UPDATE runs SET status = 'running', tries = 1 WHERE id = $1`)
		for want := range int64(2) {
			if e, err := events.Next(t.Context()); err != nil || e.Seq != want+1 {
				t.Errorf("event %d: %v, %v", want+1, e, err)
			}
		}
	})
}

func TestOnlyAnEventThatThereIsCanBeGoneOnAfter(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "works", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, `{"chunk":1}{"output":2}`) })
		h.service(t, "fails", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, `{"error":"no"}`) })
		for agent, last := range map[string]int64{"works": 3, "fails": 3} { // start, chunk or error, done
			run := h.run(t, agent, "")
			for seen := int64(-1); seen <= last+1; seen++ {
				e, err := h.Resume(t.Context(), h.jane, run.ID, seen)
				switch {
				case seen < 0 || seen > last:
					if !errors.Is(err, errNoEvent) {
						t.Errorf("%s after %d: %v", agent, seen, err)
					}
				case seen == last:
					if err != io.EOF {
						t.Errorf("%s after the last: %v", agent, err)
					}
				case err != nil:
					t.Errorf("%s after %d: %v", agent, seen, err)
				default:
					if next, err := e.Next(t.Context()); err != nil || next.Seq != seen+1 {
						t.Errorf("%s after %d: %v, %v", agent, seen, next, err)
					}
				}
			}
		}
	})
}
