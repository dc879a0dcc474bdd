// Package signing owns the keys that access tokens are signed with, and signs and
// verifies with them. What a token says is its issuer's business.
//
// A token is a JWT (RFC 9068's at+jwt) under Ed25519, in canonical base64url, at
// most 8 KiB. Its header is one text for each key, which pins algorithm, type and
// key: a header that is presented is compared, and never read.
//
// The public half of a key is computed of the private one, and the times at which
// it is used are the context of the private one's box: a row that was changed
// opens nothing.
package signing

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// A key is published a day before its first use, since whoever checks our tokens
// by himself may keep the published keys for that long; it signs for 30 days; and
// it is published for two days more, which is longer than any token lives and
// leaves a server that was off time to publish the next one.
const (
	lead    = 24 * time.Hour
	life    = 30 * 24 * time.Hour
	overlap = 2 * 24 * time.Hour

	// MaxTokenLife is how long a token can live at most: the last one that a key
	// signs still verifies then.
	MaxTokenLife = time.Hour
)

// key is a signing key.
type key struct {
	number    int64 // each follows the one before
	createdAt time.Time
	activeAt  time.Time
	retiresAt time.Time

	// Computed of the private half.
	private ed25519.PrivateKey
	public  jose.JSONWebKey
	signer  jose.Signer
	header  string // the first part of every token
}

// signs reports whether k may sign at now.
func (k *key) signs(now time.Time) bool {
	return !now.Before(k.activeAt) && !now.Add(MaxTokenLife).After(k.retiresAt)
}

// published reports whether what k signed verifies at now.
func (k *key) published(now time.Time) bool { return now.Before(k.retiresAt) }

func (k *key) context() [][]byte {
	return [][]byte{
		seal.Text("signing-key"), seal.Int(k.number),
		seal.Int(db.Micros(k.createdAt)), seal.Int(db.Micros(k.activeAt)), seal.Int(db.Micros(k.retiresAt)),
	}
}

// prepare computes all that follows from the private half. The key's public name
// is its thumbprint (RFC 7638): a number would come again on another database,
// and verifiers would not ask for the key anew.
func (k *key) prepare(seed []byte) error {
	k.private = ed25519.NewKeyFromSeed(seed)
	k.public = jose.JSONWebKey{Key: k.private.Public(), Algorithm: string(jose.EdDSA), Use: "sig"}
	print, err := k.public.Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	k.public.KeyID = base64.RawURLEncoding.EncodeToString(print)
	k.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: k.private, KeyID: k.public.KeyID}},
		(&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return err
	}
	token, err := k.sign(nil)
	if err != nil {
		return err
	}
	k.header, _, _ = strings.Cut(token, ".")
	return nil
}

func (k *key) sign(claims []byte) (string, error) {
	signed, err := k.signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("sign with key %d: %w", k.number, err)
	}
	return signed.CompactSerialize()
}

// next returns the key that has to be made at now, or nil if there is time.
func next(keys []key, now time.Time) *key {
	k := &key{number: 1, createdAt: now, activeAt: now}
	signs := false
	for i := range keys {
		k.number = max(k.number, keys[i].number+1)
		signs = signs || keys[i].signs(now)
	}
	if signs { // else it is the first, or the first after a long time off
		newest := slices.MaxFunc(keys, func(a, b key) int { return a.activeAt.Compare(b.activeAt) })
		k.activeAt = newest.activeAt.Add(life)
		if now.Before(k.activeAt.Add(-lead)) {
			return nil
		}
		if soonest := now.Add(lead); k.activeAt.Before(soonest) {
			k.activeAt = soonest
		}
	}
	k.retiresAt = k.activeAt.Add(life + overlap)
	return k
}
