package run

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

// key returns who with a key that has these scopes, for these agents.
func key(who access.Caller, scopes access.Scopes, agentIDs ...string) access.Caller {
	who.SignInID, who.KeyID, who.Scopes, who.AgentIDs = "", 7, scopes, agentIDs
	return who
}

func TestAKeyForCertainAgentsRunsAndSeesThoseAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		ctx := t.Context()
		ids := map[string]string{}
		for _, agent := range []string{"a", "b", "c"} {
			h.service(t, agent, says(`{"output":1}`))
			ids[agent] = h.run(t, agent, "").ID
		}
		narrow := key(h.jane, access.AgentsRun, "b", "c", "gone")

		if _, err := h.Start(ctx, narrow, Request{AgentID: "a", Wait: true}); !errors.Is(err, access.ErrAgentNotAllowed) {
			t.Errorf("Start a: %v", err)
		}
		if _, err := h.Start(ctx, narrow, Request{AgentID: "public/b", Wait: true}); !errors.Is(err, access.ErrAgentNotAllowed) {
			t.Errorf("Start public/b: %v", err)
		}
		second, err := h.Start(ctx, narrow, Request{AgentID: "b", Wait: true})
		if err != nil || second.Status != Succeeded {
			t.Fatalf("Start b: %+v, %v", second, err)
		}
		if _, err := h.Get(ctx, narrow, ids["a"]); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get a run of a: %v", err)
		}
		if _, err := h.Get(ctx, narrow, ids["b"]); err != nil {
			t.Errorf("Get a run of b: %v", err)
		}

		for _, test := range []struct {
			f    Filter
			want []string
		}{
			{Filter{Limit: 9}, []string{second.ID, ids["c"], ids["b"]}},
			{Filter{Limit: 1}, []string{second.ID}},
			{Filter{Limit: 1, After: second.ID}, []string{ids["c"]}},
			{Filter{Limit: 9, After: ids["b"]}, nil},
			{Filter{Limit: 9, AgentID: "b"}, []string{second.ID, ids["b"]}},
			{Filter{Limit: 9, AgentID: "gone"}, nil},
		} {
			found, err := h.List(ctx, narrow, test.f)
			var got []string
			for _, run := range found {
				got = append(got, run.ID)
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("List %+v: %v, %v; want %v", test.f, got, err, test.want)
			}
		}
		if _, err := h.List(ctx, narrow, Filter{Limit: 9, AgentID: "a"}); !errors.Is(err, access.ErrAgentNotAllowed) {
			t.Errorf("List the runs of a: %v", err)
		}
	})
}

// A service key has an organization behind it, and no account.
func TestAServiceKeyRunsAgents(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "a", says(`{"output":1}`))
		service := key(h.jane, access.AgentsRun)
		service.AccountID = ""
		done, err := h.Start(t.Context(), service, Request{AgentID: "a", Wait: true})
		if err != nil || done.Status != Succeeded {
			t.Fatalf("Start = %+v, %v", done, err)
		}
		kept, err := h.Get(t.Context(), service, done.ID)
		if err != nil || kept.AccountID != "" || kept.KeyID != 7 {
			t.Errorf("Get = %+v, %v", kept, err)
		}
		if n := number(t, d, `SELECT count(*) FROM audit_entries WHERE action = 'run.start' AND account_id = '' AND key_id = 7`); n != 1 {
			t.Errorf("%d entries of the key, want 1", n)
		}
	})
}
