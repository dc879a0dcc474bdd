package apikey

import (
	"context"
	"fmt"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Purge removes up to limit keys that were revoked so long ago that they are
// not remembered any more, and says how many.
func (s *Store) Purge(ctx context.Context, limit int) (removed int, err error) {
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM api_keys WHERE id IN (
			SELECT id FROM api_keys WHERE revoked_at <> 0 AND revoked_at <= $1 LIMIT $2)`,
			db.Micros(s.Now().Add(-revokedRemembered)), limit)
		removed = int(n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge keys: %w", err)
	}
	return removed, nil
}

// Reseal renews the tags of up to limit rows that were made under another root
// key than the active one, and says how many. Zero means that none is left.
func (s *Store) Reseal(ctx context.Context, limit int) (done int, err error) {
	active := s.Root.Active()
	keys, err := s.collect(s.DB.Query(ctx, `SELECT `+columns+` FROM api_keys k WHERE k.root_version <> $1 LIMIT $2`, active, limit))
	if err != nil {
		return 0, fmt.Errorf("re-tag keys: %w", err)
	}
	secrets, err := s.oldSecrets(ctx, active, limit-len(keys))
	if err != nil {
		return 0, fmt.Errorf("re-tag secrets of keys: %w", err)
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		for _, k := range keys {
			version, tag := s.Root.Tag(seal.APIKeyRow, k.fields()...)
			if _, err := tx.Exec(ctx, `UPDATE api_keys SET root_version = $1, tag = $2 WHERE id = $3 AND tag = $4`, version, tag, k.ID, k.tag); err != nil {
				return err
			}
		}
		for _, o := range secrets {
			version, tag := s.Root.Tag(seal.APIKeyRow, secretFields(o.digest, o.keyID, o.expiresAt)...)
			if _, err := tx.Exec(ctx, `UPDATE api_key_secrets SET root_version = $1, tag = $2 WHERE digest = $3 AND tag = $4`, version, tag, o.digest, o.tag); err != nil {
				return err
			}
		}
		return nil
	})
	return len(keys) + len(secrets), err
}

type oldSecret struct {
	digest, tag      []byte
	keyID, expiresAt int64
}

func (s *Store) oldSecrets(ctx context.Context, active uint32, limit int) ([]oldSecret, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT digest, key_id, expires_at, root_version, tag FROM api_key_secrets WHERE root_version <> $1 LIMIT $2`, active, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var old []oldSecret
	for rows.Next() {
		var o oldSecret
		var version uint32
		if err := rows.Scan(&o.digest, &o.keyID, &o.expiresAt, &version, &o.tag); err != nil {
			return nil, err
		}
		if err := s.Root.CheckTag(seal.APIKeyRow, version, o.tag, secretFields(o.digest, o.keyID, o.expiresAt)...); err != nil {
			return nil, fmt.Errorf("a secret of api key %d: %w", o.keyID, err)
		}
		old = append(old, o)
	}
	return old, rows.Err()
}
