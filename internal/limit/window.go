package limit

import (
	"math"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
)

// shardCount is how many locks the windows are spread over.
const shardCount = 256

// shard is a part of the windows, by their keys' ids, which are random.
//
// The windows lie in slots that have no pointers, so that the collector does not
// walk through those of a hundred thousand keys. What few windows point to lies
// beside them.
type shard struct {
	mu       sync.Mutex
	slots    []slot
	free     []int32
	windows  map[int64]int32 // which slot is a key's
	recent   map[int64][]moment
	attempts map[int64]*attempt
	_        [24]byte
}

// slot is a window as it is kept.
type slot struct {
	spans
	sums
	holding
	long, asked bool // a part of its recent, or its attempt, lies beside it
}

// nowhere is no slot.
const nowhere = -1

func (k *Keeper) shard(keyID int64) *shard { return &k.shards[uint64(keyID)%shardCount] }

// load reads the window of a key, an empty one if there is none, and reports
// whether there is one. What is done to it is not kept without [shard.store].
// Both are for one who has s locked all the while.
func (s *shard) load(keyID int64, w *window) bool {
	i, found := s.windows[keyID]
	if !found {
		*w = window{keyID: keyID, slot: nowhere}
		return false
	}
	kept := &s.slots[i]
	w.keyID, w.slot, w.spans, w.recent.sums, w.holding = keyID, i, kept.spans, kept.sums, kept.holding
	w.recent.many, w.attempt = nil, nil
	if kept.long {
		w.recent.many = s.recent[keyID]
	}
	if kept.asked {
		w.attempt = s.attempts[keyID]
	}
	w.room = len(w.recent.many)
	return true
}

// store keeps a window.
func (s *shard) store(w *window) {
	if w.slot == nowhere {
		s.place(w)
	}
	kept := &s.slots[w.slot]
	kept.spans, kept.sums, kept.holding = w.spans, w.recent.sums, w.holding
	if len(w.recent.many) != w.room { // which changes with every other ring
		if kept.long = w.recent.many != nil; kept.long {
			s.recent[w.keyID] = w.recent.many
		} else {
			delete(s.recent, w.keyID)
		}
	}
	if asked := w.attempt != nil; asked != kept.asked {
		if kept.asked = asked; asked {
			s.attempts[w.keyID] = w.attempt
		} else {
			delete(s.attempts, w.keyID)
		}
	}
}

// place finds a slot for a new window.
func (s *shard) place(w *window) {
	if s.windows == nil {
		s.windows, s.recent, s.attempts = map[int64]int32{}, map[int64][]moment{}, map[int64]*attempt{}
	}
	if n := len(s.free); n > 0 {
		w.slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		if n := len(s.slots); n == cap(s.slots) {
			s.slots = append(make([]slot, 0, n+n/8+8), s.slots...) // append's own steps would leave a quarter empty
		}
		w.slot, s.slots = int32(len(s.slots)), append(s.slots, slot{})
	}
	s.windows[w.keyID] = w.slot
}

// drop forgets a window. Slots and a map do not shrink by themselves.
func (s *shard) drop(keyID int64) {
	i, found := s.windows[keyID]
	if !found {
		return
	}
	delete(s.windows, keyID)
	delete(s.recent, keyID)
	delete(s.attempts, keyID)
	s.slots[i] = slot{}
	s.free = append(s.free, i)
	if len(s.slots) > 64 && len(s.windows) < len(s.slots)/4 {
		slots, windows := make([]slot, 0, len(s.windows)), make(map[int64]int32, len(s.windows))
		for id, i := range s.windows {
			windows[id], slots = int32(len(slots)), append(slots, s.slots[i])
		}
		s.slots, s.windows, s.free = slots, windows, nil
	}
}

// window is what this server counts and holds of a key. What was reserved and is
// not in the tally is what it may still admit; what others reserved is in the
// tally as if they had used it.
type window struct {
	keyID int64
	slot  int32 // where it is kept
	room  int   // of the ring that it was kept with
	tally
	holding
	attempt *attempt // the reservation that is under way
}

