package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/quota"
	"github.com/keyward/keyward/internal/seal"
)

// ErrGone is what [Waiting.Open] says if this server has none of the keys that a
// run's token is sealed to.
var ErrGone = errors.New("run: the keys of a waiting run are gone")

// Place is the run whose token or inputs are sealed. What was sealed for one
// opens for no other.
type Place struct{ RunID, OrganizationID, AgentUID, ProfileUID string }

// Waiting is how a run waits without whoever started it: it has a token of its
// own, which is sealed to keys that live for a day, and which opens its inputs
// and its auth profile. The root key opens neither.
type Waiting struct {
	NewToken   func() seal.Secret // for a run without an auth profile
	Seal       func(ctx context.Context, token seal.Secret, at Place) (tokens []byte, err error)
	Open       func(tokens []byte, at Place) (token seal.Secret, err error) // or ErrGone
	SealInputs func(token seal.Secret, at Place, inputs []byte) (box []byte, err error)
	OpenInputs func(token seal.Secret, at Place, box []byte) (inputs []byte, err error)

	OpenProfile OpenProfile // by a run's own token
	DropSlot    func(ctx context.Context, tx *db.Tx, locator []byte) error
}

// pageOfLate bounds how many runs that have waited for too long are read at once.
const pageOfLate = 200

// Tries of a run whose agent says that this does no harm.
const tries = 3

func (run *Run) at() Place { return Place{run.ID, run.OrganizationID, run.AgentUID, run.profileUID} }

// inputs is what a waiting run has in its box.
type inputs struct {
	Parameters  map[string]jsontext.Value `json:"parameters"`
	Destination string                    `json:"destination"` // of the agent that they were meant for
}

