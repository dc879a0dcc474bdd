package account

import (
	"context"
	"fmt"

	"github.com/keyward/keyward/internal/access"
)

// OwnerEmails returns where the owners of an organization get e-mail, the first
// owner first. It is for the server's own messages to them.
func (s *Store) OwnerEmails(ctx context.Context, organizationID string) ([]string, error) {
	type owner struct {
		Membership
		Account
	}
	rows, err := s.DB.Query(ctx, `
		SELECT `+membershipColumns+`, `+accountColumns+`
		FROM memberships m JOIN accounts a ON a.id = m.account_id
		WHERE m.organization_id = $1 ORDER BY m.created_at, m.account_id`, organizationID)
	owners, err := collect(s, rows, err, func(o *owner) []row { return []row{&o.Membership, &o.Account} })
	if err != nil {
		return nil, fmt.Errorf("find the owners of an organization: %w", err)
	}
	var emails []string
	for _, o := range owners {
		if o.Role == access.Owner { // which the tag vouches for, and a WHERE would not
			emails = append(emails, o.Email)
		}
	}
	return emails, nil
}
