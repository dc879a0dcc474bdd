// Package throttle keeps those who try things to a pace, in a memory of one
// size. It knows nothing of what is tried.
package throttle

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Pace is how often something may happen: Burst times at once, and from then on
// once in every interval.
type Pace struct {
	Burst int
	Every time.Duration
}

// next is the whole rule, GCRA, without a memory or a clock. Forgotten is when
// what has happened will have been forgotten. It returns that moment after one
// time more, or how long to wait for it.
func (p Pace) next(forgotten, now time.Time) (after time.Time, wait time.Duration) {
	room := time.Duration(p.Burst) * p.Every
	if latest := now.Add(room); forgotten.After(latest) {
		forgotten = latest // the clock was set back
	} else if forgotten.Before(now) {
		forgotten = now
	}
	after = forgotten.Add(p.Every)
	if wait := after.Sub(now) - room; wait > 0 {
		return forgotten, wait
	}
	return after, 0
}

// Throttle keeps every key to one pace. The zero Throttle has seen nothing. It
// may be used by several goroutines at once.
//
// It is a sketch: a key has one cell in each row, which it shares with
// strangers, and the least of its cells counts. So nobody is let through more
// often than he may be, and there is nothing to evict: whoever floods it with
// keys makes it stricter for others, and never more lenient for himself. Cells
// empty by themselves as time goes by.
type Throttle struct {
	mu   sync.Mutex
	hash []byte        // a key of this process: nobody can choose whom to share cells with
	rows [rows][]int64 // moments, in nanoseconds
}

// 2 MiB in all, taken from the system as they fill.
const (
	rows  = 4
	cells = 1 << 16
)

// Take counts one time more for key and returns zero, or counts nothing and
// returns how long to wait. A Throttle is always asked with the same pace.
func (t *Throttle) Take(p Pace, now time.Time, key ...string) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	after, wait, shared := t.next(p, now, key)
	if wait > 0 {
		return wait
	}
	for _, c := range shared {
		*c = max(*c, after.UnixNano())
	}
	return 0
}

// Full returns how long Take would make key wait now, and counts nothing: for
// what is counted only if it turns out badly.
func (t *Throttle) Full(p Pace, now time.Time, key ...string) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, wait, _ = t.next(p, now, key)
	return wait
}

func (t *Throttle) next(p Pace, now time.Time, key []string) (after time.Time, wait time.Duration, shared [rows]*int64) {
	if t.hash == nil {
		t.hash = make([]byte, 32)
		rand.Read(t.hash)
		for i := range t.rows {
			t.rows[i] = make([]int64, cells)
		}
	}
	shared = t.cells(key)
	forgotten := *shared[0]
	for _, c := range shared[1:] {
		forgotten = min(forgotten, *c)
	}
	after, wait = p.next(time.Unix(0, forgotten), now)
	return after, wait, shared
}

func (t *Throttle) cells(key []string) (shared [rows]*int64) {
	h := hmac.New(sha256.New, t.hash)
	for _, part := range key {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	sum := h.Sum(nil)
	for i := range shared {
		shared[i] = &t.rows[i][binary.BigEndian.Uint32(sum[4*i:])%cells]
	}
	return shared
}

// Network returns what of an address its holder can't choose: an IPv4 address,
// or the /64 of an IPv6 address. It is "" for no address, as on a socket in the
// file system.
func Network(address netip.Addr) string {
	address = address.Unmap().WithZone("")
	switch {
	case address.Is6():
		return netip.PrefixFrom(address, 64).Masked().String()
	case address.IsValid():
		return address.String()
	}
	return ""
}
