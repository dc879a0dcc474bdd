package run

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Status is the state of a run.
type Status string

// The states of a run.
const (
	Queued      Status = "queued"
	Running     Status = "running"
	Succeeded   Status = "succeeded"
	Failed      Status = "failed"
	Cancelled   Status = "cancelled"
	TimedOut    Status = "timed_out"
	Interrupted Status = "interrupted"
)

// moves are the changes of state that there are. A state without any is an end.
// docs/runs.md draws them.
var moves = map[Status][]Status{
	Queued:      {Running, Cancelled, Interrupted},
	Running:     {Succeeded, Failed, Cancelled, TimedOut, Interrupted, Queued},
	Succeeded:   nil,
	Failed:      nil,
	Cancelled:   nil,
	TimedOut:    nil,
	Interrupted: nil,
}

func (s Status) ends() bool { return len(moves[s]) == 0 }

// lanes are where runs of one kind must pass one by one, or so many at a time.
func (run *Run) lanes() (all []lane) {
	if run.lane != "" {
		all = append(all, lane{run.lane, 1})
	}
	if run.width > 0 {
		all = append(all, lane{agentLane + run.AgentUID, run.width})
	}
	return all
}

// insert writes a run that has just been started. One that is under way from the
// beginning is in its lanes, or it is not written, and the error is errLaneFull.
func (r *Runs) insert(ctx context.Context, tx *db.Tx, run Run) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO runs (`+columns+`, root_version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)`,
		run.ID, run.OrganizationID, run.AgentUID, run.AgentID, run.AccountID, run.KeyID, run.Profile, run.NodeID, string(run.Status),
		db.Micros(run.CreatedAt), db.Micros(run.StartedAt), db.Micros(run.EndedAt),
		run.async, run.profileUID, run.lane, run.width, run.tries, run.mostTries, run.asked, run.events, run.hasLog,
		[]byte{}, []byte{}, r.Root.Active())
	if err == nil && run.Status == Running {
		err = enterLanes(ctx, tx, run.ID, run.lanes())
	}
	return err
}

// move changes the state of a run, with what belongs to the new one. It reports
// whether the run was still in the old state.
func (r *Runs) move(ctx context.Context, run *Run, to Status, last ...batch) (moved bool, err error) {
	words, err := r.sealWords(run)
	if err != nil {
		return false, err
	}
	err = r.DB.Tx(ctx, func(tx *db.Tx) error {
		var err error
		moved, err = r.moveIn(ctx, tx, run, words, to, last...)
		return err
	})
	if err != nil || !moved {
		return false, err
	}
	run.Status = to
	if to.ends() && run.async {
		r.DB.Scrub()
	}
	return true, nil
}

// sealed is what a run has put out or failed with, as it is kept.
type sealed struct {
	output, message []byte
	version         uint32 // of the oldest root key
}

// sealWords seals that before the transaction begins, which others wait for.
func (r *Runs) sealWords(run *Run) (s sealed, err error) {
	s.version = r.Root.Active()
	if run.Output != nil {
		if s.output, err = r.Root.Seal(seal.RunRecord, run.Output, run.place("output")...); err != nil {
			return s, err
		}
		s.version = min(s.version, seal.BoxVersion(s.output))
	}
	if run.ErrorMessage != "" {
		if s.message, err = r.Root.Seal(seal.RunRecord, []byte(run.ErrorMessage), run.place("error")...); err != nil {
			return s, err
		}
		s.version = min(s.version, seal.BoxVersion(s.message))
	}
	return s, nil
}

// moveIn is move in a transaction, with what sealWords has made, and is the only code that changes a state. It
// leaves run as it is.
//
// With the state it changes what goes with it: last is kept, and what nobody needs
// any more is removed, which is the places in lanes of a run that is no longer
// under way, and what one that has ended had waited with.
//
// Whoever was taken for gone and comes back moves nothing: each time that a run is
// begun is another of its tries.
func (r *Runs) moveIn(ctx context.Context, tx *db.Tx, run *Run, words sealed, to Status, last ...batch) (moved bool, err error) {
	from := run.Status
	if !slices.Contains(moves[from], to) {
		return false, fmt.Errorf("run %s can't go from %s to %s", run.ID, from, to)
	}
	before := run.tries
	if to == Running {
		before--
	}
	n, err := tx.Exec(ctx, `
		UPDATE runs SET status = $1, output = $2, error = $3, started_at = $4, ended_at = $5, root_version = $6,
		  node_id = $7, tries = $8, width = $9, events = $10, has_log = $11
		WHERE id = $12 AND status = $13 AND tries = $14`,
		string(to), words.output, words.message, db.Micros(run.StartedAt), db.Micros(run.EndedAt), words.version,
		run.NodeID, run.tries, run.width, run.events, run.hasLog, run.ID, string(from), before)
	if err != nil || n == 0 {
		return false, err
	}
	for _, b := range last {
		if err := b.insert(ctx, tx, run.ID); err != nil {
			return false, err
		}
	}
	switch {
	case to == Running:
		err = enterLanes(ctx, tx, run.ID, run.lanes())
	case from == Running && len(run.lanes()) > 0:
		err = leaveLanes(ctx, tx, run.ID)
	}
	if err == nil && to.ends() && run.async {
		err = r.dropInputs(ctx, tx, run)
	}
	return err == nil, err
}