// park writes the run into the queue on the disk, with all that it needs later.
func (r *Runs) park(ctx context.Context, j *job) error {
	plaintext, err := json.Marshal(inputs{j.request.Parameters, j.agent.Destination()})
	if err != nil {
		return err
	}
	defer clear(plaintext)
	j.run.Status, j.run.async, j.run.NodeID = Queued, true, ""
	if j.agent.Idempotent {
		j.run.mostTries = tries
	}
	// All is sealed before the transaction begins, which others wait for.
	slot := Slot{Locator: []byte{}, Keep: func(context.Context, *db.Tx) error { return nil }}
	if j.profile == nil {
		slot.Token = r.Waiting.NewToken()
	} else if slot, err = j.profile.RunSlot(j.expiry()); err != nil {
		return err
	}
	defer slot.Token.Clear()
	tokens, err := r.Waiting.Seal(ctx, slot.Token, j.run.at())
	if err != nil {
		return fmt.Errorf("seal the token of a run: %w", err)
	}
	box, err := r.Waiting.SealInputs(slot.Token, j.run.at(), plaintext)
	if err != nil {
		return fmt.Errorf("seal the inputs of a run: %w", err)
	}
	return r.create(ctx, j, func(tx *db.Tx) error {
		if err := quota.Take(ctx, tx, j.run.OrganizationID, quota.QueuedRuns, j.caller.Quotas.QueuedRuns); errors.Is(err, fault.ErrQuota) {
			return fault.Of(err).Say("The organization has as many unfinished runs as its quota allows. Wait for some to end, cancel some, or ask the operator for more.")
		} else if err != nil {
			return err
		}
		if err := slot.Keep(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO run_inputs (run_id, locator, tokens, inputs) VALUES ($1, $2, $3, $4)`,
			j.run.ID, slot.Locator, tokens, box)
		return err
	})
}

// EachWaiting calls see with the sealed tokens of every run that has not ended
// and waits or has waited on the disk, oldest first, until it returns false.
func (r *Runs) EachWaiting(ctx context.Context, see func(tokens []byte) bool) error {
	rows, err := r.DB.Query(ctx, `SELECT tokens FROM run_inputs ORDER BY run_id`)
	if err != nil {
		return fmt.Errorf("read the tokens of runs that wait: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var tokens []byte
		if err := rows.Scan(&tokens); err != nil {
			return fmt.Errorf("read the tokens of runs that wait: %w", err)
		}
		if !see(tokens) {
			return nil
		}
	}
	return rows.Err()
}

// dropInputs removes what a run has waited with, and makes its token worthless.
func (r *Runs) dropInputs(ctx context.Context, tx *db.Tx, run *Run) error {
	var locator []byte
	err := tx.QueryRow(ctx, `SELECT locator FROM run_inputs WHERE run_id = $1`, run.ID).Scan(&locator)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil && len(locator) > 0 {
		err = r.Waiting.DropSlot(ctx, tx, locator)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM run_inputs WHERE run_id = $1`, run.ID)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM run_gone WHERE run_id = $1`, run.ID)
	}
	if err == nil {
		err = quota.Give(ctx, tx, run.OrganizationID, quota.QueuedRuns, 1)
	}
	return err
}

// take does a run that waits on the disk, if no other server is quicker. It has
// its place already.
func (r *Runs) take(j *job) {
	began, err := r.takeUp(context.WithoutCancel(j.ctx), j)
	if err != nil {
		r.setAside(j.run.ID)
		r.Log.Warn("a run that waits can't be taken up and is tried again", "run", j.run.ID, "err", err)
	}
	if !began {
		r.leave(j)
		return
	}
	r.carryOut(j)
}

// takeUp begins a run that waits on the disk, or reports that it did not.
func (r *Runs) takeUp(ctx context.Context, j *job) (began bool, err error) {
	run, err := r.read(ctx, j.run.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil || run.Status != Queued || run.NodeID != "" {
		return false, err
	}
	if run.asked { // while it was under way, on a server that is gone
		run.ErrorMessage, run.EndedAt = cancelled, r.now()
		_, err := r.move(ctx, &run, Cancelled)
		return false, err
	}
	if run.KeyID != 0 {
		why, err := r.KeyEnded(ctx, run.OrganizationID, run.KeyID)
		if err != nil {
			return false, err
		}
		if why != "" {
			run.ErrorMessage, run.EndedAt = why, r.now()
			_, err := r.move(ctx, &run, Cancelled)
			return false, err
		}
	}
	j.run = run
	var tokens, box []byte
	if err := r.DB.QueryRow(ctx, `SELECT tokens, inputs FROM run_inputs WHERE run_id = $1`, j.run.ID).Scan(&tokens, &box); err != nil {
		if errors.Is(err, sql.ErrNoRows) { // it has ended since
			err = nil
		}
		return false, err
	}
	token, err := r.Waiting.Open(tokens, j.run.at())
	if errors.Is(err, ErrGone) {
		return false, r.sayGone(ctx, j.run.ID)
	}
	if err != nil {
		return false, err
	}
	j.caller = r.starter(&j.run)
	j.open = func(ctx context.Context) error {
		defer token.Clear()
		return r.openWaiting(ctx, j, token, box)
	}
	j.agent, err = r.Agents.Find(ctx, j.caller, j.run.AgentID)
	if err == nil && j.agent.UID == j.run.AgentUID {
		j.run.width = j.agent.MaxConcurrent
	} else if err != nil && fault.Of(err).Kind != fault.NotFound {
		return false, err
	} else {
		deleted := fails("The agent was deleted while this run waited for its turn.")
		j.open = func(context.Context) error { token.Clear(); return deleted }
		j.run.width = 0
	}

	queued := j.run
	j.run.NodeID, j.run.StartedAt = r.NodeID, r.now()
	if j.run.tries++; j.run.tries == 1 {
		j.run.events = 1
	}
	left := r.laneLeft()
	moved, err := r.move(ctx, &j.run, Running)
	if err != nil || !moved {
		j.run = queued
		token.Clear()
		if errors.Is(err, errLaneFull) {
			r.setAsideUnless(left, j.run.ID)
			err = nil
		}
		return false, err
	}
	j.recorded = true
	return true, nil
}

// openWaiting opens what the run waited with, when it is under way.
func (r *Runs) openWaiting(ctx context.Context, j *job, token seal.Secret, box []byte) error {
	if err := j.agent.Runnable(); err != nil {
		return asFailure(err)
	}
	plaintext, err := r.Waiting.OpenInputs(token, j.run.at(), box)
	if err != nil {
		return fmt.Errorf("the inputs of a waiting run: %w", err)
	}
	var in inputs
	if err := json.Unmarshal(plaintext, &in); err != nil {
		return fmt.Errorf("the inputs of a waiting run: %w", err)
	}
	if in.Destination != j.agent.Destination() {
		return fails("The agent was pointed elsewhere while this run waited for its turn. It was not called. Start the run again if it may have what was meant for the one before.")
	}
	j.request.Parameters = in.Parameters
	if j.run.profileUID != "" {
		p, err := r.Waiting.OpenProfile(ctx, j.caller, j.agent, token)
		if err != nil && fault.Of(err).Kind == fault.NotFound {
			return fails("The auth profile of this run was deleted or replaced, or its token was rotated, while the run waited for its turn.")
		}
		if err := j.take(p, err); err != nil {
			return asFailure(err)
		}
	}
	return asFailure(j.complete(r.now()))
}

// asFailure makes what a caller would be told into what the run ends with.
func asFailure(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) && f.Kind != fault.Internal {
		return failsBecause(err, f.Message)
	}
	return err
}

// sayGone writes that this server has no key to a run.
func (r *Runs) sayGone(ctx context.Context, runID string) error {
	return r.DB.Tx(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO run_gone (run_id, node_id) SELECT id, $1 FROM runs WHERE id = $2 AND ended_at = 0 ON CONFLICT (run_id, node_id) DO NOTHING`,
			r.NodeID, runID)
		return err
	})
}

