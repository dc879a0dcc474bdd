package usage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// Interval is the length of the spans that a series has. Each has its rows in
// usage_counts.
type Interval string

// The intervals.
const (
	Minute Interval = "minute"
	Hour   Interval = "hour"
	Day    Interval = "day"
)

// grains is the order in which a roll-up writes its rows.
var grains = [...]struct {
	name Interval
	span int64
}{{Minute, minute}, {Hour, hour}, {Day, day}}

// units is how many rows a roll-up may have to write: those of the minute, then
// those of its hour, then those of its day.
const units = int64(len(grains) * shards)

// finished is the step of a roll-up whose batches can go.
const finished = 1 << 40

// unitOf is the place of a row in that order.
func unitOf(grain, shard int) int64 { return int64(grain*shards + shard) }

// settled is how long after its end a minute is rolled up: by then each server
// has written its last second. What comes later is rolled up later.
const settled = 5 * time.Second

// errMoved says that another server has gone on with the same roll-up, or has
// changed a row in between.
var errMoved = errors.New("usage: another server was quicker")

// roll is a roll-up: a claim on some batches of a minute.
type roll struct {
	minute int64
	id     string
	step   int64 // the units that are done, then units and the last uses that are
	ids    []string
}

// RollLoop rolls up each minute some seconds after its end, until ctx ends. What
// it fails with is reported, and it is tried again.
func (c *Counter) RollLoop(ctx context.Context) error {
	reported := ""
	for {
		// Servers of a fleet do not all begin at once: who comes second finds
		// nothing left.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5*time.Second + rand.N(5*time.Second)):
		}
		switch err := c.RollUp(ctx); {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			c.Log.Error("usage can't be rolled up; it is kept as it is and tried again", "err", err)
		}
	}
}

