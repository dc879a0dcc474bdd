package account

import (
	"context"
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Delete removes who's account. Its keys die, an organization that it alone owns
// goes with all that is in it, and its access tokens are refused from then on.
func (s *Store) Delete(ctx context.Context, who access.Caller, password seal.Secret) error {
	if err := who.May(access.DeleteAccount); err != nil {
		return err
	}
	p, err := s.confirm(ctx, who, password, nil)
	if err != nil {
		return fmt.Errorf("delete an account: %w", err)
	}
	return s.leave(ctx, who, p)
}

// leave deletes the account that p was given for.
func (s *Store) leave(ctx context.Context, who access.Caller, p proof) error {
	err := s.Acts.Do(ctx, who, access.DeleteAccount, func(tx *db.Tx, act *access.Act) error {
		a, err := s.hold(ctx, tx, who.AccountID, p)
		if err != nil {
			return err
		}
		act.On("account", a.ID, a.Email)
		return s.remove(ctx, tx, act, a)
	})
	if err == nil {
		s.DB.Scrub()
	}
	return err
}

func (s *Store) remove(ctx context.Context, tx *db.Tx, act *access.Act, a Account) error {
	// Lock first, read after: a key that is being made for a member is either
	// there for RevokeKeys to find, or is refused by HoldMember.
	if _, err := tx.Exec(ctx, `UPDATE memberships SET created_at = created_at WHERE account_id = $1`, a.ID); err != nil {
		return err
	}
	memberships, err := s.memberships(ctx, tx, a.ID)
	if err != nil {
		return err
	}
	if _, err := s.endAll(ctx, tx, act, a.ID, ""); err != nil {
		return err
	}
	if err := s.RevokeKeys(ctx, tx, act, a.ID); err != nil {
		return fmt.Errorf("revoke the keys of an account: %w", err)
	}
	act.Closes(access.AccountClosed, a.ID)
	for _, m := range memberships {
		o := m.Organization
		// Two owners who leave at once do so one after the other.
		if _, err := tx.Exec(ctx, `UPDATE organizations SET updated_at = updated_at WHERE id = $1`, o.ID); err != nil {
			return err
		}
		owned, err := s.hasOwner(ctx, tx, o.ID, a.ID)
		switch {
		case err != nil:
			return err
		case owned:
			continue
		case o.Operator:
			return ErrLastOwner
		}
		act.Closes(access.OrganizationClosed, o.ID)
		if _, err := tx.Exec(ctx, `DELETE FROM organizations WHERE id = $1`, o.ID); err != nil {
			return fmt.Errorf("delete an organization: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, `DELETE FROM accounts WHERE id = $1`, a.ID); err != nil {
		return fmt.Errorf("delete an account: %w", err)
	}
	return nil
}
