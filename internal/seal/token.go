package seal

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// An auth token is: prefix, locator, secret, CRC-32.
const (
	tokenPrefix = "kwt1" // 3 bytes, read as base64url

	locatorAt     = 3
	tokenSecretAt = locatorAt + 8
	checksumAt    = tokenSecretAt + 30
	tokenSize     = checksumAt + 4
	tokenTextSize = tokenSize / 3 * 4
)

// AuthToken is what its holder opens one profile of one agent with. The zero
// AuthToken, and one that was cleared, may not be used.
type AuthToken struct{ hidden }

// NewAuthToken makes a token at random.
func NewAuthToken() AuthToken {
	raw := make([]byte, tokenSize)
	must(base64.RawURLEncoding.Decode(raw, []byte(tokenPrefix)))
	rand.Read(raw[locatorAt:checksumAt])
	binary.BigEndian.PutUint32(raw[checksumAt:], crc32.ChecksumIEEE(raw[:checksumAt]))
	return AuthToken{hide(raw)}
}

// ParseAuthToken reads what Reveal wrote. The checksum finds a token that was
// cut or mistyped before the database is asked for it; it proves nothing.
func ParseAuthToken(text string) (AuthToken, error) {
	if len(text) != tokenTextSize || text[:len(tokenPrefix)] != tokenPrefix {
		return AuthToken{}, ErrToken
	}
	// The decoder passes over line breaks: a text that holds one comes out short.
	raw := make([]byte, tokenSize)
	n, err := base64.RawURLEncoding.Strict().Decode(raw, []byte(text))
	if err != nil || n != tokenSize || !wellFormed(raw) {
		return AuthToken{}, ErrToken
	}
	return AuthToken{hide(raw)}, nil
}

// wellFormed reports whether raw has a token's prefix and checksum.
func wellFormed(raw []byte) bool {
	return len(raw) == tokenSize && base64.RawURLEncoding.EncodeToString(raw[:locatorAt]) == tokenPrefix &&
		binary.BigEndian.Uint32(raw[checksumAt:]) == crc32.ChecksumIEEE(raw[:checksumAt])
}

// Reveal returns the token's text, 60 characters of base64url.
func (t AuthToken) Reveal() string { return base64.RawURLEncoding.EncodeToString(t.bytes()) }

// Locator returns the part of the token by which its slot is found. It is no
// secret.
func (t AuthToken) Locator() []byte { return slices.Clone(t.bytes()[locatorAt:tokenSecretAt]) }

func (t AuthToken) secret() []byte { return t.bytes()[tokenSecretAt:checksumAt] }
