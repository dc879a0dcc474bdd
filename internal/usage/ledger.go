package usage

import (
	"cmp"
	"net/netip"
	"slices"
)

// place is where something is counted: at a key, in a span that begins at this
// microsecond.
type place struct{ key, at int64 }

// tally is what was counted at a place, with the last use there.
type tally struct {
	Counts
	usedAt int64 // in microseconds; 0: not used
	from   netip.Addr
}

func (t *tally) add(u tally) {
	t.Counts.add(u.Counts)
	if u.usedAt > t.usedAt {
		t.usedAt, t.from = u.usedAt, u.from
	}
}

type entry struct {
	place
	tally
}

// ledger is the tallies of some places. Its zero is empty. It keeps its memory
// when it is emptied, so that to fill it again with the same keys allocates
// nothing.
type ledger struct {
	index   map[place]int32
	entries []entry
}

// at returns the tally of p, which may be new. It is good until the next call.
func (l *ledger) at(p place) *tally {
	i, known := l.index[p]
	if !known {
		if l.index == nil {
			l.index = map[place]int32{}
		}
		i = int32(len(l.entries))
		l.index[p] = i
		l.entries = append(l.entries, entry{place: p})
	}
	return &l.entries[i].tally
}

func (l *ledger) len() int { return len(l.entries) }

func (l *ledger) merge(from *ledger) {
	for i := range from.entries {
		e := &from.entries[i]
		l.at(e.place).add(e.tally)
	}
}

// empty forgets all. After a rush it gives back what it had grown to.
func (l *ledger) empty() {
	const small = 1024
	if cap(l.entries) > small && len(l.entries) < cap(l.entries)/8 {
		*l = ledger{}
		return
	}
	clear(l.index)
	l.entries = l.entries[:0]
}

// coarsen counts by longer spans, for when there are too many places: what was
// counted stays, and when becomes less exact.
func (l *ledger) coarsen(span int64) {
	var coarse ledger
	for i := range l.entries {
		e := &l.entries[i]
		coarse.at(place{e.key, floor(e.at, span)}).add(e.tally)
	}
	*l = coarse
}

// sorted puts the entries in order, by span and then by key. The index does not
// fit them any more.
func (l *ledger) sorted() []entry {
	slices.SortFunc(l.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key))
	})
	return l.entries
}
