package usage

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// Counter counts for one server. It is safe for concurrent use.
type Counter struct {
	DB  *db.DB
	Now func() time.Time
	Log *slog.Logger

	// For how long the rows of each grain are kept.
	KeepMinutes, KeepHours, KeepDays time.Duration

	stripes [shards]stripe

	// flushing is held for writing while counts move from memory into the
	// database, so that who holds it for reading finds each in one of the two.
	flushing sync.RWMutex
	pending  ledger  // in no batch yet
	sent     []batch // in order; of the first it may not be known whether it is there

	flushed atomic.Int64 // all that was counted until then is written; 0: nothing yet

	usesPurged time.Time // when Purge last did the last uses; its loop's own

	rolling sync.Mutex
	seen    map[string]int64 // the steps at which roll-ups were in the pass before
}

// stripe is the counts of one shard's keys since the last flush.
type stripe struct {
	mu    sync.Mutex
	fresh ledger
	spare ledger // empty, to change places with fresh

	_ [64]byte // no two stripes in one cache line
}

// Count counts a request with a key that ended in outcome, at that time, from
// that address. It does not wait for the database, and allocates nothing for a
// key that was counted a second ago.
func (c *Counter) Count(keyID int64, outcome Outcome, at time.Time, from netip.Addr) {
	if keyID <= 0 || keyID > maxKey {
		return // no key has such an id, and no row can hold it
	}
	now := at.UnixMicro()
	s := &c.stripes[shardOf(keyID)]
	s.mu.Lock()
	t := s.fresh.at(place{keyID, floor(now, minute)})
	switch outcome {
	case Allowed:
		t.Allowed++
		if now >= t.usedAt {
			t.usedAt, t.from = now, originOf(from)
		}
	case Denied:
		t.Denied++
	case RateLimited:
		t.RateLimited++
	}
	s.mu.Unlock()
}

// batch is one row of usage_batches. It is not changed any more, so that it can
// be sent again under its id.
type batch struct {
	id     string
	minute int64
	counts []byte
}

// mostPending is how many places may wait for a database that is away before
// they are counted by the hour, and then by the day: memory is bounded by the
// keys in use and not by how long it takes.
const mostPending = 250_000

// Flush writes all that was counted before the call. What it could not write is
// kept for the next one.
func (c *Counter) Flush(ctx context.Context) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	began := c.Now()
	c.collect()
	if err := c.send(ctx); err != nil {
		for _, span := range []int64{hour, day} {
			if c.pending.len() > mostPending {
				c.pending.coarsen(span)
			}
		}
		return err
	}
	c.sent = pack(c.pending.sorted())
	c.pending.empty()
	if err := c.send(ctx); err != nil {
		return err
	}
	c.flushed.Store(began.UnixMicro())
	return nil
}

// Flushed returns the time until which all that was counted is written; the zero
// time if nothing was yet.
func (c *Counter) Flushed() time.Time { return db.Time(c.flushed.Load()) }

// collect moves what the stripes have into pending.
func (c *Counter) collect() {
	for i := range c.stripes {
		s := &c.stripes[i]
		s.mu.Lock()
		s.fresh, s.spare = s.spare, s.fresh
		s.mu.Unlock()
		c.pending.merge(&s.spare)
		s.spare.empty()
	}
}

// pack makes batches of entries, which are in order.
func pack(entries []entry) []batch {
	var all []batch
	var b []byte
	before := int64(0)
	for i, e := range entries {
		if i > 0 && (e.at != entries[i-1].at || len(b) > rowSize-longestEntry) {
			all = append(all, batch{db.NewID(), entries[i-1].at, b})
			b = nil
		}
		if b == nil {
			b, before = []byte{formatUses}, 0
		}
		b = appendEntry(b, formatUses, before, e)
		before = e.key
	}
	if b != nil {
		all = append(all, batch{db.NewID(), entries[len(entries)-1].at, b})
	}
	return all
}

// send writes the batches that are to be sent. An id that is already there is
// its own batch, of which the answer was lost.
func (c *Counter) send(ctx context.Context) error {
	for len(c.sent) > 0 {
		b := c.sent[0]
		err := c.DB.Tx(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO usage_batches (id, minute, counts) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`,
				b.id, b.minute, b.counts)
			return err
		})
		if err != nil {
			return fmt.Errorf("write what was counted: %w", err)
		}
		c.sent = c.sent[1:]
	}
	c.sent = nil
	return nil
}

// pause is the longest time for which a count is in memory alone.
const pause = time.Second

// Loop flushes every second, until ctx ends. What it fails with is reported, and
// it is tried again.
func (c *Counter) Loop(ctx context.Context) error {
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		switch err := c.Flush(ctx); {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			c.Log.Error("usage can't be written; it is kept in memory and tried again", "err", err)
		}
	}
}
