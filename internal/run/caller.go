package run

import (
	"context"
	"errors"
	"time"
)

// patience is how long a run may wait for its turn, with its caller, before it is
// written that it waits: most have it by then, and are spared a commit.
const patience = 100 * time.Millisecond

// lanePause is after what time a lane is tried again that other servers may have
// left.
const lanePause = 500 * time.Millisecond

// errQuit says that a run ended while its caller waited for it to begin.
var errQuit = errors.New("run: it has ended before it began")

// await does a run whose caller waits for it, when its turn has come.
func (r *Runs) await(ctx context.Context, j *job) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		left := r.laneLeft()
		if lane := r.heldUp(j); lane != "" {
			r.hold(j, lane)
			if err := r.forTurn(ctx, j, left, timer); err != nil {
				r.quit(j, err)
				return
			}
			continue
		}
		r.line(j)
		if err := r.forTurn(ctx, j, j.turn, timer); err != nil {
			r.quit(j, err)
			return
		}
		left = r.laneLeft()
		err := r.beginStill(context.WithoutCancel(j.ctx), j)
		if err == nil {
			r.release(j)
			r.carryOut(j)
			return
		}
		r.rise(j)
		var lane laneFull
		switch full := errors.As(err, &lane); {
		case full:
			r.hold(j, lane)
		case !full && (!j.recorded || errors.Is(err, errQuit) || errors.As(err, new(keyEnded))):
			r.quit(j, err)
			return
		case !full:
			r.Log.Warn("a run can't be begun and is tried again", "run", j.run.ID, "err", err)
		}
		if err := r.forTurn(ctx, j, left, timer); err != nil {
			r.quit(j, err)
			return
		}
	}
}

// forTurn waits for c, or, if that is no turn, for the time of another try. When
// the run has waited for long enough it is written.
func (r *Runs) forTurn(ctx context.Context, j *job, c <-chan struct{}, timer *time.Timer) error {
	var again <-chan time.Time
	if c != (<-chan struct{})(j.turn) {
		pause := time.NewTimer(lanePause)
		defer pause.Stop()
		again = pause.C
	}
	gone := ctx.Done()
	if j.recorded {
		gone = nil // it goes on without its caller
	}
	for {
		select {
		case <-c:
			return nil
		case <-again:
			return nil
		case <-gone:
			return ctx.Err()
		case <-j.ctx.Done():
			return context.Cause(j.ctx)
		case <-timer.C:
			if err := r.enlist(ctx, j); err != nil {
				return err
			}
			gone = nil
		}
	}
}

// keyEnded is why a run that has waited may not begin: its key has ended.
type keyEnded string

func (k keyEnded) Error() string { return string(k) }

// beginStill begins a run, if its key may still start it after a wait that is worth
// the question.
func (r *Runs) beginStill(ctx context.Context, j *job) error {
	if j.recorded && j.caller.KeyID != 0 {
		if why, err := r.KeyEnded(ctx, j.run.OrganizationID, j.caller.KeyID); err != nil {
			return err
		} else if why != "" {
			return keyEnded(why)
		}
	}
	return r.begin(ctx, j)
}

// quit ends a run that has not begun.
func (r *Runs) quit(j *job, why error) {
	defer r.leave(j)
	r.release(j)
	r.unline(j)
	if !j.recorded {
		j.err = why
		if errors.Is(why, errStopped) {
			j.err = errStopping
		}
		return
	}
	status := Interrupted
	j.run.ErrorMessage = neverBegun
	if errors.Is(why, errCancelled) || errors.Is(why, errQuit) {
		status, j.run.ErrorMessage = Cancelled, cancelled
	}
	var ended keyEnded
	if errors.As(why, &ended) {
		status, j.run.ErrorMessage = Cancelled, string(ended)
	}
	j.run.EndedAt = r.now()
	if err := r.record(j, status); err != nil {
		r.asOnDisk(j) // somebody else has ended it, as a rule
	}
}
