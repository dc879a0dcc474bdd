// Package seal is all of Keyward's cryptography. The formats it reads and
// writes are frozen by docs/formats.md and the vectors in testdata; an
// independent reader in Python checks the same vectors.
//
// It owns the root key ring (Root), boxes and tags under the root key, auth
// tokens and the slots they open, the profile keys (DEK) with the values,
// sessions and manifests they protect, and the run keys by which runs wait
// without whoever started them. API keys, refresh tokens and passwords live
// with their nouns; what they need of cryptography that is keyed by the server,
// they ask of Root.
//
// Its laws:
//   - Every input to a key derivation, a tag or associated data is a tuple:
//     counted, with the length of each element before it. Strings are never
//     joined.
//   - A label names one use of one key. It is always a tuple's first element.
//   - Everything sealed is a box. It is bound to its place by its context, and
//     to its key by a commitment, which is compared before anything is
//     decrypted.
//   - Secrets are compared in constant time, print as [redacted], and are never
//     part of an error.
//   - Only Go's standard cryptography, as far as GODEBUG=fips140=only lets it
//     work. Nothing else of this project is imported.
package seal

import "errors"

// The ways to fail. Why a box does not open is not told: who may know cannot
// use it, and who could use it may not know.
var (
	ErrOpen        = errors.New("seal: the box does not open here")
	ErrTag         = errors.New("seal: the tag does not fit what it stands for")
	ErrRootVersion = errors.New("seal: no root key of this version")
	ErrTooLarge    = errors.New("seal: too large to be sealed")
	ErrToken       = errors.New("seal: not an auth token")
)

// The largest plaintexts of their kind.
const (
	MaxValue   = 64 << 10
	MaxSession = 4 << 20 // also of everything sealed under the root key
)

// must unwraps results that fail only when a constant of this package is wrong
// or the process may not use the algorithm at all.
func must[T any](v T, err error) T {
	if err != nil {
		panic("seal: " + err.Error())
	}
	return v
}
