// Package usage counts what is asked with each key: how many requests were
// allowed, denied and refused by a limit, in every minute, hour and day, and
// when and from where a key was last used.
//
// A request is counted in memory. Every second a [Counter] writes one row with
// the counts of all keys of that second, a batch. When a minute is over, one
// server rolls it up: it merges the minute's batches, of all servers, into the
// rows of that minute, of its hour and of its day. Such a row holds the counts
// of all keys of one of 64 shards, so that what a minute costs depends on the
// shards more than on the keys.
//
// Its laws:
//
//   - Counting does no I/O and does not fail. What could not be written is kept
//     and written later; a server that is killed loses the last second, one
//     that stops in order nothing.
//   - A batch is in each row once. A roll-up is claimed for its minute, and each
//     of its steps moves the claim and writes the rows in one transaction, so
//     that it is finished by whoever comes after a server that died in it. A
//     batch that comes late is the next roll-up of its minute.
//   - No transaction is long: each moves about [rowSize] bytes.
//   - A series is one look at everything: rows, batches that no row has yet, and
//     this server's memory. Each count is in it once.
//
// One doubt is left. A server that is cut off from PostgreSQL while it commits a
// batch sends it again until it is told that it is there, and the id keeps it
// from being there twice. If by then another server has rolled it up and dropped
// it, it is counted twice.
//
// The form of the rows is in docs/formats.md. Which keys are whose, and what
// their limits are, is known elsewhere.
package usage

import (
	"net/netip"
	"time"
)

// Outcome is how a request with a key ended at the gate.
type Outcome uint8

// The outcomes.
const (
	Allowed Outcome = iota
	Denied
	RateLimited
)

// Counts is how many requests ended in which way.
type Counts struct {
	Allowed, Denied, RateLimited int64
}

// Total is all requests.
func (c Counts) Total() int64 { return c.Allowed + c.Denied + c.RateLimited }

// most is the largest count that is kept. One that would be larger stays there.
const most = 1 << 53

func (c *Counts) add(d Counts) {
	c.Allowed = min(c.Allowed+d.Allowed, most)
	c.Denied = min(c.Denied+d.Denied, most)
	c.RateLimited = min(c.RateLimited+d.RateLimited, most)
}

// Use is one use of a key: an allowed request. The zero Use is none.
type Use struct {
	At   time.Time
	From netip.Addr
}

// later returns the later one of two uses.
func (u Use) later(v Use) Use {
	if v.At.After(u.At) {
		return v
	}
	return u
}

// shards is how many rows the keys of a minute, an hour or a day are kept in.
const shards = 64

func shardOf(keyID int64) int { return int(uint64(keyID) % shards) }

const (
	minute = int64(time.Minute / time.Microsecond)
	hour   = 60 * minute
	day    = 24 * hour
)

// floor returns the beginning of the span of so many microseconds that at is
// in. Spans are those of UTC.
func floor(at, span int64) int64 { return at - (at%span+span)%span }
