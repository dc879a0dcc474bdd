package seal

import "encoding/binary"

// Text, Uint, Int and Flag write a field for a tag or a context. Each kind has
// one form, so that two rows differ exactly if their fields do.

func Text(s string) []byte { return []byte(s) }

// Uint writes 8 bytes, big-endian.
func Uint(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Int writes 8 bytes, big-endian, in two's complement.
func Int(n int64) []byte { return Uint(uint64(n)) }

// Flag writes one byte, 1 or 0.
func Flag(b bool) []byte {
	if b {
		return []byte{1}
	}
	return []byte{0}
}

// tuple is a list of elements, written so that no two lists look alike: their
// count, then each with its length before it. It is written in place: what a
// method was called on must not be used again.
type tuple []byte

func newTuple(label string) tuple {
	return make(tuple, 4, 256).text(label)
}

func (t tuple) text(s string) tuple   { return append(t.next(len(s)), s...) }
func (t tuple) bytes(b []byte) tuple  { return append(t.next(len(b)), b...) }
func (t tuple) word(n uint32) tuple   { return binary.BigEndian.AppendUint32(t.next(4), n) }
func (t tuple) number(n uint64) tuple { return binary.BigEndian.AppendUint64(t.next(8), n) }

func (t tuple) all(elements [][]byte) tuple {
	for _, e := range elements {
		t = t.bytes(e)
	}
	return t
}

// next counts one more element, and writes its length.
func (t tuple) next(length int) tuple {
	binary.BigEndian.PutUint32(t, binary.BigEndian.Uint32(t)+1)
	return binary.BigEndian.AppendUint32(t, uint32(length))
}
