package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"

	"github.com/keyward/keyward/internal/seal"
)

// A key's text is PREFIX_KIND_, 32 random characters and 6 of checksum; see
// docs/formats.md.
const (
	randomLength   = 32 // 190 bits
	checksumLength = 6
	maxPrefix      = 10

	liveKind = "live"
	tempKind = "temp" // of a temporary key, so that people see it

	signingPrefix = "rs_"
	signingLength = 43 // 256 bits
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Digest is what is kept of a key's text: its SHA-256. A key has 190 bits of
// randomness, so it needs neither a salt nor a slow hash.
type Digest [sha256.Size]byte

// newSecret makes a key's text.
func newSecret(prefix, kind string) seal.Secret {
	text := make([]byte, 0, len(prefix)+len(kind)+2+randomLength+checksumLength)
	text = append(text, prefix...)
	text = append(text, '_')
	text = append(text, kind...)
	text = append(text, '_')
	text = appendRandom(text, randomLength)
	text = appendChecksum(text, text)
	return seal.NewSecret(text)
}

// appendRandom appends n random characters, all equally likely.
func appendRandom(text []byte, n int) []byte {
	var random [2 * randomLength]byte
	for n > 0 {
		rand.Read(random[:])
		for _, b := range random {
			// Only values below 248 = 4·62 are taken, or some characters would
			// come more often than others.
			if b < 248 && n > 0 {
				text = append(text, base62[b%62])
				n--
			}
		}
	}
	return text
}

// newSigningSecret makes the text that the requests with a key are signed with.
func newSigningSecret() seal.Secret {
	return seal.NewSecret(appendRandom([]byte(signingPrefix), signingLength))
}

// appendChecksum appends the CRC-32 (IEEE) of text in base62, padded with zeros.
func appendChecksum(to, text []byte) []byte {
	sum := crc32.ChecksumIEEE(text)
	var out [checksumLength]byte
	for i := checksumLength - 1; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return append(to, out[:]...)
}

// WellFormed reports whether text has the form of a key and its checksum is
// right. It asks no database, so it costs garbage next to nothing; it proves
// nothing about who made the key. Any prefix will do: a server whose prefix was
// changed still knows its older keys.
func WellFormed[T string | []byte](text T) bool {
	const tail = randomLength + checksumLength
	head := len(text) - tail
	if head < len("ra_live_") || head > maxPrefix+len("_live_") || text[head-1] != '_' || text[head-6] != '_' {
		return false
	}
	if kind := string(text[head-5 : head-1]); kind != liveKind && kind != tempKind {
		return false
	}
	if !ValidPrefix(string(text[:head-6])) {
		return false
	}
	for i := head; i < len(text); i++ {
		if !isBase62[text[i]] {
			return false
		}
	}
	body := len(text) - checksumLength
	var sum [checksumLength]byte
	appendChecksum(sum[:0], []byte(text[:body]))
	return string(sum[:]) == string(text[body:])
}

// isBase62 says of each byte whether it is one of base62.
var isBase62 = func() (is [256]bool) {
	for i := range len(base62) {
		is[base62[i]] = true
	}
	return is
}()

// ValidPrefix reports whether p can be what keys begin with: 2 to 10 of a-z and
// 0-9, a letter first.
func ValidPrefix(p string) bool {
	if len(p) < 2 || len(p) > maxPrefix || p[0] < 'a' || p[0] > 'z' {
		return false
	}
	for i := range len(p) {
		if (p[i] < 'a' || p[i] > 'z') && (p[i] < '0' || p[i] > '9') {
			return false
		}
	}
	return true
}

// hint returns what may be shown of a key later: its prefix and last four
// characters.
func hint(secret seal.Secret) string {
	text := secret.Bytes()
	start := len(text) - randomLength - checksumLength
	return string(text[:start]) + "…" + string(text[len(text)-4:])
}
