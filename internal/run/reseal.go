package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Reseal renews the boxes of up to limit rows that are under another root key
// than the active one, and says how many. Zero means that none is left.
func (r *Runs) Reseal(ctx context.Context, limit int) (done int, err error) {
	ids, err := r.ids(ctx, `SELECT id FROM runs WHERE root_version <> $1 LIMIT $2`, r.Root.Active(), limit)
	if err != nil {
		return 0, fmt.Errorf("re-seal runs: %w", err)
	}
	for _, id := range ids {
		if err := r.reseal(ctx, id); err != nil {
			return done, fmt.Errorf("re-seal run %s: %w", id, err)
		}
		done++
	}
	n, err := r.resealEvents(ctx, limit-done)
	if done += n; err != nil {
		return done, fmt.Errorf("re-seal events of runs: %w", err)
	}
	n, err = r.resealDigestKey(ctx)
	if done += n; err != nil {
		return done, fmt.Errorf("re-seal the key of Idempotency-Keys: %w", err)
	}
	return done, nil
}

// resealEvents renews up to limit batches of events.
func (r *Runs) resealEvents(ctx context.Context, limit int) (done int, err error) {
	type row struct {
		run Run
		b   batch
	}
	read := func() (rows []row, err error) {
		found, err := r.DB.Query(ctx, `
			SELECT r.id, r.organization_id, e.first, e.seq, e.box FROM run_events e JOIN runs r ON r.id = e.run_id
			WHERE e.root_version <> $1 LIMIT $2`, r.Root.Active(), min(limit, fewEvents))
		if err != nil {
			return nil, err
		}
		defer found.Close()
		for found.Next() {
			var w row
			if err := found.Scan(&w.run.ID, &w.run.OrganizationID, &w.b.first, &w.b.last, &w.b.box); err != nil {
				return nil, err
			}
			rows = append(rows, w)
		}
		return rows, found.Err()
	}
	for done < limit {
		rows, err := read()
		if err != nil || len(rows) == 0 {
			return done, err
		}
		for i := range rows {
			w := &rows[i]
			if w.b.box, err = r.Root.Reseal(seal.RunRecord, w.b.box, w.run.eventsPlace(w.b.first, w.b.last)...); err != nil {
				return done, fmt.Errorf("run %s: %w", w.run.ID, err)
			}
		}
		err = r.DB.Tx(ctx, func(tx *db.Tx) error {
			for _, w := range rows {
				if _, err := tx.Exec(ctx, `UPDATE run_events SET box = $1, root_version = $2 WHERE run_id = $3 AND seq = $4`,
					w.b.box, seal.BoxVersion(w.b.box), w.run.ID, w.b.last); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return done, err
		}
		done += len(rows)
	}
	return done, nil
}

func (r *Runs) resealDigestKey(ctx context.Context) (done int, err error) {
	var box []byte
	err = r.DB.QueryRow(ctx, `SELECT box FROM run_request_keys WHERE root_version <> $1`, r.Root.Active()).Scan(&box)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err == nil {
		box, err = r.Root.Reseal(seal.AtRest, box, seal.Text(digestKeyPlace))
	}
	if err == nil {
		err = r.DB.Tx(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE run_request_keys SET box = $1, root_version = $2`, box, seal.BoxVersion(box))
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
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
