package apikey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Of returns a key of the organization that is not revoked, without its hint. It
// is for the server's own use, where nobody asks.
func (s *Store) Of(ctx context.Context, organizationID string, id int64) (Key, error) {
	k, err := s.scan(s.DB.QueryRow(ctx, `SELECT `+columns+` FROM api_keys k WHERE k.id = $1 AND k.organization_id = $2`, id, organizationID))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Key{}, ErrNotFound
	case err != nil:
		return Key{}, fmt.Errorf("read a key: %w", err)
	case !k.RevokedAt.IsZero(): // which the tag vouches for, and a WHERE would not
		return Key{}, ErrNotFound
	}
	return k, nil
}
