package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/password"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// The ways in which somebody is refused here.
var (
	ErrInvalidCredentials = fault.New(fault.Unauthenticated, "INVALID_CREDENTIALS", "The e-mail or the password is wrong.")
	ErrTooManyTries       = fault.New(fault.RateLimited, "RATE_LIMITED", "Too many requests")
	ErrEmailTaken         = fault.New(fault.Conflict, "EMAIL_TAKEN", "There is an account with this e-mail. Sign in, or use another e-mail.").With(fault.Details{"field": "email"})
	ErrSignupClosed       = fault.New(fault.Forbidden, "SIGNUP_CLOSED", "Only the operator of this server makes accounts. Ask for one.")
	ErrLastOwner          = fault.New(fault.Conflict, "LAST_OWNER", "The account is the only owner of the organization that owns this server, and can't be deleted.")
	ErrNotMember          = fault.New(fault.Forbidden, "NOT_A_MEMBER", "The account does not belong to this organization.")

	ErrInvalidAccessToken  = fault.New(fault.Unauthenticated, "INVALID_ACCESS_TOKEN", "The access token is invalid, or its sign-in has ended. Sign in again.")
	ErrExpiredAccessToken  = fault.New(fault.Unauthenticated, "EXPIRED_ACCESS_TOKEN", "The access token has expired. Get a new one with the refresh token.")
	ErrInvalidRefreshToken = fault.New(fault.Unauthenticated, "INVALID_REFRESH_TOKEN", "The refresh token is invalid, or its sign-in has ended. Sign in again.")
	ErrRefreshTokenReused  = fault.New(fault.Unauthenticated, "REFRESH_TOKEN_REUSED", "The refresh token was used before, so somebody may have a copy of it. Its sign-in has been ended. Sign in again.")
)

// Store keeps accounts and all that belongs to them.
type Store struct {
	Acts *access.Acts
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time
	Log  *slog.Logger

	Issuer        func() string // the server's public address, for access tokens
	SignupOpen    bool          // whether a visitor may register without the setup code
	DefaultTier   string        // of new organizations
	DefaultQuotas access.Quotas // of organizations that have none of their own

	// SetupCodeSpent is called when somebody has registered with the setup code,
	// which is good for nothing any more. It may be nil.
	SetupCodeSpent func()

	// RevokeKeys ends all API keys of an account inside the transaction that
	// deletes it.
	RevokeKeys func(ctx context.Context, tx *db.Tx, act *access.Act, accountID string) error

	// Sign returns the token that says claims; Verify returns the claims of a token
	// and whether it is one that Sign made.
	Sign   func(ctx context.Context, claims []byte) (string, error)
	Verify func(ctx context.Context, token string) (claims []byte, ours bool, err error)

	hashes password.Queue

	// How often one network tries things on this server; a fleet of n servers
	// lets it try n times as often.
	signIns, registrations, failures throttle.Throttle
}

// Loop removes sign-ins that have expired, until ctx ends.
func (s *Store) Loop(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if err := s.purge(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("removing expired sign-ins failed and is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// purge is one round of Loop. A batch is what other writers may wait for.
func (s *Store) purge(ctx context.Context) error {
	const batch = 500
	for removed := int64(batch); removed == batch; {
		err := s.DB.Tx(ctx, func(tx *db.Tx) (err error) {
			removed, err = tx.Exec(ctx, `DELETE FROM sign_ins WHERE id IN (SELECT id FROM sign_ins WHERE expires_at <= $1 LIMIT $2)`,
				db.Micros(s.Now()), batch)
			return err
		})
		if err != nil {
			return fmt.Errorf("purge sign-ins: %w", err)
		}
	}
	return nil
}

// row is a row with a tag.
type row interface {
	into() []any                 // where its columns go, in their order
	vouch() (seal.Use, [][]byte) // what its tag is over; the first says which row it is
	mark() *vouched
}

// vouched is the tag of a row, as it was read or is to be written.
type vouched struct {
	version uint32
	tag     []byte
}

func (v *vouched) mark() *vouched { return v }

// scan reads one row, or several that were joined, and checks the tag of each.
func (s *Store) scan(from interface{ Scan(...any) error }, rows ...row) error {
	var into []any
	for _, r := range rows {
		into = append(into, r.into()...)
	}
	if err := from.Scan(into...); err != nil {
		return err
	}
	for _, r := range rows {
		use, fields := r.vouch()
		if err := s.Root.CheckTag(use, r.mark().version, r.mark().tag, fields...); err != nil {
			return fmt.Errorf("%s %s: %w", use, fields[0], err)
		}
	}
	return nil
}

// boxed is a row that also keeps a box.
type boxed interface {
	row
	box() (use seal.Use, at *[]byte, context [][]byte)
}

// tag gives r the tag that it has to be written with. Its box, if it has one, is
// brought under the same root key: they share the column that says which.
func (s *Store) tag(r row) error {
	b, has := r.(boxed)
	for {
		if has {
			use, at, context := b.box()
			if seal.BoxVersion(*at) != s.Root.Active() {
				renewed, err := s.Root.Reseal(use, *at, context...)
				if err != nil {
					return fmt.Errorf("a box of %T: %w", r, err)
				}
				*at = renewed
			}
		}
		use, fields := r.vouch()
		v := r.mark()
		v.version, v.tag = s.Root.Tag(use, fields...)
		if !has {
			return nil
		}
		if _, at, _ := b.box(); seal.BoxVersion(*at) == v.version {
			return nil
		} // else another root key became active between the two
	}
}

// collect reads all rows of a query. parts are the rows of which a T consists.
func collect[T any](s *Store, rows *sql.Rows, err error, parts func(*T) []row) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var one T
		if err := s.scan(rows, parts(&one)...); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}

// changed returns db.ErrConflict if a guarded change took nothing.
func changed(n int64, err error) error {
	if err == nil && n == 0 {
		return db.ErrConflict
	}
	return err
}

// stamp reads a time as the database keeps it.
type stamp struct{ t *time.Time }

// Scan implements sql.Scanner.
func (s stamp) Scan(value any) error {
	n, ok := value.(int64)
	if !ok {
		return errors.New("account: a time in the database is not a number")
	}
	*s.t = db.Time(n)
	return nil
}

// now is the time as exact as the database keeps it.
func (s *Store) now() time.Time { return db.Time(db.Micros(s.Now())) }
