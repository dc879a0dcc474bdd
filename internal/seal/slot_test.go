package seal

import (
	"bytes"
	"errors"
	"testing"
)

func TestASlotOpensForItsTokenAtItsPlaceOnly(t *testing.T) {
	root, _ := NewRoot()
	tok, dek := NewAuthToken(), NewDEK()
	place := SlotPlace{SlotOwner, organization, agent, profile, 1, 0}
	slot, err := root.SealSlot(tok, place, dek)
	if err != nil {
		t.Fatal(err)
	}
	got, err := root.OpenSlot(tok, place, slot)
	if err != nil || !bytes.Equal(got.bytes(), dek.bytes()) {
		t.Fatalf("%v, or another key", err)
	}

	if _, err := root.OpenSlot(NewAuthToken(), place, slot); !errors.Is(err, ErrOpen) {
		t.Errorf("another token: %v, want ErrOpen", err)
	}
	for name, elsewhere := range map[string]SlotPlace{
		"kind":         {SlotRun, organization, agent, profile, 1, 0},
		"organization": {SlotOwner, agent, agent, profile, 1, 0},
		"agent":        {SlotOwner, organization, organization, profile, 1, 0},
		"profile":      {SlotOwner, organization, agent, agent, 1, 0},
		"epoch":        {SlotOwner, organization, agent, profile, 2, 0},
		"expiry":       {SlotOwner, organization, agent, profile, 1, 1},
	} {
		if _, err := root.OpenSlot(tok, elsewhere, slot); !errors.Is(err, ErrOpen) {
			t.Errorf("another %s: %v, want ErrOpen", name, err)
		}
	}
}

func TestASlotWithAnyBitFlippedIsRefused(t *testing.T) {
	v := readVectors(t).Slots[0]
	for bit := range 8 * len(v.Sealed) {
		changed := v
		changed.Sealed = flip(v.Sealed, bit)
		if _, err := changed.open(t); err == nil {
			t.Errorf("opens with bit %d flipped", bit)
		}
	}
	for bit := range 8 * len(v.Salt) {
		changed := v
		changed.Salt = flip(v.Salt, bit)
		if _, err := changed.open(t); !errors.Is(err, ErrOpen) {
			t.Errorf("bit %d of the salt: %v, want ErrOpen", bit, err)
		}
	}
}

// A stolen database with the root key opens no slot, and with a token but
// without the root key neither.
func TestASlotNeedsBothItsLayers(t *testing.T) {
	root, _ := NewRoot()
	tok := NewAuthToken()
	place := SlotPlace{SlotOwner, organization, agent, profile, 1, 0}
	slot, err := root.SealSlot(tok, place, NewDEK())
	if err != nil {
		t.Fatal(err)
	}
	thief, _ := NewRoot()
	if _, err := thief.OpenSlot(tok, place, slot); !errors.Is(err, ErrOpen) {
		t.Errorf("with the token alone: %v, want ErrOpen", err)
	}
	inner, err := root.Open(ProfileSlot, slot.Sealed, place.context()...)
	if err != nil {
		t.Fatal(err)
	}
	if BoxVersion(inner) != 0 || inner[0] != format {
		t.Errorf("with the root key alone: %x is no box of another key", inner)
	}
}

func TestResealSlotNeedsNoToken(t *testing.T) {
	root, _ := NewRoot()
	tok, dek := NewAuthToken(), NewDEK()
	place := SlotPlace{SlotRun, organization, agent, profile, 3, 99}
	slot, err := root.SealSlot(tok, place, dek)
	if err != nil {
		t.Fatal(err)
	}
	version, _ := root.AddNew()
	if err := root.SetActive(version); err != nil {
		t.Fatal(err)
	}
	slot, err = root.ResealSlot(place, slot)
	if err != nil {
		t.Fatal(err)
	}
	if got := BoxVersion(slot.Sealed); got != version {
		t.Errorf("under version %d, want %d", got, version)
	}
	if err := root.Remove(1); err != nil {
		t.Fatal(err)
	}
	got, err := root.OpenSlot(tok, place, slot)
	if err != nil || !bytes.Equal(got.bytes(), dek.bytes()) {
		t.Errorf("%v, or another key", err)
	}
	if _, err := root.ResealSlot(SlotPlace{}, slot); !errors.Is(err, ErrOpen) {
		t.Errorf("at another place: %v, want ErrOpen", err)
	}
}

func TestASlotOfAnUnknownRootVersionSaysSo(t *testing.T) {
	root, line := NewRoot()
	version, _ := root.AddNew()
	if err := root.SetActive(version); err != nil {
		t.Fatal(err)
	}
	tok, place := NewAuthToken(), SlotPlace{Kind: SlotOwner}
	slot, err := root.SealSlot(tok, place, NewDEK())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, string(line)).OpenSlot(tok, place, slot); !errors.Is(err, ErrRootVersion) {
		t.Errorf("%v, want ErrRootVersion", err)
	}
}

// A wrong secret, a wrong agent and an unknown locator cannot be told apart by
// what they cost. Allocations stand for the work here: they are the same in
// every run, and no step of it goes without some.
func TestARefusedTokenCostsTheSameWhateverTheReason(t *testing.T) {
	root, _ := NewRoot()
	tok, wrong := NewAuthToken(), NewAuthToken()
	place := SlotPlace{SlotOwner, organization, agent, profile, 1, 0}
	elsewhere := place
	elsewhere.Agent = profile
	slot, err := root.SealSlot(tok, place, NewDEK())
	if err != nil {
		t.Fatal(err)
	}
	cost := func(try func() error) float64 {
		return testing.AllocsPerRun(20, func() {
			if err := try(); !errors.Is(err, ErrOpen) {
				t.Fatalf("%v, want ErrOpen", err)
			}
		})
	}
	wrongSecret := cost(func() error { _, err := root.OpenSlot(wrong, place, slot); return err })
	wrongAgent := cost(func() error { _, err := root.OpenSlot(tok, elsewhere, slot); return err })
	unknown := cost(func() error { return root.DummySlot(tok) })
	for name, n := range map[string]float64{"wrong agent": wrongAgent, "unknown locator": unknown} {
		if n < wrongSecret || n > wrongSecret+4 {
			t.Errorf("%s: %v allocations, with a wrong secret %v", name, n, wrongSecret)
		}
	}
}
