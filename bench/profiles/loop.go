package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// The bare loop over the boxes of a profile is written from docs/formats.md
// alone: it shares no code with what it is compared to.

// bareBox is a box with all that its opening needs, worked out before.
type bareBox struct{ parent, place, box []byte }

// Where the parts of a box are.
const (
	saltAt       = 5
	commitmentAt = 37
	nonceAt      = 69
)

// open derives the key and decrypts, and does nothing else: no commitment is
// compared, no padding taken off.
func (b bareBox) open() ([]byte, error) {
	key, err := hkdf.Key(sha512.New, b.parent, b.box[saltAt:commitmentAt], string(b.place), 64)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, b.box[nonceAt:nonceAt+12], b.box[nonceAt+12:], b.place)
}

// plaintext is what is in the box, without its padding.
func (b bareBox) plaintext() ([]byte, error) {
	padded, err := b.open()
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(padded)
	return padded[4 : 4+n], nil
}

func openAll(boxes []bareBox) error {
	for _, b := range boxes {
		if _, err := b.open(); err != nil {
			return err
		}
	}
	return nil
}

// bareBoxes returns the boxes of p's values, with the profile's key as the
// token and the root key give it.
func (p *stored) bareBoxes() ([]bareBox, error) {
	dek, err := p.dek()
	if err != nil {
		return nil, fmt.Errorf("open the slot: %w", err)
	}
	var boxes []bareBox
	for _, f := range p.manifest.Fields {
		at := p.valuePlace(f)
		place := tuple("profile-box", []byte{1}, u32(0), []byte(at.Kind), []byte(at.Organization), []byte(at.Agent), []byte(at.Profile),
			[]byte(at.Field), u64(at.Revision), u64(at.Epoch))
		boxes = append(boxes, bareBox{dek, place, f.Box})
	}
	return boxes, nil
}

func (p *stored) dek() ([]byte, error) {
	var version uint32
	var id, text string
	if _, err := fmt.Sscanf(string(p.store.Root.Text()), "kwroot1 %d %s %s", &version, &id, &text); err != nil {
		return nil, err
	}
	root, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	token, err := base64.RawURLEncoding.DecodeString(p.token.Reveal())
	if err != nil {
		return nil, err
	}
	context := [][]byte{[]byte("slot"), []byte(p.place.Organization), []byte(p.place.Agent), []byte(p.place.Profile),
		u64(p.place.Epoch), []byte(p.place.Kind), u64(uint64(p.place.ExpiresAt))}
	subkey, err := derive(root, []byte("keyward root 1"), tuple("profile-slot"))
	if err != nil {
		return nil, err
	}
	kek, err := derive(token[11:41], p.slot.Salt, tuple("slot-kek", context...))
	if err != nil {
		return nil, err
	}
	outer := bareBox{subkey, tuple("profile-slot", append([][]byte{{1}, u32(version)}, context...)...), p.slot.Sealed}
	inner, err := outer.plaintext()
	if err != nil {
		return nil, err
	}
	return bareBox{kek, tuple("slot-dek", append([][]byte{{1}, u32(0)}, context...)...), inner}.plaintext()
}

func derive(secret, salt, info []byte) ([]byte, error) {
	return hkdf.Key(sha512.New, secret, salt, string(info), 32)
}

func tuple(label string, elements ...[]byte) []byte {
	t := u32(uint32(1 + len(elements)))
	for _, e := range append([][]byte{[]byte(label)}, elements...) {
		t = append(append(t, u32(uint32(len(e)))...), e...)
	}
	return t
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
