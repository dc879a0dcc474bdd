package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The formats of docs/formats.md, by their first byte.
const (
	formatCounts = 1 // the rows of usage_counts
	formatUses   = 2 // batches, and the rows of key_uses: with last uses
)

// rowSize is how large a batch may become before another one is begun, and about
// how much one transaction moves: more would hold up SQLite's other writers.
const rowSize = 256 << 10

// longestEntry is more than any entry takes.
const longestEntry = 4*binary.MaxVarintLen64 + 1 + 16 + binary.MaxVarintLen64

const maxKey = 1<<53 - 1

var errFormat = errors.New("usage: counts that can't be read")

// appendEntry writes e after the entry of the key before; format is the row's.
// The time of a use is told from e.at on.
func appendEntry(b []byte, format byte, before int64, e entry) []byte {
	b = binary.AppendUvarint(b, uint64(e.key-before))
	for _, n := range []int64{e.Allowed, e.Denied, e.RateLimited} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	if format != formatUses {
		return b
	}
	if e.usedAt == 0 {
		return append(b, 0)
	}
	b = append(b, 1+e.from.length)
	b = append(b, e.from.slice()...)
	return binary.AppendVarint(b, (e.usedAt-e.at)/int64(time.Millisecond/time.Microsecond))
}

// encode writes entries, which are in the order of their keys.
func encode(format byte, entries []entry) []byte {
	b := make([]byte, 1, 1+12*len(entries))
	b[0] = format
	before := int64(0)
	for _, e := range entries {
		b = appendEntry(b, format, before, e)
		before = e.key
	}
	return b
}

// decode calls each with the entries of a row that counts from at on, in the
// order of their keys.
func decode(row []byte, at int64, each func(entry)) error {
	if len(row) == 0 || row[0] != formatCounts && row[0] != formatUses {
		return fmt.Errorf("%w: an unknown format", errFormat)
	}
	r := reader{rest: row[1:]}
	key := int64(0)
	for len(r.rest) > 0 && !r.bad {
		step := r.number(maxKey)
		if step == 0 || step > maxKey-key {
			return fmt.Errorf("%w: keys out of order", errFormat)
		}
		key += step
		e := entry{place: place{key, at}}
		e.Allowed, e.Denied, e.RateLimited = r.number(most), r.number(most), r.number(most)
		if row[0] == formatUses {
			e.usedAt, e.from = r.use(at)
		}
		if r.bad {
			break
		}
		each(e)
	}
	if r.bad {
		return fmt.Errorf("%w: cut off, or a number that is too large", errFormat)
	}
	return nil
}

// reader takes values from the front of a row. Once one of them is bad it
// returns zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) took(n int) bool {
	if n <= 0 || n > len(r.rest) {
		r.rest, r.bad = nil, true
		return false
	}
	r.rest = r.rest[n:]
	return true
}

// number takes a number of at most limit, in its one shortest spelling.
func (r *reader) number(limit int64) int64 {
	v, n := binary.Uvarint(r.rest)
	if v > uint64(limit) || n > 1 && r.rest[n-1] == 0 {
		n = 0
	}
	if !r.took(n) {
		return 0
	}
	return int64(v)
}

// use takes the last use of a key.
func (r *reader) use(since int64) (at int64, from origin) {
	if len(r.rest) == 0 {
		r.bad = true
		return 0, from
	}
	kind := r.rest[0]
	r.took(1)
	switch kind {
	case 0:
		return 0, from
	case 1:
	case 1 + 4, 1 + 16:
		if len(r.rest) < int(kind-1) {
			r.bad = true
			return 0, from
		}
		from.length = uint8(copy(from.bytes[:], r.rest[:kind-1]))
		r.took(int(kind - 1))
	default:
		r.bad = true
		return 0, from
	}
	const longest = 1 << 43 // milliseconds: some centuries
	v, n := binary.Varint(r.rest)
	if v > longest || v < -longest || n > 1 && r.rest[n-1] == 0 {
		n = 0
	}
	if !r.took(n) {
		return 0, origin{}
	}
	return since + v*int64(time.Millisecond/time.Microsecond), from
}
