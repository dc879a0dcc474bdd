package seal

import (
	"crypto/hmac"
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

func (k *rootKey) tag(use Use, version uint32, fields [][]byte) []byte {
	elements := append([][]byte{word(version)}, fields...)
	return mac(k.subkey(use), tuple(string(use), elements...))
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha512.New512_256, key)
	h.Write(message)
	return h.Sum(nil)
}
