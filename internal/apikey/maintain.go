package apikey

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Purge removes up to limit keys that were revoked, and as many values of keys
// that were rotated away, so long ago that they are not remembered any more, and
// says how many. A value stays while there is something that was made with it:
// whoever ends the key that gave it ends that too.
func (s *Store) Purge(ctx context.Context, limit int) (removed int, err error) {
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		before := db.Micros(s.Now().Add(-revokedRemembered))
		keys, err := tx.Exec(ctx, `DELETE FROM api_keys WHERE id IN (
			SELECT id FROM api_keys WHERE revoked_at <> 0 AND revoked_at <= $1 LIMIT $2)`, before, limit)
		if err != nil {
			return err
		}
		values, err := tx.Exec(ctx, `DELETE FROM api_key_secrets WHERE digest IN (
			SELECT s.digest FROM api_key_secrets s WHERE s.expires_at <> 0 AND s.expires_at <= $1
			  AND NOT EXISTS (SELECT 1 FROM api_keys k WHERE length(k.made_with) > 0 AND k.made_with = s.digest)
			  AND NOT EXISTS (SELECT 1 FROM api_key_secrets m WHERE length(m.made_with) > 0 AND m.made_with = s.digest) LIMIT $2)`, before, limit)
		removed = int(keys + values)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge keys: %w", err)
	}
	return removed, nil
}

// Reseal renews the tags, and the boxes, of up to limit rows that were made
// under another root key than the active one, and says how many. Zero means that none is left.
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
	renewed := slices.Clone(secrets)
	for i := range renewed {
		if err := s.vouch(&renewed[i]); err != nil {
			return 0, fmt.Errorf("re-seal secrets of keys: %w", err)
		}
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		for _, k := range keys {
			version, tag := s.Root.Tag(seal.APIKeyRow, k.fields()...)
			if _, err := tx.Exec(ctx, `UPDATE api_keys SET root_version = $1, tag = $2 WHERE id = $3 AND tag = $4`, version, tag, k.ID, k.tag); err != nil {
				return err
			}
		}
		for i := range secrets {
			if err := s.update(ctx, tx, &secrets[i], renewed[i]); err != nil && !errors.Is(err, db.ErrConflict) {
				return err
			}
		}
		return nil
	})
	return len(keys) + len(secrets), err
}

func (s *Store) oldSecrets(ctx context.Context, active uint32, limit int) ([]secretRow, error) {
	return s.collectSecrets(s.DB.Query(ctx, `SELECT `+secretColumns+` FROM api_key_secrets s WHERE s.root_version <> $1 LIMIT $2`, active, limit))
}
