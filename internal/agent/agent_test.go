package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// house is a store with the operator's organization and two others.
type house struct {
	*agent.Store
	op, jane, bob access.Caller
}

func owner(organization string) access.Caller {
	return access.Caller{
		AccountID: "account-" + organization, OrganizationID: organization, Role: access.Owner, SignInID: "s",
		Quotas: access.Quotas{Agents: 3, AuthProfiles: access.Unlimited},
	}
}

func newHouse(t *testing.T, d *db.DB) *house {
	t.Helper()
	root, _ := seal.NewRoot()
	for _, org := range []string{"op", "jane", "bob"} {
		change(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ($1, 'o', 0, 'free', '{}', '{}', 1, 1, 1, $2)`, org, []byte{})
	}
	h := &house{Store: newStore(d, root), op: owner("op"), jane: owner("jane"), bob: owner("bob")}
	h.op.Operator = true
	return h
}

func newStore(d *db.DB, root *seal.Root) *agent.Store {
	now := func() time.Time { return start }
	return &agent.Store{
		Acts: &access.Acts{DB: d, Root: root, Now: now}, DB: d, Root: root, Now: now, OperatorID: "op",
		CheckURL: func(address string, operator bool) (*url.URL, error) {
			u, err := url.Parse(address)
			if err != nil || u.Scheme != "https" && !operator {
				return nil, fault.ErrInvalidRequest.Say("The URL must begin with https://.")
			}
			u.Host = strings.ToLower(u.Host)
			return u, nil
		},
	}
}

func change(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		n, err := tx.Exec(t.Context(), query, args...)
		if err == nil && n == 0 {
			return errors.New("no row was changed")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, d *db.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := d.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func web(id string, arguments ...agent.Argument) agent.Definition {
	return agent.Definition{ID: id, Name: "Invoices", InputArguments: arguments, Runner: agent.Runner{Type: agent.HTTP, URL: "https://Agents.example.com/run?x=1"}}
}

func (h *house) create(t *testing.T, who access.Caller, d agent.Definition) agent.Agent {
	t.Helper()
	a, _, err := h.Create(t.Context(), who, d)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ptr[T any](v T) *T { return &v }

func TestAnAgentIsKeptAsItWasDefined(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, secret, err := h.Create(t.Context(), h.jane, web("invoices",
			agent.Argument{Name: "user", Required: true, Description: "who"},
			agent.Argument{Name: "code", Type: agent.TOTP},
			agent.Argument{Name: "months", Type: agent.Number, Default: jsontext.Value(" 3 ")},
		))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(secret.Reveal(), "whsec_") || len(secret.Reveal()) != len("whsec_")+44 {
			t.Error("the runner secret is not whsec_ and 32 bytes in base64")
		}
		a, err := h.Get(t.Context(), h.jane, "invoices")
		if err != nil {
			t.Fatal(err)
		}
		if a.UID != made.UID || a.Visibility != agent.Private || a.TimeoutSeconds != agent.DefaultTimeout || a.Timeout() != 5*time.Minute ||
			!a.CreatedAt.Equal(start) || !a.UpdatedAt.Equal(start) || a.Runner.URL != "https://agents.example.com/run?x=1" {
			t.Errorf("kept %+v", a)
		}
		want := []agent.Argument{
			{Name: "user", Type: agent.String, Required: true, Description: "who"},
			{Name: "code", Type: agent.TOTP, Sensitive: true},
			{Name: "months", Type: agent.Number, Default: jsontext.Value("3")},
		}
		if !reflect.DeepEqual(a.InputArguments, want) {
			t.Errorf("arguments %+v, want %+v", a.InputArguments, want)
		}
		kept, err := h.RunnerSecret(a)
		if err != nil || kept.Reveal() != secret.Reveal() {
			t.Errorf("the kept runner secret is another: %v", err)
		}
		if got := number(t, d, `SELECT count(*) FROM audit_entries WHERE action = 'agent.create' AND subject_id = 'invoices' AND organization_id = 'jane'`); got != 1 {
			t.Errorf("%d audit rows, want 1", got)
		}
		unnamed := h.create(t, h.jane, agent.Definition{Runner: web("").Runner})
		if len(unnamed.ID) != 36 || unnamed.Name != unnamed.ID {
			t.Errorf("without id and name: %q, %q", unnamed.ID, unnamed.Name)
		}
	})
}

func TestBadDefinitionsAreRefusedByField(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		arguments := func(a ...agent.Argument) func(*agent.Definition) {
			return func(d *agent.Definition) { d.InputArguments = a }
		}
		many := make([]agent.Argument, agent.MaxArguments+1)
		for i := range many {
			many[i].Name = fmt.Sprintf("a%d", i)
		}
		for field, edits := range map[string][]func(*agent.Definition){
			"id": {
				func(d *agent.Definition) { d.ID = "." }, func(d *agent.Definition) { d.ID = ".." }, func(d *agent.Definition) { d.ID = "a/b" },
				func(d *agent.Definition) { d.ID = "a\n" }, func(d *agent.Definition) { d.ID = "é" }, func(d *agent.Definition) { d.ID = strings.Repeat("a", 65) },
			},
			"name": {
				func(d *agent.Definition) { d.Name = strings.Repeat("ü", 201) }, func(d *agent.Definition) { d.Name = "a\tb" }, func(d *agent.Definition) { d.Name = " a" },
			},
			"description":     {func(d *agent.Definition) { d.Description = strings.Repeat("a", 2001) }, func(d *agent.Definition) { d.Description = "\x1b[0m" }},
			"visibility":      {func(d *agent.Definition) { d.Visibility = "secret" }, func(d *agent.Definition) { d.Visibility = agent.Public }},
			"timeout_seconds": {func(d *agent.Definition) { d.TimeoutSeconds = -1 }, func(d *agent.Definition) { d.TimeoutSeconds = 3601 }},
			"max_concurrent":  {func(d *agent.Definition) { d.MaxConcurrent = -1 }, func(d *agent.Definition) { d.MaxConcurrent = agent.MaxConcurrent + 1 }},
			"runner.limits":   {func(d *agent.Definition) { d.Runner.Limits.MemoryMB = 100 }},
			"runner.type": {func(d *agent.Definition) { d.Runner = agent.Runner{} }, func(d *agent.Definition) { d.Runner.Type = "smtp" }, func(d *agent.Definition) {
				d.Runner = agent.Runner{Type: agent.Command, Command: []string{"/bin/true"}}
			}},
			"runner.url":     {func(d *agent.Definition) { d.Runner.URL = "" }, func(d *agent.Definition) { d.Runner.URL = "http://example.com" }},
			"runner.command": {func(d *agent.Definition) { d.Runner.Command = []string{"x"} }},

			"input_arguments":               {arguments(many...)},
			"input_arguments.0.name":        {arguments(agent.Argument{}), arguments(agent.Argument{Name: "1a"}), arguments(agent.Argument{Name: "a b"}), arguments(agent.Argument{Name: "é"}), arguments(agent.Argument{Name: strings.Repeat("a", 65)})},
			"input_arguments.1.name":        {arguments(agent.Argument{Name: "a"}, agent.Argument{Name: "a"})},
			"input_arguments.0.type":        {arguments(agent.Argument{Name: "a", Type: "text"})},
			"input_arguments.0.description": {arguments(agent.Argument{Name: "a", Description: strings.Repeat("a", 1001)})},
			"input_arguments.0.default": {
				arguments(agent.Argument{Name: "a", Sensitive: true, Default: jsontext.Value(`"x"`)}),
				arguments(agent.Argument{Name: "a", Type: agent.TOTP, Default: jsontext.Value(`"JBSWY3DPEHPK3PXP"`)}),
				arguments(agent.Argument{Name: "a", Type: agent.Number, Default: jsontext.Value(`"3"`)}),
				arguments(agent.Argument{Name: "a", Default: jsontext.Value(`nonsense`)}),
			},
		} {
			for i, edit := range edits {
				def := web("x")
				edit(&def)
				_, _, err := h.Create(t.Context(), h.jane, def)
				f := fault.Of(err)
				if f.Details["field"] != field || f.Kind != fault.Invalid && f.Kind != fault.Forbidden {
					t.Errorf("%s, case %d: %v with %v", field, i, err, f.Details)
				}
			}
		}
		if n := number(t, d, `SELECT count(*) FROM agents`) + number(t, d, `SELECT count(*) FROM audit_entries`); n != 0 {
			t.Errorf("the refused definitions left %d rows", n)
		}
	})
}

func TestAnIDIsUniqueInItsOrganizationAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.create(t, h.jane, web("a"))
		h.create(t, h.bob, web("a"))
		if _, _, err := h.Create(t.Context(), h.jane, web("a")); !errors.Is(err, agent.ErrExists) {
			t.Errorf("a second one: %v", err)
		}
		h.create(t, h.jane, web("b"))
		h.create(t, h.jane, web("c"))
		if _, _, err := h.Create(t.Context(), h.jane, web("d")); !errors.Is(err, fault.ErrQuota) {
			t.Errorf("one more than the quota: %v", err)
		}
		if err := h.Delete(t.Context(), h.jane, "a"); err != nil {
			t.Fatal(err)
		}
		h.create(t, h.jane, web("d"))
	})
}

func TestNobodySeesOrChangesAnotherOrganizationsAgent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		ctx := t.Context()
		h.create(t, h.jane, web("mine"))
		for name, err := range map[string]error{
			"Find":   second(h.Find(ctx, h.bob, "mine")),
			"public": second(h.Find(ctx, h.bob, "public/mine")),
			"Get":    second(h.Get(ctx, h.bob, "mine")),
			"Change": second(h.Change(ctx, h.bob, "mine", agent.Change{Name: ptr("x")})),
			"Renew":  second(h.RenewRunnerSecret(ctx, h.bob, "mine")),
			"Delete": h.Delete(ctx, h.bob, "mine"),
			"op":     second(h.Get(ctx, h.op, "mine")),
		} {
			if !errors.Is(err, agent.ErrNotFound) {
				t.Errorf("%s: %v, want not found", name, err)
			}
		}
		for name, err := range map[string]error{
			"Create": third(h.Create(ctx, access.Caller{}, web("x"))),
			"Find":   second(h.Find(ctx, access.Caller{}, "mine")),
			"List":   third(h.List(ctx, access.Caller{}, agent.Filter{Limit: 1})),
			"Change": second(h.Change(ctx, access.Caller{}, "mine", agent.Change{})),
			"Delete": h.Delete(ctx, access.Caller{}, "mine"),
			"Renew":  second(h.RenewRunnerSecret(ctx, access.Caller{}, "mine")),
		} {
			if !errors.Is(err, fault.ErrNotAllowed) {
				t.Errorf("%s as nobody: %v", name, err)
			}
		}
		if _, err := h.Find(ctx, h.jane, ""); fault.Of(err).Kind != fault.Invalid {
			t.Errorf("an empty id: %v", err)
		}
	})
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

func TestAPublicAgentIsEverybodysToRunAndTheOperatorsToSee(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		def := web("shared")
		def.Visibility = agent.Public
		made := h.create(t, h.op, def)
		found, err := h.Find(t.Context(), h.jane, "public/shared")
		if err != nil || found.UID != made.UID || found.IDFor(h.jane) != "public/shared" || found.IDFor(h.op) != "shared" || !h.Operators(found) {
			t.Errorf("Find: %+v, %v", found, err)
		}
		shown, err := h.Get(t.Context(), h.jane, "public/shared")
		if err != nil || shown.Runner.URL != "" || shown.Runner.Type != agent.HTTP {
			t.Errorf("another organization sees the runner %+v, %v", shown.Runner, err)
		}
		if own, err := h.Get(t.Context(), h.op, "public/shared"); err != nil || own.Runner.URL == "" {
			t.Errorf("the operator sees %+v, %v", own.Runner, err)
		}
		if _, err := h.Find(t.Context(), h.jane, "shared"); !errors.Is(err, agent.ErrNotFound) {
			t.Errorf("without public/: %v", err)
		}
		if _, err := h.Change(t.Context(), h.op, "shared", agent.Change{Visibility: ptr(agent.Private)}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Find(t.Context(), h.jane, "public/shared"); !errors.Is(err, agent.ErrNotFound) {
			t.Errorf("private again: %v", err)
		}
	})
}

func TestAChangeKeepsWhatItDoesNotName(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		before := h.create(t, h.jane, web("a", agent.Argument{Name: "x"}))
		a, err := h.Change(t.Context(), h.jane, "a", agent.Change{
			Description: ptr("new"), Runner: &agent.Runner{Type: agent.HTTP, URL: "https://other.example.com"},
			Idempotent: ptr(true), MaxConcurrent: ptr(int64(3)),
		})
		if err != nil {
			t.Fatal(err)
		}
		kept, err := h.Get(t.Context(), h.jane, "a")
		if err != nil || !reflect.DeepEqual(kept.Definition, a.Definition) {
			t.Errorf("kept %+v, answered %+v, %v", kept.Definition, a.Definition, err)
		}
		if a.Description != "new" || !a.Idempotent || a.MaxConcurrent != 3 || before.Idempotent || before.MaxConcurrent != 0 || a.Name != before.Name || len(a.InputArguments) != 1 || !a.UpdatedAt.After(before.UpdatedAt) || !a.CreatedAt.Equal(before.CreatedAt) {
			t.Errorf("after the change: %+v", a)
		}
		if a.Destination() == before.Destination() {
			t.Error("the destination did not change with the runner")
		}
		if n := number(t, d, `SELECT count(*) FROM changes WHERE kind = 'agent' AND subject = $1`, a.UID); n != 1 {
			t.Errorf("%d rows in the change log, want 1", n)
		}
		if _, err := h.Change(t.Context(), h.jane, "a", agent.Change{Runner: &agent.Runner{Type: agent.Command, Command: []string{"/bin/sh"}}}); fault.Of(err).Details["field"] != "runner.type" {
			t.Errorf("a command over the network: %v", err)
		}
		if _, err := h.Change(t.Context(), h.jane, "a", agent.Change{Visibility: ptr(agent.Public)}); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("public by another than the operator: %v", err)
		}
	})
}

func TestNoChangeOfTwoAtOnceIsLost(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.create(t, h.jane, web("a"))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := h.Change(t.Context(), h.jane, "a", agent.Change{Name: ptr("new")}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := h.Change(t.Context(), h.jane, "a", agent.Change{Description: ptr("new")}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := h.Change(t.Context(), h.jane, "a", agent.Change{TimeoutSeconds: ptr(int64(7))}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		a, err := h.Get(t.Context(), h.jane, "a")
		if err != nil || a.Name != "new" || a.Description != "new" || a.TimeoutSeconds != 7 {
			t.Errorf("%+v, %v", a.Definition, err)
		}
	})
}

func TestADeletedAgentTakesItsProfilesAndTheirCount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		a := h.create(t, h.op, web("a"))
		other := h.create(t, h.op, web("other"))
		var wg sync.WaitGroup
		var kept atomic.Int64
		started := make(chan struct{})
		for i := range 40 {
			wg.Go(func() {
				if i == 20 {
					<-started
					if err := h.Delete(t.Context(), h.op, "a"); err != nil {
						t.Error(err)
					}
					return
				}
				agentUID, org := a.UID, []string{"jane", "bob"}[i%2]
				if i%10 == 0 {
					agentUID = other.UID
					kept.Add(1)
				}
				if err := storeProfile(t.Context(), d, org, agentUID, fmt.Sprintf("p%d", i)); err != nil && !db.IsMissingReference(err) {
					t.Error(err)
				}
				if i == 0 {
					close(started)
				}
			})
		}
		wg.Wait()
		if n := number(t, d, `SELECT count(*) FROM profiles WHERE agent_uid = $1`, a.UID) + number(t, d, `SELECT count(*) FROM profile_slots`) - kept.Load(); n != 0 {
			t.Errorf("%d rows of the agent's profiles are left", n)
		}
		if used, there := number(t, d, `SELECT CAST(sum(used) AS BIGINT) FROM quota_uses WHERE kind = 'auth_profiles'`), number(t, d, `SELECT count(*) FROM profiles`); used != there || there != kept.Load() {
			t.Errorf("%d profiles are counted, %d are there, %d are of another agent", used, there, kept.Load())
		}
		if n := number(t, d, `SELECT used FROM quota_uses WHERE organization_id = 'op' AND kind = 'agents'`); n != 1 {
			t.Errorf("%d agents are counted, want 1", n)
		}
		if n := number(t, d, `SELECT count(*) FROM changes WHERE kind = 'agent' AND subject = $1`, a.UID); n != 1 {
			t.Errorf("%d rows in the change log, want 1", n)
		}
		if again := h.create(t, h.op, web("a")); again.UID == a.UID {
			t.Error("a uid was used again")
		}
	})
}

func TestAProfileThatIsDeletedBesideItsAgentIsCountedOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for round := range 10 {
			a := h.create(t, h.jane, web("agent"))
			var all sync.WaitGroup
			begin := make(chan struct{})
			for i := range 12 {
				uid := fmt.Sprintf("p-%d-%d", round, i)
				if err := storeProfile(t.Context(), d, "jane", a.UID, uid); err != nil {
					t.Fatal(err)
				}
				all.Go(func() {
					<-begin
					if err := dropProfile(t.Context(), d, "jane", uid); err != nil {
						t.Error(err)
					}
				})
			}
			all.Go(func() {
				<-begin
				if err := h.Delete(t.Context(), h.jane, "agent"); err != nil {
					t.Error(err)
				}
			})
			close(begin)
			all.Wait()
		}
		if used := number(t, d, `SELECT used FROM quota_uses WHERE organization_id = 'jane' AND kind = 'auth_profiles'`); used != 0 {
			t.Errorf("%d profiles are counted, and there are none", used)
		}
	})
}

// dropProfile removes one profile as its owner does.
func dropProfile(ctx context.Context, d *db.DB, organization, uid string) error {
	return d.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM profiles WHERE uid = $1`, uid)
		if err == nil && n == 1 {
			_, err = tx.Exec(ctx, `UPDATE quota_uses SET used = used - 1 WHERE organization_id = $1 AND kind = 'auth_profiles'`, organization)
		}
		return err
	})
}

