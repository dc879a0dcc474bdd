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
type shard struct {
	mu      sync.Mutex
	windows map[int64]*window
	most    int // windows that the map has had room for
	_       [40]byte
}

func (k *Keeper) shard(keyID int64) *shard { return &k.shards[uint64(keyID)%shardCount] }

// find returns the window of a key, a new one if there is none.
func (s *shard) find(keyID int64) *window {
	w := s.windows[keyID]
	if w == nil {
		if s.windows == nil {
			s.windows = map[int64]*window{}
		}
		w = &window{}
		s.windows[keyID] = w
		s.most = max(s.most, len(s.windows))
	}
	return w
}

// drop forgets a window. A map does not shrink by itself.
func (s *shard) drop(keyID int64) {
	delete(s.windows, keyID)
	if s.most > 64 && len(s.windows) < s.most/4 {
		smaller := make(map[int64]*window, len(s.windows))
		for id, w := range s.windows {
			smaller[id] = w
		}
		s.windows, s.most = smaller, len(smaller)
	}
}

// window is what this server counts and holds of a key. What was reserved and is
// not in the tally is what it may still admit; what others reserved is in the
// tally as if they had used it. There are as many windows as keys in use: the
// fields are in the order in which they take least room.
type window struct {
	tally

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
	attempt       *attempt // the reservation that is under way
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
