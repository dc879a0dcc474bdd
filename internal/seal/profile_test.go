package seal

import (
	"errors"
	"slices"
	"testing"
)

func TestAValueOpensAtItsPlaceOnly(t *testing.T) {
	dek := NewDEK()
	place := Place{ValuePlace, organization, agent, profile, "password", 3, 2}
	box, err := dek.Seal(place, []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := dek.Open(place, box); err != nil || string(got) != "hunter2" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := NewDEK().Open(place, box); !errors.Is(err, ErrOpen) {
		t.Errorf("another key: %v, want ErrOpen", err)
	}
	for name, elsewhere := range map[string]Place{
		"kind":         {SessionPlace, organization, agent, profile, "password", 3, 2},
		"organization": {ValuePlace, agent, agent, profile, "password", 3, 2},
		"agent":        {ValuePlace, organization, organization, profile, "password", 3, 2},
		"profile":      {ValuePlace, organization, agent, agent, "password", 3, 2},
		"field":        {ValuePlace, organization, agent, profile, "username", 3, 2},
		"revision":     {ValuePlace, organization, agent, profile, "password", 4, 2},
		"epoch":        {ValuePlace, organization, agent, profile, "password", 3, 3},
	} {
		if _, err := dek.Open(elsewhere, box); !errors.Is(err, ErrOpen) {
			t.Errorf("another %s: %v, want ErrOpen", name, err)
		}
	}
}

func TestAManifestDoesNotDependOnTheOrderOfRows(t *testing.T) {
	v := readVectors(t).Profiles[0]
	m := v.manifest()
	slices.Reverse(m.Fields)
	before := slices.Clone(m.Fields)
	if err := v.dek().CheckManifest(m, v.Manifest); err != nil {
		t.Error(err)
	}
	if m.Fields[0].Name != before[0].Name {
		t.Error("the caller's fields were put in another order")
	}
}

func TestAManifestWithAnyBitFlippedIsRefused(t *testing.T) {
	v := readVectors(t).Profiles[0]
	check := func(what string, m Manifest, sum []byte) {
		t.Helper()
		if err := v.dek().CheckManifest(m, sum); !errors.Is(err, ErrTag) {
			t.Errorf("%s: %v, want ErrTag", what, err)
		}
	}
	for bit := range 8 * len(v.Manifest) {
		check("the manifest", v.manifest(), flip(v.Manifest, bit))
	}
	for i, f := range v.Fields {
		for bit := range 8 * len(f.Box) {
			m := v.manifest()
			m.Fields[i].Box = flip(f.Box, bit)
			check("the box of "+f.Name, m, v.Manifest)
		}
	}
	for bit := range 8 * len(v.Session) {
		m := v.manifest()
		m.Session = flip(v.Session, bit)
		check("the session", m, v.Manifest)
	}
}

func TestAClearedKeyCannotBeUsed(t *testing.T) {
	root, _ := NewRoot()
	dek := NewDEK()
	same := dek
	key := dek.bytes()
	dek.Clear()
	for _, b := range key {
		if b != 0 {
			t.Fatal("the key is still there")
		}
	}
	for name, use := range map[string]func(DEK){
		"Seal":          func(d DEK) { _, _ = d.Seal(Place{}, nil) },
		"Open":          func(d DEK) { _, _ = d.Open(Place{}, make([]byte, 300)) },
		"Manifest":      func(d DEK) { d.Manifest(Manifest{}) },
		"CheckManifest": func(d DEK) { _ = d.CheckManifest(Manifest{}, nil) },
		"SealSlot":      func(d DEK) { _, _ = root.SealSlot(NewAuthToken(), SlotPlace{}, d) },
	} {
		for which, d := range map[string]DEK{"cleared": same, "zero": {}} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s with a %s key did not panic", name, which)
					}
				}()
				use(d)
			}()
		}
	}
	DEK{}.Clear()
}
