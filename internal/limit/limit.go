// Package limit keeps keys to their limits: requests in an hour, in any one
// second, and in a month.
//
// Its laws:
//
//   - A limit of N never admits N+1, whatever runs at the same time, and however
//     the server ends. What is refused counts for nothing.
//   - What admits is one pure function, decide, of the limits, of what is
//     counted, and of the moment. Around it is only the keeping of counts.
//   - A server admits only what it has reserved before, in a key's row of
//     limit_windows. It reserves blocks, ahead of their use, and one transaction
//     serves all the keys that need one. What a dead server had reserved counts
//     as used, so a crash can make N less, by a block, and never more.
//   - Counts in rows change by what is added and given back, under the row's
//     lock. So servers that share a database share a key's hour and month; each
//     holds its own part of them. The second is counted by each server alone.
//   - Time comes from a clock that never goes back ([Steady]). What was stored by
//     a clock that was ahead is moved to the present, with its counts.
//   - A key has at most one window in a process. Windows that nobody uses are
//     given back and forgotten, so that memory follows the keys in use.
//
// What a key's limits are, and what a refusal looks like, is known elsewhere.
package limit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

// Keeper counts what keys use, and refuses what is more than their limits. It is
// safe for concurrent use.
type Keeper struct {
	DB    *db.DB
	Clock func() time.Time // never goes back: see [Steady]
	Log   *slog.Logger

	once     sync.Once
	began    int64 // ns: when this Keeper was first asked
	shards   [shardCount]shard
	queue    queue
	calendar atomic.Pointer[calendar]
}

// Span is the limit that refused a request.
type Span string

// The spans.
const (
	None  Span = ""
	Burst Span = "burst"
	Hour  Span = "hour"
	Month Span = "month"
)

// Verdict is whether a request is admitted, and what is used after it. What is
// about a limit that the key does not have is zero.
type Verdict struct {
	Allowed bool

	Limit     int64     // requests per hour
	Remaining int64     // of those
	Reset     time.Time // when the hour's window ends; without one, if it opened now

	Refused    Span          // of several the one that holds out longest
	RetryAfter time.Duration // until the same request would be admitted; exact

	HourOpened time.Time // zero: no window is open
	HourUsed   int64
	Month      time.Time // its first moment
	MonthUsed  int64
}

// Take counts a request that costs so much against the limits of a key, or
// refuses it. A cost of 0 looks without counting: it answers as for a request
// that weighs nothing, and never waits.
//
// It waits while a part of the limits is reserved, which is done ahead, and a
// key with a burst in the first second of a process that may follow on another.
// An error is the database's, or ctx's; then nothing was admitted.
func (k *Keeper) Take(ctx context.Context, keyID int64, l access.Limits, cost int64) (Verdict, error) {
	if l.PerHour <= 0 && l.Burst <= 0 && l.PerMonth <= 0 {
		return Verdict{Allowed: true}, nil
	}
	k.once.Do(k.begin)
	if cost <= 0 {
		return k.peek(ctx, keyID, l, 0)
	}
	for {
		v, wait := k.try(keyID, l, cost)
		if wait == nil {
			return v, nil
		}
		if err := wait.until(ctx); err != nil {
			return Verdict{}, err
		}
	}
}

// try admits or refuses a request at once, or says what to wait for before it is
// tried again: nothing is decided on numbers from before the wait.
func (k *Keeper) try(keyID int64, l access.Limits, cost int64) (Verdict, *wait) {
	s := k.shard(keyID)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Inside the lock, so that moments are counted in their order.
	now := k.now()
	w := new(window)
	s.load(keyID, w)
	defer s.store(w)
	w.seen = k.second(now)
	if w.loaded && !w.settling {
		w.recent.forget(now.ns)
		v := decide(l, &w.tally, now, cost)
		if !v.Allowed {
			return v, nil
		}
		if early := w.early(l, now); early > 0 {
			return Verdict{}, &wait{pause: early}
		}
		if w.covers(l, now, cost) && !(k.DB.Shared() && w.lowered(l)) {
			w.admit(l, now, cost)
			if w.attempt == nil && w.runsLow(l) {
				k.ask(w, l)
			}
			return v, nil
		}
	}
	if w.attempt == nil {
		k.ask(w, l)
	}
	w.attempt.join(l, cost)
	return Verdict{}, &wait{attempt: w.attempt}
}

// wait is what a request waits for: a reservation, or a moment.
type wait struct {
	attempt *attempt
	pause   time.Duration
}

func (w *wait) until(ctx context.Context) error {
	if w.attempt == nil {
		timer := time.NewTimer(w.pause)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-w.attempt.done:
		if w.attempt.err != nil {
			return fmt.Errorf("reserve a part of a key's limits: %w", w.attempt.err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keeper) begin() { k.began = k.Clock().UnixNano() }

// second is a moment as windows remember when they were last asked.
func (k *Keeper) second(now instant) uint32 {
	return uint32(max(0, now.ns-k.began) / int64(time.Second))
}
