package vault_test

import (
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/vault"
)

// key returns who with a key for these agents.
func key(who access.Caller, agentIDs ...string) access.Caller {
	who.SignInID, who.KeyID, who.Scopes, who.AgentIDs = "", 7, access.AllScopes, agentIDs
	return who
}

func TestToAKeyForOtherAgentsAProfileIsNotThere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		janes := h.create(t, h.jane, "shop", "p", "username", `"jane"`)
		bobs := h.create(t, h.bob, "public/shop", "p", "username", `"bob"`)
		for name, test := range map[string]struct {
			who access.Caller
			id  string
		}{
			"another agent's":             {key(h.jane, "mail", "public/shop"), janes.ID},
			"no agent's":                  {key(h.jane, ""), janes.ID},
			"one of the same id":          {key(h.bob, "shop", "public/mail"), bobs.ID},
			"one that is in another case": {key(h.bob, "public/Shop"), bobs.ID},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := h.Get(t.Context(), test.who, test.id)
				wantErr(t, err, vault.ErrNotFound)
				wantErr(t, h.Delete(t.Context(), test.who, test.id), vault.ErrNotFound)
				wantErr(t, h.DeleteSession(t.Context(), test.who, test.id), vault.ErrNotFound)
			})
		}
		h.holds(t, janes.Token, `username="jane"`, "")

		for id, who := range map[string]access.Caller{janes.ID: key(h.jane, "mail", "shop"), bobs.ID: key(h.bob, "public/shop")} {
			if _, err := h.Get(t.Context(), who, id); err != nil {
				t.Error(err)
			}
			if err := h.DeleteSession(t.Context(), who, id); err != nil {
				t.Error(err)
			}
			if err := h.Delete(t.Context(), who, id); err != nil {
				t.Error(err)
			}
		}
	})
}

// A service key has an organization behind it, and no account.
func TestAServiceKeyKeepsProfiles(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		service := key(h.jane, "shop")
		service.AccountID, service.Scopes = "", access.ProfilesRead|access.ProfilesWrite|access.AgentsRun
		made := h.create(t, service, "shop", "p", "username", `"jane"`)
		h.upsert(t, service, vault.UpsertRequest{AgentID: "shop", Token: secret(made.Token), Values: values("username", `"ann"`)})
		o, err := h.Open(t.Context(), service, h.agent("uid-shop"), secret(made.Token))
		if err != nil {
			t.Fatal(err)
		}
		o.Close()
		if list, err := h.List(t.Context(), service, "shop", "", 10); err != nil || len(list) != 1 {
			t.Errorf("List = %v, %v", list, err)
		}
		if _, err := h.RotateToken(t.Context(), service, "shop", secret(made.Token), 0); err != nil {
			t.Error(err)
		}
		if err := h.Delete(t.Context(), service, made.ID); err != nil {
			t.Error(err)
		}
	})
}
