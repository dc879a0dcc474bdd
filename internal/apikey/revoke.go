package apikey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/quota"
	"github.com/keyward/keyward/internal/seal"
)

// Revoke ends a key of who's organization, and every key that it made, and
// theirs. When it returns, none of them is accepted any more. To revoke a key
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

// end revokes keys and all that they made, each once, and says how many were not
// revoked before.
func (s *Store) end(ctx context.Context, tx *db.Tx, act *access.Act, keys ...Key) (ended int, err error) {
	seen := map[int64]bool{}
	for _, k := range keys {
		seen[k.ID] = true
	}
	for queue := keys; len(queue) > 0; queue = queue[1:] {
		k := queue[0]
		if k.RevokedAt.IsZero() {
			old := k.tag
			k.RevokedAt, k.UpdatedAt = s.Now(), s.Now()
			version, tag := s.Root.Tag(seal.APIKeyRow, k.fields()...)
			n, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = $1, updated_at = $2, root_version = $3, tag = $4 WHERE id = $5 AND tag = $6`,
				db.Micros(k.RevokedAt), db.Micros(k.UpdatedAt), version, tag, k.ID, old)
			if err != nil {
				return 0, err
			}
			if n == 0 {
				return 0, db.ErrConflict
			}
			if err := quota.Give(ctx, tx, k.OrganizationID, quota.Keys, 1); err != nil {
				return 0, err
			}
			ended++
		}
		// Of a key that was revoked before as well: the call that did it may not
		// have answered yet, and when this one answers nobody takes the key.
		act.Closes(access.KeyClosed, strconv.FormatInt(k.ID, 10))
		made, err := s.collect(tx.Query(ctx, `SELECT `+columns+` FROM api_keys k WHERE k.made_by_key = $1 AND k.made_by_key <> 0`, k.ID))
		if err != nil {
			return 0, fmt.Errorf("find the keys that key %d made: %w", k.ID, err)
		}
		for _, m := range made {
			if !seen[m.ID] {
				seen[m.ID] = true
				queue = append(queue, m)
			}
		}
	}
	return ended, nil
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
