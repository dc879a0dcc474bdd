package seal

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The whole rotation: a new version is known before it is used, what is old
// stays readable until it was sealed again, and then the old key may go.
func TestRootKeyRotates(t *testing.T) {
	root, first := NewRoot()
	context := Text("some row")
	box, err := root.Seal(AtRest, []byte("secret"), context)
	if err != nil {
		t.Fatal(err)
	}
	tagVersion, tag := root.Tag(APIKeyRow, context)

	version, second := root.AddNew()
	if version != 2 || root.Active() != 1 {
		t.Fatalf("version %d added, %d active, want 2 and 1", version, root.Active())
	}
	if got := root.Text(); !bytes.Equal(got, append(first, second...)) {
		t.Errorf("text %q, want %q", got, append(first, second...))
	}
	node := parse(t, string(first))
	if err := node.Merge(root.Text()); err != nil {
		t.Fatal(err)
	}
	if node.Active() != 1 || node.ID(2) != root.ID(2) {
		t.Fatalf("the other node has %d active and version 2 as %q", node.Active(), node.ID(2))
	}

	if err := root.SetActive(2); err != nil {
		t.Fatal(err)
	}
	box, err = root.Reseal(AtRest, box, context)
	if err != nil {
		t.Fatal(err)
	}
	if got := BoxVersion(box); got != 2 {
		t.Errorf("sealed again under version %d, want 2", got)
	}
	if err := root.CheckTag(APIKeyRow, tagVersion, tag, context); err != nil {
		t.Errorf("the old tag: %v", err)
	}
	tagVersion, tag = root.Tag(APIKeyRow, context)
	if err := root.Remove(1); err != nil {
		t.Fatal(err)
	}
	if got := root.Versions(); !slices.Equal(got, []uint32{2}) {
		t.Errorf("versions %v, want [2]", got)
	}
	for name, r := range map[string]*Root{"the server": root, "the other node": node} {
		if got, err := r.Open(AtRest, box, context); err != nil || string(got) != "secret" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err := r.CheckTag(APIKeyRow, tagVersion, tag, context); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLowestVersionIsActiveAtFirst(t *testing.T) {
	root, _ := NewRoot()
	root.AddNew()
	if got := parse(t, string(root.Text())).Active(); got != 1 {
		t.Errorf("version %d, want 1", got)
	}
}

func TestRootVersionsThatAreNotHeld(t *testing.T) {
	root, _ := NewRoot()
	other, _ := NewRoot()
	version, _ := other.AddNew()
	if err := other.SetActive(version); err != nil {
		t.Fatal(err)
	}
	box, err := other.Seal(AtRest, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, tag := other.Tag(APIKeyRow)

	_, open := root.Open(AtRest, box)
	_, reseal := root.Reseal(AtRest, box)
	for name, err := range map[string]error{
		"Open": open, "Reseal": reseal, "CheckTag": root.CheckTag(APIKeyRow, 2, tag),
		"SetActive": root.SetActive(2), "Remove": root.Remove(2),
	} {
		if !errors.Is(err, ErrRootVersion) {
			t.Errorf("%s: %v, want ErrRootVersion", name, err)
		}
	}
	if got := root.ID(2); got != "" {
		t.Errorf("ID: %q, want none", got)
	}
}

func TestTheActiveVersionStays(t *testing.T) {
	root, _ := NewRoot()
	root.AddNew()
	if err := root.Remove(1); err == nil {
		t.Error("the active version was removed")
	}
	if err := root.Remove(2); err != nil {
		t.Error(err)
	}
}

func TestMergeAddsAllOrNothing(t *testing.T) {
	root, line := NewRoot()
	if err := root.Merge(line); err != nil {
		t.Errorf("the same line again: %v", err)
	}

	other, _ := NewRoot()
	other.AddNew()
	if err := root.Merge(other.Text()); err == nil {
		t.Error("another key of version 1 was taken")
	}
	moved := strings.Replace(string(line), " 1 ", " 5 ", 1)
	if err := root.Merge([]byte(moved)); err == nil {
		t.Error("one key was taken under two versions")
	}
	if err := root.Merge([]byte("kwroot1")); err == nil {
		t.Error("a broken line was taken")
	}
	if got := root.Versions(); !slices.Equal(got, []uint32{1}) {
		t.Errorf("versions %v, want [1]", got)
	}
}

func TestRootKeyErrorsQuoteNothing(t *testing.T) {
	for _, v := range readVectors(t).BadRoots {
		_, err := ParseRoot([]byte(v.Text))
		if err == nil {
			t.Errorf("%s: accepted", v.Why)
			continue
		}
		for word := range strings.FieldsSeq(v.Text) {
			if len(word) >= 8 && strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q quotes %q", v.Why, err, word)
			}
		}
	}
}

// Sealing, opening and rotating at the same time, for the race detector.
func TestRootMayChangeWhileInUse(t *testing.T) {
	root, _ := NewRoot()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				box, err := root.Seal(AtRest, []byte("secret"))
				if err != nil {
					t.Error(err)
				}
				if got, err := root.Open(AtRest, box); err != nil || string(got) != "secret" {
					t.Errorf("%q, %v", got, err)
				}
				version, tag := root.Tag(APIKeyRow, Text("row"))
				if err := root.CheckTag(APIKeyRow, version, tag, Text("row")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			version, line := root.AddNew()
			if err := root.SetActive(version); err != nil {
				t.Error(err)
			}
			if err := root.Merge(line); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := len(root.Versions()); got != 51 {
		t.Errorf("%d versions, want 51", got)
	}
}

func TestATagWithAnyBitFlippedIsRefused(t *testing.T) {
	for _, v := range readVectors(t).Tags {
		root := parse(t, v.Root)
		fields := plain(v.Fields)
		for bit := range 8 * len(v.Tag) {
			if err := root.CheckTag(v.Label, v.Version, flip(v.Tag, bit), fields...); !errors.Is(err, ErrTag) {
				t.Errorf("bit %d: %v, want ErrTag", bit, err)
			}
		}
		for i, field := range fields {
			for bit := range 8 * len(field) {
				changed := slices.Clone(fields)
				changed[i] = flip(field, bit)
				if err := root.CheckTag(v.Label, v.Version, v.Tag, changed...); !errors.Is(err, ErrTag) {
					t.Errorf("field %d, bit %d: %v, want ErrTag", i, bit, err)
				}
			}
		}
	}
}

func FuzzParseRoot(f *testing.F) {
	all := readVectors(f)
	for _, v := range all.Roots {
		f.Add([]byte(v.Text))
	}
	for _, v := range all.BadRoots {
		f.Add([]byte(v.Text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		root, err := ParseRoot(text)
		if err != nil {
			return
		}
		again := parse(t, string(root.Text()))
		if !bytes.Equal(again.Text(), root.Text()) || again.Active() != root.Active() {
			t.Errorf("%q is written as %q", text, root.Text())
		}
	})
}
