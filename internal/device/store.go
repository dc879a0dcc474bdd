package device

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// Store keeps the logins.
type Store struct {
	Acts *access.Acts
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time

	// Member returns the caller that an account is in an organization, or
	// ErrNoMember.
	Member func(ctx context.Context, accountID, organizationID string) (access.Caller, error)

	// MakeKey makes the key of a login for who inside tx, as what act does. It is
	// ErrNoMember if he is no member by then.
	MakeKey func(ctx context.Context, tx *db.Tx, act *access.Act, who access.Caller, l Login) (Key, error)

	// EndKey ends such a key inside tx, as what act does.
	EndKey func(ctx context.Context, tx *db.Tx, act *access.Act, id int64) error

	// Used returns which of the keys were ever used.
	Used func(ctx context.Context, ids []int64) (map[int64]bool, error)

	// How often one network, account or program tries things on this server; a
	// fleet of n servers lets it try n times as often.
	tries sync.Mutex // one at a time, or a hundred guesses at once would all be the first
	wrong throttle.Throttle
	polls throttle.Throttle
	paced throttle.Throttle
}

// Key is a key that was just made.
type Key struct {
	ID     int64
	Secret seal.Secret
}

const columns = `id, device_code, user_code, state, network, address, program, scopes, account_id, organization_id, key_id,
	created_at, expires_at, picked_up_at, root_version, tag`

// scan reads a row and checks its tag.
func (s *Store) scan(row interface{ Scan(...any) error }) (Login, error) {
	var l Login
	var scopes string
	var created, expires, picked int64
	err := row.Scan(&l.ID, &l.deviceCode, &l.userCode, &l.State, &l.network, &l.Address, &l.Program, &scopes, &l.AccountID, &l.OrganizationID,
		&l.KeyID, &created, &expires, &picked, &l.version, &l.tag)
	if err != nil {
		return Login{}, err
	}
	l.CreatedAt, l.ExpiresAt, l.PickedUpAt = db.Time(created), db.Time(expires), db.Time(picked)
	if l.Scopes, err = access.ParseScopes(strings.Fields(scopes), access.AllScopes); err != nil {
		return Login{}, fmt.Errorf("the scopes of device login %s: %w", l.ID, seal.ErrTag)
	}
	if err := s.Root.CheckTag(seal.DeviceRow, l.version, l.tag, l.fields()...); err != nil {
		return Login{}, fmt.Errorf("device login %s: %w", l.ID, err)
	}
	return l, nil
}

func (s *Store) collect(rows *sql.Rows, err error) ([]Login, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Login
	for rows.Next() {
		l, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// hold returns a login as it is now, and keeps it so until tx ends. Lock first, read
// after: of two who want to change it, the second sees what the first has done.
func (s *Store) hold(ctx context.Context, tx *db.Tx, id string) (Login, error) {
	if _, err := tx.Exec(ctx, `UPDATE device_logins SET state = state WHERE id = $1`, id); err != nil {
		return Login{}, err
	}
	return s.scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM device_logins WHERE id = $1`, id))
}

func (s *Store) insert(ctx context.Context, tx *db.Tx, l Login) error {
	version, tag := s.Root.Tag(seal.DeviceRow, l.fields()...)
	_, err := tx.Exec(ctx, `
		INSERT INTO device_logins (`+columns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		l.ID, l.deviceCode, l.userCode, string(l.State), l.network, l.Address, l.Program, l.Scopes.Text(), l.AccountID, l.OrganizationID, l.KeyID,
		db.Micros(l.CreatedAt), db.Micros(l.ExpiresAt), db.Micros(l.PickedUpAt), version, tag)
	return err
}

// save writes what of l can change, if its row still has the tag that l was read
// with.
func (s *Store) save(ctx context.Context, tx *db.Tx, l Login) error {
	version, tag := s.Root.Tag(seal.DeviceRow, l.fields()...)
	n, err := tx.Exec(ctx, `
		UPDATE device_logins SET state = $1, account_id = $2, organization_id = $3, key_id = $4, expires_at = $5, picked_up_at = $6, root_version = $7, tag = $8
		WHERE id = $9 AND tag = $10`,
		string(l.State), l.AccountID, l.OrganizationID, l.KeyID, db.Micros(l.ExpiresAt), db.Micros(l.PickedUpAt), version, tag, l.ID, l.tag)
	if err == nil && n == 0 {
		err = db.ErrConflict
	}
	return err
}

// now is the time, as exact as it is kept.
func (s *Store) now() time.Time { return db.Time(db.Micros(s.Now())) }
