package seal

import "crypto/sha256"

// Digest returns the SHA-256 of a label and fields, written as a tag's are. It
// has no key: it vouches for nothing by itself, and is for what is vouched for
// elsewhere, such as the chain of the audit log.
func Digest(label string, fields ...[]byte) []byte {
	sum := sha256.Sum256(tuple(label, fields...))
	return sum[:]
}
