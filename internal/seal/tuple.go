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

// word writes the 4 bytes of a root version.
func word(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// tuple writes a label and its elements so that no two lists look alike: their
// count, then each with its length before it.
func tuple(label string, elements ...[]byte) []byte {
	size := 4 + 4 + len(label)
	for _, e := range elements {
		size += 4 + len(e)
	}
	t := make([]byte, 0, size)
	t = binary.BigEndian.AppendUint32(t, uint32(1+len(elements)))
	t = binary.BigEndian.AppendUint32(t, uint32(len(label)))
	t = append(t, label...)
	for _, e := range elements {
		t = binary.BigEndian.AppendUint32(t, uint32(len(e)))
		t = append(t, e...)
	}
	return t
}
