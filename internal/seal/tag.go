package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
)

// Tag vouches for fields with the active root key: who can write to the
// database but has not that key cannot make or change them. The fields are the
// identity of a row, then all that the row grants, always in the same order.
func (r *Root) Tag(use Use, fields ...[]byte) (version uint32, tag []byte) {
	ring := r.ring.Load()
	return ring.active, ring.keys[ring.active].tag(use, ring.active, fields)
}

// CheckTag returns nil if tag was made by Tag for exactly these fields,
// ErrRootVersion if the key it was made with is not held, else ErrTag.
func (r *Root) CheckTag(use Use, version uint32, tag []byte, fields ...[]byte) error {
	key, err := r.ring.Load().key(version)
	if err != nil {
		return err
	}
	if !hmac.Equal(tag, key.tag(use, version, fields)) {
		return ErrTag
	}
	return nil
}

// EveryTag returns the tags of fields under all versions of the root key that are
// held: for what is looked up by its tag, which an earlier version may have made.
func (r *Root) EveryTag(use Use, fields ...[]byte) [][]byte {
	ring := r.ring.Load()
	all := make([][]byte, 0, len(ring.keys))
	for version, key := range ring.keys {
		all = append(all, key.tag(use, version, fields))
	}
	return all
}

func (k *rootKey) tag(use Use, version uint32, fields [][]byte) []byte {
	return mac(k.subkey(use), newTuple(string(use)).word(version).all(fields))
}

func mac(key []byte, message tuple) []byte {
	h := hmac.New(sha512.New512_256, key)
	h.Write(message)
	return h.Sum(nil)
}

// Digest returns the SHA-256 of a label and fields, written as a tag's are. It
// has no key: it vouches for nothing by itself, and is for what is vouched for
// elsewhere, such as the chain of the audit log.
func Digest(label string, fields ...[]byte) []byte {
	sum := sha256.Sum256(newTuple(label).all(fields))
	return sum[:]
}
