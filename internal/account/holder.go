package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/access"
)

// Holder returns whose the key is that who shows: the account, which a service
// key has none of, and the organization.
func (s *Store) Holder(ctx context.Context, who access.Caller) (a Account, o Organization, err error) {
	if err := who.May(access.ReadSelf); err != nil {
		return Account{}, Organization{}, err
	}
	if who.AccountID == "" {
		err = s.scan(s.DB.QueryRow(ctx, `SELECT `+organizationColumns+` FROM organizations o WHERE o.id = $1`, who.OrganizationID), &o)
	} else {
		var m Membership
		err = s.scan(s.DB.QueryRow(ctx, `
			SELECT `+accountColumns+`, `+membershipColumns+`, `+organizationColumns+`
			FROM memberships m JOIN accounts a ON a.id = m.account_id JOIN organizations o ON o.id = m.organization_id
			WHERE m.account_id = $1 AND m.organization_id = $2`, who.AccountID, who.OrganizationID), &a, &m, &o)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return Account{}, Organization{}, ErrNotMember
	} else if err != nil {
		return Account{}, Organization{}, fmt.Errorf("find the holder of a key: %w", err)
	}
	return a, o, nil
}
