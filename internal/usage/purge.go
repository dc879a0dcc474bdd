package usage

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// Purge removes the rows of each grain that are older than they are kept. It
// removes few at a time, so that nobody who writes waits for it. Once a day it
// removes the last uses of keys that are gone.
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
	if now := c.Now(); c.usesPurged.IsZero() || now.Sub(c.usesPurged) >= 24*time.Hour {
		if err := c.purgeUses(ctx); err != nil {
			return fmt.Errorf("purge last uses: %w", err)
		}
		c.usesPurged = now
	}
	return nil
}

// purgeUses removes the last uses of keys that are gone. A row that is changed in
// between is left for the next time.
func (c *Counter) purgeUses(ctx context.Context) error {
	for shard := range int64(shards) {
		revision, uses, err := c.readUses(ctx, shard)
		if err != nil || revision == 0 {
			if err != nil {
				return err
			}
			continue
		}
		var all []entry
		if err := decode(uses, 0, func(e entry) { all = append(all, e) }); err != nil {
			return err
		}
		there := map[int64]bool{}
		for chunk := range slices.Chunk(all, idsAtOnce) {
			args := make([]any, idsAtOnce)
			for i := range args {
				args[i] = chunk[min(i, len(chunk)-1)].key // once more does no harm
			}
			ids, err := column[int64](c.DB.Query(ctx, someKeys, args...))
			if err != nil {
				return err
			}
			for _, id := range ids {
				there[id] = true
			}
		}
		if len(there) == len(all) {
			continue
		}
		left := slices.DeleteFunc(all, func(e entry) bool { return !there[e.key] })
		err = c.DB.Tx(ctx, func(tx *db.Tx) error {
			_, err := useRow{shard, revision, encode(formatUses, left)}.write(ctx, tx)
			return err
		})
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// idsAtOnce is how many keys one statement asks for: to ask PostgreSQL for each
// of them takes ten times as long.
const idsAtOnce = 50

var someKeys = `SELECT id FROM api_keys WHERE id IN (` + numbered(idsAtOnce) + `)`

// numbered returns $1, $2 and so on.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	return b.String()
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
