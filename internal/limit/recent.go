package limit

import "time"

// recent is what was admitted within the last second, each moment by itself:
// anything coarser would admit too much in some second, or too little. It grows
// with what is admitted in a second and no further.
type recent struct {
	sums
	many []moment // nil while few is enough
}

// sums is what there is of it without a second object: enough for most keys.
type sums struct {
	few  [2]moment
	head uint32
	n    uint32
	sum  int64
}

// ring is where the moments are.
func (r *recent) ring() []moment {
	if r.many != nil {
		return r.many
	}
	return r.few[:]
}

type moment struct {
	at    int64 // ns
	count int64
}

// forget drops what is a second old or older.
func (r *recent) forget(now int64) {
	ring := r.ring()
	for r.n > 0 && now-ring[r.head].at >= int64(time.Second) {
		r.sum -= ring[r.head].count
		r.n--
		if r.head++; int(r.head) == len(ring) {
			r.head = 0
		}
	}
}

// add counts what is admitted now, which is not before what was added last.
func (r *recent) add(now, count int64) {
	r.sum += count
	if r.n > 0 {
		if last := r.nth(r.n - 1); last.at == now {
			last.count += count
			return
		}
	}
	if int(r.n) == len(r.ring()) {
		r.grow()
	}
	r.n++
	*r.nth(r.n - 1) = moment{now, count}
}

func (r *recent) nth(i uint32) *moment {
	ring := r.ring()
	if i += r.head; int(i) >= len(ring) {
		i -= uint32(len(ring))
	}
	return &ring[i]
}

func (r *recent) grow() {
	old := r.ring()
	ring := make([]moment, 2*len(old))
	n := copy(ring, old[r.head:])
	copy(ring[n:], old[:r.head])
	r.many, r.head = ring, 0
}

// shrink gives memory back that a burst needed and that is not needed now.
func (r *recent) shrink() {
	if r.n == 0 {
		r.many, r.head = nil, 0
	}
}

// until is the moment at which no more than most is left of what is there now.
// It does not come for a most below zero; then it is when a full second could.
func (r *recent) until(most, now int64) int64 {
	if most < 0 {
		return now + int64(time.Second)
	}
	left := r.sum
	for i := uint32(0); i < r.n; i++ {
		m := r.nth(i)
		if left -= m.count; left <= most {
			return m.at + int64(time.Second)
		}
	}
	return now
}
