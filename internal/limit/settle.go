package limit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/db"
)

const (
	pause   = 5 * time.Second
	idle    = 5 * time.Minute  // a window that nobody asks for so long is given back
	crowd   = 150_000          // with more windows than that they go
	hurried = 15 * time.Second // after so long
	atOnce  = 10_000           // so many are on their way out at a time
)

// Loop gives back the windows that nobody uses, until ctx ends. What it fails
// with is reported; the parts that were not given back count as used.
func (k *Keeper) Loop(ctx context.Context) error {
	k.once.Do(k.begin)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := k.sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			k.Log.Error("what was reserved of keys' limits can't be given back", "err", err)
		}
	}
}

// sweep gives back the windows that are idle, not all at once: whom it has taken
// it gives back, also when ctx ends.
func (k *Keeper) sweep(ctx context.Context) error {
	after := idle
	if k.count() > crowd {
		after = hurried
	}
	for ctx.Err() == nil {
		now, n := k.now(), 0
		oldest := (now.ns - k.began - int64(after)) / int64(time.Second)
		leaving, _ := k.leaving(now, func(w *window) bool {
			goes := int64(w.seen) <= oldest && n < atOnce
			if goes && w.attempt == nil {
				n++
			}
			return goes
		})
		if err := k.giveBack(context.WithoutCancel(ctx), leaving); err != nil || n < atOnce {
			return err
		}
	}
	return nil
}

// Settle gives back all that is reserved and not used. It is for the end, when no
// more requests come; one that comes still begins anew.
func (k *Keeper) Settle(ctx context.Context) error {
	k.once.Do(k.begin)
	var failed error
	for {
		leaving, busy := k.leaving(k.now(), func(*window) bool { return true })
		if len(leaving)+len(busy) == 0 {
			return failed
		}
		failed = errors.Join(failed, k.giveBack(ctx, leaving))
		for _, a := range busy {
			select {
			case <-a.done:
			case <-ctx.Done():
			}
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(failed, err)
		}
	}
}

// count is how many windows there are.
func (k *Keeper) count() (n int) {
	for i := range k.shards {
		s := &k.shards[i]
		s.mu.Lock()
		n += len(s.windows)
		s.mu.Unlock()
	}
	return n
}

// leaving marks the windows that go, so that they admit nothing more and whoever
// asks waits for the end of it, to begin anew. Of windows that are busy it returns
// what they are busy with. Of the others it takes memory that they do not need.
func (k *Keeper) leaving(now instant, goes func(*window) bool) (leaving []window, busy []*attempt) {
	w := new(window)
	for i := range k.shards {
		s := &k.shards[i]
		s.mu.Lock()
		for id := range s.windows {
			s.load(id, w)
			w.recent.forget(now.ns)
			w.recent.shrink()
			switch {
			case !goes(w):
			case w.attempt != nil:
				busy = append(busy, w.attempt)
			default:
				w.settling, w.attempt = true, &attempt{done: make(chan struct{})}
				leaving = append(leaving, *w)
			}
			s.store(w)
		}
		s.mu.Unlock()
	}
	return leaving, busy
}

// giveBack writes that leaving hold nothing more, and forgets them, whether that
// succeeds or not: what is not given back counts as used.
func (k *Keeper) giveBack(ctx context.Context, leaving []window) error {
	slices.SortFunc(leaving, func(a, b window) int { return cmp.Compare(a.keyID, b.keyID) })
	var wg sync.WaitGroup
	errs, turn := make(chan error, len(leaving)/batch+1), make(chan struct{}, k.workers())
	for part := range slices.Chunk(leaving, batch) {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			err := k.DB.Tx(ctx, func(tx *db.Tx) error {
				for i := range part {
					if err := part[i].giveBack(ctx, tx); err != nil {
						return err
					}
				}
				return nil
			})
			for i := range part {
				k.forget(&part[i])
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	var failed error
	for err := range errs {
		failed = cmp.Or(failed, err)
	}
	if failed != nil {
		return fmt.Errorf("give back what was reserved of keys' limits: %w", failed)
	}
	return nil
}

func (k *Keeper) forget(w *window) {
	s := k.shard(w.keyID)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(w.keyID)
	w.attempt.finish(nil)
}

// giveBack takes from the row what the window holds, if it is of the window and
// the month that are there now. When nobody reserved after it, it also says when
// it admitted last. Nothing changes a window that is settling, so its shard need
// not be locked.
func (w *window) giveBack(ctx context.Context, tx *db.Tx) error {
	if !w.holds {
		return nil
	}
	const micro = int64(time.Microsecond)
	last := max(1, (w.last+micro-1)/micro) // rounded up: never earlier than it was
	_, err := tx.Exec(ctx, `
		UPDATE limit_windows SET
		  reserved = reserved - CASE WHEN opened_at = $1 THEN CAST($2 AS BIGINT) ELSE 0 END,
		  month_reserved = month_reserved - CASE WHEN month = $3 THEN CAST($4 AS BIGINT) ELSE 0 END,
		  settled_at = CASE WHEN opened_at = $1 AND reserved = $5 AND month = $3 AND month_reserved = $6
		    THEN CAST($7 AS BIGINT) ELSE settled_at END
		WHERE key_id = $8`,
		toMicros(w.opened), w.reserved-w.hourly, db.Micros(w.month.start()), w.monthReserved-w.monthly,
		w.reserved, w.monthReserved, last, w.keyID)
	return err
}

// Purge removes up to limit rows of keys that are gone, and says how many.
func (k *Keeper) Purge(ctx context.Context, limit int) (removed int, err error) {
	gone, err := k.orphans(ctx, limit)
	if err != nil {
		return 0, fmt.Errorf("find limits of keys that are gone: %w", err)
	}
	for part := range slices.Chunk(gone, batch) {
		n := 0
		err := k.DB.Tx(ctx, func(tx *db.Tx) error {
			n = 0
			for _, id := range part {
				taken, err := tx.Exec(ctx, `
					DELETE FROM limit_windows WHERE key_id = $1 AND NOT EXISTS (SELECT 1 FROM api_keys WHERE id = $1)`, id)
				if err != nil {
					return err
				}
				n += int(taken)
			}
			return nil
		})
		if err != nil {
			return removed, fmt.Errorf("remove limits of keys that are gone: %w", err)
		}
		removed += n
	}
	return removed, nil
}

// orphans is read outside of the transaction: it looks at every row, and on
// SQLite nobody could write meanwhile.
func (k *Keeper) orphans(ctx context.Context, limit int) (ids []int64, err error) {
	rows, err := k.DB.Query(ctx, `
		SELECT w.key_id FROM limit_windows w
		WHERE NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.id = w.key_id) LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
