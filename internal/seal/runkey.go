package seal

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Sizes of a run key: of its halves, and of what HPKE adds to what it seals.
const (
	runKeyIDSize  = 8
	runPublicSize = 1184 + 65
	runEncapsSize = 1088 + 65
	runSealedSize = 1 + runKeyIDSize + runEncapsSize + tokenSize + 16
	runKeyPrefix  = "kwrun1"
	maxRunKeyTime = 1 << 34 // seconds since 1970: far beyond any clock
)

// runSuite is the one set of algorithms that run keys are used with.
func runSuite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768P256(), hpke.HKDFSHA512(), hpke.AES256GCM()
}

// RunKeyID names a run key. It is no secret.
type RunKeyID [runKeyIDSize]byte

func (id RunKeyID) String() string { return hex.EncodeToString(id[:]) }

// RunPublicKey is the half of a run key with which run tokens are sealed.
type RunPublicKey struct {
	id  RunKeyID
	key hpke.PublicKey
}

// ParseRunPublicKey reads what Bytes wrote.
func ParseRunPublicKey(b []byte) (RunPublicKey, error) {
	kem, _, _ := runSuite()
	key, err := kem.NewPublicKey(b)
	if err != nil {
		return RunPublicKey{}, errors.New("seal: not the public half of a run key")
	}
	return RunPublicKey{id: runKeyID(b), key: key}, nil
}

func runKeyID(public []byte) RunKeyID { return RunKeyID(Digest("run-key", public)[:runKeyIDSize]) }

// ID returns the name of the key.
func (k RunPublicKey) ID() RunKeyID { return k.id }

// Bytes returns the half as others read it.
func (k RunPublicKey) Bytes() []byte { return k.key.Bytes() }

// RunKey is a run key with its private half, which only its own node has. The
// zero RunKey, and one that was cleared, may not be used.
type RunKey struct {
	hidden  // the seed
	public  RunPublicKey
	created int64
}

// NewRunKey makes a run key at random.
func NewRunKey(now time.Time) RunKey {
	seed := make([]byte, keySize)
	rand.Read(seed)
	return newRunKey(seed, now.Unix())
}

func newRunKey(seed []byte, created int64) RunKey {
	k := RunKey{hidden: hide(seed), created: created}
	public := k.private().PublicKey()
	k.public = RunPublicKey{id: runKeyID(public.Bytes()), key: public}
	return k
}

// private derives the private half from its seed each time it is needed: the
// seed alone is kept, because it alone can be cleared.
func (k RunKey) private() hpke.PrivateKey {
	if len(k.bytes()) != keySize {
		panic("seal: a run key is used that was never made, or after it was cleared")
	}
	kem, _, _ := runSuite()
	return must(kem.NewPrivateKey(k.bytes()))
}

// Public returns the half that others may have.
func (k RunKey) Public() RunPublicKey { return k.public }

// ID returns the name of the key.
func (k RunKey) ID() RunKeyID { return k.public.id }

// Created returns when the key was made, to the second.
func (k RunKey) Created() time.Time { return time.Unix(k.created, 0) }

// RunKeysText returns the lines that keep keys. They are the private halves in
// the clear.
func RunKeysText(keys []RunKey) []byte {
	var text []byte
	for _, k := range keys {
		text = fmt.Appendf(text, "%s %s %d %s\n", runKeyPrefix, k.ID(), k.created, base64.StdEncoding.EncodeToString(k.bytes()))
	}
	return text
}

// ParseRunKeys reads what RunKeysText wrote. Like that of a root key it never
// quotes the text in an error.
func ParseRunKeys(text []byte) ([]RunKey, error) {
	var keys []RunKey
	number := 0
	for line := range bytes.Lines(text) {
		number++
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		key, err := parseRunKeyLine(fields)
		if err == nil && slices.ContainsFunc(keys, func(k RunKey) bool { return k.ID() == key.ID() }) {
			err = errors.New("the same key stands in an earlier line")
		}
		if err != nil {
			return nil, fmt.Errorf("run keys, line %d: %w", number, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("run keys: there are none")
	}
	return keys, nil
}

func parseRunKeyLine(fields [][]byte) (RunKey, error) {
	if len(fields) != 4 || string(fields[0]) != runKeyPrefix {
		return RunKey{}, errors.New("it is not of the form: " + runKeyPrefix + " ID CREATED BASE64")
	}
	created, err := strconv.ParseInt(string(fields[2]), 10, 64)
	if err != nil || created < 0 || created > maxRunKeyTime || strconv.FormatInt(created, 10) != string(fields[2]) {
		return RunKey{}, errors.New("the time is not a number of seconds since 1970")
	}
	seed, err := base64.StdEncoding.Strict().DecodeString(string(fields[3]))
	if err != nil {
		return RunKey{}, errors.New("the key is not base64")
	}
	if len(seed) != keySize {
		return RunKey{}, fmt.Errorf("the key has %d bytes instead of %d", len(seed), keySize)
	}
	key := newRunKey(seed, created)
	if key.ID().String() != string(fields[1]) {
		return RunKey{}, errors.New("the id does not belong to the key")
	}
	return key, nil
}
