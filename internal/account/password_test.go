package account_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestANewPasswordEndsTheOtherSignIns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		h.register(t, "bob")
		bob := h.enter(t, home, "bob")
		who, mine := h.signedIn(t, "jane")
		laptop := h.enter(t, away, "jane")
		there := h.caller(t, laptop.Access)

		if err := h.ChangePassword(t.Context(), who, right, wrong); err != nil {
			t.Fatal(err)
		}
		h.refused(t, "of another sign-in", laptop.Access)
		if _, err := h.Refresh(t.Context(), away, laptop.Refresh.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
			t.Errorf("the other's refresh token: %v", err)
		}
		if !closed(t, d, access.SignInClosed, there.SignInID) || closed(t, d, access.SignInClosed, who.SignInID) {
			t.Error("the change log has the wrong sign-ins")
		}
		h.caller(t, mine.Access)
		h.refresh(t, mine.Refresh)
		h.caller(t, bob.Access)
		if _, err := h.SignIn(t.Context(), home, "jane@example.com", right); !errors.Is(err, account.ErrInvalidCredentials) {
			t.Errorf("with the old password: %v", err)
		}
		if _, err := h.SignIn(t.Context(), home, "jane@example.com", wrong); err != nil {
			t.Errorf("with the new password: %v", err)
		}
	})
}

func TestAPasswordIsChangedOnlyByWhoKnowsIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		who, _ := h.signedIn(t, "jane")
		err := h.ChangePassword(t.Context(), who, right, seal.NewSecret("short"))
		if !errors.Is(err, fault.ErrInvalidRequest) || fault.Of(err).Details["field"] != "newPassword" {
			t.Errorf("a short new one: %v", err)
		}
		for i := range account.FailurePace.Burst {
			if err := h.ChangePassword(t.Context(), who, wrong, wrong); !errors.Is(err, account.ErrInvalidCredentials) {
				t.Fatalf("guess %d: %v", i, err)
			}
		}
		if err := h.ChangePassword(t.Context(), who, right, wrong); !errors.Is(err, account.ErrTooManyTries) {
			t.Errorf("one guess too many: %v", err)
		}
		if err := h.Delete(t.Context(), who, right); !errors.Is(err, account.ErrTooManyTries) {
			t.Errorf("and to delete it: %v", err)
		}
		h.signIn(t, home, "jane")
	})
}

// Whoever knew the old password and signs in while it is being changed must not
// stay.
func TestNoSignInOutlivesTheChangeOfItsPassword(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		who, _ := h.signedIn(t, "jane")
		var wg sync.WaitGroup
		var mu sync.Mutex
		var thief []account.Tokens
		for range 6 {
			wg.Go(func() {
				tokens, err := h.SignIn(t.Context(), home, "jane@example.com", right)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					thief = append(thief, tokens)
				} else if !errors.Is(err, account.ErrInvalidCredentials) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := h.ChangePassword(t.Context(), who, right, wrong); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		for _, tokens := range thief {
			h.refused(t, "signed in with the old password", tokens.Access)
		}
	})
}

func TestADeletedAccountTakesItsOrganizationWithIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		jane := h.register(t, "jane")
		h.register(t, "bob")
		bob := h.enter(t, home, "bob")
		who, tokens := h.signedIn(t, "jane")
		laptop := h.enter(t, away, "jane")
		exec(t, d, `INSERT INTO api_keys (id, organization_id, account_id, name, type, made_by_key, created_at, updated_at, expires_at, revoked_at, root_version, tag)
			VALUES (1, $1, $2, 'k', 'personal', 0, 1, 1, 0, 0, 1, $3)`, who.OrganizationID, who.AccountID, []byte{})

		if err := h.Delete(t.Context(), who, wrong); !errors.Is(err, account.ErrInvalidCredentials) {
			t.Errorf("with a wrong password: %v", err)
		}
		h.caller(t, tokens.Access)
		if err := h.Delete(t.Context(), who, right); err != nil {
			t.Fatal(err)
		}
		h.refused(t, "its own", tokens.Access)
		h.refused(t, "of its other sign-in", laptop.Access)
		if len(h.revoked) != 1 || h.revoked[0] != jane.ID {
			t.Errorf("the keys of %v were revoked", h.revoked)
		}
		if !closed(t, d, access.AccountClosed, jane.ID) || !closed(t, d, access.OrganizationClosed, who.OrganizationID) || !closed(t, d, access.SignInClosed, who.SignInID) {
			t.Error("the change log lacks a door")
		}
		for table, want := range map[string]int64{"accounts": 1, "organizations": 2, "memberships": 1, "sign_ins": 1, "api_keys": 0} {
			if n := number(t, d, `SELECT count(*) FROM `+table); n != want {
				t.Errorf("%d %s are left, want %d", n, table, want)
			}
		}
		if _, err := h.Refresh(t.Context(), home, tokens.Refresh.Reveal()); !errors.Is(err, account.ErrInvalidRefreshToken) {
			t.Errorf("its refresh token: %v", err)
		}
		if _, err := h.SignIn(t.Context(), home, "jane@example.com", right); !errors.Is(err, account.ErrInvalidCredentials) {
			t.Errorf("signing in: %v", err)
		}
		if err := h.Delete(t.Context(), who, right); !errors.Is(err, account.ErrInvalidCredentials) {
			t.Errorf("deleted twice: %v", err)
		}
		h.caller(t, bob.Access)
		h.register(t, "jane")
	})
}

func TestTheServerIsNeverNobodys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.operator(t, "ann")
		ann, _ := h.signedIn(t, "ann")
		err := h.Delete(t.Context(), ann, right)
		if !errors.Is(err, account.ErrLastOwner) || fault.Of(err).Kind != fault.Conflict {
			t.Errorf("the only owner: %v", err)
		}
		if len(texts(t, d, `SELECT id FROM changes`)) != 0 {
			t.Error("what was refused is in the change log")
		}

	})
}

func TestOfTwoOwnersWhoLeaveAtOnceOneStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.operator(t, "ann")
		stayed, _ := h.signedIn(t, "ann")
		for round := range 10 {
			name := fmt.Sprint("bob", round)
			bob := h.register(t, name)
			if err := h.AddOwner(t.Context(), bob.ID, stayed.OrganizationID); err != nil {
				t.Fatal(err)
			}
			other, _ := h.signedIn(t, name)
			owners := []access.Caller{stayed, other}
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for i, who := range owners {
				server := h.another(t)
				wg.Go(func() { errs[i] = server.Leave(t.Context(), who) })
			}
			wg.Wait()
			for i, err := range errs {
				if err != nil && !errors.Is(err, account.ErrLastOwner) {
					t.Error(err)
				} else if err != nil {
					stayed = owners[i]
				}
			}
			if n := number(t, d, `SELECT count(*) FROM memberships WHERE organization_id = $1`, stayed.OrganizationID); n != 1 || (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("the server has %d owners after %v", n, errs)
			}
		}
	})
}
