package account_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

func TestTheOwnersOfAnOrganizationAreFoundByTheirTags(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		jane, bob := h.register(t, "jane"), h.register(t, "bob")
		organization := func(accountID string) (id string) {
			t.Helper()
			if err := d.QueryRow(t.Context(), `SELECT organization_id FROM memberships WHERE account_id = $1`, accountID).Scan(&id); err != nil {
				t.Fatal(err)
			}
			return id
		}
		for _, a := range []struct{ id, want string }{{jane.ID, "jane@example.com"}, {bob.ID, "bob@example.com"}} {
			if got, err := h.OwnerEmails(t.Context(), organization(a.id)); err != nil || !slices.Equal(got, []string{a.want}) {
				t.Errorf("got %v, %v, want %s", got, err, a.want)
			}
		}
		if got, err := h.OwnerEmails(t.Context(), "none"); err != nil || len(got) != 0 {
			t.Errorf("an organization without owners: %v, %v", got, err)
		}
		for _, forge := range []string{
			`UPDATE accounts SET email = 'eve@evil.example' WHERE id = $1`,
			`UPDATE memberships SET organization_id = '` + organization(bob.ID) + `' WHERE account_id = $1`,
		} {
			if err := d.Tx(t.Context(), func(tx *db.Tx) error { _, err := tx.Exec(t.Context(), forge, jane.ID); return err }); err != nil {
				t.Fatal(err)
			}
			if got, err := h.OwnerEmails(t.Context(), organization(jane.ID)); !errors.Is(err, seal.ErrTag) {
				t.Errorf("a forged row: %v, %v", got, err)
			}
		}
	})
}
