package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

const columns = `id, organization_id, agent_uid, agent_id, account_id, key_id, profile_name, node_id, status,
	created_at, started_at, ended_at, output, error`

func (r *Runs) scan(row interface{ Scan(...any) error }) (Run, error) {
	var run Run
	var created, started, ended int64
	var output, message []byte
	err := row.Scan(&run.ID, &run.OrganizationID, &run.AgentUID, &run.AgentID, &run.AccountID, &run.KeyID, &run.Profile, &run.NodeID, &run.Status,
		&created, &started, &ended, &output, &message)
	if err != nil {
		return Run{}, err
	}
	run.CreatedAt, run.StartedAt, run.EndedAt = db.Time(created), db.Time(started), db.Time(ended)
	if len(output) > 0 {
		if run.Output, err = r.Root.Open(seal.RunRecord, output, run.place("output")...); err != nil {
			return Run{}, fmt.Errorf("output of run %s: %w", run.ID, err)
		}
	}
	if len(message) > 0 {
		text, err := r.Root.Open(seal.RunRecord, message, run.place("error")...)
		if err != nil {
			return Run{}, fmt.Errorf("error of run %s: %w", run.ID, err)
		}
		run.ErrorMessage = string(text)
	}
	return run, nil
}

// place is the context of the box that holds one part of the record.
func (run *Run) place(part string) [][]byte {
	return [][]byte{seal.Text(part), seal.Text(run.OrganizationID), seal.Text(run.ID)}
}

// insert writes a run that has just been started.
func (r *Runs) insert(ctx context.Context, tx *db.Tx, run Run) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO runs (`+columns+`, root_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		run.ID, run.OrganizationID, run.AgentUID, run.AgentID, run.AccountID, run.KeyID, run.Profile, run.NodeID, string(run.Status),
		db.Micros(run.CreatedAt), db.Micros(run.StartedAt), db.Micros(run.EndedAt), []byte{}, []byte{}, r.Root.Active())
	return err
}

// move changes the state of a run, with what belongs to the new one, and is the
// only code that does. It reports whether the run was still in the old state.
func (r *Runs) move(ctx context.Context, run *Run, to Status) (moved bool, err error) {
	if !slices.Contains(moves[run.Status], to) {
		return false, fmt.Errorf("run %s can't go from %s to %s", run.ID, run.Status, to)
	}
	var output, message []byte
	version := r.Root.Active()
	if run.Output != nil {
		if output, err = r.Root.Seal(seal.RunRecord, run.Output, run.place("output")...); err != nil {
			return false, err
		}
		version = min(version, seal.BoxVersion(output))
	}
	if run.ErrorMessage != "" {
		if message, err = r.Root.Seal(seal.RunRecord, []byte(run.ErrorMessage), run.place("error")...); err != nil {
			return false, err
		}
		version = min(version, seal.BoxVersion(message))
	}
	err = r.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `
			UPDATE runs SET status = $1, output = $2, error = $3, started_at = $4, ended_at = $5, root_version = $6
			WHERE id = $7 AND status = $8`,
			string(to), output, message, db.Micros(run.StartedAt), db.Micros(run.EndedAt), version, run.ID, string(run.Status))
		moved = n == 1
		return err
	})
	if moved && err == nil {
		run.Status = to
	}
	return moved, err
}

// Get returns a run of who's organization. To a key that is made for other
// agents than the run's it is not there.
func (r *Runs) Get(ctx context.Context, who access.Caller, id string) (Run, error) {
	if err := who.May(access.ReadRuns); err != nil {
		return Run{}, err
	}
	run, err := r.scan(r.DB.QueryRow(ctx, `SELECT `+columns+` FROM runs WHERE id = $1 AND organization_id = $2`, id, who.OrganizationID))
	if errors.Is(err, sql.ErrNoRows) || err == nil && who.MayUse(run.AgentID) != nil {
		return Run{}, ErrNotFound
	}
	return run, err
}

// Filter says which runs are listed.
type Filter struct {
	Status  Status // "": any
	AgentID string // "": any
	After   string // the ID of the last run of the page before
	Limit   int64
}

