package agent_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
)

// key returns who with a key that has these scopes, for these agents.
func key(who access.Caller, scopes access.Scopes, agentIDs ...string) access.Caller {
	who.SignInID, who.KeyID, who.Scopes, who.AgentIDs = "", 7, scopes, agentIDs
	return who
}

func TestAKeyForCertainAgentsHasThoseAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		ctx := t.Context()
		h.jane.Quotas.Agents = access.Unlimited
		for _, id := range []string{"a", "b", "A"} {
			h.create(t, h.jane, web(id))
		}
		for _, id := range []string{"shared", "hidden"} {
			def := web(id)
			if id == "shared" {
				def.Visibility = agent.Public
			}
			h.create(t, h.op, def)
		}
		narrow := key(h.jane, access.AllScopes, "b", "public/shared", "later")

		for name, call := range map[string]func(id string) error{
			"Find":   func(id string) error { return second(h.Find(ctx, narrow, id)) },
			"Get":    func(id string) error { return second(h.Get(ctx, narrow, id)) },
			"Change": func(id string) error { return second(h.Change(ctx, narrow, id, agent.Change{Name: ptr("x")})) },
			"Renew":  func(id string) error { return second(h.RenewRunnerSecret(ctx, narrow, id)) },
			"Delete": func(id string) error { return h.Delete(ctx, narrow, id) },
			"Create": func(id string) error { return third(h.Create(ctx, narrow, web(id))) },
		} {
			// Whether there is such an agent makes no difference.
			for _, id := range []string{"a", "A", "B", "shared", "nothing", "public/hidden", "public/b", "public/nothing", "b,public/shared", ",b,"} {
				if err := call(id); !errors.Is(err, access.ErrAgentNotAllowed) {
					t.Errorf("%s %s: %v, want AGENT_NOT_ALLOWED", name, id, err)
				}
			}
		}
		if err := third(h.Create(ctx, narrow, web(""))); !errors.Is(err, access.ErrAgentNotAllowed) {
			t.Errorf("Create without an id: %v", err)
		}

		for _, id := range []string{"b", "public/shared"} {
			if a, err := h.Get(ctx, narrow, id); err != nil || a.IDFor(narrow) != id {
				t.Errorf("Get %s: %v", id, err)
			}
		}
		if _, err := h.Find(ctx, narrow, "later"); !errors.Is(err, agent.ErrNotFound) {
			t.Errorf("Find later: %v", err)
		}
		h.create(t, narrow, web("later"))
		if _, err := h.Change(ctx, narrow, "later", agent.Change{Name: ptr("x")}); err != nil {
			t.Error(err)
		}
		if _, err := h.RenewRunnerSecret(ctx, narrow, "later"); err != nil {
			t.Error(err)
		}

		list := func(who access.Caller, f agent.Filter) string {
			t.Helper()
			found, total, err := h.List(ctx, who, f)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, a := range found {
				ids = append(ids, a.ID)
			}
			return fmt.Sprint(ids, total)
		}
		b, err := h.Get(ctx, narrow, "b")
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			who  access.Caller
			f    agent.Filter
			want string
		}{
			{h.jane, agent.Filter{Limit: 9}, "[later A b a] 4"},
			{narrow, agent.Filter{Limit: 9}, "[later b] 2"},
			{narrow, agent.Filter{Limit: 1}, "[later] 2"},
			{narrow, agent.Filter{Limit: 1, Offset: 1}, "[b] 2"},
			{narrow, agent.Filter{Limit: 9, After: b.UID}, "[] 2"},
			{key(h.jane, access.AllScopes, "A", "a"), agent.Filter{Limit: 9}, "[A a] 2"},
			{key(h.jane, access.AllScopes, "nothing"), agent.Filter{Limit: 9}, "[] 0"},
			{key(h.op, access.AllScopes, "shared"), agent.Filter{Limit: 9}, "[shared] 1"},
		} {
			if got := list(test.who, test.f); got != test.want {
				t.Errorf("%v with %+v lists %s, want %s", test.who.AgentIDs, test.f, got, test.want)
			}
		}
		none := key(h.jane, access.AllScopes)
		none.AgentIDs = []string{}
		if got := list(none, agent.Filter{Limit: 9}); got != "[] 0" {
			t.Errorf("a key for no agent at all lists %s", got)
		}

		for _, test := range []struct {
			who  access.Caller
			id   string
			want error
		}{
			{h.jane, "a", nil}, {h.jane, "public/shared", nil}, {h.op, "shared", nil}, {key(h.jane, access.KeysWrite), "a", nil},
			{h.op, "public/shared", agent.ErrNotFound}, {h.jane, "shared", agent.ErrNotFound}, {h.jane, "public/hidden", agent.ErrNotFound},
			{narrow, "a", access.ErrAgentNotAllowed}, {key(h.jane, access.AuditRead), "a", access.ErrInsufficientScope}, {access.Caller{}, "a", fault.ErrNotAllowed},
		} {
			if err := h.Has(ctx, test.who, test.id); !errors.Is(err, test.want) {
				t.Errorf("Has %s: %v, want %v", test.id, err, test.want)
			}
		}

		// The operator's own agent is one agent, with or without public/.
		operator := key(h.op, access.AllScopes, "shared")
		for id, want := range map[string]error{"shared": nil, "public/shared": nil, "hidden": access.ErrAgentNotAllowed, "public/hidden": access.ErrAgentNotAllowed} {
			if _, err := h.Find(ctx, operator, id); !errors.Is(err, want) {
				t.Errorf("the operator's key finds %s: %v, want %v", id, err, want)
			}
		}
	})
}

func TestAnAgentIsFoundWithAnyScopeThatIsForAgentsAndShownWithOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.create(t, h.jane, web("a"))
		for scope, found := range map[access.Scopes]bool{
			access.AgentsRun: true, access.ProfilesRead: true, access.ProfilesWrite: true, access.AgentsWrite: true,
			access.AuditRead: false, access.KeysVerify: false, access.UsageRead: false, 0: false,
		} {
			who := key(h.jane, scope)
			if _, err := h.Find(t.Context(), who, "a"); (err == nil) != found || err != nil && !errors.Is(err, access.ErrInsufficientScope) {
				t.Errorf("Find with %v: %v", scope.Names(), err)
			}
			if _, err := h.Get(t.Context(), who, "a"); fault.Of(err).Details["scope"] != "agents:read" {
				t.Errorf("Get with %v: %v", scope.Names(), err)
			}
			if _, _, err := h.List(t.Context(), who, agent.Filter{Limit: 1}); fault.Of(err).Details["scope"] != "agents:read" {
				t.Errorf("List with %v: %v", scope.Names(), err)
			}
		}
	})
}

// A service key has an organization behind it, and no account.
func TestAServiceKeyDefinesAgents(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		service := key(h.jane, access.AgentsWrite|access.AgentsRead)
		service.AccountID, service.KeyType = "", "service"
		h.create(t, service, web("a"))
		if _, err := h.Change(t.Context(), service, "a", agent.Change{Name: ptr("x")}); err != nil {
			t.Error(err)
		}
		if n := number(t, d, `SELECT count(*) FROM audit_entries WHERE account_id = '' AND key_id = 7 AND organization_id = 'jane' AND notes = '{}'`); n != 2 {
			t.Errorf("%d entries of the key, want 2", n)
		}
		if err := h.Delete(t.Context(), service, "a"); err != nil {
			t.Error(err)
		}
	})
}
