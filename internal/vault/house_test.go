package vault_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

// house is a store with two organizations. Jane's has the agents "shop" and
// "mail"; "public/shop" is another name for hers, which Bob may use too.
type house struct {
	*vault.Store
	jane, bob access.Caller

	mu     sync.Mutex
	t      time.Time
	agents map[string]vault.Agent // by uid
}

var (
	errNoAgent = fault.New(fault.NotFound, "AGENT_NOT_FOUND", "There is no such agent.")
	errUnknown = fault.New(fault.Invalid, "UNKNOWN_INPUT_ARGUMENT", "The agent has no such input argument.")
)

var arguments = func() []string {
	names := []string{"username", "password", "otp", "cookies", "名前", "note"}
	for i := range 120 {
		names = append(names, "f"+string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	return names
}()

func check(name string, value jsontext.Value) error {
	if !slices.Contains(arguments, name) {
		return errUnknown.With(fault.Details{"arguments": arguments})
	}
	return nil
}

func newHouse(t testing.TB, d *db.DB) *house {
	t.Helper()
	root, _ := seal.NewRoot()
	h := &house{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), agents: map[string]vault.Agent{}}
	h.Store = &vault.Store{Acts: &access.Acts{DB: d, Root: root, Now: h.now}, DB: d, Root: root, Now: h.now, FindAgent: h.find}
	caller := func(account, organization string) access.Caller {
		run(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ($1, 'o', 0, 'free', '{}', '{}', 1, 1, 1, $2)`, organization, []byte{})
		return access.Caller{AccountID: account, OrganizationID: organization, Role: access.Owner, SignInID: "s",
			Quotas: access.Quotas{AuthProfiles: access.Unlimited}}
	}
	h.jane, h.bob = caller("jane", "org-jane"), caller("bob", "org-bob")
	h.addAgent(t, "uid-shop", "shop")
	h.addAgent(t, "uid-mail", "mail")
	return h
}

func (h *house) addAgent(t testing.TB, uid, id string) {
	t.Helper()
	run(t, h.DB, `INSERT INTO agents (uid, organization_id, id, name, description, input_arguments, runner, visibility,
		timeout_seconds, declared, runner_secret, created_at, updated_at, root_version)
		VALUES ($1, 'org-jane', $2, '', '', '[]', '{}', 'public', 60, 0, $3, 1, 1, 1)`, uid, id, []byte{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.agents[uid] = vault.Agent{UID: uid, ID: id, Destination: "http https shop.example 443", Check: check}
}

func (h *house) find(_ context.Context, who access.Caller, id string) (vault.Agent, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name, public := strings.CutPrefix(id, "public/")
	for _, a := range h.agents {
		if a.ID == name && (public || who.OrganizationID == "org-jane") {
			return a, nil
		}
	}
	return vault.Agent{}, errNoAgent
}

func (h *house) agent(uid string) vault.Agent { h.mu.Lock(); defer h.mu.Unlock(); return h.agents[uid] }

// point lets the agent's runner be at destination.
func (h *house) point(uid, destination string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.agents[uid]
	a.Destination = destination
	h.agents[uid] = a
}

func (h *house) now() time.Time       { h.mu.Lock(); defer h.mu.Unlock(); return h.t }
func (h *house) pass(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.t = h.t.Add(d) }

func run(t testing.TB, d *db.DB, query string, args ...any) {
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

// column reads one text or number.
func column[T any](t testing.TB, d *db.DB, query string, args ...any) (v T) {
	t.Helper()
	if err := d.QueryRow(t.Context(), query, args...).Scan(&v); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return v
}

// values makes values of name, JSON, name, JSON, …
func values(pairs ...string) (all []vault.Value) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, vault.NewValue(pairs[i], jsontext.Value(pairs[i+1])))
	}
	return all
}

func (h *house) create(t testing.TB, who access.Caller, agentID, name string, pairs ...string) vault.Upserted {
	t.Helper()
	u, err := h.Create(t.Context(), who, agentID, name, values(pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (h *house) upsert(t testing.TB, who access.Caller, in vault.UpsertRequest) vault.Upserted {
	t.Helper()
	u, err := h.Upsert(t.Context(), who, in)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// kept makes a profile of Jane's shop that keeps its session, with a session.
func (h *house) kept(t testing.TB, session string, pairs ...string) vault.Upserted {
	t.Helper()
	name := "kept"
	u := h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Name: &name, Values: values(pairs...), KeepSession: true})
	if session != "" {
		o := h.open(t, u.Token)
		defer o.Close()
		if err := o.SaveSession(t.Context(), []byte(session)); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func secret(tok seal.AuthToken) seal.Secret { return seal.NewSecret(tok.Reveal()) }

// open opens a profile of Jane's shop.
func (h *house) open(t testing.TB, tok seal.AuthToken) *vault.Opened {
	t.Helper()
	o, err := h.Open(t.Context(), h.jane, h.agent("uid-shop"), secret(tok))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// try opens a profile of Jane's shop only to see whether it opens.
func (h *house) try(t testing.TB, tok seal.AuthToken) error {
	o, err := h.Open(t.Context(), h.jane, h.agent("uid-shop"), secret(tok))
	if err == nil {
		o.Close()
	}
	return err
}

// show writes values as name=JSON, in their order.
func show(o *vault.Opened) string {
	var parts []string
	for _, v := range o.Values {
		parts = append(parts, v.Name+"="+v.JSON.Reveal())
	}
	return strings.Join(parts, " ")
}

// holds opens a profile of Jane's shop and compares what is in it.
func (h *house) holds(t testing.TB, tok seal.AuthToken, want, session string) {
	t.Helper()
	o := h.open(t, tok)
	defer o.Close()
	if got := show(o); got != want {
		t.Errorf("the profile holds %q, want %q", got, want)
	}
	if got := o.Session.Reveal(); got != session {
		t.Errorf("its session is %q, want %q", got, session)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// wantInternal says that err is none that a caller is told of, and names the
// profile for the log.
func wantInternal(t testing.TB, err error, uid string) {
	t.Helper()
	if err == nil || fault.Of(err).Kind != fault.Internal || !strings.Contains(err.Error(), uid) {
		t.Errorf("got error %v, want an internal one that names profile %s", err, uid)
	}
}
