package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// A refresh token is, in base64url without padding, 71 characters:
//
//	version 1 ‖ family 16 ‖ number u32 ‖ HMAC-SHA-512/256(family key, number u32)
//
// The family is the sign-in's id, a UUID; numbers are big-endian and begin at 1.
// The family key is made at random at sign-in and kept in a box, so that a row
// alone makes no token, and the server makes the same token of the same number
// every time.
const (
	refreshVersion = 1

	familyAt     = 1
	numberAt     = familyAt + 16
	macAt        = numberAt + 4
	refreshSize  = macAt + sha512.Size256
	refreshChars = (refreshSize*8 + 5) / 6

	familyKeySize = 32
)

// refreshGrace is how long a token that was just spent gives its successor
// again: two tabs of one browser that renew at once, or an answer that was lost.
const refreshGrace = 10 * time.Second

var base64url = base64.RawURLEncoding.Strict()

// refreshToken is a token as it was presented, before it is known to be genuine.
type refreshToken struct {
	family string
	number uint32
	mac    []byte
}

func newRefreshToken(family string, number uint32, key []byte) seal.Secret {
	raw := make([]byte, refreshSize)
	raw[0] = refreshVersion
	id := uuid.MustParse(family)
	copy(raw[familyAt:], id[:])
	binary.BigEndian.PutUint32(raw[numberAt:], number)
	copy(raw[macAt:], refreshMAC(key, number))
	return seal.NewSecret(base64url.EncodeToString(raw))
}

// parseRefreshToken reads what newRefreshToken wrote, and no other way to write
// it.
func parseRefreshToken(text string) (refreshToken, error) {
	if len(text) != refreshChars {
		return refreshToken{}, ErrInvalidRefreshToken
	}
	// The decoder passes over line breaks: a text that holds one comes out short.
	raw, err := base64url.DecodeString(text)
	if err != nil || len(raw) != refreshSize || raw[0] != refreshVersion {
		return refreshToken{}, ErrInvalidRefreshToken
	}
	return refreshToken{
		family: uuid.UUID(raw[familyAt:numberAt]).String(),
		number: binary.BigEndian.Uint32(raw[numberAt:]),
		mac:    raw[macAt:],
	}, nil
}

func refreshMAC(key []byte, number uint32) []byte {
	h := hmac.New(sha512.New512_256, key)
	h.Write(binary.BigEndian.AppendUint32(nil, number))
	return h.Sum(nil)
}

// family returns the sign-in that t is a genuine token of, and its key.
func (s *Store) family(ctx context.Context, q db.Querier, t refreshToken) (signIn, []byte, error) {
	f, err := s.signInByID(ctx, q, t.family)
	if errors.Is(err, sql.ErrNoRows) || err == nil && f.inBrowser() {
		return f, nil, ErrInvalidRefreshToken
	} else if err != nil {
		return f, nil, err
	}
	use, box, context := f.box()
	key, err := s.Root.Open(use, *box, context...)
	if err != nil {
		return f, nil, fmt.Errorf("the key of sign-in %s: %w", f.id, err)
	}
	if !hmac.Equal(t.mac, refreshMAC(key, t.number)) {
		return f, nil, ErrInvalidRefreshToken
	}
	return f, key, nil
}

// presented reads a token that was shown and finds out whether it is genuine. It
// takes no writer: what is no token of ours makes nobody wait.
func (s *Store) presented(ctx context.Context, text string) (refreshToken, error) {
	t, err := parseRefreshToken(text)
	if err != nil {
		return t, err
	}
	_, key, err := s.family(ctx, s.DB, t)
	clear(key)
	return t, err
}

// move is what the presentation of a genuine refresh token does to its family.
type move int

const (
	refuse  move = iota // it has ended
	advance             // the token is spent and the next one is good
	repeat              // the next one is given again
	reuse               // the family is ended: two hold the token, or did
)

// moveFor says what the token with a number does at now. Each number is good
// once; after that its successor, and nothing else, is given for a while longer,
// as long as that one was not used. A fresh one would fork the family, and thief
// and owner would each go on with half of it.
func (f *signIn) moveFor(number uint32, now time.Time) move {
	switch n := int64(number); {
	case !f.isOpen(now):
		return refuse
	case n == f.number:
		return advance
	case n == f.number-1 && now.Sub(f.rotatedAt) <= refreshGrace:
		return repeat // a used successor would have moved f.number on
	}
	return reuse
}

// Refresh spends a refresh token and gives new tokens. A token that was spent
// before ends its sign-in, unless that was within the last 10 seconds and its
// successor is unused: then it gives the same successor.
func (s *Store) Refresh(ctx context.Context, who access.Caller, token string) (Tokens, error) {
	if err := who.May(access.Refresh); err != nil {
		return Tokens{}, err
	}
	t, err := s.presented(ctx, token)
	if err != nil {
		return Tokens{}, fmt.Errorf("refresh: %w", err)
	}
	var f signIn
	var key []byte
	var done move
	err = s.Acts.Do(ctx, who, access.Refresh, func(tx *db.Tx, act *access.Act) error {
		var err error
		if f, key, err = s.family(ctx, tx, t); err != nil {
			return err
		}
		now := s.now()
		switch done = f.moveFor(t.number, now); done {
		case refuse:
			return ErrInvalidRefreshToken
		case advance:
			act.Nothing() // a sign-in goes on; the log has its beginning and its end
			f.number++
			f.renew(now)
			return s.saveSignIn(ctx, tx, &f)
		case repeat:
			act.Nothing()
			return nil
		}
		act.As(access.EndReused)
		act.By(f.accountID, f.organizationID)
		act.On("sign_in", f.id, "")
		return s.end(ctx, tx, act, &f)
	})
	if err != nil {
		return Tokens{}, err
	}
	if done == reuse {
		return Tokens{}, ErrRefreshTokenReused
	}
	defer clear(key)
	return s.tokens(ctx, f, key)
}

// SignOut ends the sign-in of a refresh token, also of one that is spent. One
// that has ended already stays so.
func (s *Store) SignOut(ctx context.Context, who access.Caller, token string) error {
	if err := who.May(access.SignOut); err != nil {
		return err
	}
	t, err := s.presented(ctx, token)
	if err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	return s.Acts.Do(ctx, who, access.SignOut, func(tx *db.Tx, act *access.Act) error {
		f, key, err := s.family(ctx, tx, t)
		if err != nil {
			return err
		}
		clear(key)
		if !f.endedAt.IsZero() {
			act.Nothing()
			return nil
		}
		act.By(f.accountID, f.organizationID)
		act.On("sign_in", f.id, "")
		return s.end(ctx, tx, act, &f)
	})
}
