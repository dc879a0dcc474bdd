package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// lost is what is said of a run that nobody does any more.
const lost = "The server that did this run stopped without ending it. What the agent did before that is done. Start the run again if that is safe."

// neverBegun is what is said of one that nobody did.
const neverBegun = "The server on which this run waited stopped before it began. The agent was not called. Start the run again."

// InterruptLost ends, as interrupted, every run that was left by a node which is
// not among the live ones, or by this one, and says how many. A run that may be
// done again goes back into the queue instead.
func (r *Runs) InterruptLost(ctx context.Context, live []string) (n int, err error) {
	// Those that wait on the disk have no node, and need none.
	nodes, err := r.ids(ctx, `SELECT DISTINCT node_id FROM runs WHERE ended_at = 0 AND node_id > ''`)
	if err != nil {
		return 0, fmt.Errorf("look for lost runs: %w", err)
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
	run := &found
	if err := r.countEvents(ctx, run); err != nil {
		return false, err
	}
	switch to := run.afterALoss(); to {
	case Queued:
		moved, err = r.requeue(ctx, run)
	default:
		run.ErrorMessage, run.EndedAt = lost, r.now()
		if run.tries == 0 {
			run.ErrorMessage = neverBegun
		}
		if to == Cancelled {
			run.ErrorMessage = cancelled
		}
		moved, err = r.move(ctx, run, to)
	}
	if moved {
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
	run.NodeID, run.StartedAt, run.ErrorMessage = "", time.Time{}, ""
	return r.move(ctx, run, Queued, last...)
}
