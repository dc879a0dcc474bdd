package alert

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

// Filter says which firings are listed.
type Filter struct {
	KeyID int64  // 0: any
	After string // the ID of the last firing of the page before
	Limit int64
}

// List returns what fired in who's organization, newest first, and how each
// delivery went.
func (s *Store) List(ctx context.Context, who access.Caller, f Filter) ([]Firing, error) {
	if err := who.May(access.ReadAlerts); err != nil {
		return nil, err
	}
	firings, err := s.firings(ctx, who, f)
	if err != nil {
		return nil, fmt.Errorf("list alerts that fired: %w", err)
	}
	if len(firings) == 0 {
		return nil, nil
	}
	rows, err := s.DB.Query(ctx, `
		SELECT `+firingColumns+`, `+deliveryColumns+` FROM alert_firings f JOIN alert_deliveries d ON d.firing_id = f.id
		WHERE f.organization_id = $1 AND (CAST($2 AS BIGINT) = 0 OR f.key_id = $2) AND f.id <= $3 AND f.id >= $4 ORDER BY d.id`,
		who.OrganizationID, f.KeyID, firings[0].ID, firings[len(firings)-1].ID)
	if err != nil {
		return nil, fmt.Errorf("list deliveries of alerts: %w", err)
	}
	at := map[string]*Firing{}
	for i := range firings {
		at[firings[i].ID] = &firings[i]
	}
	err = s.eachDelivery(rows, func(f Firing, d Delivery) {
		if at[f.ID] != nil {
			at[f.ID].Deliveries = append(at[f.ID].Deliveries, d)
		}
	})
	return firings, err
}

func (s *Store) firings(ctx context.Context, who access.Caller, f Filter) ([]Firing, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT `+firingColumns+` FROM alert_firings f
		WHERE f.organization_id = $1 AND (CAST($2 AS BIGINT) = 0 OR f.key_id = $2) AND ($3 = '' OR f.id < $3)
		ORDER BY f.id DESC LIMIT $4`, who.OrganizationID, f.KeyID, f.After, f.Limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var firings []Firing
	for rows.Next() {
		var f Firing
		var window, fired int64
		if err := rows.Scan(f.into(&window, &fired)...); err != nil {
			return nil, err
		}
		f.Window, f.FiredAt = db.Time(window), db.Time(fired)
		firings = append(firings, f)
	}
	return firings, rows.Err()
}

// eachDelivery reads rows of firings with their deliveries to the end.
func (s *Store) eachDelivery(rows *sql.Rows, take func(Firing, Delivery)) error {
	defer rows.Close()
	for rows.Next() {
		f, d, err := s.scanDelivery(rows)
		if err != nil {
			return err
		}
		take(f, d)
	}
	return rows.Err()
}
