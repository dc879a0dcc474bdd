package usage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// sums is what the batches of a roll-up have in all, by shard and in the order
// of the keys.
type sums [shards][]entry

func (c *Counter) sum(ctx context.Context, r roll) (*sums, error) {
	var all ledger
	for _, id := range r.ids {
		counts, err := column[[]byte](c.DB.Query(ctx, `SELECT counts FROM usage_batches WHERE id = $1`, id))
		if err != nil {
			return nil, err
		}
		for _, b := range counts {
			if err := decode(b, r.minute, func(e entry) { all.at(e.place).add(e.tally) }); err != nil {
				return nil, fmt.Errorf("batch %s: %w", id, err)
			}
		}
	}
	var s sums
	for _, e := range all.sorted() {
		s[shardOf(e.key)] = append(s[shardOf(e.key)], e)
	}
	return &s, nil
}

// row is a row of usage_counts as it shall be.
type row struct {
	grain     Interval
	at, shard int64
	revision  int64 // as it was read; 0: there was none
	counts    []byte
}

// move moves r to the step next, together with what write does. If another
// server has moved it, nothing is done.
func (c *Counter) move(ctx context.Context, r *roll, next int64, write func(tx *db.Tx) error) error {
	err := c.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE usage_rolls SET step = $1 WHERE minute = $2 AND id = $3 AND step = $4`, next, r.minute, r.id, r.step)
		if err != nil {
			return err
		} else if n == 0 {
			return errMoved
		}
		return write(tx)
	})
	if err == nil {
		r.step = next
	}
	return err
}

// errChanged says that a row was changed after it was read.
var errChanged = errors.New("usage: a row was changed in between")

// advance writes the next rows of r, as many as one transaction may move.
//
// They are read and merged before the transaction, which is short then. If one
// was changed in between, by the roll-up of another minute of its hour, they are
// read again.
func (c *Counter) advance(ctx context.Context, r *roll, sum *sums) error {
	const attempts = 20
	for attempt := 1; ; attempt++ {
		next, rows, err := c.merged(ctx, *r, sum)
		if err != nil {
			return err
		}
		err = c.move(ctx, r, next, func(tx *db.Tx) error {
			for _, w := range rows {
				if n, err := w.write(ctx, tx); err != nil {
					return err
				} else if n == 0 {
					return errChanged
				}
			}
			return nil
		})
		if !errors.Is(err, errChanged) || attempt == attempts {
			return err
		}
	}
}

// write puts w in the place of what was read, and says how many rows it took.
func (w row) write(ctx context.Context, tx *db.Tx) (int64, error) {
	if w.revision == 0 {
		return tx.Exec(ctx, `INSERT INTO usage_counts (grain, at, shard, revision, counts) VALUES ($1, $2, $3, 1, $4)
			ON CONFLICT (grain, at, shard) DO NOTHING`, string(w.grain), w.at, w.shard, w.counts)
	}
	return tx.Exec(ctx, `UPDATE usage_counts SET revision = revision + 1, counts = $1
		WHERE grain = $2 AND at = $3 AND shard = $4 AND revision = $5`, w.counts, string(w.grain), w.at, w.shard, w.revision)
}

// merged returns the next rows of r with what sum adds to them, and the step
// that r has with them.
func (c *Counter) merged(ctx context.Context, r roll, sum *sums) (next int64, rows []row, err error) {
	size := 0
	for next = r.step; next < units && size < rowSize; next++ {
		grain, shard := grains[next/shards], next%shards
		if len(sum[shard]) == 0 {
			continue
		}
		w := row{grain: grain.name, at: floor(r.minute, grain.span), shard: shard}
		var before []byte
		err := c.DB.QueryRow(ctx, `SELECT revision, counts FROM usage_counts WHERE grain = $1 AND at = $2 AND shard = $3`,
			string(w.grain), w.at, w.shard).Scan(&w.revision, &before)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, nil, err
		}
		if w.counts, err = add(formatCounts, before, sum[shard]); err != nil {
			return 0, nil, fmt.Errorf("the row of shard %d in the %s of %s: %w", shard, w.grain, db.Time(w.at).Format(time.RFC3339), err)
		}
		size += len(w.counts)
		rows = append(rows, w)
	}
	return next, rows, nil
}

// add returns a row of that format, nil if there was none, with the entries of
// more.
func add(format byte, counts []byte, more []entry) ([]byte, error) {
	out := make([]byte, 1, len(counts)+12*len(more)+1)
	out[0] = format
	before := int64(0)
	put := func(e entry) {
		out = appendEntry(out, format, before, e)
		before = e.key
	}
	if counts != nil {
		err := decode(counts, 0, func(e entry) {
			for len(more) > 0 && more[0].key < e.key {
				put(more[0])
				more = more[1:]
			}
			if len(more) > 0 && more[0].key == e.key {
				e.add(more[0].tally)
				more = more[1:]
			}
			put(e)
		})
		if err != nil {
			return nil, err
		}
	}
	for _, e := range more {
		put(e)
	}
	return out, nil
}

// keepUses merges the last uses of sum into the rows of key_uses, as many at a
// time as one transaction may move.
func (c *Counter) keepUses(ctx context.Context, r *roll, sum *sums) error {
	const attempts = 20
	for attempt := 1; r.step < units+shards; attempt++ {
		next, rows, err := c.mergedUses(ctx, *r, sum)
		if err != nil {
			return err
		}
		err = c.move(ctx, r, next, func(tx *db.Tx) error {
			for _, w := range rows {
				if n, err := w.write(ctx, tx); err != nil {
					return err
				} else if n == 0 {
					return errChanged
				}
			}
			return nil
		})
		if err == nil {
			attempt = 0
		} else if !errors.Is(err, errChanged) || attempt == attempts {
			return err
		}
	}
	return c.move(ctx, r, finished, func(*db.Tx) error { return nil })
}

// useRow is a row of key_uses as it shall be.
type useRow struct {
	shard    int64
	revision int64 // as it was read; 0: there was none
	uses     []byte
}

// write puts w in the place of what was read, and says how many rows it took.
func (w useRow) write(ctx context.Context, tx *db.Tx) (int64, error) {
	if w.revision == 0 {
		return tx.Exec(ctx, `INSERT INTO key_uses (shard, revision, uses) VALUES ($1, 1, $2) ON CONFLICT (shard) DO NOTHING`, w.shard, w.uses)
	}
	return tx.Exec(ctx, `UPDATE key_uses SET revision = revision + 1, uses = $1 WHERE shard = $2 AND revision = $3`, w.uses, w.shard, w.revision)
}

// mergedUses returns the next rows of key_uses with what sum adds to them, and
// the step that r has with them.
func (c *Counter) mergedUses(ctx context.Context, r roll, sum *sums) (next int64, rows []useRow, err error) {
	size := 0
	for next = r.step; next < units+shards && size < rowSize; next++ {
		w := useRow{shard: next - units}
		used := usesOf(sum[w.shard])
		if len(used) == 0 {
			continue
		}
		var before []byte
		if w.revision, before, err = c.readUses(ctx, w.shard); err != nil {
			return 0, nil, err
		}
		if w.uses, err = add(formatUses, before, used); err != nil {
			return 0, nil, fmt.Errorf("the last uses of shard %d: %w", w.shard, err)
		}
		size += len(w.uses)
		rows = append(rows, w)
	}
	return next, rows, nil
}

// readUses returns a row of key_uses; its revision is 0 if there is none.
func (c *Counter) readUses(ctx context.Context, shard int64) (revision int64, uses []byte, err error) {
	err = c.DB.QueryRow(ctx, `SELECT revision, uses FROM key_uses WHERE shard = $1`, shard).Scan(&revision, &uses)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return revision, uses, err
}

// usesOf returns what of entries is a use, as key_uses keeps it: without counts,
// and at the beginning of time.
func usesOf(entries []entry) (used []entry) {
	for _, e := range entries {
		if e.usedAt != 0 {
			used = append(used, entry{place{e.key, 0}, tally{usedAt: e.usedAt, from: e.from}})
		}
	}
	return used
}
