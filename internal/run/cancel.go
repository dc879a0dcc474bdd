package run

import (
	"context"
	"errors"

	"github.com/keyward/keyward/internal/access"
)

// errCancelled is the cause with which a run is cancelled on somebody's word.
var errCancelled = errors.New("run: it was cancelled")

// Cancel ends a run of who's organization: one that waits at once, one that is
// under way as soon as its agent has been stopped. It returns the run as it then
// is, or ErrEnded.
func (r *Runs) Cancel(ctx context.Context, who access.Caller, id string) (Run, error) {
	if err := who.May(access.CancelRun); err != nil {
		return Run{}, err
	}
	run, err := r.Get(ctx, who, id)
	if err != nil {
		return Run{}, err
	}
	if !run.EndedAt.IsZero() {
		return Run{}, ErrEnded
	}
	r.mu.Lock()
	j := r.known[id]
	r.mu.Unlock()
	if j != nil {
		j.cancel(errCancelled)
	}
	return run, nil
}
