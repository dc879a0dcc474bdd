package account_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/password"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/signing"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

// house is one server.
type house struct {
	*account.Store
	signing *signing.Store
	clock   *clock
	revoked []string // the accounts whose keys were revoked
}

const issuer = "https://keyward.example"

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var (
	home  = access.NewVisitor(netip.MustParseAddr("203.0.113.7"), "r1")
	away  = access.NewVisitor(netip.MustParseAddr("198.51.100.9"), "r2")
	right = seal.NewSecret("correct horse")
	wrong = seal.NewSecret("battery staple")
)

// newHouse returns the first server on d, with the operator's organization.
func newHouse(t *testing.T, d *db.DB) *house {
	t.Helper()
	root, _ := seal.NewRoot()
	h := newServer(t, d, root, &clock{t: start})
	if _, _, err := h.EnsureOperator(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	return h
}

// another returns one more server on the database of h.
func (h *house) another(t *testing.T) *house { return newServer(t, h.DB, h.Root, h.clock) }

func newServer(t *testing.T, d *db.DB, root *seal.Root, c *clock) *house {
	t.Helper()
	acts := &access.Acts{DB: d, Root: root, Now: c.now}
	h := &house{clock: c, signing: &signing.Store{Acts: acts, DB: d, Root: root, Now: c.now, Log: slog.New(slog.DiscardHandler)}}
	h.Store = &account.Store{
		Acts: acts, DB: d, Root: root, Now: c.now, Log: slog.New(slog.DiscardHandler),
		Issuer: func() string { return issuer }, SignupOpen: true, DefaultTier: "free",
		DefaultQuotas: access.Quotas{Agents: 1, AuthProfiles: 2, Keys: 3, QueuedRuns: 4},
		RevokeKeys: func(_ context.Context, _ *db.Tx, _ *access.Act, accountID string) error {
			h.revoked = append(h.revoked, accountID)
			return nil
		},
		Sign: h.signing.Sign, Verify: h.signing.Verify,
	}
	if err := h.signing.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// register makes an account whose password is right.
func (h *house) register(t *testing.T, name string) account.Account {
	t.Helper()
	return h.registerWith(t, name, "")
}

var hashOfRight = sync.OnceValue(func() string { return password.New(right.Bytes()).Text() })

func (h *house) registerWith(t *testing.T, name, setupCode string) account.Account {
	t.Helper()
	in := account.Registration{Name: name, Email: name + "@example.com", SetupCode: setupCode}
	a, err := h.RegisterHashed(t.Context(), home, in, hashOfRight())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// operator registers the account that owns the server.
func (h *house) operator(t *testing.T, name string) account.Account {
	t.Helper()
	_, code, err := h.EnsureOperator(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return h.registerWith(t, name, code)
}

// enter signs an account in without asking for its password.
func (h *house) enter(t *testing.T, who access.Caller, name string) account.Tokens {
	t.Helper()
	tokens, err := h.Enter(t.Context(), who, name+"@example.com")
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (h *house) signIn(t *testing.T, who access.Caller, name string) account.Tokens {
	t.Helper()
	tokens, err := h.SignIn(t.Context(), who, name+"@example.com", right)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (h *house) refresh(t *testing.T, token seal.Secret) account.Tokens {
	t.Helper()
	tokens, err := h.Refresh(t.Context(), home, token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (h *house) check(t *testing.T, token seal.Secret) (access.Caller, error) {
	t.Helper()
	return h.CheckAccessToken(t.Context(), token.Reveal(), home.Address, "r3")
}

// caller returns who the token is of.
func (h *house) caller(t *testing.T, token seal.Secret) access.Caller {
	t.Helper()
	who, err := h.check(t, token)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// refused says that a token is taken by neither this server nor another.
func (h *house) refused(t *testing.T, what string, token seal.Secret) {
	t.Helper()
	for _, server := range []*house{h, h.another(t)} {
		if _, err := server.check(t, token); !errors.Is(err, account.ErrInvalidAccessToken) {
			t.Errorf("%s: the access token: %v", what, err)
		}
	}
}

// signedIn returns the tokens of a new sign-in, and the caller that they make.
func (h *house) signedIn(t *testing.T, name string) (access.Caller, account.Tokens) {
	t.Helper()
	tokens := h.enter(t, home, name)
	return h.caller(t, tokens.Access), tokens
}

// exec is run for a statement that has to change something.
func exec(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	if run(t, d, query, args...) == 0 {
		t.Fatal("no row was changed")
	}
}

func run(t *testing.T, d *db.DB, query string, args ...any) (n int64) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) (err error) {
		n, err = tx.Exec(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func number(t *testing.T, d *db.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := d.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// closed reports whether the change log says that a door was closed.
func closed(t *testing.T, d *db.DB, kind access.ChangeKind, subject string) bool {
	t.Helper()
	return number(t, d, `SELECT count(*) FROM changes WHERE kind = $1 AND subject = $2`, string(kind), subject) > 0
}

// recorded returns what the audit log says was done, in order.
func recorded(t *testing.T, d *db.DB) []string {
	t.Helper()
	return texts(t, d, `SELECT action FROM audit_entries ORDER BY id`)
}

func texts(t *testing.T, d *db.DB, query string) []string {
	t.Helper()
	rows, err := d.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}
