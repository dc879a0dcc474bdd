package device

import (
	"context"
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Purge removes up to limit logins that are over, and says how many. A key that
// one of them made, and that nobody has used, is ended.
func (s *Store) Purge(ctx context.Context, limit int) (removed int, err error) {
	gone, err := s.collect(s.DB.Query(ctx, `SELECT `+columns+` FROM device_logins WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2`, db.Micros(s.Now()), limit))
	if err != nil {
		return 0, fmt.Errorf("purge device logins: %w", err)
	}
	var ids []int64
	for _, l := range gone {
		if l.State == Completed {
			ids = append(ids, l.KeyID)
		}
	}
	used := map[int64]bool{}
	if len(ids) > 0 {
		if used, err = s.Used(ctx, ids); err != nil {
			return 0, fmt.Errorf("purge device logins: %w", err)
		}
	}
	for _, l := range gone {
		if l.State == Completed && !used[l.KeyID] {
			if err := s.abandon(ctx, access.NewServer(), access.AbandonDevice, l); err != nil {
				return 0, err
			}
		}
	}
	// By a clock that is behind, one may just be picked up, and then it stays.
	now := db.Micros(s.Now())
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		for _, l := range gone {
			if _, err := tx.Exec(ctx, `DELETE FROM device_logins WHERE id = $1 AND expires_at <= $2`, l.ID, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("purge device logins: %w", err)
	}
	return len(gone), nil
}

// Reseal renews the tags of up to limit rows that were made under another root
// key than the active one, and says how many. Zero means that none is left.
func (s *Store) Reseal(ctx context.Context, limit int) (done int, err error) {
	old, err := s.collect(s.DB.Query(ctx, `SELECT `+columns+` FROM device_logins WHERE root_version <> $1 LIMIT $2`, s.Root.Active(), limit))
	if err != nil {
		return 0, fmt.Errorf("re-tag device logins: %w", err)
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		for _, l := range old {
			version, tag := s.Root.Tag(seal.DeviceRow, l.fields()...)
			if _, err := tx.Exec(ctx, `UPDATE device_logins SET root_version = $1, tag = $2 WHERE id = $3 AND tag = $4`, version, tag, l.ID, l.tag); err != nil {
				return err
			}
		}
		return nil
	})
	return len(old), err
}
