package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// errNoEvent refuses to go on after an event that the run does not have.
var errNoEvent = fault.Field("Last-Event-ID", "the run has no event with this number; read from the beginning, without it")

// mayLag is for how long the events of another server's run may not be there yet
// of which its own reader was told.
const mayLag = 4 * lag

// Resume returns the events of a run after the one with that number, which whoever
// asks has seen; 0 is none of them. It returns [io.EOF] if that was the last of
// all, and refuses a number that no event of the run has.
func (r *Runs) Resume(ctx context.Context, who access.Caller, id string, seen int64) (*Events, error) {
	e, err := r.Events(ctx, who, id, seen)
	if err != nil || seen == 0 {
		return e, err
	}
	for began := time.Now(); ; {
		last, ended, err := e.last(ctx)
		switch {
		case err != nil:
			return nil, err
		case ended && seen == last:
			return nil, io.EOF
		case seen > 0 && seen <= last:
			return e, nil
		case seen < 0 || ended || time.Since(began) >= mayLag:
			return nil, errNoEvent
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lag / 5):
		}
	}
}

// last returns the number of the last event that there is so far, and whether
// there will be no more.
func (e *Events) last(ctx context.Context) (seq int64, ended bool, err error) {
	if j := e.runs.jobWithEvents(e.run.ID); j != nil {
		if seq := j.last(); seq > e.seq {
			return seq, false, nil
		}
	}
	run, err := e.runs.read(ctx, e.run.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, ErrNotFound
	case err != nil:
		return 0, false, err
	case run.EndedAt.IsZero():
		err := e.runs.DB.QueryRow(ctx, `SELECT COALESCE(max(seq), 0) FROM run_events WHERE run_id = $1`, run.ID).Scan(&seq)
		if err != nil {
			return 0, false, fmt.Errorf("look for the last event of a run: %w", err)
		}
		seq = max(seq, run.events)
		if j := e.runs.jobWithEvents(run.ID); j != nil {
			seq = max(seq, j.last())
		}
		return seq, false, nil
	case run.Status == Succeeded:
		return run.events + 1, true, nil
	}
	return run.events + 2, true, nil // the error, and the end
}

func (r *recorder) last() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq
}

// Again returns the run that the same request has started within a day, after its
// end if that is waited for, and starts none.
func (r *Runs) Again(ctx context.Context, who access.Caller, req Request) (Run, error) {
	if err := who.May(access.StartRun); err != nil {
		return Run{}, err
	}
	run, err := r.earlier(ctx, who, req)
	if err == nil && run.ID == "" {
		err = ErrNotFound
	}
	return run, err
}
