package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"strings"
)

// SlotKind says what a slot's token is for.
type SlotKind string

const (
	SlotOwner SlotKind = "owner" // the token that the profile's owner was given
	SlotRun   SlotKind = "run"   // the token of one run that waits
)

// SlotPlace is where a slot belongs. Organization and Agent come from whoever
// asks, never from the row that the locator found: that is what binds a token
// to its agent.
type SlotPlace struct {
	Kind                         SlotKind
	Organization, Agent, Profile string
	Epoch                        uint64
	ExpiresAt                    int64
}

func (p SlotPlace) context() [][]byte {
	return [][]byte{
		Text("slot"), Text(p.Organization), Text(p.Agent), Text(p.Profile),
		Uint(p.Epoch), Text(string(p.Kind)), Int(p.ExpiresAt),
	}
}

// Slot holds the DEK of one epoch of a profile for one auth token. Sealed has
// two layers: the outer is the server's, so that the root key rotates without
// tokens and a stolen database cannot even test a token; the inner is the
// token's, so that the server opens no profile by itself.
type Slot struct{ Salt, Sealed []byte }

const slotLabel = "slot-dek" // of the inner box

// SealSlot makes the slot by which tok opens dek.
func (r *Root) SealSlot(tok AuthToken, place SlotPlace, dek DEK) (Slot, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	context := place.context()
	kek := slotKey(tok, salt, context)
	defer clear(kek)
	inner, err := seal(kek, 0, boxPlace(slotLabel, 0).all(context), dek.key(), keySize)
	if err != nil {
		return Slot{}, err
	}
	outer, err := r.Seal(ProfileSlot, inner, context...)
	return Slot{Salt: salt, Sealed: outer}, err
}

// OpenSlot returns the DEK in slot. It fails with ErrRootVersion if the slot
// names a root version that is not held, else with ErrOpen.
//
// A token that is shown for the wrong agent fails at the outer layer, one with
// a wrong secret at the inner. Both do the same work, so that nobody can tell
// by the clock which of the two it was.
func (r *Root) OpenSlot(tok AuthToken, place SlotPlace, slot Slot) (DEK, error) {
	context := place.context()
	inner, err := r.Open(ProfileSlot, slot.Sealed, context...)
	if errors.Is(err, ErrRootVersion) {
		return DEK{}, err
	}
	if err != nil {
		inner = spend(slot.Sealed)
	}
	kek := slotKey(tok, slot.Salt, context)
	defer clear(kek)
	key, err := open(kek, 0, boxPlace(slotLabel, 0).all(context), inner, keySize)
	if err != nil || len(key) != keySize {
		return DEK{}, ErrOpen
	}
	return DEK{hide(key)}, nil
}

// spend does the decryption that a failed outer layer has skipped, and returns
// an inner box that no key opens.
func spend(sealed []byte) []byte {
	if len(sealed) > nonceAt {
		_, _ = gcm(make([]byte, keySize)).Open(nil, nil, sealed[nonceAt:], nil)
	}
	inner := make([]byte, overhead+paddedSize(keySize))
	inner[0] = format
	return inner
}

// DummySlot does the work of OpenSlot for a token whose slot does not exist,
// and answers as it would: ErrOpen.
func (r *Root) DummySlot(tok AuthToken) error {
	id := strings.Repeat("0", 36)
	place := SlotPlace{Kind: SlotOwner, Organization: id, Agent: id, Profile: id}
	sealed := make([]byte, overhead+paddedSize(overhead+paddedSize(keySize)))
	sealed[0] = format
	binary.BigEndian.PutUint32(sealed[1:], r.Active())
	_, err := r.OpenSlot(tok, place, Slot{Salt: make([]byte, saltSize), Sealed: sealed})
	return err
}

// ResealSlot renews the outer layer of slot under the active root version. No
// token is needed for it.
func (r *Root) ResealSlot(place SlotPlace, slot Slot) (Slot, error) {
	outer, err := r.Reseal(ProfileSlot, slot.Sealed, place.context()...)
	return Slot{Salt: slot.Salt, Sealed: outer}, err
}

func slotKey(tok AuthToken, salt []byte, context [][]byte) []byte {
	prk := must(hkdf.Extract(sha512.New, tok.secret(), salt))
	defer clear(prk)
	return must(hkdf.Expand(sha512.New, prk, string(newTuple("slot-kek").all(context)), keySize))
}
