package alert

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// kept is how long it is shown what fired. It is longer than any window, so
// nothing fires twice for being forgotten.
const kept = 90 * 24 * time.Hour

// Purge removes up to limit firings that are old, with their deliveries, and
// says how many.
func (s *Store) Purge(ctx context.Context, limit int) (removed int, err error) {
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM alert_firings WHERE id IN (SELECT id FROM alert_firings WHERE fired_at <= $1 LIMIT $2)`,
			db.Micros(s.Now().Add(-kept)), limit)
		removed = int(n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge alerts that fired: %w", err)
	}
	return removed, nil
}

// Reseal renews the boxes and tags of up to limit rows that are under another
// root key than the active one, and says how many. Zero means that none is left.
func (s *Store) Reseal(ctx context.Context, limit int) (done int, err error) {
	alerts, err := s.oldAlerts(ctx, limit)
	if err != nil {
		return 0, fmt.Errorf("re-seal alerts: %w", err)
	}
	renewed := make([]Alert, len(alerts))
	for i, a := range alerts {
		renewed[i] = a
		if err := s.vouch(&renewed[i]); err != nil {
			return 0, err
		}
	}
	type delivery struct {
		id                string
		version           uint32
		tag, versionedTag []byte
	}
	var deliveries []delivery
	rows, err := s.DB.Query(ctx, `
		SELECT `+firingColumns+`, `+deliveryColumns+` FROM alert_deliveries d JOIN alert_firings f ON f.id = d.firing_id
		WHERE d.root_version <> $1 LIMIT $2`, s.Root.Active(), limit-len(alerts))
	if err != nil {
		return 0, fmt.Errorf("re-tag deliveries of alerts: %w", err)
	}
	err = s.eachDelivery(rows, func(f Firing, d Delivery) {
		version, tag := s.Root.Tag(seal.AlertRow, d.fields(f)...)
		deliveries = append(deliveries, delivery{d.ID, version, tag, d.tag})
	})
	if err != nil {
		return 0, fmt.Errorf("re-tag deliveries of alerts: %w", err)
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		for i, a := range renewed {
			if _, err := tx.Exec(ctx, `UPDATE alerts SET secret = $1, root_version = $2, tag = $3 WHERE key_id = $4 AND tag = $5`,
				a.secret, a.version, a.tag, a.KeyID, alerts[i].tag); err != nil {
				return err
			}
		}
		for _, d := range deliveries {
			if _, err := tx.Exec(ctx, `UPDATE alert_deliveries SET root_version = $1, tag = $2 WHERE id = $3 AND tag = $4`,
				d.version, d.tag, d.id, d.versionedTag); err != nil {
				return err
			}
		}
		return nil
	})
	return len(alerts) + len(deliveries), err
}

func (s *Store) oldAlerts(ctx context.Context, limit int) ([]Alert, error) {
	rows, err := s.DB.Query(ctx, `SELECT `+columns+` FROM alerts a WHERE a.root_version <> $1 LIMIT $2`, s.Root.Active(), limit)
	return s.collect(rows, err)
}

func (s *Store) collect(rows *sql.Rows, err error) ([]Alert, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var alerts []Alert
	for rows.Next() {
		a, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		alerts = append(alerts, a)
	}
	return alerts, rows.Err()
}
