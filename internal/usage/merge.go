package usage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
		if w.counts, err = add(before, sum[shard]); err != nil {
			return 0, nil, fmt.Errorf("the row of shard %d in the %s of %s: %w", shard, w.grain, db.Time(w.at).Format(time.RFC3339), err)
		}
		size += len(w.counts)
		rows = append(rows, w)
	}
	return next, rows, nil
}

// add returns the row counts, which may be nil, with the entries of more.
func add(counts []byte, more []entry) ([]byte, error) {
	out := make([]byte, 1, len(counts)+12*len(more)+1)
	out[0] = formatCounts
	before := int64(0)
	put := func(e entry) {
		out = appendEntry(out, formatCounts, before, e)
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

// keepUses writes the last uses of sum to key_uses, a few keys at a time: each
// of them costs a page of the table. A key that is gone is left out.
func (c *Counter) keepUses(ctx context.Context, r *roll, sum *sums) error {
	var used []entry
	for _, entries := range sum {
		for _, e := range entries {
			if e.usedAt != 0 {
				used = append(used, e)
			}
		}
	}
	// Where another server is dropping the batches already there are fewer, and
	// the next move is refused.
	for used = used[min(r.step-units, int64(len(used))):]; len(used) > 0; {
		chunk := used[:min(2*usesAtOnce, len(used))]
		used = used[len(chunk):]
		err := c.move(ctx, r, r.step+int64(len(chunk)), func(tx *db.Tx) error {
			for some := range slices.Chunk(chunk, usesAtOnce) {
				_, err := tx.Exec(ctx, upsertUses, useArgs(some)...)
				if db.IsMissingReference(err) {
					return db.ErrConflict // a key was removed just now, and is not found the next time
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return c.move(ctx, r, finished, func(*db.Tx) error { return nil })
}

// usesAtOnce is how many last uses one statement writes or reads: to ask
// PostgreSQL for each of them takes ten times as long.
const usesAtOnce = 50

// upsertUses writes usesAtOnce last uses, of the keys that there are.
var upsertUses = `
	INSERT INTO key_uses (key_id, at, address)
	SELECT k.id, v.column2, v.column3 FROM (VALUES ` + repeated("(CAST($? AS BIGINT), CAST($? AS BIGINT), CAST($? AS TEXT))") + `) v
	JOIN api_keys k ON k.id = v.column1 WHERE true
	ON CONFLICT (key_id) DO UPDATE SET at = excluded.at, address = excluded.address WHERE key_uses.at < excluded.at`

// repeated returns text usesAtOnce times, with a number for each question mark.
func repeated(text string) string {
	parts := strings.Split(strings.Repeat(", "+text, usesAtOnce)[2:], "?")
	for i := range parts[1:] {
		parts[i] += strconv.Itoa(i + 1)
	}
	return strings.Join(parts, "")
}

// useArgs returns the arguments of upsertUses. Where entries are fewer, the rest
// is a key that there is not.
func useArgs(entries []entry) []any {
	args := make([]any, 0, 3*usesAtOnce)
	for _, e := range entries {
		address := ""
		if e.from.IsValid() {
			address = e.from.String()
		}
		args = append(args, e.key, e.usedAt, address)
	}
	for len(args) < 3*usesAtOnce {
		args = append(args, int64(0), int64(0), "")
	}
	return args
}
