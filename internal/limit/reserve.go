package limit

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

// batch bounds the keys of one transaction: on SQLite all writers wait for it.
const batch = 200

// queue is the keys that need a reservation. Those who work it off are there
// only while there are some.
type queue struct {
	mu      sync.Mutex
	asks    []ask
	workers int
}

// ask is a window that needs a reservation.
type ask struct {
	keyID  int64
	limits access.Limits
}

// ask has a part of a key's limits reserved. Its shard is locked.
func (k *Keeper) ask(w *window, l access.Limits) {
	w.attempt = &attempt{done: make(chan struct{})}
	q := &k.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asks = append(q.asks, ask{w.keyID, l})
	if q.workers < k.workers() {
		q.workers++
		go k.work()
	}
}

// workers is how many transactions may be under way. On SQLite one is being
// written while the next gathers; to a server the way is longer.
func (k *Keeper) workers() int {
	if k.DB.Shared() {
		return 4
	}
	return 2
}

func (k *Keeper) work() {
	for asks := k.queue.next(); asks != nil; asks = k.queue.next() {
		k.reserve(asks)
	}
}

// next takes the asks that are waiting. When there are none its caller ends.
func (q *queue) next() []ask {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.asks) == 0 {
		q.workers, q.asks = q.workers-1, nil
		return nil
	}
	n := min(batch, len(q.asks))
	asks := slices.Clone(q.asks[:n])
	q.asks = slices.Delete(q.asks, 0, n)
	return asks
}

// reservation is an ask with what its window holds now, and how it went.
type reservation struct {
	ask
	request
	known bool // the row has been seen

	was, is row  // the row before and after
	there   bool // there was one before
	held    bool
}

// reserve reserves for all of asks in one transaction, and wakes who waits.
func (k *Keeper) reserve(asks []ask) {
	// In one order on all servers, so that they do not wait for each other in a
	// circle.
	slices.SortFunc(asks, func(a, b ask) int { return cmp.Compare(a.keyID, b.keyID) })
	now := k.now()
	all := make([]reservation, len(asks))
	for i, a := range asks {
		all[i] = k.prepare(a, now)
	}
	// Not the requests' own context: several wait for it, and the next ones too.
	ctx := context.Background()
	err := k.DB.Tx(ctx, func(tx *db.Tx) error {
		for i := range all {
			if err := all[i].write(ctx, tx, now); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range all {
		k.finish(&all[i], err)
	}
}

func (k *Keeper) prepare(a ask, now instant) reservation {
	s, w := k.shard(a.keyID), new(window)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load(a.keyID, w)
	defer s.store(w)
	return reservation{ask: a, known: w.loaded, request: request{
		limits: a.limits, block: blockFor(a.limits, w.pace(now)), demand: w.attempt.demand, biggest: w.attempt.biggest,
		opened: w.opened, hourHeld: w.reserved - w.hourly, month: w.month, monthHeld: w.monthReserved - w.monthly,
	}}
}

// write reserves in the key's row. It sets only what it would set again.
func (r *reservation) write(ctx context.Context, tx *db.Tx, now instant) error {
	if !r.known && r.demand > 0 {
		// Most keys that are new here are new: one statement then, not two.
		r.was, r.there = row{}, false
		r.is, r.held = r.was.reserve(r.request, now)
		if made, err := r.is.insert(ctx, tx, r.keyID); made || err != nil {
			return err
		}
	}
	var err error
	if r.was, r.there, err = hold(ctx, tx, r.keyID); err != nil {
		return err
	}
	r.is, r.held = r.was.reserve(r.request, now)
	switch {
	case r.there && r.is != r.was:
		return r.is.update(ctx, tx, r.keyID)
	case !r.there && r.held:
		if made, err := r.is.insert(ctx, tx, r.keyID); !made || err != nil {
			return cmp.Or(err, db.ErrConflict)
		}
	}
	return nil
}

// finish tells the window how its reservation went. After an error, which may
// have come after the commit, it holds what it held before: what may be reserved
// besides counts as used.
func (k *Keeper) finish(r *reservation, err error) {
	s, w := k.shard(r.keyID), new(window)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load(r.keyID, w)
	defer s.store(w)
	if err == nil {
		w.learn(r, k.began)
	}
	w.attempt.finish(err)
	w.attempt = nil
}

// learn takes over the key's row. What the window held and has not used of it
// meanwhile, it still holds, unless that was of an earlier window or month; what
// was reserved by others counts as used.
func (w *window) learn(r *reservation, began int64) {
	if !w.loaded {
		w.loaded = true
		if r.there {
			w.follow(r.was.settled, began)
		}
	}
	w.holds = w.holds || r.held

	held := w.reserved - w.hourly
	if r.is.opened > w.opened {
		held = 0
	}
	before := r.was.reserved
	if r.is.opened > r.was.opened {
		before = 0 // it opened with this reservation
	}
	w.opened, w.reserved, w.hourly = r.is.opened, r.is.reserved, before-held

	held, before = w.monthReserved-w.monthly, r.was.monthReserved
	if r.is.month > w.month {
		held = 0
	}
	if r.is.month > r.was.month {
		before = 0
	}
	w.month, w.monthReserved, w.monthly = r.is.month, r.is.monthReserved, before-held

	w.perHour, w.perMonth, w.block = r.ask.limits.PerHour, r.ask.limits.PerMonth, r.block
}

// follow sets from when on a burst is admitted: a second after the last admission
// of the process that had the key before, if it could say when that was, and at
// any rate a second after this one began.
func (w *window) follow(settled, began int64) {
	w.follows, w.last = true, began
	if settled != 0 {
		w.last = min(settled, began)
	}
}
