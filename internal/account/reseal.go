package account

import (
	"context"
	"fmt"

	"github.com/keyward/keyward/internal/db"
)

// Reseal renews the boxes and tags of up to limit rows that are under another
// root key than the active one, and says how many. A row that is changed
// meanwhile is left for the next time. Zero means that none is left.
func (s *Store) Reseal(ctx context.Context, limit int) (done int, err error) {
	for _, table := range []func(context.Context, uint32, int) (int, error){
		s.resealOrganizations, s.resealAccounts, s.resealMemberships, s.resealSignIns, s.resealSetupCodes,
	} {
		if done == limit {
			break
		}
		n, err := table(ctx, s.Root.Active(), limit-done)
		done += n
		if err != nil {
			return done, fmt.Errorf("renew accounts under the active root key: %w", err)
		}
	}
	return done, nil
}

// resealRows renews the rows of a query, each with write, whose last arguments
// are the version, the tag, and the tag that the row was read with.
func resealRows[T any, R interface {
	*T
	row
}](ctx context.Context, s *Store, active uint32, limit int, query, write string, key func(R) []any) (int, error) {
	rows, err := s.DB.Query(ctx, query, active, limit)
	list, err := collect(s, rows, err, func(one *T) []row { return []row{R(one)} })
	if err != nil || len(list) == 0 {
		return 0, err
	}
	olds := make([][]byte, len(list))
	for i := range list {
		olds[i] = R(&list[i]).mark().tag
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		for i := range list {
			r := R(&list[i])
			if err := s.tag(r); err != nil {
				return err
			}
			args := append(key(r), r.mark().version, r.mark().tag, olds[i])
			if _, err := tx.Exec(ctx, write, args...); err != nil {
				return err
			}
		}
		return nil
	})
	return len(list), err
}

func (s *Store) resealOrganizations(ctx context.Context, active uint32, limit int) (int, error) {
	return resealRows(ctx, s, active, limit,
		`SELECT `+organizationColumns+` FROM organizations o WHERE o.root_version <> $1 LIMIT $2`,
		`UPDATE organizations SET root_version = $2, tag = $3 WHERE id = $1 AND tag = $4`,
		func(o *Organization) []any { return []any{o.ID} })
}

func (s *Store) resealAccounts(ctx context.Context, active uint32, limit int) (int, error) {
	return resealRows(ctx, s, active, limit,
		`SELECT `+accountColumns+` FROM accounts a WHERE a.root_version <> $1 LIMIT $2`,
		`UPDATE accounts SET password = $2, root_version = $3, tag = $4 WHERE id = $1 AND tag = $5`,
		func(a *Account) []any { return []any{a.ID, a.password} })
}

func (s *Store) resealMemberships(ctx context.Context, active uint32, limit int) (int, error) {
	return resealRows(ctx, s, active, limit,
		`SELECT `+membershipColumns+` FROM memberships m WHERE m.root_version <> $1 LIMIT $2`,
		`UPDATE memberships SET root_version = $3, tag = $4 WHERE account_id = $1 AND organization_id = $2 AND tag = $5`,
		func(m *Membership) []any { return []any{m.AccountID, m.organizationID} })
}

func (s *Store) resealSignIns(ctx context.Context, active uint32, limit int) (int, error) {
	return resealRows(ctx, s, active, limit,
		`SELECT `+signInColumns+` FROM sign_ins s WHERE s.root_version <> $1 LIMIT $2`,
		`UPDATE sign_ins SET family_key = $2, root_version = $3, tag = $4 WHERE id = $1 AND tag = $5`,
		func(f *signIn) []any { return []any{f.id, f.familyKey} })
}

func (s *Store) resealSetupCodes(ctx context.Context, active uint32, limit int) (int, error) {
	return resealRows(ctx, s, active, limit,
		`SELECT `+setupCodeColumns+` FROM setup_codes c WHERE c.root_version <> $1 LIMIT $2`,
		`UPDATE setup_codes SET root_version = $2, tag = $3 WHERE digest = $1 AND tag = $4`,
		func(c *setupCode) []any { return []any{c.digest} })
}
