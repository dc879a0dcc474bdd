package run

import (
	"context"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// How many rows are removed with one commit: few enough that no writer waits long
// for it, however large they are.
const (
	fewRuns     = 20
	fewEvents   = 20
	fewRequests = 200
)

// Pruned says what was removed.
type Pruned struct{ Runs, Logs int64 }

// Purge removes the runs that have ended longer than keep ago, and the logs of
// those that have ended longer than keepLogs ago, and Idempotency-Keys after their
// day. It does so a little at a time, so that it holds nobody up.
func (r *Runs) Purge(ctx context.Context, keep, keepLogs time.Duration) (Pruned, error) {
	for {
		n, err := r.purgeRequests(ctx, fewRequests)
		if err != nil {
			return Pruned{}, err
		}
		if n < fewRequests {
			break
		}
	}
	return r.Prune(ctx, keep, keepLogs)
}

// Prune is Purge for runs alone.
func (r *Runs) Prune(ctx context.Context, keep, keepLogs time.Duration) (done Pruned, err error) {
	now := r.Now()
	for more := true; more; {
		var n int64
		if n, more, err = r.purgeLogs(ctx, db.Micros(now.Add(-min(keep, keepLogs)))); err != nil {
			break
		}
		done.Logs += n
	}
	for more := err == nil; more; {
		var n int64
		if n, err = r.purgeRuns(ctx, db.Micros(now.Add(-keep))); err != nil {
			break
		}
		done.Runs += n
		more = n == fewRuns
	}
	if done.Runs+done.Logs > 0 {
		r.DB.Scrub()
	}
	if err != nil {
		return done, fmt.Errorf("purge runs: %w", err)
	}
	return done, nil
}

// purgeLogs removes the events of a few runs that ended before then.
func (r *Runs) purgeLogs(ctx context.Context, then int64) (n int64, more bool, err error) {
	ids, err := r.ids(ctx, `SELECT id FROM runs WHERE has_log = 1 AND ended_at <> 0 AND ended_at < $1 LIMIT $2`, then, fewRuns)
	if err != nil {
		return 0, false, err
	}
	for _, id := range ids {
		for removed := int64(fewEvents); removed == fewEvents; {
			err := r.DB.Tx(ctx, func(tx *db.Tx) (err error) {
				removed, err = tx.Exec(ctx, `DELETE FROM run_events WHERE run_id = $1 AND seq IN (
					SELECT seq FROM run_events WHERE run_id = $1 ORDER BY seq LIMIT $2)`, id, fewEvents)
				if err == nil && removed < fewEvents {
					_, err = tx.Exec(ctx, `UPDATE runs SET has_log = 0 WHERE id = $1`, id)
				}
				return err
			})
			if err != nil {
				return n, false, err
			}
		}
		n++
	}
	return n, len(ids) == fewRuns, nil
}

// purgeRuns removes a few runs that ended before then, and whose logs are gone.
func (r *Runs) purgeRuns(ctx context.Context, then int64) (n int64, err error) {
	err = r.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err = tx.Exec(ctx, `DELETE FROM runs WHERE id IN (
			SELECT id FROM runs WHERE ended_at <> 0 AND ended_at < $1 AND has_log = 0 LIMIT $2)`, then, fewRuns)
		return err
	})
	return n, err
}

func (r *Runs) ids(ctx context.Context, query string, args ...any) (ids []string, err error) {
	rows, err := r.DB.Query(ctx, query, args...)
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
