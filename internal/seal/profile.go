package seal

import (
	"cmp"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"slices"
)

// DEK is the key of one epoch of a profile. It is kept in slots only, and never
// bare. The zero DEK, and one that was cleared, may not be used.
type DEK struct{ hidden }

// NewDEK makes a key at random.
func NewDEK() DEK {
	key := make([]byte, keySize)
	rand.Read(key)
	return DEK{hide(key)}
}

// key panics rather than seal with a key that everybody knows.
func (d DEK) key() []byte {
	if len(d.bytes()) != keySize {
		panic("seal: a DEK is used that was never made, or after it was cleared")
	}
	return d.bytes()
}

// PlaceKind says what is sealed at a place.
type PlaceKind string

const (
	ValuePlace   PlaceKind = "value"
	SessionPlace PlaceKind = "session"
)

func (k PlaceKind) limit() int {
	if k == SessionPlace {
		return MaxSession
	}
	return MaxValue
}

// Place is where a value or a session belongs. Field is empty for a session.
// Revision is the box's own: the profile's at the time it was written.
type Place struct {
	Kind                                PlaceKind
	Organization, Agent, Profile, Field string
	Revision, Epoch                     uint64
}

func (p Place) tuple() tuple {
	return boxPlace("profile-box", 0).
		text(string(p.Kind)).text(p.Organization).text(p.Agent).text(p.Profile).text(p.Field).
		number(p.Revision).number(p.Epoch)
}

// Seal boxes plaintext so that it opens only with d and at place. Its only
// failure is ErrTooLarge.
func (d DEK) Seal(place Place, plaintext []byte) ([]byte, error) {
	return seal(d.key(), 0, place.tuple(), plaintext, place.Kind.limit())
}

// Open returns what Seal boxed. Its only failure is ErrOpen.
func (d DEK) Open(place Place, box []byte) ([]byte, error) {
	return open(d.key(), 0, place.tuple(), box, place.Kind.limit())
}

// Manifest is all of a profile that its boxes do not say by themselves: which
// belong to it now, and where its values may go. A field that is dropped, a
// session that is put back and a destination that is changed do not fit it.
type Manifest struct {
	Organization, Agent, Profile string
	Epoch, Revision              uint64
	KeepSession                  bool
	Destination                  string
	SessionRevision              uint64
	Session                      []byte // its box; nil if there is none
	SessionDigest                []byte // of a box that is gone and that the MAC was made with; nil otherwise
	Fields                       []ManifestField
}

// ManifestField is one value of a profile.
type ManifestField struct {
	Name     string
	Revision uint64
	Box      []byte
}

// Manifest returns the MAC of m under d. The order of m.Fields does not matter.
func (d DEK) Manifest(m Manifest) []byte {
	key := must(hkdf.Key(sha512.New, d.key(), nil, string(newTuple("manifest")), keySize))
	defer clear(key)
	return mac(key, m.tuple())
}

// CheckManifest returns nil if m is what sum was made for, else ErrTag.
func (d DEK) CheckManifest(m Manifest, sum []byte) error {
	if !hmac.Equal(sum, d.Manifest(m)) {
		return ErrTag
	}
	return nil
}

// tuple puts the fields in the order of their names' bytes: the order in which
// a database lists them is not the same in every database.
func (m Manifest) tuple() tuple {
	fields := slices.Clone(m.Fields)
	slices.SortFunc(fields, func(a, b ManifestField) int { return cmp.Compare(a.Name, b.Name) })

	t := newTuple("manifest").bytes([]byte{format}).
		text(m.Organization).text(m.Agent).text(m.Profile).
		number(m.Epoch).number(m.Revision).bytes(Flag(m.KeepSession)).text(m.Destination).
		number(m.SessionRevision)
	if len(m.Session) == 0 {
		t = t.bytes(m.SessionDigest)
	} else {
		t = t.digest(m.Session)
	}
	for _, f := range fields {
		t = t.text(f.Name).number(f.Revision).digest(f.Box)
	}
	return t
}

// digest writes the SHA-256 of a box; nothing where there is none.
func (t tuple) digest(box []byte) tuple {
	if len(box) == 0 {
		return t.bytes(nil)
	}
	sum := sha256.Sum256(box)
	return t.bytes(sum[:])
}
