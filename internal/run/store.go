package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

const columns = `id, organization_id, agent_uid, agent_id, account_id, key_id, profile_name, node_id, status,
	created_at, started_at, ended_at, async, profile_uid, lane, width, tries, most_tries, cancel_asked, events, has_log, output, error`

func (r *Runs) scan(row interface{ Scan(...any) error }) (Run, error) {
	var run Run
	var created, started, ended, async, asked, hasLog int64
	var output, message []byte
	err := row.Scan(&run.ID, &run.OrganizationID, &run.AgentUID, &run.AgentID, &run.AccountID, &run.KeyID, &run.Profile, &run.NodeID, &run.Status,
		&created, &started, &ended, &async, &run.profileUID, &run.lane, &run.width, &run.tries, &run.mostTries, &asked, &run.events, &hasLog,
		&output, &message)
	if err != nil {
		return Run{}, err
	}
	run.CreatedAt, run.StartedAt, run.EndedAt = db.Time(created), db.Time(started), db.Time(ended)
	run.async, run.asked, run.hasLog = async != 0, asked != 0, hasLog != 0
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

// read returns the run with that id, whoever's it is.
func (r *Runs) read(ctx context.Context, id string) (Run, error) {
	return r.scan(r.DB.QueryRow(ctx, `SELECT `+columns+` FROM runs WHERE id = $1`, id))
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
