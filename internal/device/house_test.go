package device_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/seal"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

// house is what several servers on one database share: who is a member, which
// keys there are, and which of them work and were used.
type house struct {
	db    *db.DB
	root  *seal.Root
	clock *clock

	mu    sync.Mutex
	gone  map[string]bool // accounts that are no members any more
	full  error           // why no key can be made
	ended map[int64]int
	used  map[int64]bool
	made  atomic.Int64
}

var (
	session = seal.NewSecret("a secret of the program")
	jane    = access.Caller{AccountID: "jane", OrganizationID: "org-jane", Role: access.Owner, SignInID: "s1", Address: netip.MustParseAddr("192.0.2.1")}
	bob     = access.Caller{AccountID: "bob", OrganizationID: "org-bob", Role: access.Owner, SignInID: "s2", Address: netip.MustParseAddr("192.0.2.2")}
	program = access.NewVisitor(netip.MustParseAddr("198.51.100.7"), "r1")
)

func newHouse(d *db.DB) *house {
	root, _ := seal.NewRoot()
	return &house{
		db: d, root: root, clock: &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		gone: map[string]bool{}, ended: map[int64]int{}, used: map[int64]bool{},
	}
}

// server returns one more server on the database. Its keys are rows of a table of
// the database, so that what is rolled back is not there.
func (h *house) server() *device.Store {
	return &device.Store{
		Acts: &access.Acts{DB: h.db, Root: h.root, Now: h.clock.now}, DB: h.db, Root: h.root, Now: h.clock.now,
		Member: func(_ context.Context, accountID, organizationID string) (access.Caller, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.gone[accountID] {
				return access.Caller{}, device.ErrNoMember
			}
			return access.Caller{AccountID: accountID, OrganizationID: organizationID, Role: access.Owner}, nil
		},
		MakeKey: func(ctx context.Context, tx *db.Tx, act *access.Act, who access.Caller, l device.Login) (device.Key, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.full != nil || h.gone[who.AccountID] {
				return device.Key{}, errors.Join(h.full, map[bool]error{true: device.ErrNoMember}[h.gone[who.AccountID]])
			}
			id := h.made.Add(1)
			act.On("key", l.ID, l.KeyName())
			_, err := tx.Exec(ctx, `INSERT INTO changes (id, at, kind, subject, seq) VALUES ($1, $2, 'made', $3, 0)`, l.KeyName(), id, who.AccountID+" "+l.Scopes.Text())
			return device.Key{ID: id, Secret: seal.NewSecret("a key")}, err
		},
		EndKey: func(_ context.Context, _ *db.Tx, _ *access.Act, id int64) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ended[id]++
			return nil
		},
		Used: func(_ context.Context, ids []int64) (map[int64]bool, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			used := map[int64]bool{}
			for _, id := range ids {
				used[id] = h.used[id]
			}
			return used, nil
		},
	}
}

func (h *house) begin(t *testing.T, s *device.Store) device.Begun {
	t.Helper()
	begun, err := s.Begin(t.Context(), program, device.Request{SessionSecret: session, Program: "the program/1.0"})
	if err != nil {
		t.Fatal(err)
	}
	return begun
}

// approved is a login that jane has approved.
func (h *house) approved(t *testing.T, s *device.Store) device.Begun {
	t.Helper()
	begun := h.begin(t, s)
	if _, err := s.Approve(t.Context(), jane, h.clock.now(), begun.UserCode); err != nil {
		t.Fatal(err)
	}
	return begun
}

func poll(t *testing.T, s *device.Store, b device.Begun) device.Polled {
	t.Helper()
	got, err := s.Poll(t.Context(), program, b.DeviceCode, session)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// told says what a poll is told.
func told(t *testing.T, what string, got device.Polled, want device.Status) {
	t.Helper()
	if got.Status != want || (len(got.Key.Bytes()) > 0) != (want == device.IsCompleted) {
		t.Errorf("%s: %s, key %v, want %s", what, got.Status, len(got.Key.Bytes()) > 0, want)
	}
}

func (h *house) number(t *testing.T, query string, args ...any) (n int64) {
	t.Helper()
	if err := h.db.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (h *house) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	err := h.db.Tx(t.Context(), func(tx *db.Tx) error {
		n, err := tx.Exec(t.Context(), query, args...)
		if err == nil && n == 0 {
			err = errors.New("no row was changed")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// recorded returns how often an action is in the audit log.
func (h *house) recorded(t *testing.T, action access.Action) int64 {
	t.Helper()
	return h.number(t, `SELECT count(*) FROM audit_entries WHERE action = $1`, string(action))
}