// holding is what a window knows besides its tally. There are as many as keys in
// use: the fields are in the order in which they take least room.
type holding struct {
	seen     uint32 // when it was last asked
	loaded   bool   // it knows its row
	holds    bool   // its row says that somebody holds a part of it
	follows  bool   // another process may have admitted something at last
	settling bool   // it is being given back: it admits nothing more

	reserved      int64 // of the hour
	monthReserved int64
	perHour       int64 // the limits under which it last reserved
	perMonth      int64
	block         int64 // how much it last wanted to hold
	last          int64 // ns: the last admission
	pacedFrom     int64 // ns: since when paced counts
	paced         int64
}

// early is how long a key with a burst waits at the start of a process, so that
// what another one admitted is a second ago.
func (w *window) early(l access.Limits, now instant) time.Duration {
	if !w.follows || l.Burst <= 0 {
		return 0
	}
	return time.Duration(w.last + int64(time.Second) - now.ns)
}

// covers reports whether enough is reserved for a request of this cost.
func (w *window) covers(l access.Limits, now instant, cost int64) bool {
	return w.holds &&
		(l.PerHour <= 0 || !w.hourOver(now) && cost <= w.reserved-w.hourly) &&
		(l.PerMonth <= 0 || !w.monthOver(now) && cost <= w.monthReserved-w.monthly)
}

// lowered reports whether a limit is lower than the one under which w reserved:
// then what other servers reserved meanwhile must be known before w admits.
func (w *window) lowered(l access.Limits) bool {
	return l.PerHour < w.perHour || l.PerMonth < w.perMonth
}

func (w *window) admit(l access.Limits, now instant, cost int64) {
	w.count(l, now, cost)
	w.last, w.follows = now.ns, false
	w.paced += cost
}

// runsLow reports whether more should be reserved, ahead of its use: three
// quarters of a block are gone, and there is more.
func (w *window) runsLow(l access.Limits) bool {
	return l.PerHour > 0 && w.reserved-w.hourly <= w.block/4 && w.reserved < l.PerHour ||
		l.PerMonth > 0 && w.monthReserved-w.monthly <= w.block/4 && w.monthReserved < l.PerMonth
}

// pace is how much the key uses in a second, as far as is known.
func (w *window) pace(now instant) int64 {
	n, over := w.paced, now.ns-w.pacedFrom
	if over >= int64(time.Second) {
		w.paced, w.pacedFrom = 0, now.ns
		n = int64(float64(n) / (float64(over) / float64(time.Second)))
	}
	return n
}

// blockFor is how much of a key's limits a server wants to hold: what it uses in
// a second, but a hundredth of the hour at least (without an hour's limit a
// thousandth of the month), so that a key writes about a hundred times an hour,
// and never more than the burst.
func blockFor(l access.Limits, pace int64) int64 {
	n := max(1, pace)
	if l.PerHour > 0 {
		n = max(n, l.PerHour/100)
	} else {
		n = max(n, l.PerMonth/1000)
	}
	if l.Burst > 0 {
		n = min(n, l.Burst)
	}
	return n
}

// attempt is a reservation that is asked for or under way, and what waits for it.
type attempt struct {
	done    chan struct{} // closed when err is set
	err     error
	demand  int64 // what the waiting requests cost together
	biggest int64 // the one that costs most
}

// join counts a request that waits. One that no reservation could ever help
// only waits to be told so.
func (a *attempt) join(l access.Limits, cost int64) {
	for _, limit := range []int64{l.PerHour, l.Burst, l.PerMonth} {
		if limit > 0 && cost > limit {
			return
		}
	}
	a.biggest = max(a.biggest, cost)
	a.demand += min(cost, math.MaxInt64-a.demand)
}

func (a *attempt) finish(err error) {
	a.err = err
	close(a.done)
}
