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
	from   origin
}

// origin is an address without a pointer in it, as a netip.Addr has: the garbage
// collector need not look into a ledger. The zero origin is not known.
type origin struct {
	bytes  [16]byte
	length uint8 // 4 or 16; 0: not known
}

// originOf returns an address as it is kept: IPv4 as such, and without a zone.
func originOf(a netip.Addr) (o origin) {
	switch a = a.Unmap(); {
	case a.Is4():
		b := a.As4()
		o.length = uint8(copy(o.bytes[:], b[:]))
	case a.Is6():
		o.bytes, o.length = a.As16(), 16
	}
	return o
}

func (o *origin) slice() []byte { return o.bytes[:o.length] }

func (o *origin) addr() netip.Addr {
	a, _ := netip.AddrFromSlice(o.slice()) // of length 0: the zero Addr
	return a
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

// ledger is the tallies of some places, with a page for each span. Its zero is
// empty. It keeps its memory when it is emptied, so that to fill it again with
// the same keys allocates nothing.
type ledger struct {
	open  *page // the one that was written on last
	pages map[int64]*page
	free  []*page
}

// page is the tallies of one span. It finds them by the key alone, which Go does
// three times as fast as by a place.
type page struct {
	at      int64
	index   map[int64]int32
	entries []entry
}

// at returns the tally of p, which may be new. It is good until the next call.
func (l *ledger) at(p place) *tally {
	if l.open == nil || l.open.at != p.at {
		l.turn(p.at)
	}
	g := l.open
	i, known := g.index[p.key]
	if !known {
		i = int32(len(g.entries))
		g.index[p.key] = i
		g.entries = append(g.entries, entry{place: p})
	}
	return &g.entries[i].tally
}

// turn opens the page of the span that begins at this time.
func (l *ledger) turn(at int64) {
	if l.open = l.pages[at]; l.open != nil {
		return
	}
	if n := len(l.free); n > 0 {
		l.open, l.free = l.free[n-1], l.free[:n-1]
	} else {
		l.open = &page{index: map[int64]int32{}}
	}
	if l.pages == nil {
		l.pages = map[int64]*page{}
	}
	l.open.at = at
	l.pages[at] = l.open
}

func (l *ledger) len() (n int) {
	for _, g := range l.pages {
		n += len(g.entries)
	}
	return n
}

// each calls f with all entries, in no order.
func (l *ledger) each(f func(entry)) {
	for _, g := range l.pages {
		for i := range g.entries {
			f(g.entries[i])
		}
	}
}

func (l *ledger) merge(from *ledger) {
	from.each(func(e entry) { l.at(e.place).add(e.tally) })
}

// empty forgets all. After a rush it gives back what it had grown to.
func (l *ledger) empty() {
	const small = 1024
	l.free = l.free[:0]
	for _, g := range l.pages {
		if len(l.free) == 2 || cap(g.entries) > small && len(g.entries) < cap(g.entries)/8 {
			continue
		}
		clear(g.index)
		g.entries = g.entries[:0]
		l.free = append(l.free, g)
	}
	clear(l.pages)
	l.open = nil
}

// coarsen counts by longer spans, for when there are too many places: what was
// counted stays, and when becomes less exact.
func (l *ledger) coarsen(span int64) {
	var coarse ledger
	l.each(func(e entry) { coarse.at(place{e.key, floor(e.at, span)}).add(e.tally) })
	*l = coarse
}

// sorted returns the entries in order, by span and then by key.
func (l *ledger) sorted() []entry {
	all := make([]entry, 0, l.len())
	l.each(func(e entry) { all = append(all, e) })
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key))
	})
	return all
}
