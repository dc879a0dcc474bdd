package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// A cookie is, in base64url without padding, 68 characters, of which the first
// are kwc1:
//
//	prefix 3 ‖ sign-in 16 ‖ secret 32
//
// The sign-in is one of a browser: it has no refresh tokens, and its number is 0.
// What its box holds is not the secret but the secret's SHA-256, so that nobody
// who reads the database makes a cookie, with or without the root key.
const (
	cookiePrefix = "kwc1"

	cookieIDAt     = 3
	cookieSecretAt = cookieIDAt + 16
	cookieSize     = cookieSecretAt + 32
	cookieChars    = cookieSize * 8 / 6
)

// How long a browser stays signed in: as long as it is used every day, and for
// a month. Its use is written down once in a while.
const (
	browserIdle  = 12 * time.Hour
	browserLife  = 30 * 24 * time.Hour
	browserNoted = 10 * time.Minute
)

// ErrNotSignedIn refuses a browser whose cookie is not there, is none of ours, or
// whose sign-in has ended.
var ErrNotSignedIn = fault.New(fault.Unauthenticated, "NOT_SIGNED_IN", "This page is for people who are signed in. Sign in at /login.")

// Visit is a browser that is signed in.
type Visit struct {
	Caller       access.Caller
	Account      Account
	Organization Organization
	SignedInAt   time.Time
}

// inBrowser reports whether f is the sign-in of a browser.
func (f *signIn) inBrowser() bool { return f.number == 0 }

func newCookie(id string, secret []byte) seal.Secret {
	raw := make([]byte, cookieSize)
	defer clear(raw)
	prefix, _ := base64url.DecodeString(cookiePrefix)
	copy(raw, prefix)
	u := uuid.MustParse(id)
	copy(raw[cookieIDAt:], u[:])
	copy(raw[cookieSecretAt:], secret)
	return seal.NewSecret(base64url.EncodeToString(raw))
}

// parseCookie reads what newCookie wrote, and no other way to write it.
func parseCookie(cookie seal.Secret) (id string, digest [sha256.Size]byte, err error) {
	text := cookie.Bytes()
	if len(text) != cookieChars || string(text[:len(cookiePrefix)]) != cookiePrefix {
		return "", digest, ErrNotSignedIn
	}
	// The decoder passes over line breaks: a text that holds one comes out short.
	raw := make([]byte, cookieSize)
	defer clear(raw)
	if n, err := base64url.Decode(raw, text); err != nil || n != cookieSize {
		return "", digest, ErrNotSignedIn
	}
	return uuid.UUID(raw[cookieIDAt:cookieSecretAt]).String(), sha256.Sum256(raw[cookieSecretAt:]), nil
}

// SignInBrowser gives the value of a cookie for an e-mail and a password, as
// [Store.SignIn] gives tokens. It is a new one each time: the sign-in of the
// cookie that the browser had before is ended.
func (s *Store) SignInBrowser(ctx context.Context, who access.Caller, email string, shown, before seal.Secret) (seal.Secret, error) {
	a, p, err := s.admit(ctx, who, email, shown)
	if err != nil {
		return seal.Secret{}, err
	}
	cookie, err := s.beginInBrowser(ctx, who, a.ID, p)
	if err != nil {
		return seal.Secret{}, err
	}
	return cookie, s.SignOutBrowser(ctx, who, before)
}

// beginInBrowser signs in the account that p was given for.
func (s *Store) beginInBrowser(ctx context.Context, who access.Caller, accountID string, p proof) (seal.Secret, error) {
	secret := make([]byte, cookieSize-cookieSecretAt)
	rand.Read(secret)
	defer clear(secret)
	digest := sha256.Sum256(secret)
	f, err := s.insertNew(ctx, who, accountID, p, 0, digest[:])
	if err != nil {
		return seal.Secret{}, err
	}
	return newCookie(f.id, secret), nil
}

// opens reports whether a cookie's secret is that of f.
func (s *Store) opens(f *signIn, digest [sha256.Size]byte) (bool, error) {
	if !f.inBrowser() {
		return false, nil
	}
	use, box, context := f.box()
	kept, err := s.Root.Open(use, *box, context...)
	if err != nil {
		return false, fmt.Errorf("the cookie of sign-in %s: %w", f.id, err)
	}
	return subtle.ConstantTimeCompare(kept, digest[:]) == 1, nil
}

// CheckCookie returns the visit that a browser's cookie is for. As with an access
// token, all behind it is read each time: it is refused from the moment in which
// its sign-in ended.
func (s *Store) CheckCookie(ctx context.Context, cookie seal.Secret, address netip.Addr, requestID string) (Visit, error) {
	id, digest, err := parseCookie(cookie)
	if err != nil {
		return Visit{}, err
	}
	f, a, m, err := s.openSignIn(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Visit{}, ErrNotSignedIn
	} else if err != nil {
		return Visit{}, fmt.Errorf("check a cookie: %w", err)
	}
	genuine, err := s.opens(&f, digest)
	if err != nil {
		return Visit{}, err
	}
	if !genuine || !f.isOpen(s.Now()) {
		return Visit{}, ErrNotSignedIn
	}
	if err := s.noteUse(ctx, &f); err != nil {
		return Visit{}, fmt.Errorf("check a cookie: %w", err)
	}
	who := s.caller(m)
	who.SignInID, who.Address, who.RequestID = f.id, address, requestID
	return Visit{Caller: who, Account: a, Organization: m.Organization, SignedInAt: f.createdAt}, nil
}

// noteUse lets f last from its use on. Another request may be quicker; so may
// one that ends f, which then stays ended.
func (s *Store) noteUse(ctx context.Context, f *signIn) error {
	now := s.now()
	if now.Sub(f.rotatedAt) < browserNoted {
		return nil
	}
	used := *f
	used.renew(now)
	old := f.vouched.tag
	if err := s.tag(&used); err != nil {
		return err
	}
	return s.DB.Tx(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE sign_ins SET family_key = $1, rotated_at = $2, expires_at = $3, root_version = $4, tag = $5 WHERE id = $6 AND tag = $7`,
			used.familyKey, db.Micros(used.rotatedAt), db.Micros(used.expiresAt), used.version, used.vouched.tag, used.id, old)
		return err
	})
}

// SignOutBrowser ends the sign-in of a cookie. A cookie that is good for nothing
// stays so.
func (s *Store) SignOutBrowser(ctx context.Context, who access.Caller, cookie seal.Secret) error {
	if err := who.May(access.SignOut); err != nil {
		return err
	}
	id, digest, err := parseCookie(cookie)
	if err != nil {
		return nil
	}
	// Looked at first without a writer: what is no cookie of ours makes nobody wait.
	if f, err := s.signInByID(ctx, s.DB, id); errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return fmt.Errorf("sign out a browser: %w", err)
	} else if genuine, err := s.opens(&f, digest); err != nil || !genuine {
		return err
	}
	return s.Acts.Do(ctx, who, access.SignOut, func(tx *db.Tx, act *access.Act) error {
		f, err := s.signInByID(ctx, tx, id)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err != nil || !f.endedAt.IsZero() {
			act.Nothing()
			return nil
		}
		act.By(f.accountID, f.organizationID)
		act.On("sign_in", f.id, "")
		return s.end(ctx, tx, act, &f)
	})
}
