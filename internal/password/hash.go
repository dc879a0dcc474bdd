// Package password knows what a password may be, what it costs to check one, and
// how many are checked at once.
//
// A hash is Argon2id in the PHC string format, with its cost in it. Whose hash it
// is, and that it is kept in a box, is package account's.
package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Bounds of a password, in characters of its NFC form.
const (
	MinLength = 8
	MaxLength = 256

	maxBytes = 8 * MaxLength // before it is normalised
)

// Parse returns a password as it is hashed: in NFC, since keyboards write one é
// in two ways. The caller clears it. Field is what a refusal calls it.
func Parse(field string, password seal.Secret) ([]byte, error) {
	text := password.Bytes()
	if len(text) > maxBytes {
		return nil, fault.Field(field, "must have 8 to 256 characters")
	}
	if !utf8.Valid(text) || strings.ContainsRune(string(text), 0) {
		return nil, fault.Field(field, "must be a text without U+0000")
	}
	text = norm.NFC.Append(nil, text...) // always a copy
	if n := utf8.RuneCount(text); n < MinLength || n > MaxLength {
		clear(text)
		return nil, fault.Field(field, "must have 8 to 256 characters")
	}
	return text, nil
}

// What a password costs: OWASP's first choice for Argon2id, 46 MiB in one pass
// on one core. The numbers stand in each hash, so that others may come after.
const (
	memory   = 46 << 10 // KiB
	passes   = 1
	threads  = 1
	saltSize = 16
	sumSize  = 32
)

// Hash is the Argon2id hash of a password.
type Hash struct {
	memory, passes uint32
	threads        uint8
	salt, sum      []byte
}

// New makes the hash of a password. It is called in a [Queue].
func New(password []byte) Hash {
	h := None()
	h.sum = h.of(password)
	return h
}

// None returns a hash that no password has, and that costs as much to find out.
func None() Hash {
	h := Hash{memory, passes, threads, make([]byte, saltSize), make([]byte, sumSize)}
	rand.Read(h.salt)
	rand.Read(h.sum)
	return h
}

// Fits reports whether h is the hash of password. It is called in a [Queue].
func (h Hash) Fits(password []byte) bool {
	return subtle.ConstantTimeCompare(h.of(password), h.sum) == 1
}

func (h Hash) of(password []byte) []byte {
	return argon2.IDKey(password, h.salt, h.passes, h.memory, h.threads, uint32(len(h.sum)))
}

// IsCurrent reports whether h costs what a new hash would.
func (h Hash) IsCurrent() bool {
	return h.memory == memory && h.passes == passes && h.threads == threads && len(h.salt) == saltSize && len(h.sum) == sumSize
}

var phcBase64 = base64.RawStdEncoding.Strict()

// Text returns h in the PHC string format.
func (h Hash) Text() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.threads,
		phcBase64.EncodeToString(h.salt), phcBase64.EncodeToString(h.sum))
}

// errHash does not say what it was that could not be read.
var errHash = errors.New("password: not a hash of ours")

// ParseHash reads what Text wrote, and no other way to write it.
func ParseHash(text string) (Hash, error) {
	part := strings.Split(text, "$")
	if len(part) != 6 {
		return Hash{}, errHash
	}
	var h Hash
	_, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.threads)
	if err != nil {
		return Hash{}, errHash
	}
	if h.salt, err = phcBase64.DecodeString(part[4]); err != nil {
		return Hash{}, errHash
	}
	if h.sum, err = phcBase64.DecodeString(part[5]); err != nil {
		return Hash{}, errHash
	}
	// A sum that is too short proves nothing, and a cost that is too high stops
	// the server.
	sane := len(h.sum) >= 16 && h.memory <= 1<<20 && h.passes >= 1 && h.passes <= 16 && h.threads >= 1
	if !sane || h.Text() != text {
		return Hash{}, errHash
	}
	return h, nil
}
