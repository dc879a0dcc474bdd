package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Use is the label of one subkey of the root key. A subkey either seals boxes
// or makes tags of one kind of row, never both.
type Use string

// These seal boxes.
const (
	AtRest      Use = "at-rest"      // what the server must be able to use by itself
	Password    Use = "password"     // password hashes
	ProfileSlot Use = "profile-slot" // the outer layer of slots
	RunRecord   Use = "run-record"   // what a run put out
	ServerState Use = "server-state" // the sentinel that tells whether this is the right root key
)

// These make tags.
const (
	APIKeyRow       Use = "api-row"
	AccountRow      Use = "account-row"
	OrganizationRow Use = "organization-row"
	MembershipRow   Use = "membership-row"
	SignInRow       Use = "sign-in-row"
	SetupCodeRow    Use = "setup-code-row"
	AlertRow        Use = "alert-row"
	DeviceRow       Use = "device-row"
	Node            Use = "node"
	Audit           Use = "audit"
	AuditHead       Use = "audit-head"
)

// Root is the server's key ring: the root key in one or more versions, one of
// them active. New boxes and tags are made with the active version; old ones
// are read with the version they name. It may be used and changed by several
// goroutines at once.
type Root struct {
	redacted
	change sync.Mutex // held by whoever replaces the ring
	ring   atomic.Pointer[ring]
}

// ring is never changed once it is in use.
type ring struct {
	active uint32
	keys   map[uint32]*rootKey
}

func (r *ring) key(version uint32) (*rootKey, error) {
	key, ok := r.keys[version]
	if !ok {
		return nil, fmt.Errorf("%w: %d", ErrRootVersion, version)
	}
	return key, nil
}

type rootKey struct {
	id      string
	key     []byte
	prk     []byte
	subkeys sync.Map // Use → []byte; uses are constants, so they are few
}

func newRootKey(key []byte) *rootKey {
	prk := must(hkdf.Extract(sha512.New, key, []byte("keyward root 1")))
	id := must(hkdf.Expand(sha512.New, prk, string(newTuple("root-id")), 8))
	return &rootKey{id: hex.EncodeToString(id), key: key, prk: prk}
}

func (k *rootKey) subkey(use Use) []byte {
	if sub, ok := k.subkeys.Load(use); ok {
		return sub.([]byte)
	}
	sub := must(hkdf.Expand(sha512.New, k.prk, string(newTuple(string(use))), keySize))
	k.subkeys.Store(use, sub)
	return sub
}

func (k *rootKey) line(version uint32) []byte {
	return fmt.Appendf(nil, "%s %d %s %s\n", rootPrefix, version, k.id, base64.StdEncoding.EncodeToString(k.key))
}

// NewRoot makes a root key, version 1, and the line that keeps it.
func NewRoot() (root *Root, line []byte) {
	root = &Root{}
	root.ring.Store(&ring{active: 1, keys: map[uint32]*rootKey{}})
	_, line = root.AddNew()
	return root, line
}

// ParseRoot reads a root key: one line a version. The lowest version is active
// until SetActive says otherwise, for it is the one that every node has.
func ParseRoot(text []byte) (*Root, error) {
	keys, err := parseRoot(text)
	if err != nil {
		return nil, err
	}
	root := &Root{}
	root.ring.Store(&ring{active: slices.Min(slices.Collect(maps.Keys(keys))), keys: keys})
	return root, nil
}

const (
	rootPrefix     = "kwroot1"
	maxRootVersion = 1<<31 - 1
)

