package seal

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// A ciphertext is made here as an attacker would make it who knows two keys:
// AES-GCM opens it under both. It is refused under the key to which the box
// does not commit.
func TestCommitmentRefusesACiphertextThatOpensUnderTwoKeys(t *testing.T) {
	context := [][]byte{Text("some place")}
	place := boxPlace("label", 0, context)
	parents := [2][]byte{bytes.Repeat([]byte{1}, keySize), bytes.Repeat([]byte{2}, keySize)}
	salt := bytes.Repeat([]byte{3}, saltSize)
	nonce := bytes.Repeat([]byte{4}, 12)
	key1, commitment1 := boxKey(parents[0], salt, place)
	key2, _ := boxKey(parents[1], salt, place)

	both := slices.Concat(nonce, twoKeyCiphertext(key1, key2, nonce, place, make([]byte, 128)))
	for i, key := range [][]byte{key1, key2} {
		if _, err := gcm(key).Open(nil, nil, both, place); err != nil {
			t.Fatalf("AES-GCM alone does not open the ciphertext under key %d: it was made wrong", i+1)
		}
	}

	box := slices.Concat([]byte{format, 0, 0, 0, 0}, salt, commitment1, both)
	if _, err := open(parents[1], "label", 0, box, MaxValue, context); !errors.Is(err, ErrOpen) {
		t.Errorf("the second key: %v, want ErrOpen", err)
	}
}

// The checked-in pair goes further: what it holds is well padded under either
// key, so that nothing but the commitment can tell.
func TestCommitmentAloneTellsTwoKeysApart(t *testing.T) {
	v := readVectors(t).TwoKeys
	if len(v.Opens) != 2 {
		t.Fatalf("%d keys, want 2", len(v.Opens))
	}
	a, b := v.Opens[0], v.Opens[1]
	if !bytes.Equal(a.Box[:commitmentAt], b.Box[:commitmentAt]) || !bytes.Equal(a.Box[nonceAt:], b.Box[nonceAt:]) {
		t.Fatal("the two boxes differ in more than their commitments")
	}
	for _, o := range v.Opens {
		place := boxPlace(v.Label, 0, plain(v.Context))
		key, _ := boxKey(o.Key, o.Box[saltAt:commitmentAt], place)
		padded, err := gcm(key).Open(nil, nil, o.Box[nonceAt:], place)
		if err != nil {
			t.Fatal("AES-GCM alone does not open the ciphertext")
		}
		got, err := unpad(padded, MaxValue)
		if err != nil || !bytes.Equal(got, o.Plaintext) {
			t.Fatalf("without commitments: %x, %v, want %x", got, err, o.Plaintext)
		}

		got, err = open(o.Key, v.Label, 0, o.Box, MaxValue, plain(v.Context))
		if err != nil || !bytes.Equal(got, o.Plaintext) {
			t.Errorf("under its own key: %x, %v, want %x", got, err, o.Plaintext)
		}
	}
	for _, crossed := range [][2]hexBytes{{a.Key, b.Box}, {b.Key, a.Box}} {
		if _, err := open(crossed[0], v.Label, 0, crossed[1], MaxValue, plain(v.Context)); !errors.Is(err, ErrOpen) {
			t.Errorf("under the other key: %v, want ErrOpen", err)
		}
	}
}

// twoKeyCiphertext replaces the last block of ciphertext and appends a tag, so
// that AES-GCM accepts the result under both keys.
//
// GHASH is linear in each block: the block with which both keys ask for the
// same tag is the solution of one equation in GF(2^128).
func twoKeyCiphertext(key1, key2, nonce, aad, ciphertext []byte) []byte {
	body := ciphertext[:len(ciphertext)-16]
	h1, sum1 := ghash(key1, nonce, aad, body)
	h2, sum2 := ghash(key2, nonce, aad, body)

	// After the last block only the lengths are hashed, so it counts H² times.
	square1, square2 := h1.times(h1), h2.times(h2)
	last := sum1.plus(sum2).times(square1.plus(square2).inverse())
	tag := sum1.plus(last.times(square1))
	return slices.Concat(body, last.bytes(), tag.bytes())
}

// ghash returns the hash key, and the tag that body and one more block of zeros
// would have.
func ghash(key, nonce, aad, body []byte) (h, tag element) {
	block := must(aes.NewCipher(key))
	var zero, mask [16]byte
	block.Encrypt(zero[:], zero[:])
	block.Encrypt(mask[:], append(slices.Clone(nonce), 0, 0, 0, 1))
	h = newElement(zero[:])

	lengths := binary.BigEndian.AppendUint64(nil, uint64(8*len(aad)))
	lengths = binary.BigEndian.AppendUint64(lengths, uint64(8*(len(body)+16)))
	aad = append(slices.Clone(aad), make([]byte, -len(aad)&15)...)
	var y element
	for chunk := range slices.Chunk(slices.Concat(aad, body, make([]byte, 16), lengths), 16) {
		y = y.plus(newElement(chunk)).times(h)
	}
	return h, y.plus(newElement(mask[:]))
}

// element is one of GF(2^128) as GCM writes it: the highest bit of hi is the
// coefficient of 1.
type element struct{ hi, lo uint64 }

func newElement(b []byte) element {
	return element{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (x element) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, x.hi), x.lo)
}

func (x element) plus(y element) element { return element{x.hi ^ y.hi, x.lo ^ y.lo} }

func (x element) times(y element) (z element) {
	for i := range 128 {
		word := x.hi
		if i >= 64 {
			word = x.lo
		}
		if word>>(63-i%64)&1 == 1 {
			z = z.plus(y)
		}
		carry := y.lo & 1
		y.lo = y.lo>>1 | y.hi<<63
		y.hi = y.hi>>1 ^ carry*0xe1<<56
	}
	return z
}

// inverse is x to the power of 2^128 - 2.
func (x element) inverse() element {
	z := element{hi: 1 << 63}
	for range 127 {
		x = x.times(x)
		z = z.times(x)
	}
	return z
}