// RollUp merges the batches of the minutes that are over into the rows of their
// minute, hour and day. Several servers may do so at once. A minute that fails
// does not keep the others from being done.
func (c *Counter) RollUp(ctx context.Context) error {
	c.rolling.Lock()
	defer c.rolling.Unlock()
	begun, err := c.begun(ctx)
	if err != nil {
		return fmt.Errorf("roll up usage: %w", err)
	}
	var failed error
	for _, r := range c.abandoned(begun) {
		failed = errors.Join(failed, c.finish(ctx, r))
	}
	over, err := c.over(ctx)
	if err != nil {
		return errors.Join(failed, fmt.Errorf("roll up usage: %w", err))
	}
	for _, at := range over {
		if ctx.Err() != nil {
			break
		}
		r, err := c.claim(ctx, at)
		if err == nil && r.id != "" {
			err = c.finish(ctx, r)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// abandoned returns those of the roll-ups that nobody is at: they have not moved
// since the pass before. On SQLite there is nobody else. To be wrong costs work
// that is done twice and counted once.
func (c *Counter) abandoned(begun []roll) []roll {
	if !c.DB.Shared() {
		return begun
	}
	before := c.seen
	c.seen = map[string]int64{}
	return slices.DeleteFunc(begun, func(r roll) bool {
		c.seen[r.id] = r.step
		step, known := before[r.id]
		return !known || step != r.step
	})
}

// begun returns the roll-ups that nobody has finished yet.
func (c *Counter) begun(ctx context.Context) ([]roll, error) {
	rows, err := c.DB.Query(ctx, `SELECT minute, id, step, batches FROM usage_rolls ORDER BY minute`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []roll
	for rows.Next() {
		var r roll
		var ids []byte
		if err := rows.Scan(&r.minute, &r.id, &r.step, &ids); err != nil {
			return nil, err
		}
		r.ids = idsIn(ids)
		all = append(all, r)
	}
	return all, rows.Err()
}

// over returns the minutes that have batches and are over, without those of
// which a roll-up is under way.
func (c *Counter) over(ctx context.Context) ([]int64, error) {
	return column[int64](c.DB.Query(ctx, `
		SELECT DISTINCT b.minute FROM usage_batches b
		WHERE b.minute <= $1 AND NOT EXISTS (SELECT 1 FROM usage_rolls r WHERE r.minute = b.minute)
		ORDER BY b.minute`, c.Now().Add(-settled).UnixMicro()-minute))
}

// claim takes all batches of a minute for a roll-up. It returns the zero roll if
// another server has done so.
func (c *Counter) claim(ctx context.Context, at int64) (roll, error) {
	// A batch of ours that may be there or not is settled first: were it rolled
	// up and dropped, it would be sent once more.
	c.flushing.RLock()
	defer c.flushing.RUnlock()
	if len(c.sent) > 0 {
		return roll{}, nil
	}
	ids, err := column[string](c.DB.Query(ctx, `SELECT id FROM usage_batches WHERE minute = $1 ORDER BY id`, at))
	if err != nil || len(ids) == 0 {
		return roll{}, err
	}
	r := roll{minute: at, id: db.NewID(), ids: ids}
	var claimed int64
	err = c.DB.Tx(ctx, func(tx *db.Tx) error {
		claimed, err = tx.Exec(ctx, `INSERT INTO usage_rolls (minute, id, step, batches) VALUES ($1, $2, 0, $3) ON CONFLICT (minute) DO NOTHING`,
			r.minute, r.id, []byte(strings.Join(r.ids, " ")))
		return err
	})
	if err != nil || claimed == 0 {
		return roll{}, err
	}
	return r, nil
}

// finish does what is left of a roll-up. That another server goes on with it is
// no failure.
func (c *Counter) finish(ctx context.Context, r roll) error {
	err := c.finishSteps(ctx, r)
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("roll up usage of %s: %w", db.Time(r.minute).Format(time.RFC3339), err)
	}
	return nil
}

func (c *Counter) finishSteps(ctx context.Context, r roll) error {
	if r.step < finished {
		// Read after the claim: a batch that is gone by now was rolled up before
		// it, since a claim goes only after its batches.
		sum, err := c.sum(ctx, r)
		if err != nil {
			return err
		}
		for r.step < units {
			if err := c.advance(ctx, &r, sum); err != nil {
				return err
			}
		}
		if err := c.keepUses(ctx, &r, sum); err != nil {
			return err
		}
	}
	return c.drop(ctx, r)
}

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
	for used = used[r.step-units:]; len(used) > 0; {
		chunk := used[:min(2*usesAtOnce, len(used))]
		used = used[len(chunk):]
		err := c.move(ctx, r, r.step+int64(len(chunk)), func(tx *db.Tx) error {
			for some := range slices.Chunk(chunk, usesAtOnce) {
				_, err := tx.Exec(ctx, keepUses, useArgs(some)...)
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

// keepUses writes usesAtOnce last uses, of the keys that there are.
var keepUses = `
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

// useArgs returns the arguments of keepUses. Where entries are fewer, the rest
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

// drop removes the batches of r, all of whose rows are written, and r with the
// last of them.
func (c *Counter) drop(ctx context.Context, r roll) error {
	for {
		ids, last, err := c.leftOf(ctx, r)
		if err != nil {
			return err
		}
		err = c.DB.Tx(ctx, func(tx *db.Tx) error {
			for _, id := range ids {
				if _, err := tx.Exec(ctx, `DELETE FROM usage_batches WHERE id = $1`, id); err != nil {
					return err
				}
			}
			if last {
				_, err := tx.Exec(ctx, `DELETE FROM usage_rolls WHERE minute = $1 AND id = $2`, r.minute, r.id)
				return err
			}
			return nil
		})
		if err != nil || last {
			return err
		}
	}
}

// leftOf returns batches of r that are still there, as many as one transaction
// may remove, and whether there are no others.
func (c *Counter) leftOf(ctx context.Context, r roll) (ids []string, last bool, err error) {
	rows, err := c.DB.Query(ctx, `SELECT id, length(counts) FROM usage_batches WHERE minute = $1`, r.minute)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	size := int64(0)
	for rows.Next() {
		var id string
		var length int64
		if err := rows.Scan(&id, &length); err != nil {
			return nil, false, err
		}
		if !slices.Contains(r.ids, id) {
			continue // it came late
		}
		if size > 0 && size+length > rowSize {
			return ids, false, nil
		}
		ids, size = append(ids, id), size+length
	}
	return ids, true, rows.Err()
}

// idsIn returns the ids of a roll-up's batches as its row has them.
func idsIn(batches []byte) []string { return strings.Fields(string(batches)) }
