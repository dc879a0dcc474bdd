package device

import (
	"context"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// Bounds of what waits. On PostgreSQL those that begin in the same moment may be
// a few more.
const (
	maxOfNetwork = 50
	maxInAll     = 10_000
)

// Bounds of a session secret, in characters.
const (
	MinSessionSecret = 16
	MaxSessionSecret = 512
)

// Request is what a program asks for.
type Request struct {
	SessionSecret seal.Secret // made by the program, for this login alone
	Program       string      // what it calls itself; shortened here
	Scopes        []string    // that its key is to have; nil: all that its user has
}

// Begun is a login that waits. Its codes can't be had again.
type Begun struct {
	DeviceCode seal.Secret
	UserCode   string
	ExpiresIn  time.Duration
}

// Begin makes a login for a program that nobody knows.
func (s *Store) Begin(ctx context.Context, who access.Caller, in Request) (Begun, error) {
	if err := who.May(access.BeginDevice); err != nil {
		return Begun{}, err
	}
	if n := len(in.SessionSecret.Bytes()); n < MinSessionSecret || n > MaxSessionSecret {
		return Begun{}, fault.Field("session_secret", "must have 16 to 512 characters: something random that the program makes for this login")
	}
	scopes := access.AllScopes
	if in.Scopes != nil {
		var err error
		if scopes, err = access.ParseScopes(in.Scopes, access.AllScopes); err != nil {
			return Begun{}, err
		}
		if scopes == 0 {
			return Begun{}, fault.Field("scopes", "must name at least one")
		}
	}
	now, code := s.now(), newDeviceCode()
	l := Login{
		ID: db.NewID(), State: Pending, Program: cleanProgram(in.Program), Scopes: scopes, CreatedAt: now, ExpiresAt: now.Add(CodeLife),
		deviceCode: deviceDigest(code, in.SessionSecret), network: throttle.Network(who.Address),
	}
	if who.Address.IsValid() {
		l.Address = who.Address.String()
	}
	// Looked at first without a writer: who is refused makes nobody wait.
	if err := s.room(ctx, s.DB, l.network, now); err != nil {
		return Begun{}, err
	}
	for {
		user := newUserCode()
		_, l.userCode = s.Root.Tag(seal.DeviceRow, userFields(user)...)
		err := s.DB.Tx(ctx, func(tx *db.Tx) error {
			if err := s.room(ctx, tx, l.network, now); err != nil {
				return err
			}
			return s.insert(ctx, tx, l)
		})
		switch {
		case db.IsDuplicate(err):
			continue // another code: ids and device codes are never met twice
		case err != nil:
			return Begun{}, fmt.Errorf("begin a device login: %w", err)
		}
		return Begun{DeviceCode: code, UserCode: user, ExpiresIn: CodeLife}, nil
	}
}

// userFields is what the digest of a user code is over.
func userFields(code string) [][]byte { return [][]byte{seal.Text("user code"), seal.Text(code)} }

// room refuses where too much waits already.
func (s *Store) room(ctx context.Context, q db.Querier, network string, now time.Time) error {
	var there int64
	if err := q.QueryRow(ctx, `SELECT count(*) FROM device_logins WHERE picked_up_at = 0 AND network = $1 AND expires_at > $2`,
		network, db.Micros(now)).Scan(&there); err != nil {
		return err
	}
	if there >= maxOfNetwork {
		return ErrTooMany.Retry(time.Minute)
	}
	if err := q.QueryRow(ctx, `SELECT count(*) FROM device_logins WHERE picked_up_at = 0 AND expires_at > $1`, db.Micros(now)).Scan(&there); err != nil {
		return err
	}
	if there >= maxInAll {
		return ErrFull.Retry(time.Minute)
	}
	return nil
}
