// Package quota counts how many of each thing an organization has, and never
// lets it have more than its quota: the count and the guard are one statement,
// in the transaction that makes the thing.
package quota

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// Kind is a sort of thing that is counted.
type Kind string

// What is counted.
const (
	Agents       Kind = "agents"
	AuthProfiles Kind = "auth_profiles"
	Keys         Kind = "keys"
	QueuedRuns   Kind = "queued_runs"
)

// Take counts one more of kind for the organization, or returns
// fault.ErrQuota if it has limit of them. A limit below zero is none.
func Take(ctx context.Context, tx *db.Tx, organizationID string, kind Kind, limit int64) error {
	if limit == 0 {
		return refused(kind, limit)
	}
	var used int64
	err := tx.QueryRow(ctx, `
		INSERT INTO quota_uses (organization_id, kind, used) VALUES ($1, $2, 1)
		ON CONFLICT (organization_id, kind) DO UPDATE SET used = quota_uses.used + 1
		WHERE CAST($3 AS BIGINT) < 0 OR quota_uses.used < $3
		RETURNING used`, organizationID, string(kind), limit).Scan(&used)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return refused(kind, limit)
	case err != nil:
		return fmt.Errorf("count %s: %w", kind, err)
	}
	return nil
}

func refused(kind Kind, limit int64) error {
	return fault.ErrQuota.With(fault.Details{"quota": string(kind), "limit": limit})
}

// Give counts n fewer of kind.
func Give(ctx context.Context, tx *db.Tx, organizationID string, kind Kind, n int64) error {
	if n == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE quota_uses SET used = used - $1 WHERE organization_id = $2 AND kind = $3`,
		n, organizationID, string(kind))
	if err != nil {
		return fmt.Errorf("count %s: %w", kind, err)
	}
	return nil
}
