package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"
	"testing"
)

// tenValues is a profile of ten values of the usual size, as its rows hold it.
func tenValues(tb testing.TB) (root *Root, tok AuthToken, place SlotPlace, slot Slot, m Manifest, sum []byte) {
	tb.Helper()
	root, _ = NewRoot()
	tok = NewAuthToken()
	dek := NewDEK()
	place = SlotPlace{SlotOwner, organization, agent, profile, 1, 0}
	slot, err := root.SealSlot(tok, place, dek)
	if err != nil {
		tb.Fatal(err)
	}
	m = Manifest{Organization: organization, Agent: agent, Profile: profile, Epoch: 1, Revision: 1, Destination: "http https shop.example 443"}
	for i := range 10 {
		name := fmt.Sprintf("field_%d", i)
		box, err := dek.Seal(Place{ValuePlace, organization, agent, profile, name, 1, 1}, []byte("correct horse battery staple"))
		if err != nil {
			tb.Fatal(err)
		}
		m.Fields = append(m.Fields, ManifestField{name, 1, box})
	}
	return root, tok, place, slot, m, dek.Manifest(m)
}

// BenchmarkOpenTenValues is all that seal does for a run with a profile. It may
// take twice as long as BenchmarkBareHKDFGCM.
func BenchmarkOpenTenValues(b *testing.B) {
	root, tok, place, slot, m, sum := tenValues(b)
	b.ReportAllocs()
	for b.Loop() {
		dek, err := root.OpenSlot(tok, place, slot)
		if err != nil {
			b.Fatal(err)
		}
		if err := dek.CheckManifest(m, sum); err != nil {
			b.Fatal(err)
		}
		for _, f := range m.Fields {
			if _, err := dek.Open(Place{ValuePlace, organization, agent, profile, f.Name, f.Revision, 1}, f.Box); err != nil {
				b.Fatal(err)
			}
		}
		dek.Clear()
	}
}

// BenchmarkBareHKDFGCM opens the same ten boxes with nothing but the key
// derivation and the cipher: no slot, no manifest, no padding, and a place that
// was written before.
func BenchmarkBareHKDFGCM(b *testing.B) {
	root, tok, place, slot, m, _ := tenValues(b)
	dek, err := root.OpenSlot(tok, place, slot)
	if err != nil {
		b.Fatal(err)
	}
	var places []string
	for _, f := range m.Fields {
		places = append(places, string(Place{ValuePlace, organization, agent, profile, f.Name, f.Revision, 1}.tuple()))
	}
	b.ReportAllocs()
	for b.Loop() {
		for i, f := range m.Fields {
			key, err := hkdf.Key(sha512.New, dek.bytes(), f.Box[saltAt:commitmentAt], places[i], keySize+commitmentSize)
			if err != nil {
				b.Fatal(err)
			}
			block, err := aes.NewCipher(key[:keySize])
			if err != nil {
				b.Fatal(err)
			}
			aead, err := cipher.NewGCMWithRandomNonce(block)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := aead.Open(nil, nil, f.Box[nonceAt:], []byte(places[i])); err != nil {
				b.Fatal(err)
			}
		}
	}
}
