package apikey

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

// Revoke ends a key of who's organization, and all that it made: every key, and
// every value that it gave to another by rotating that, and what was made by and
// with these. When it returns, none of them is accepted any more. To revoke a key
// that is revoked already is no error.
func (s *Store) Revoke(ctx context.Context, who access.Caller, id int64) error {
	return s.revoke(ctx, who, access.RevokeKey, id, func(k Key, err error) error {
		if err != nil || k.OrganizationID != who.OrganizationID {
			return ErrNotFound
		}
		return nil
	})
}

// RevokeSelf ends the key that who presents.
func (s *Store) RevokeSelf(ctx context.Context, who access.Caller) error {
	return s.revoke(ctx, who, access.RevokeSelf, who.KeyID, func(_ Key, err error) error { return err })
}

// RevokeOwn ends a personal or temporary key of who's account: the call of
// /auth, which tells a key of another account from one that is not there.
func (s *Store) RevokeOwn(ctx context.Context, who access.Caller, id int64) error {
	return s.revoke(ctx, who, access.RevokeOwnKey, id, func(k Key, err error) error {
		switch {
		case err != nil || !k.RevokedAt.IsZero() || k.Type == Service:
			return ErrNotFound
		case k.AccountID != who.AccountID || k.OrganizationID != who.OrganizationID:
			return ErrOfAnotherAccount
		}
		return nil
	})
}

// revoke ends the key and what it made, if allowed says nil for it; allowed gets
// ErrNotFound for a key that does not exist.
func (s *Store) revoke(ctx context.Context, who access.Caller, action access.Action, id int64, allowed func(Key, error) error) error {
	return s.Acts.Do(ctx, who, action, func(tx *db.Tx, act *access.Act) error {
		if _, err := s.asking(ctx, tx, who, action); err != nil {
			return err
		}
		// Lock first, read after: a key that this one is just making is either
		// visible to the search below or refused by hold.
		if _, err := tx.Exec(ctx, `UPDATE api_keys SET updated_at = updated_at WHERE id = $1`, id); err != nil {
			return err
		}
		k, err := s.scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM api_keys k WHERE k.id = $1`, id))
		if errors.Is(err, sql.ErrNoRows) {
			err = ErrNotFound
		} else if err != nil {
			return err
		}
		if err := allowed(k, err); err != nil {
			return err
		}
		act.On("key", strconv.FormatInt(id, 10), k.Name)
		n, err := s.end(ctx, tx, act, k)
		if err != nil {
			return err
		}
		if n == 0 {
			act.Nothing()
		}
		return nil
	})
}

// EndIn ends a key, and all that it made, inside tx, as what act does. A key that
// is revoked or gone already is no error.
func (s *Store) EndIn(ctx context.Context, tx *db.Tx, act *access.Act, id int64) error {
	if _, err := tx.Exec(ctx, `UPDATE api_keys SET updated_at = updated_at WHERE id = $1`, id); err != nil {
		return err
	}
	k, err := s.scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM api_keys k WHERE k.id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return err
	}
	act.On("key", strconv.FormatInt(id, 10), k.Name)
	_, err = s.end(ctx, tx, act, k)
	return err
}

// RevokeAccount ends the keys that are tied to an account, and all that they
// made, inside the transaction that removes it. A service key that the account
// made by itself belongs to the organization and lives on.
func (s *Store) RevokeAccount(ctx context.Context, tx *db.Tx, act *access.Act, accountID string) error {
	keys, err := s.collect(tx.Query(ctx, `SELECT `+columns+` FROM api_keys k WHERE k.account_id = $1 AND k.revoked_at = 0 AND k.type <> 'service'`, accountID))
	if err != nil {
		return err
	}
	_, err = s.end(ctx, tx, act, keys...)
	return err
}

func (s *Store) collect(rows *sql.Rows, err error) ([]Key, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []Key
	for rows.Next() {
		k, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}
