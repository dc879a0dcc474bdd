package apikey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// Filter says which keys are listed. Without a status, all that are not revoked.
type Filter struct {
	Status     string // active, disabled, expired, revoked or ""
	Type       string
	ExternalID string
	After      Mark // where the page before ended
	Offset     int64
	Limit      int64
}

// Mark is a key's place in a list: newest first.
type Mark struct {
	CreatedAt time.Time
	ID        int64
}

// Mark returns k's place.
func (k Key) Mark() Mark { return Mark{k.CreatedAt, k.ID} }

// The hint is that of the one secret that was not rotated away.
const listed = columns + `, COALESCE((SELECT max(s.hint) FROM api_key_secrets s WHERE s.key_id = k.id AND s.expires_at = 0), '')`

// Get returns a key of who's organization, also a revoked one for as long as it
// is remembered.
func (s *Store) Get(ctx context.Context, who access.Caller, id int64) (Key, error) {
	if err := who.May(access.ReadKeys); err != nil {
		return Key{}, err
	}
	return s.get(ctx, s.DB, who, id)
}

// GetSelf returns the key that who presents.
func (s *Store) GetSelf(ctx context.Context, who access.Caller) (Key, error) {
	if err := who.May(access.ReadSelf); err != nil {
		return Key{}, err
	}
	return s.get(ctx, s.DB, who, who.KeyID)
}

func (s *Store) get(ctx context.Context, q db.Querier, who access.Caller, id int64) (Key, error) {
	var hint string
	k, err := s.scan(q.QueryRow(ctx, `SELECT `+listed+` FROM api_keys k WHERE k.id = $1 AND k.organization_id = $2`,
		id, who.OrganizationID), &hint)
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, ErrNotFound
	}
	k.Hint = hint
	return k, err
}

// List returns keys of who's organization, newest first, and how many there are
// in all.
func (s *Store) List(ctx context.Context, who access.Caller, f Filter) (keys []Key, total int64, err error) {
	if err := who.May(access.ReadKeys); err != nil {
		return nil, 0, err
	}
	switch f.Status {
	case "", "active", "disabled", "expired", "revoked":
	default:
		return nil, 0, fault.Field("status", "must be active, disabled, expired or revoked")
	}
	switch f.Type {
	case "", Personal, Temporary, Service:
	default:
		return nil, 0, fault.Field("type", "must be personal, temporary or service")
	}
	return s.list(ctx, who, f)
}

// ListOwn returns the personal and temporary keys of who's account that are not
// deleted, oldest first.
func (s *Store) ListOwn(ctx context.Context, who access.Caller) ([]Key, error) {
	if err := who.May(access.ReadOwnKeys); err != nil {
		return nil, err
	}
	keys, err := s.collect(s.DB.Query(ctx, `
		SELECT `+columns+` FROM api_keys k
		WHERE k.account_id = $1 AND k.organization_id = $2 AND k.revoked_at = 0 AND k.type <> 'service'
		ORDER BY k.created_at, k.id`, who.AccountID, who.OrganizationID))
	if err != nil {
		return nil, fmt.Errorf("list the keys of an account: %w", err)
	}
	return keys, nil
}

// wanted is the part of the WHERE that [Filter] makes; its arguments are $1 to
// $5: organization, status, now, type, external id. It says of a key's status
// what [Key.Status] says.
const wanted = `k.organization_id = $1
	AND (($2 = 'revoked' AND k.revoked_at <> 0) OR ($2 <> 'revoked' AND k.revoked_at = 0))
	AND ($2 <> 'disabled' OR k.disabled <> 0)
	AND ($2 <> 'active' OR (k.disabled = 0 AND (k.expires_at = 0 OR k.expires_at > $3)))
	AND ($2 <> 'expired' OR (k.disabled = 0 AND k.expires_at <> 0 AND k.expires_at <= $3))
	AND ($4 = '' OR k.type = $4)
	AND ($5 = '' OR k.external_id = $5)`

func (s *Store) list(ctx context.Context, who access.Caller, f Filter) (keys []Key, total int64, err error) {
	args := []any{who.OrganizationID, f.Status, db.Micros(s.Now()), f.Type, f.ExternalID}
	if err := s.DB.QueryRow(ctx, `SELECT count(*) FROM api_keys k WHERE `+wanted, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count keys: %w", err)
	}
	after := db.Micros(f.After.CreatedAt)
	rows, err := s.DB.Query(ctx, `
		SELECT `+listed+` FROM api_keys k WHERE `+wanted+`
		  AND (CAST($6 AS BIGINT) = 0 OR k.created_at < $6 OR (k.created_at = $6 AND k.id < $7))
		ORDER BY k.created_at DESC, k.id DESC LIMIT $8 OFFSET $9`,
		append(args, after, f.After.ID, f.Limit, f.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list keys: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var hint string
		k, err := s.scan(rows, &hint)
		if err != nil {
			return nil, 0, fmt.Errorf("list keys: %w", err)
		}
		k.Hint = hint
		keys = append(keys, k)
	}
	return keys, total, rows.Err()
}
