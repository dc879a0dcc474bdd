package usage

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// Purge removes the rows of each grain that are older than they are kept. It
// removes few at a time, so that nobody who writes waits for it. Last uses go
// with their keys.
func (c *Counter) Purge(ctx context.Context) error {
	for i, keep := range []time.Duration{c.KeepMinutes, c.KeepHours, c.KeepDays} {
		before := c.Now().Add(-keep).UnixMicro() - grains[i].span // a row is as old as its end
		for {
			removed, err := c.purge(ctx, grains[i].name, before)
			if err != nil {
				return fmt.Errorf("purge usage: %w", err)
			}
			if removed == 0 || ctx.Err() != nil {
				break
			}
		}
	}
	return nil
}

// purge removes rows of one grain that begin no later than before, as many as
// one transaction may.
func (c *Counter) purge(ctx context.Context, grain Interval, before int64) (removed int, err error) {
	type old struct{ at, shard int64 }
	var rows []old
	found, err := c.DB.Query(ctx, `SELECT at, shard, length(counts) FROM usage_counts WHERE grain = $1 AND at <= $2 ORDER BY at, shard LIMIT 64`,
		string(grain), before)
	if err != nil {
		return 0, err
	}
	defer found.Close()
	size := int64(0)
	for found.Next() && size < rowSize {
		var o old
		var length int64
		if err := found.Scan(&o.at, &o.shard, &length); err != nil {
			return 0, err
		}
		rows, size = append(rows, o), size+length
	}
	if err := found.Err(); err != nil || len(rows) == 0 {
		return 0, err
	}
	found.Close() // a reader would keep SQLite's log from being emptied
	err = c.DB.Tx(ctx, func(tx *db.Tx) error {
		for _, o := range rows {
			if _, err := tx.Exec(ctx, `DELETE FROM usage_counts WHERE grain = $1 AND at = $2 AND shard = $3`, string(grain), o.at, o.shard); err != nil {
				return err
			}
		}
		return nil
	})
	return len(rows), err
}

// column reads rows that have one column.
func column[T any](rows *sql.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