// parseRoot never quotes the text in an error: a key may stand anywhere in it.
func parseRoot(text []byte) (map[uint32]*rootKey, error) {
	keys := map[uint32]*rootKey{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		version, key, err := parseRootLine(fields)
		if err == nil {
			err = addKey(keys, version, key)
		}
		if err != nil {
			return nil, fmt.Errorf("root key, line %d: %w", number, err)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("root key: it is empty")
	}
	return keys, nil
}

func parseRootLine(fields [][]byte) (uint32, *rootKey, error) {
	if len(fields) != 4 || string(fields[0]) != rootPrefix {
		return 0, nil, errors.New("it is not of the form: " + rootPrefix + " VERSION ID BASE64")
	}
	version, err := strconv.ParseUint(string(fields[1]), 10, 32)
	if err != nil || version == 0 || version > maxRootVersion || strconv.FormatUint(version, 10) != string(fields[1]) {
		return 0, nil, fmt.Errorf("the version is not a number from 1 to %d", maxRootVersion)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(fields[3]))
	if err != nil {
		return 0, nil, errors.New("the key is not base64")
	}
	if len(raw) != keySize {
		return 0, nil, fmt.Errorf("the key has %d bytes instead of %d", len(raw), keySize)
	}
	key := newRootKey(raw)
	if key.id != string(fields[2]) {
		return 0, nil, errors.New("the id does not belong to the key")
	}
	return uint32(version), key, nil
}

// addKey refuses a version that has a key already, and a key that has a
// version already.
func addKey(keys map[uint32]*rootKey, version uint32, key *rootKey) error {
	if _, ok := keys[version]; ok {
		return fmt.Errorf("there is a key of version %d already", version)
	}
	for v, k := range keys {
		if k.id == key.id {
			return fmt.Errorf("version %d has the same key as version %d", version, v)
		}
	}
	keys[version] = key
	return nil
}

// update replaces the ring by a changed copy of it, if edit finds no fault.
func (r *Root) update(edit func(next *ring) error) error {
	r.change.Lock()
	defer r.change.Unlock()
	next := *r.ring.Load()
	next.keys = maps.Clone(next.keys)
	if err := edit(&next); err != nil {
		return err
	}
	r.ring.Store(&next)
	return nil
}

// AddNew makes a key of the next version, which is not active yet, and the line
// that keeps it.
func (r *Root) AddNew() (version uint32, line []byte) {
	raw := make([]byte, keySize)
	rand.Read(raw)
	key := newRootKey(raw)
	_ = r.update(func(next *ring) error {
		for v := range next.keys {
			version = max(version, v)
		}
		if version == maxRootVersion {
			panic("seal: no version is left for another root key")
		}
		version++
		next.keys[version] = key
		return nil
	})
	return version, key.line(version)
}

// Merge adds the versions in text that r has not. It adds none of them if one
// contradicts what r has.
func (r *Root) Merge(text []byte) error {
	keys, err := parseRoot(text)
	if err != nil {
		return err
	}
	return r.update(func(next *ring) error {
		for version, key := range keys {
			if held, ok := next.keys[version]; ok && held.id == key.id {
				continue
			}
			if err := addKey(next.keys, version, key); err != nil {
				return fmt.Errorf("root key: %w", err)
			}
		}
		return nil
	})
}

// Active returns the version that new boxes and tags are made with.
func (r *Root) Active() uint32 { return r.ring.Load().active }

// SetActive makes version the one that new boxes and tags are made with.
func (r *Root) SetActive(version uint32) error {
	return r.update(func(next *ring) error {
		next.active = version
		_, err := next.key(version)
		return err
	})
}

// Versions returns the versions held, lowest first.
func (r *Root) Versions() []uint32 {
	return slices.Sorted(maps.Keys(r.ring.Load().keys))
}

// ID returns the public name of a version's key, from which nothing of the key
// can be told: "" if that version is not held.
func (r *Root) ID(version uint32) string {
	if key, err := r.ring.Load().key(version); err == nil {
		return key.id
	}
	return ""
}

// Remove forgets a version. The active one cannot be removed.
func (r *Root) Remove(version uint32) error {
	return r.update(func(next *ring) error {
		if version == next.active {
			return fmt.Errorf("root key: version %d is active", version)
		}
		_, err := next.key(version)
		delete(next.keys, version)
		return err
	})
}

// Text returns the lines of all versions, lowest first. It is the root key in
// the clear.
func (r *Root) Text() []byte {
	var text []byte
	keys := r.ring.Load().keys
	for _, version := range slices.Sorted(maps.Keys(keys)) {
		text = append(text, keys[version].line(version)...)
	}
	return text
}

// Seal boxes plaintext under the active root key so that it opens only for the
// same use and context. Its only failure is ErrTooLarge.
func (r *Root) Seal(use Use, plaintext []byte, context ...[]byte) ([]byte, error) {
	ring := r.ring.Load()
	place := boxPlace(string(use), ring.active).all(context)
	return seal(ring.keys[ring.active].subkey(use), ring.active, place, plaintext, MaxSession)
}

// Open returns what Seal boxed. It fails with ErrRootVersion if the box names a
// version that is not held, else with ErrOpen.
func (r *Root) Open(use Use, box []byte, context ...[]byte) ([]byte, error) {
	version := BoxVersion(box)
	if version == 0 {
		return nil, ErrOpen
	}
	key, err := r.ring.Load().key(version)
	if err != nil {
		return nil, err
	}
	return open(key.subkey(use), version, boxPlace(string(use), version).all(context), box, MaxSession)
}

// Reseal opens box and seals what is in it again, under the active version.
func (r *Root) Reseal(use Use, box []byte, context ...[]byte) ([]byte, error) {
	plaintext, err := r.Open(use, box, context...)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	return r.Seal(use, plaintext, context...)
}