// storeProfile writes the rows of a profile as package vault does: counted, and
// with a slot.
func storeProfile(ctx context.Context, d *db.DB, organization, agentUID, uid string) error {
	return d.Tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO quota_uses (organization_id, kind, used) VALUES ($1, 'auth_profiles', 1)
			ON CONFLICT (organization_id, kind) DO UPDATE SET used = quota_uses.used + 1`, organization); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO profiles (uid, organization_id, agent_uid, name, keep_session, revision, epoch, destination, manifest, created_at, updated_at, last_used_at)
			VALUES ($1, $2, $3, $4, 0, 1, 1, '', $5, 1, 1, 0)`, uid, organization, agentUID, uid, []byte{}); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO profile_slots (locator, profile_uid, kind, epoch, salt, sealed, created_at, expires_at, last_used_at, root_version)
			VALUES ($1, $2, 'owner', 1, $3, $4, 1, 0, 0, 1)`, []byte(uid), uid, []byte{}, []byte{})
		return err
	})
}

func TestAListIsNewestFirstAndGoesOnWhereItEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.jane.Quotas.Agents = access.Unlimited
		for i := range 5 {
			h.create(t, h.jane, web(fmt.Sprint("a", i)))
		}
		h.create(t, h.bob, web("bobs"))
		var seen []string
		for after := ""; ; {
			agents, total, err := h.List(t.Context(), h.jane, agent.Filter{After: after, Limit: 2})
			if err != nil || total != 5 {
				t.Fatalf("total %d, %v", total, err)
			}
			if len(agents) == 0 {
				break
			}
			for _, a := range agents {
				seen, after = append(seen, a.ID), a.UID
			}
		}
		if want := []string{"a4", "a3", "a2", "a1", "a0"}; !slices.Equal(seen, want) {
			t.Errorf("listed %v, want %v", seen, want)
		}
		agents, _, err := h.List(t.Context(), h.jane, agent.Filter{Offset: 4, Limit: 2})
		if err != nil || len(agents) != 1 || agents[0].ID != "a0" {
			t.Errorf("the third page of two: %v, %v", agents, err)
		}
	})
}

func TestARenewedRunnerSecretIsAnother(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		_, first, err := h.Create(t.Context(), h.jane, web("a"))
		if err != nil {
			t.Fatal(err)
		}
		renewed, err := h.RenewRunnerSecret(t.Context(), h.jane, "a")
		if err != nil || renewed.Reveal() == first.Reveal() {
			t.Fatalf("the secret was not renewed: %v", err)
		}
		a, err := h.Find(t.Context(), h.jane, "a")
		if err != nil {
			t.Fatal(err)
		}
		if kept, err := h.RunnerSecret(a); err != nil || kept.Reveal() != renewed.Reveal() {
			t.Errorf("another one is kept: %v", err)
		}
	})
}

func TestARunnerSecretOpensForItsAgentAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.create(t, h.jane, web("a"))
		h.create(t, h.bob, web("b"))
		change(t, d, `UPDATE agents SET runner_secret = (SELECT o.runner_secret FROM agents o WHERE o.id = 'a') WHERE id = 'b'`)
		b, err := h.Find(t.Context(), h.bob, "b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.RunnerSecret(b); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("a box that was moved: %v", err)
		}
	})
}

func TestRunnerSecretsAreResealed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		secrets := map[string]string{}
		for _, id := range []string{"a", "b", "c"} {
			_, secret, err := h.Create(t.Context(), h.jane, web(id))
			if err != nil {
				t.Fatal(err)
			}
			secrets[id] = secret.Reveal()
		}
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		all := 0
		for {
			n, err := h.Reseal(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			all += n
		}
		if err := h.Root.Remove(1); err != nil || all != 3 {
			t.Fatalf("%d were renewed, want 3; %v", all, err)
		}
		for id, secret := range secrets {
			a, err := h.Find(t.Context(), h.jane, id)
			if err != nil {
				t.Fatal(err)
			}
			if kept, err := h.RunnerSecret(a); err != nil || kept.Reveal() != secret {
				t.Errorf("agent %s without the old root key: %v", id, err)
			}
		}
	})
}

func TestDestinationsAreOneTextForOnePlace(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"https://agents.example.com/run", "http https agents.example.com 443"},
		{"https://agents.example.com:443/other?x=1", "http https agents.example.com 443"},
		{"https://AGENTS.example.com", "http https agents.example.com 443"},
		{"http://127.0.0.1/", "http http 127.0.0.1 80"},
		{"http://[::1]:9000/", "http http ::1 9000"},
	} {
		a := agent.Agent{Definition: agent.Definition{Runner: agent.Runner{Type: agent.HTTP, URL: tt.url}}}
		if got := a.Destination(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.url, got, tt.want)
		}
	}
}