// mayReturn is for how long a server that has the key to a run may be away, to
// start again for example, before it is taken for certain that none has it.
const mayReturn = 5 * time.Minute

// keysGone is what is said of a run that no server has a key to.
const keysGone = "CREDENTIALS_GONE: No server has the key any more to what this run was given. The agent was not called. Start the run again."

// interruptGone ends the runs that no live server has a key to.
func (r *Runs) interruptGone(ctx context.Context, asksLive Live) error {
	rows, err := r.DB.Query(ctx, `
		SELECT g.run_id, g.node_id FROM run_gone g JOIN runs r ON r.id = g.run_id WHERE r.status = 'queued' ORDER BY g.run_id LIMIT 1000`)
	if err != nil {
		return err
	}
	defer rows.Close()
	without := map[string]map[string]bool{}
	for rows.Next() {
		var id, node string
		if err := rows.Scan(&id, &node); err != nil {
			return err
		}
		if without[id] == nil {
			without[id] = map[string]bool{}
		}
		without[id][node] = true
	}
	if err := rows.Err(); err != nil || len(without) == 0 {
		return err
	}
	live, err := asksLive(ctx)
	if err != nil {
		return err
	}
	held := map[string]time.Time{}
	defer func() { r.held = held }()
	for id, nodes := range without {
		at := r.held[id]
		if !all(live, nodes) {
			at = r.Now()
		}
		if !at.IsZero() && r.Now().Sub(at) < mayReturn {
			held[id] = at
			continue
		}
		run, err := r.read(ctx, id)
		if errors.Is(err, sql.ErrNoRows) || err == nil && run.Status != Queued {
			continue
		}
		if err == nil {
			err = r.interruptQueued(ctx, &run, keysGone)
		}
		if err != nil {
			return fmt.Errorf("interrupt a run whose keys are gone: %w", err)
		}
	}
	return nil
}

func all(live []string, nodes map[string]bool) bool {
	for _, id := range live {
		if !nodes[id] {
			return false
		}
	}
	return true
}

// interruptLate ends the runs that have waited for longer than their keys live.
func (r *Runs) interruptLate(ctx context.Context) error {
	runs, err := r.collect(r.DB.Query(ctx, `
		SELECT `+columns+` FROM runs WHERE status = 'queued' AND node_id = '' AND created_at < $1 LIMIT $2`,
		db.Micros(r.Now().Add(-mayWait)), pageOfLate))
	for i := range runs {
		if err = r.interruptQueued(ctx, &runs[i], keysGone); err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("interrupt runs that have waited for too long: %w", err)
	}
	return nil
}

func (r *Runs) interruptQueued(ctx context.Context, run *Run, why string) error {
	run.ErrorMessage, run.EndedAt = why, r.now()
	moved, err := r.move(ctx, run, Interrupted)
	if moved {
		r.Log.Warn("a run that waited is interrupted", "run", run.ID, "agent", run.AgentID, "why", why)
	}
	return err
}

// Tend is what is done for the runs of all servers every few seconds, by each of
// them: the runs of servers that are gone, and of keys that are.
func (r *Runs) Tend(ctx context.Context, live Live) error {
	if _, err := r.InterruptLost(ctx, live); err != nil {
		return err
	}
	if err := r.interruptGone(ctx, live); err != nil {
		return err
	}
	return r.interruptLate(ctx)
}

// Look is what a server does every second: it looks for runs that others have
// queued or want cancelled.
func (r *Runs) Look(ctx context.Context) error {
	r.mu.Lock()
	r.aside = nil
	under := len(r.known)
	r.mu.Unlock()
	r.stir()
	if under == 0 {
		return nil
	}
	return r.lookAtOwn(ctx)
}