// List returns runs of who's organization, newest first, without their output.
// Of a key that is made for certain agents it is those of these agents.
func (r *Runs) List(ctx context.Context, who access.Caller, f Filter) ([]Run, error) {
	if err := who.May(access.ReadRuns); err != nil {
		return nil, err
	}
	if _, known := moves[f.Status]; !known && f.Status != "" {
		return nil, fault.Field("status", "must be queued, running, succeeded, failed, cancelled, timed_out or interrupted")
	}
	if f.AgentID != "" {
		if err := who.MayUse(f.AgentID); err != nil {
			return nil, err
		}
	}
	// An output can be large, and a list has a hundred of them.
	list := columns[:len(columns)-len("output, error")] + "$5, error"
	return r.collect(r.DB.Query(ctx, `
		SELECT `+list+` FROM runs
		WHERE organization_id = $1 AND ($2 = '' OR status = $2) AND ($3 = '' OR agent_id = $3) AND ($4 = '' OR id < $4)
		  AND ($7 = '' OR replace($7, ',' || agent_id || ',', '') <> $7)
		ORDER BY id DESC LIMIT $6`, who.OrganizationID, string(f.Status), f.AgentID, f.After, []byte{}, f.Limit, who.AgentFilter()))
}

func (r *Runs) collect(rows *sql.Rows, err error) ([]Run, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var runs []Run
	for rows.Next() {
		run, err := r.scan(rows)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, rows.Err()
}

// lost is what is said of a run that nobody does any more.
const lost = "The server that did this run stopped without ending it. What the agent did before that is done. Start the run again if that is safe."

// InterruptLost ends, as interrupted, every run that was left open by a node
// which is not among the live ones, or by this one. It says how many.
func (r *Runs) InterruptLost(ctx context.Context, live []string) (n int, err error) {
	runs, err := r.collect(r.DB.Query(ctx, `SELECT `+columns+` FROM runs WHERE ended_at = 0`))
	if err != nil {
		return 0, fmt.Errorf("look for lost runs: %w", err)
	}
	for _, run := range runs {
		// A run of this node is known before it is written and until its end
		// is: one that is not known now was over before it was looked for.
		if r.knows(run.ID) || run.NodeID != r.NodeID && slices.Contains(live, run.NodeID) {
			continue
		}
		run.ErrorMessage, run.EndedAt = lost, r.Now()
		moved, err := r.move(ctx, &run, Interrupted)
		if err != nil {
			return n, fmt.Errorf("interrupt a lost run: %w", err)
		}
		if moved {
			n++
			r.Log.Warn("a run was lost and is now interrupted", "run", run.ID, "agent", run.AgentID, "node", run.NodeID)
		}
	}
	return n, nil
}

// Reseal renews the boxes of up to limit runs that are under another root key
// than the active one, and says how many. Zero means that none is left.
func (r *Runs) Reseal(ctx context.Context, limit int) (done int, err error) {
	ids, err := r.oldest(ctx, limit)
	if err != nil {
		return 0, fmt.Errorf("re-seal runs: %w", err)
	}
	for _, id := range ids {
		if err := r.reseal(ctx, id); err != nil {
			return done, fmt.Errorf("re-seal run %s: %w", id, err)
		}
		done++
	}
	return done, nil
}

func (r *Runs) oldest(ctx context.Context, limit int) (ids []string, err error) {
	rows, err := r.DB.Query(ctx, `SELECT id FROM runs WHERE root_version <> $1 LIMIT $2`, r.Root.Active(), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// reseal renews the boxes of one run, which may be large. One that ends in
// between has new ones by itself.
func (r *Runs) reseal(ctx context.Context, id string) error {
	run := Run{ID: id}
	var ended int64
	var output, message []byte
	err := r.DB.QueryRow(ctx, `SELECT organization_id, ended_at, output, error FROM runs WHERE id = $1`, id).
		Scan(&run.OrganizationID, &ended, &output, &message)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	version := r.Root.Active()
	for part, box := range map[string]*[]byte{"output": &output, "error": &message} {
		if err == nil && len(*box) > 0 {
			*box, err = r.Root.Reseal(seal.RunRecord, *box, run.place(part)...)
			version = min(version, seal.BoxVersion(*box))
		}
	}
	if err != nil {
		return err
	}
	return r.DB.Tx(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE runs SET output = $1, error = $2, root_version = $3 WHERE id = $4 AND ended_at = $5`,
			output, message, version, id, ended)
		return err
	})
}
