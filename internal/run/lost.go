package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// lost is what is said of a run that nobody does any more.
const lost = "The server that did this run stopped without ending it. What the agent did before that is done. Start the run again if that is safe."

// neverBegun is what is said of one that nobody did.
const neverBegun = "The server on which this run waited stopped before it began. The agent was not called. Start the run again."

// Live returns the ids of the servers that are running. It is asked about servers
// that were seen before: one that has come since is none that is gone.
type Live func(ctx context.Context) ([]string, error)

// InterruptLost ends, as interrupted, every run that was left by a node which is
// not among the live ones, or by this one, and says how many. A run that may be
// done again goes back into the queue instead.
func (r *Runs) InterruptLost(ctx context.Context, asksLive Live) (n int, err error) {
	// Those that wait on the disk have no node, and need none.
	nodes, err := r.ids(ctx, `SELECT DISTINCT node_id FROM runs WHERE ended_at = 0 AND node_id > ''`)
	if err != nil {
		return 0, fmt.Errorf("look for lost runs: %w", err)
	}
	if len(nodes) == 0 {
		return 0, nil
	}
	live, err := asksLive(ctx)
	if err != nil {
		return 0, err
	}
	for _, node := range nodes {
		if node != r.NodeID && slices.Contains(live, node) {
			continue
		}
		ids, err := r.ids(ctx, `SELECT id FROM runs WHERE ended_at = 0 AND node_id = $1`, node)
		if err != nil {
			return n, fmt.Errorf("look for lost runs: %w", err)
		}
		for _, id := range ids {
			// A run of this node is known before it is written and until its end
			// is: one that is not known now was over before it was looked for.
			if r.knows(id) {
				continue
			}
			moved, err := r.giveUp(ctx, id, node)
			if err != nil {
				return n, fmt.Errorf("interrupt a lost run: %w", err)
			}
			if moved {
				n++
			}
		}
	}
	if n > 0 {
		r.stir() // now that all are back that were before those which wait
	}
	return n, nil
}

// giveUp moves a run that node has lost to where it belongs now.
func (r *Runs) giveUp(ctx context.Context, id, node string) (moved bool, err error) {
	found, err := r.read(ctx, id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && (found.NodeID != node || found.Status.ends()) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	run, to := &found, found.afterALoss()
	switch {
	case to == Queued:
		run.waitsAgain()
	case to == Cancelled:
		run.ErrorMessage, run.EndedAt = cancelled, r.now()
	case run.tries == 0:
		run.ErrorMessage, run.EndedAt = neverBegun, r.now()
	default:
		run.ErrorMessage, run.EndedAt = lost, r.now()
	}
	words, err := r.sealWords(run)
	if err != nil {
		return false, err
	}
	err = r.DB.Tx(ctx, func(tx *db.Tx) error {
		var err error
		if moved, err = r.moveIn(ctx, tx, run, words, to); err != nil || !moved {
			return err
		}
		return countEvents(ctx, tx, run.ID) // only now there will be no more
	})
	if err != nil {
		return false, err
	}
	if moved {
		run.Status = to
		if to.ends() && run.async {
			r.DB.Scrub()
		}
		r.Log.Warn("a run was lost", "run", run.ID, "agent", run.AgentID, "node", node, "status", string(run.Status))
	}
	return moved, err
}

// afterALoss is the state of a run, under way or waiting, that has lost the server
// it was on.
func (run *Run) afterALoss() Status {
	switch {
	case run.asked:
		return Cancelled
	case run.Status == Running && run.async && run.tries < run.mostTries:
		return Queued
	}
	return Interrupted
}

// requeue puts a run that was under way back into the queue.
func (r *Runs) requeue(ctx context.Context, run *Run, last ...batch) (moved bool, err error) {
	run.waitsAgain()
	return r.move(ctx, run, Queued, last...)
}

// waitsAgain makes run one that no server does.
func (run *Run) waitsAgain() { run.NodeID, run.StartedAt, run.ErrorMessage = "", time.Time{}, "" }

// errLost says that a run is not this server's any more: the others took it for
// gone, or the run's organization was deleted.
var errLost = errors.New("run: it was given up meanwhile")

// isOurs reports whether a run is still the one that this server does.
func (r *Runs) isOurs(ctx context.Context, run *Run) (bool, error) {
	var n int64
	err := r.DB.QueryRow(ctx, `SELECT count(*) FROM runs WHERE id = $1 AND status = 'running' AND tries = $2`, run.ID, run.tries).Scan(&n)
	return n == 1, err
}

// asOnDisk makes j's run what the disk says of it, after its end could not be
// written.
func (r *Runs) asOnDisk(j *job) {
	run, err := r.read(context.WithoutCancel(j.ctx), j.run.ID)
	if err != nil {
		j.run.EndedAt = time.Time{}
		return
	}
	j.run = run
}
