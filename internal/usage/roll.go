package usage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// errMoved says that another server has gone on with the same roll-up.
var errMoved = errors.New("usage: another server was quicker")

// roll is a roll-up: a claim on some batches of a minute.
type roll struct {
	minute int64
	id     string
	step   int64 // the units that are done, then units and the shards whose last uses are
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
