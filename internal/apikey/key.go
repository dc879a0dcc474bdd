// Package apikey owns API keys: what a program presents to act for an account
// in an organization.
//
// A key is a row that its owner sees and names; what its holder presents is a
// secret of it, of which only a SHA-256 digest is kept. Both rows carry tags, so
// that nobody who can write to the database makes or widens a key. A key whose
// requests must be signed has a signing secret with each secret, in a box.
//
// Its laws:
//
//   - What a key may is in its row and nowhere else: scopes, agents, addresses,
//     limits, life, signature.
//   - No key makes, changes or rotates one that is stronger than itself. The
//     row of the key that asks is read and held in the transaction.
//   - What a key made ends with it: other keys, and the values that it gave to
//     others by rotating them, with all that was made with these.
//   - Whatever of a key changes is in the change log, so that whoever remembers
//     the key as it was forgets it before the call answers.
//
// How a key is checked in front of a request, together with the account and
// organization behind it, is package gate's.
package apikey

import (
	"net/netip"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// The types of keys.
const (
	Personal  = "personal"  // tied to its account
	Temporary = "temporary" // a personal key that expires
	Service   = "service"   // belongs to the organization; needs scopes
)

// revokedRemembered is how long a key that was revoked is told from one that
// never was.
const revokedRemembered = 90 * 24 * time.Hour

// The ways in which a key is refused or not found.
var (
	ErrInvalid           = fault.New(fault.Unauthenticated, "INVALID_API_KEY", "The provided API key is invalid")
	ErrExpired           = fault.New(fault.Unauthenticated, "EXPIRED_API_KEY", "The API key has expired")
	ErrRevoked           = fault.New(fault.Unauthenticated, "REVOKED_API_KEY", "The API key has been revoked")
	ErrDisabled          = fault.New(fault.Unauthenticated, "DISABLED_API_KEY", "The API key is disabled")
	ErrOfAnotherAccount  = fault.New(fault.Unauthenticated, "KEY_OF_ANOTHER_ACCOUNT", "The API key belongs to another account.")
	ErrNotFound          = fault.New(fault.NotFound, "KEY_NOT_FOUND", "There is no API key with this id.")
	ErrDuplicateName     = fault.New(fault.Conflict, "DUPLICATE_NAME", "Another key of the organization has this name. Choose another, or delete that key first.").With(fault.Details{"field": "name"})
	ErrDuplicateNickname = fault.New(fault.Conflict, "DUPLICATE_NICKNAME", "Another key has this nickname. Choose another, or delete that key first.").With(fault.Details{"field": "nickname"})
	ErrIsRevoked         = fault.New(fault.Conflict, "KEY_REVOKED", "The API key has been revoked, and that can't be undone. Make another.")
	ErrTooManyValues     = fault.New(fault.Conflict, "TOO_MANY_VALUES", "Too many earlier values of this API key are still in their grace. Wait until one ends, or rotate with a grace_period of 0, which ends them all.")
	ErrTooWeak           = fault.New(fault.Forbidden, "KEY_TOO_WEAK", "A key makes, changes and rotates no key that is stronger than itself.")
)

// Key is what is known of an issued key. What its holder presents is not in it.
type Key struct {
	ID             int64 // random, below 2^53
	OrganizationID string
	AccountID      string // whose it is; of a service key: who made it
	Name           string
	Type           string
	MadeByKey      int64 // the key that made it; 0 if a signed-in account did
	Hint           string
	CreatedAt      time.Time
	UpdatedAt      time.Time
	ExpiresAt      time.Time // zero: never
	RevokedAt      time.Time // zero: not revoked

	ExternalID       string // what the organization calls its holder
	Disabled         bool
	Scopes           access.Scopes  // of a key that names none: all there are
	AgentIDs         []string       // the only agents it is for; nil: all
	AllowedIPs       []netip.Prefix // where it may be used from; nil: anywhere
	Limits           access.Limits  // its own, which lower its organization's
	RequireSignature bool
	Metadata         []byte // a JSON object of its owner's; nil: none

	madeWith []byte // the value that the key which made it was presented as, if a key had given it that
	scoped   bool   // it names its scopes: it will not have those of later versions
	settings string // what of these is kept as JSON, as it is kept
	tag      []byte
	version  uint32
}

// Usable returns why k may not be used at now, or nil. What its owner did is
// told before expiry: it is the fact that he acted on.
func (k Key) Usable(now time.Time) error {
	switch {
	case !k.RevokedAt.IsZero() && now.Sub(k.RevokedAt) >= revokedRemembered:
		return ErrInvalid
	case !k.RevokedAt.IsZero():
		return ErrRevoked
	case k.Disabled:
		return ErrDisabled
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return ErrExpired
	}
	return nil
}

// Status is k's state at now in one word: active, disabled, expired or revoked.
func (k Key) Status(now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case k.Disabled:
		return "disabled"
	case k.Usable(now) != nil:
		return "expired"
	}
	return "active"
}

// fields is what the tag of k's row vouches for. A row of the time before keys
// had settings is written as one without any; each form has a label of its own,
// so that no row can be read two ways.
func (k Key) fields() [][]byte {
	label := "key"
	more := k.ExternalID != "" || k.Disabled || k.settings != ""
	switch {
	case len(k.madeWith) > 0:
		label = "key made with a value"
	case more:
		label = "key with settings"
	}
	fields := [][]byte{
		seal.Text(label), seal.Int(k.ID), seal.Text(k.OrganizationID), seal.Text(k.AccountID), seal.Text(k.Name), seal.Text(k.Type),
		seal.Int(k.MadeByKey), seal.Int(db.Micros(k.CreatedAt)), seal.Int(db.Micros(k.ExpiresAt)), seal.Int(db.Micros(k.RevokedAt)),
	}
	if more || len(k.madeWith) > 0 {
		fields = append(fields, seal.Text(k.ExternalID), seal.Flag(k.Disabled), seal.Text(k.settings))
	}
	if len(k.madeWith) > 0 {
		fields = append(fields, k.madeWith)
	}
	return fields
}
