package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
)

// A box is: format, root version, salt, commitment, nonce, ciphertext, tag.
const (
	format = 1

	keySize        = 32
	saltSize       = 32
	commitmentSize = 32
	gcmSize        = 12 + 16 // nonce and tag

	saltAt       = 1 + 4
	commitmentAt = saltAt + saltSize
	nonceAt      = commitmentAt + commitmentSize
	overhead     = nonceAt + gcmSize
)

// BoxVersion returns the version of the root key that box is under: 0 if it is
// under another key, or is no box.
func BoxVersion(box []byte) uint32 {
	if len(box) < overhead || box[0] != format {
		return 0
	}
	return binary.BigEndian.Uint32(box[1:])
}

// seal boxes plaintext so that only parent opens it, and only at place.
//
// The salt is new at every write, so a derived key seals once and the random
// nonce can meet no other under it.
func seal(parent []byte, version uint32, place tuple, plaintext []byte, limit int) ([]byte, error) {
	if len(plaintext) > limit {
		return nil, ErrTooLarge
	}
	size := paddedSize(len(plaintext))
	box := make([]byte, nonceAt, overhead+size)
	box[0] = format
	binary.BigEndian.PutUint32(box[1:], version)
	rand.Read(box[saltAt:commitmentAt])

	key, commitment := boxKey(parent, box[saltAt:commitmentAt], place)
	defer clear(key)
	copy(box[commitmentAt:], commitment)

	padded := pad(plaintext, size)
	defer clear(padded)
	return gcm(key).Seal(box, nil, padded, place), nil
}

// open undoes seal. Its size is checked before anything is allocated for it.
//
// AES-GCM does not commit to its key: one ciphertext can be made to open under
// two. The commitment is therefore compared first, and a box that fails it is
// never decrypted.
func open(parent []byte, version uint32, place tuple, box []byte, limit int) ([]byte, error) {
	if len(box) < overhead || len(box) > overhead+paddedSize(limit) || box[0] != format || BoxVersion(box) != version {
		return nil, ErrOpen
	}
	key, commitment := boxKey(parent, box[saltAt:commitmentAt], place)
	defer clear(key)
	if subtle.ConstantTimeCompare(commitment, box[commitmentAt:nonceAt]) != 1 {
		return nil, ErrOpen
	}
	padded, err := gcm(key).Open(nil, nil, box[nonceAt:], place)
	if err != nil {
		return nil, ErrOpen
	}
	return unpad(padded, limit)
}

// boxPlace begins the tuple of where a box belongs, which is the input to its
// key and once more its associated data. The context comes next.
func boxPlace(label string, version uint32) tuple {
	return newTuple(label).bytes([]byte{format}).word(version)
}

func boxKey(parent, salt []byte, place tuple) (key, commitment []byte) {
	both := must(hkdf.Key(sha512.New, parent, salt, string(place), keySize+commitmentSize))
	return both[:keySize], both[keySize:]
}

func gcm(key []byte) cipher.AEAD {
	return must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(key))))
}

// paddedSize is the length that a plaintext of n bytes is padded to: 128 bytes,
// then powers of two up to 4 KiB, then steps of 4 KiB. Four of the bytes hold
// the length.
func paddedSize(n int) int {
	n += 4
	switch {
	case n <= 128:
		return 128
	case n <= 4096:
		return 1 << bits.Len(uint(n-1))
	default:
		return (n + 4095) &^ 4095
	}
}

func pad(plaintext []byte, size int) []byte {
	padded := make([]byte, size)
	binary.BigEndian.PutUint32(padded, uint32(len(plaintext)))
	copy(padded[4:], plaintext)
	return padded
}

// unpad returns the plaintext within padded. There is one way to pad a
// plaintext, and every other is refused.
func unpad(padded []byte, limit int) ([]byte, error) {
	if len(padded) < 4 {
		return nil, ErrOpen
	}
	n := binary.BigEndian.Uint32(padded)
	if uint64(n) > uint64(limit) || len(padded) != paddedSize(int(n)) {
		return nil, ErrOpen
	}
	var rest byte
	for _, b := range padded[4+n:] {
		rest |= b
	}
	if rest != 0 {
		return nil, ErrOpen
	}
	return padded[4 : 4+n : 4+n], nil
}
