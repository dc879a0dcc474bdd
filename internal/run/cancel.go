package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

// errCancelled is the cause with which a run is cancelled on somebody's word.
var errCancelled = errors.New("run: it was cancelled")

// stopsWithin is how long Cancel waits for a run that is under way to stop.
const stopsWithin = 3 * time.Second

// Cancel ends a run of who's organization: one that waits at once, one that is
// under way as soon as its agent has been stopped. It returns the run as it then
// is, or ErrEnded. Another server is asked to stop a run of its own, and does so
// within about a second.
func (r *Runs) Cancel(ctx context.Context, who access.Caller, id string) (Run, error) {
	if err := who.May(access.CancelRun); err != nil {
		return Run{}, err
	}
	for {
		run, err := r.Get(ctx, who, id)
		if err != nil {
			return Run{}, err
		}
		if !run.EndedAt.IsZero() {
			return Run{}, ErrEnded
		}
		next := run
		if run.Status == Queued {
			next.ErrorMessage, next.EndedAt = cancelledWaiting, r.now()
		}
		words, err := r.sealWords(&next)
		if err != nil {
			return Run{}, err
		}
		moved := false
		err = r.Acts.Do(ctx, who, access.CancelRun, func(tx *db.Tx, act *access.Act) error {
			act.On("run", run.ID, "")
			act.Note("agent", run.AgentID)
			var err error
			if run.Status == Queued {
				moved, err = r.moveIn(ctx, tx, &next, words, Cancelled)
			} else {
				var n int64
				n, err = tx.Exec(ctx, `UPDATE runs SET cancel_asked = 1 WHERE id = $1 AND status = 'running'`, run.ID)
				moved = n == 1
			}
			if !moved {
				act.Nothing()
			}
			return err
		})
		if err != nil {
			return Run{}, err
		}
		if !moved {
			continue // it has begun or ended since
		}
		j := r.job(id)
		if j != nil {
			j.cancel(errCancelled)
		}
		if run.Status == Queued {
			next.Status = Cancelled
			r.DB.Scrub()
			return next, nil
		}
		if j == nil {
			return run, nil // it is another server's
		}
		return r.stopped(ctx, who, id, j.done)
	}
}

// stopped waits for the end of a run that was told to stop.
func (r *Runs) stopped(ctx context.Context, who access.Caller, id string, done <-chan struct{}) (Run, error) {
	timer := time.NewTimer(stopsWithin)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return Run{}, ctx.Err()
	case <-timer.C:
	case <-done:
	}
	run, err := r.Get(ctx, who, id)
	if err == nil && run.Status.ends() && run.Status != Cancelled {
		return Run{}, ErrEnded // it was quicker
	}
	return run, err
}

// cancelledWaiting is what is said of a run that was cancelled before it began.
const cancelledWaiting = "The run was cancelled before it began. The agent was not called."

// lookAtOwn stops the runs of this server that others want cancelled, and those
// that are not its own any more.
func (r *Runs) lookAtOwn(ctx context.Context) error {
	gone := map[string]*job{} // that are under way, until they are found
	r.mu.Lock()
	for id, j := range r.known {
		if j.events != nil {
			gone[id] = j
		}
	}
	r.mu.Unlock()
	rows, err := r.DB.Query(ctx, `SELECT id, cancel_asked FROM runs WHERE node_id = $1 AND ended_at = 0`, r.NodeID)
	if err != nil {
		return fmt.Errorf("look for runs to cancel: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var asked int64
		if err := rows.Scan(&id, &asked); err != nil {
			return err
		}
		if j := r.job(id); j != nil && asked != 0 {
			j.cancel(errCancelled)
		}
		delete(gone, id)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, j := range gone {
		j.cancel(errLost) // it does nothing to one that has just ended
	}
	return nil
}
