package limit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/access"
)

// Use is how much of its limits a key has used by now. A limit that the key does
// not have is not counted.
type Use struct {
	HourOpened time.Time // zero: no window is open
	HourUsed   int64
	Month      time.Time // the first moment of this month
	MonthUsed  int64
}

// Look returns how much the keys have used. What this server does not know it
// reads from their rows, where it is what was reserved: a little more than used,
// while a server holds a part, or when one died. It makes no windows, and every
// key has its entry.
func (k *Keeper) Look(ctx context.Context, keyIDs []int64) (map[int64]Use, error) {
	k.once.Do(k.begin)
	uses := make(map[int64]Use, len(keyIDs))
	var unknown []int64
	for _, id := range keyIDs {
		t, now, known := k.known(id)
		if !known {
			unknown = append(unknown, id)
		}
		uses[id] = t.use(now)
	}
	for part := range slices.Chunk(unknown, lookedUp) {
		if err := k.readUses(ctx, part, uses); err != nil {
			return nil, fmt.Errorf("read what keys used: %w", err)
		}
	}
	return uses, nil
}

// known returns what this server counts of a key, if it does.
func (k *Keeper) known(keyID int64) (tally, instant, bool) {
	s := k.shard(keyID)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := k.now()
	w := new(window)
	if !s.load(keyID, w) || !w.loaded {
		return tally{}, now, false
	}
	return w.tally, now, true
}

func (t *tally) use(now instant) Use {
	u := Use{Month: now.month.start()}
	if !t.hourOver(now) {
		u.HourOpened, u.HourUsed = at(t.opened), t.hourly
	}
	if !t.monthOver(now) {
		u.Month, u.MonthUsed = t.month.start(), t.monthly
	}
	return u
}

// lookedUp is how many rows one statement reads.
const lookedUp = 20

var lookUp = func() string {
	names := make([]string, lookedUp)
	for i := range names {
		names[i] = "$" + strconv.Itoa(i+1)
	}
	return `SELECT key_id, ` + rowColumns + ` FROM limit_windows WHERE key_id IN (` + strings.Join(names, ", ") + `)`
}()

// readUses sets the uses of up to lookedUp keys that have rows.
func (k *Keeper) readUses(ctx context.Context, keyIDs []int64, uses map[int64]Use) error {
	args := make([]any, lookedUp)
	for i := range args {
		args[i] = keyIDs[min(i, len(keyIDs)-1)]
	}
	rows, err := k.DB.Query(ctx, lookUp, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	now := k.now()
	for rows.Next() {
		var id int64
		var r row
		if err := r.scan(rows, &id); err != nil {
			return err
		}
		t := r.present(now).tally()
		uses[id] = t.use(now)
	}
	return rows.Err()
}

// Would answers as Take would, and counts nothing. It never waits: a request that
// it admits may still be refused.
func (k *Keeper) Would(ctx context.Context, keyID int64, l access.Limits, cost int64) (Verdict, error) {
	if l.PerHour <= 0 && l.Burst <= 0 && l.PerMonth <= 0 {
		return Verdict{Allowed: true}, nil
	}
	k.once.Do(k.begin)
	return k.peek(ctx, keyID, l, max(0, cost))
}

// peek decides about a request as it stands.
func (k *Keeper) peek(ctx context.Context, keyID int64, l access.Limits, cost int64) (Verdict, error) {
	if v, known := k.peekKnown(keyID, l, cost); known {
		return v, nil
	}
	var r row
	err := r.scan(k.DB.QueryRow(ctx, `SELECT `+rowColumns+` FROM limit_windows WHERE key_id = $1`, keyID))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Verdict{}, fmt.Errorf("read what a key used: %w", err)
	}
	now := k.now()
	t := r.present(now).tally()
	return decide(l, &t, now, cost), nil
}

func (k *Keeper) peekKnown(keyID int64, l access.Limits, cost int64) (Verdict, bool) {
	s := k.shard(keyID)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := k.now()
	w := new(window)
	if !s.load(keyID, w) || !w.loaded {
		return Verdict{}, false
	}
	defer s.store(w)
	w.recent.forget(now.ns)
	return decide(l, &w.tally, now, cost), true
}
