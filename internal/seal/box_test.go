package seal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestABoxWithAnyBitFlippedIsRefused(t *testing.T) {
	for _, v := range readVectors(t).Boxes {
		step := 1
		if len(v.Box) > 1000 {
			step = 31
		}
		for bit := 0; bit < 8*len(v.Box); bit += step {
			if _, err := v.open(t, flip(v.Box, bit)); err == nil {
				t.Errorf("%s %s: opens with bit %d flipped", v.Label, v.Why, bit)
			}
		}
	}
}

func TestABoxCutAnywhereIsRefused(t *testing.T) {
	for _, v := range readVectors(t).Boxes {
		for n := range v.Box {
			if _, err := v.open(t, v.Box[:n]); !errors.Is(err, ErrOpen) {
				t.Errorf("%s %s: cut to %d bytes: %v, want ErrOpen", v.Label, v.Why, n, err)
			}
			if _, err := v.open(t, v.Box[n+1:]); err == nil {
				t.Errorf("%s %s: opens without its first %d bytes", v.Label, v.Why, n+1)
			}
		}
	}
}

func flip(b []byte, bit int) []byte {
	b = slices.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// One nonce, ciphertext and tag that AES-GCM opens under two keys, well padded
// under either. Only the commitment can tell whose it is. How such a thing is
// made is in docs/formats.md.
func TestTheCommitmentRefusesACiphertextThatOpensUnderTwoKeys(t *testing.T) {
	v := readVectors(t).TwoKeys
	if len(v.Opens) != 2 {
		t.Fatalf("%d keys, want 2", len(v.Opens))
	}
	a, b := v.Opens[0], v.Opens[1]
	if !bytes.Equal(a.Box[:commitmentAt], b.Box[:commitmentAt]) || !bytes.Equal(a.Box[nonceAt:], b.Box[nonceAt:]) {
		t.Fatal("the two boxes differ in more than their commitments")
	}
	for _, o := range v.Opens {
		place := boxPlace(v.Label, 0).all(plain(v.Context))
		key, _ := boxKey(o.Key, o.Box[saltAt:commitmentAt], place)
		padded, err := gcm(key).Open(nil, nil, o.Box[nonceAt:], place)
		if err != nil {
			t.Fatal("AES-GCM alone does not open the ciphertext")
		}
		got, err := unpad(padded, MaxValue)
		if err != nil || !bytes.Equal(got, o.Plaintext) {
			t.Fatalf("without commitments: %x, %v, want %x", got, err, o.Plaintext)
		}

		got, err = open(o.Key, 0, place, o.Box, MaxValue)
		if err != nil || !bytes.Equal(got, o.Plaintext) {
			t.Errorf("under its own key: %x, %v, want %x", got, err, o.Plaintext)
		}
	}
	for _, crossed := range [][2]hexBytes{{a.Key, b.Box}, {b.Key, a.Box}} {
		if _, err := open(crossed[0], 0, boxPlace(v.Label, 0).all(plain(v.Context)), crossed[1], MaxValue); !errors.Is(err, ErrOpen) {
			t.Errorf("under the other key: %v, want ErrOpen", err)
		}
	}
}

// The boxes of one plaintext have neither a salt nor a nonce in common.
func TestEveryWriteDrawsNewRandomness(t *testing.T) {
	root, _ := NewRoot()
	seen := map[string]bool{}
	for range 100 {
		box, err := root.Seal(AtRest, []byte("same"), Text("same"))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range [][]byte{box[saltAt:commitmentAt], box[commitmentAt:nonceAt], box[nonceAt : nonceAt+12]} {
			if seen[string(part)] {
				t.Fatal("drawn twice")
			}
			seen[string(part)] = true
		}
	}
}

func TestSizesAreHidden(t *testing.T) {
	dek := NewDEK()
	short, err := dek.Seal(Place{Kind: ValuePlace}, []byte("no"))
	if err != nil {
		t.Fatal(err)
	}
	long, err := dek.Seal(Place{Kind: ValuePlace}, bytes.Repeat([]byte("x"), 124))
	if err != nil {
		t.Fatal(err)
	}
	if len(short) != len(long) {
		t.Errorf("boxes of %d and %d bytes, want one size", len(short), len(long))
	}
}

func TestSizesAreBounded(t *testing.T) {
	dek := NewDEK()
	root, _ := NewRoot()
	places := map[Place]int{{Kind: ValuePlace}: 64 << 10, {Kind: SessionPlace}: 4 << 20}
	for place, limit := range places {
		box, err := dek.Seal(place, make([]byte, limit))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := dek.Open(place, box); err != nil || len(got) != limit {
			t.Errorf("%s of %d bytes: %d, %v", place.Kind, limit, len(got), err)
		}
		if _, err := dek.Seal(place, make([]byte, limit+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s of %d bytes: %v, want ErrTooLarge", place.Kind, limit+1, err)
		}
	}
	if _, err := root.Seal(AtRest, make([]byte, MaxSession+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("under the root key: %v, want ErrTooLarge", err)
	}

	// A value that somebody sealed past the limit does not open either, though
	// its padding makes it no larger than the largest that may be.
	place := Place{Kind: ValuePlace}
	box, err := seal(dek.bytes(), 0, place.tuple(), make([]byte, MaxValue+1), MaxSession)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dek.Open(place, box); !errors.Is(err, ErrOpen) {
		t.Errorf("a value past the limit: %v, want ErrOpen", err)
	}
}

func TestAnAbsurdBoxCostsNothing(t *testing.T) {
	dek := NewDEK()
	place := Place{Kind: ValuePlace}.tuple()
	huge := make([]byte, overhead+paddedSize(MaxValue)+1)
	huge[0] = format
	allocs := testing.AllocsPerRun(10, func() {
		if _, err := open(dek.bytes(), 0, place, huge, MaxValue); !errors.Is(err, ErrOpen) {
			t.Fatalf("%v, want ErrOpen", err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations before it was refused, want none", allocs)
	}
}

func TestSealLeavesThePlaintextAlone(t *testing.T) {
	root, _ := NewRoot()
	plaintext := []byte("still here")
	if _, err := root.Seal(AtRest, plaintext); err != nil {
		t.Fatal(err)
	}
	if string(plaintext) != "still here" {
		t.Errorf("%q", plaintext)
	}
}

// Nothing opens but the boxes that were sealed.
func FuzzOpenBox(f *testing.F) {
	boxes := readVectors(f).Boxes
	for _, v := range boxes {
		f.Add([]byte(v.Box))
	}
	f.Add([]byte{})
	f.Add(make([]byte, overhead))
	f.Fuzz(func(t *testing.T, box []byte) {
		known := slices.ContainsFunc(boxes, func(v boxVector) bool { return bytes.Equal(box, v.Box) })
		for _, v := range boxes {
			if _, err := v.open(t, box); err == nil && !known {
				t.Errorf("%x opens as %s %s", box, v.Label, v.Why)
			}
		}
	})
}

func FuzzUnpad(f *testing.F) {
	all := readVectors(f)
	for _, v := range all.Padding {
		f.Add([]byte(v.Padded))
	}
	for _, v := range all.BadPadding {
		f.Add([]byte(v.Padded))
	}
	f.Fuzz(func(t *testing.T, padded []byte) {
		plaintext, err := unpad(padded, MaxValue)
		if err != nil {
			return
		}
		if again := pad(plaintext, paddedSize(len(plaintext))); !bytes.Equal(again, padded) {
			t.Errorf("%x is another way to pad %x", padded, plaintext)
		}
	})
}

// Two lists of elements have one tuple only if they are the same list.
func FuzzTuple(f *testing.F) {
	f.Add("label", []byte("ab"), []byte("c"), "label", []byte("a"), []byte("bc"))
	f.Add("a", []byte{}, []byte{}, "a", []byte{}, []byte{0})
	f.Fuzz(func(t *testing.T, l1 string, a1, b1 []byte, l2 string, a2, b2 []byte) {
		same := l1 == l2 && bytes.Equal(a1, a2) && bytes.Equal(b1, b2)
		one := newTuple(l1).bytes(a1).bytes(b1)
		if bytes.Equal(one, newTuple(l2).bytes(a2).bytes(b2)) != same {
			t.Errorf("(%q %x %x) and (%q %x %x)", l1, a1, b1, l2, a2, b2)
		}
		if bytes.Equal(one, newTuple(l1).bytes(append(slices.Clone(a1), b1...))) {
			t.Errorf("(%q %x %x) and the same with its ends joined", l1, a1, b1)
		}
	})
}

func ExampleRoot_Seal() {
	root, _ := NewRoot()
	box, err := root.Seal(AtRest, []byte("a webhook's secret"), Text("webhook"), Int(42))
	if err != nil {
		panic(err)
	}
	_, err = root.Open(AtRest, box, Text("webhook"), Int(43))
	fmt.Println(err)
	plaintext, err := root.Open(AtRest, box, Text("webhook"), Int(42))
	fmt.Printf("%s %v\n", plaintext, err)
	// Output:
	// seal: the box does not open here
	// a webhook's secret <nil>
}
