package alert

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/mail"
	"github.com/keyward/keyward/internal/mail/mailtest"
	"github.com/keyward/keyward/internal/seal"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

// logs is what a server writes, in a test that reads it meanwhile.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *logs) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// key is what the rest of the server knows of an API key.
type key struct {
	organization, name string
	limits             access.Limits
}

// house is one server, with the keys, people and mail server of its world.
type house struct {
	*Store
	*world
	results []string // of OnDelivery
	fired   int
	mu      sync.Mutex
}

type world struct {
	clock   *clock
	log     *logs
	mu      sync.Mutex
	keys    map[int64]key
	owners  map[string][]string
	closed  []access.Change
	mailbox *mailtest.Server
	jane    access.Caller
	bob     access.Caller
}

var errNoKey = fault.New(fault.NotFound, "KEY_NOT_FOUND", "There is no API key with this id.")

// The keys: production and monthly are jane's, the last one bob's.
const (
	production int64 = 7
	monthly    int64 = 8
	free       int64 = 9
	bobs       int64 = 10
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func owner(organization string) access.Caller {
	return access.Caller{AccountID: "a-" + organization, OrganizationID: organization, Role: access.Owner, SignInID: "s",
		Address: netip.MustParseAddr("192.0.2.7"), RequestID: "r-1"}
}

func newHouse(t *testing.T, d *db.DB) *house {
	t.Helper()
	w := &world{
		clock: &clock{t: start}, log: &logs{}, owners: map[string][]string{"org": {"jane@example.com", "joe@example.com"}},
		keys: map[int64]key{
			production: {"org", "production", access.Limits{PerHour: 100, PerMonth: 5000}},
			monthly:    {"org", "monthly", access.Limits{PerMonth: 1000}},
			free:       {"org", "free", access.Limits{Burst: 10}},
			bobs:       {"other", "bobs", access.Limits{PerHour: 10}},
		},
		mailbox: mailtest.Start(t, mailtest.Plain, "", ""), jane: owner("org"), bob: owner("other"),
	}
	for _, id := range []string{"org", "other"} {
		change(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ($1, $1, 0, 'free', '{}', '{}', 1, 1, 1, $2)`, id, []byte{})
	}
	for id, k := range w.keys {
		w.insertKey(t, d, id, k)
	}
	root, _ := seal.NewRoot()
	return newServer(t, d, root, w)
}

func (w *world) insertKey(t *testing.T, d *db.DB, id int64, k key) {
	t.Helper()
	change(t, d, `INSERT INTO api_keys (id, organization_id, account_id, name, type, made_by_key, created_at, updated_at, expires_at, revoked_at, root_version, tag)
		VALUES ($1, $2, '', $3, 'service', 0, 1, 1, 0, 0, 1, $4)`, id, k.organization, k.name, []byte{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[id] = k
}

// another returns one more server on the database of h.
func (h *house) another(t *testing.T, d *db.DB) *house { return newServer(t, d, h.Root, h.world) }

func newServer(t *testing.T, d *db.DB, root *seal.Root, w *world) *house {
	t.Helper()
	policy := &egress.Policy{Laptop: true}
	sender := &mail.Sender{Host: w.mailbox.Addr, From: "keys@example.com", TLS: mail.Clear, Now: w.clock.now}
	h := &house{world: w}
	h.Store = &Store{
		Acts: &access.Acts{DB: d, Root: root, Now: w.clock.now, Closed: func(_ context.Context, changes []access.Change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.closed = append(w.closed, changes...)
		}},
		DB: d, Root: root, Now: w.clock.now, Log: slog.New(slog.NewTextHandler(w.log, nil)),
		CheckURL: policy.CheckURL, Client: policy.Client, Mail: sender.Send,
		LimitsOf: func(_ context.Context, organizationID string, keyID int64) (access.Limits, string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			k, ok := w.keys[keyID]
			if !ok || k.organization != organizationID {
				return access.Limits{}, "", errNoKey
			}
			return k.limits, k.name, nil
		},
		OwnerEmails: func(_ context.Context, organizationID string) ([]string, error) { return w.owners[organizationID], nil },
		OnFired:     func() { h.mu.Lock(); defer h.mu.Unlock(); h.fired++ },
		OnDelivery: func(channel, result string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.results = append(h.results, channel+" "+result)
		},
	}
	return h
}

// crossed says that a key has come to its threshold, and lets it fire.
func (h *house) crossed(t *testing.T, keyID int64, span Span, window time.Time, used, of int64) {
	t.Helper()
	if !h.Crossed(keyID, h.keys[keyID].organization, span, window, used, of) {
		t.Fatal("Crossed noted nothing")
	}
	h.settleFirings(t)
}

// settleFirings fires what was noted.
func (h *house) settleFirings(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Fire(ctx); err != nil {
		t.Fatal(err)
	}
}

// round makes what is due now and waits until it is made.
func (h *house) round(t *testing.T) {
	t.Helper()
	if err := h.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.under.wg.Wait()
}

func (h *house) set(t *testing.T, keyID int64, r Request) seal.Secret {
	t.Helper()
	_, secret, err := h.Set(t.Context(), h.jane, keyID, r)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// list returns all that fired for jane.
func (h *house) list(t *testing.T) []Firing {
	t.Helper()
	firings, err := h.List(t.Context(), h.jane, Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return firings
}

// delivery returns the only delivery of the newest firing.
func (h *house) delivery(t *testing.T) Delivery {
	t.Helper()
	firings := h.list(t)
	if len(firings) == 0 || len(firings[0].Deliveries) != 1 {
		t.Fatalf("fired %+v, want one delivery of the newest", firings)
	}
	return firings[0].Deliveries[0]
}

// receiver is somebody's webhook.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []received
	answer func(w http.ResponseWriter, r *http.Request)
}

type received struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	x := &receiver{}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		x.mu.Lock()
		x.got = append(x.got, received{r.Header.Clone(), body})
		answer := x.answer
		x.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(x.Close)
	return x
}

func (x *receiver) answers(answer func(w http.ResponseWriter, r *http.Request)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = answer
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/secret-place")
		w.WriteHeader(code)
	}
}

func (x *receiver) received() []received {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]received(nil), x.got...)
}

// verified fails t unless r was signed with secret.
func (r received) verified(t *testing.T, secret seal.Secret) {
	t.Helper()
	hook, err := webhooks.NewWebhook(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	// Its time is the test's clock's.
	if err := hook.VerifyIgnoringTimestamp(r.body, r.header); err != nil {
		t.Error(err)
	}
}

func change(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	if err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
