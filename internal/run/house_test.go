package run

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// TestMain lets the test's own program be what an agent's command starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		roles[os.Args[1]]()
		return
	}
	os.Exit(m.Run())
}

// roles are what this program can be, by its first argument.
var roles = map[string]func(){}

// house is a server's runs, with the operator's organization and another.
type house struct {
	*Runs
	op, jane access.Caller
	log      *logbook
	profiles map[string]*Profile // by their token
	slots    sync.Map            // auth tokens, by the token of a run
	keyring  *keyring

	keysEnded map[int64]string // why keys may start nothing any more
}

// runSlot makes slots by which runs open the profile of token.
func (h *house) runSlot(token seal.Secret) func(time.Time) (Slot, error) {
	return func(time.Time) (Slot, error) {
		run := seal.NewAuthToken().Reveal()
		return Slot{seal.NewSecret(run), []byte(run), func(context.Context, *db.Tx) error {
			h.slots.Store(run, token)
			return nil
		}}, nil
	}
}

// keyring holds the one key that waiting runs are sealed to, until it is lost.
type keyring struct {
	mu  sync.Mutex
	key cipher.AEAD
}

func newKeyring() *keyring {
	k := &keyring{}
	k.renew()
	return k
}

func (k *keyring) renew() {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		panic(err)
	}
}

func (k *keyring) waiting(open OpenProfile) Waiting {
	inputsKey := func(token seal.Secret) cipher.AEAD {
		sum := sha256.Sum256(token.Bytes())
		block, err := aes.NewCipher(sum[:])
		if err != nil {
			panic(err)
		}
		key, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			panic(err)
		}
		return key
	}
	return Waiting{
		NewToken: func() seal.Secret { return seal.NewSecret(seal.NewAuthToken().Reveal()) },
		Seal: func(_ context.Context, token seal.Secret, at Place) ([]byte, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.key.Seal(nil, nil, token.Bytes(), fmt.Append(nil, at)), nil
		},
		Open: func(tokens []byte, at Place) (seal.Secret, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			token, err := k.key.Open(nil, nil, tokens, fmt.Append(nil, at))
			if err != nil {
				return seal.Secret{}, ErrGone
			}
			return seal.NewSecret(token), nil
		},
		SealInputs: func(token seal.Secret, at Place, inputs []byte) ([]byte, error) {
			return inputsKey(token).Seal(nil, nil, inputs, fmt.Append(nil, at)), nil
		},
		OpenInputs: func(token seal.Secret, at Place, box []byte) ([]byte, error) {
			return inputsKey(token).Open(nil, nil, box, fmt.Append(nil, at))
		},
		OpenProfile: open,
	}
}

type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }
func (l *logbook) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func owner(organization string) access.Caller {
	return access.Caller{
		AccountID: "account-" + organization, OrganizationID: organization, Role: access.Owner, SignInID: "s",
		Quotas: access.Quotas{Agents: access.Unlimited, QueuedRuns: access.Unlimited},
	}
}

var errToken = fault.New(fault.NotFound, "AUTH_PROFILE_NOT_FOUND", "no profile")

func newHouse(t *testing.T, d *db.DB) *house {
	t.Helper()
	root, _ := seal.NewRoot()
	for _, org := range []string{"op", "jane", "bob"} {
		change(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ($1, 'o', 0, 'free', '{}', '{}', 1, 1, 1, $2)`, org, []byte{})
	}
	h := &house{op: owner("op"), jane: owner("jane"), log: &logbook{}, profiles: map[string]*Profile{}, keyring: newKeyring()}
	h.op.Operator = true
	h.start(t, d, root, "node-1")
	return h
}

// onSQLite is newHouse for what is not about the database.
func onSQLite(t *testing.T) *house {
	t.Helper()
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "keyward.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return newHouse(t, d)
}

// start makes the runs of a server that has just started.
func (h *house) start(t *testing.T, d *db.DB, root *seal.Root, node string) {
	policy := &egress.Policy{Laptop: true}
	acts := &access.Acts{DB: d, Root: root, Now: time.Now}
	h.Runs = &Runs{
		Acts: acts, DB: d, Root: root, Now: time.Now, NodeID: node, Client: policy.Client, Dir: t.TempDir(), AtOnce: 64,
		Log:      slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Agents:   &agent.Store{Acts: acts, DB: d, Root: root, Now: time.Now, OperatorID: "op", CheckURL: policy.CheckURL},
		KeyEnded: func(_ context.Context, _ string, keyID int64) (string, error) { return h.keysEnded[keyID], nil },
		OpenProfile: func(_ context.Context, _ access.Caller, _ agent.Agent, token seal.Secret) (*Profile, error) {
			p := h.profiles[token.Reveal()]
			if p == nil {
				return nil, errToken
			}
			opened := *p
			if opened.UID == "" {
				opened.UID = "profile-of-" + token.Reveal()
			}
			if opened.Touch == nil {
				opened.Touch = func(context.Context, *db.Tx) error { return nil }
			}
			if opened.Close == nil {
				opened.Close = func() {}
			}
			if opened.RunSlot == nil {
				opened.RunSlot = h.runSlot(token)
			}
			return &opened, nil
		},
	}
	h.Waiting = h.keyring.waiting(func(ctx context.Context, who access.Caller, a agent.Agent, token seal.Secret) (*Profile, error) {
		auth, ok := h.slots.Load(token.Reveal())
		if !ok {
			return nil, errToken
		}
		return h.Runs.OpenProfile(ctx, who, a, auth.(seal.Secret))
	})
	h.Waiting.DropSlot = func(_ context.Context, _ *db.Tx, locator []byte) error { h.slots.Delete(string(locator)); return nil }
	runs := h.Runs
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		runs.Shutdown(now)
	})
}

func change(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
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

// service defines jane's agent with that id, at a web service of the test's.
func (h *house) service(t *testing.T, id string, serve http.HandlerFunc, arguments ...agent.Argument) {
	t.Helper()
	s := httptest.NewServer(serve)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections) // a handler that waits for its caller to go
	h.define(t, agent.Definition{ID: id, InputArguments: arguments, TimeoutSeconds: 120, Runner: agent.Runner{Type: agent.HTTP, URL: s.URL + "/run"}})
}

func (h *house) define(t *testing.T, d agent.Definition) {
	t.Helper()
	if _, _, err := h.Agents.Create(t.Context(), h.jane, d); err != nil {
		t.Fatal(err)
	}
}

// says is a service that answers with text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// run starts a run of jane's and waits for its end.
func (h *house) run(t *testing.T, agentID, token string, parameters ...string) Run {
	t.Helper()
	req := Request{AgentID: agentID, Wait: true, Parameters: map[string]jsontext.Value{}}
	if token != "" {
		req.Token = seal.NewSecret(token)
	}
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		req.Parameters[name] = jsontext.Value(value)
	}
	run, err := h.Start(t.Context(), h.jane, req)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ended waits for the end of a run of jane's.
func (h *house) ended(t *testing.T, id string) (run Run) {
	t.Helper()
	eventually(t, "the run ends", func() bool {
		var err error
		if run, err = h.Get(t.Context(), h.jane, id); err != nil {
			t.Fatal(err)
		}
		return !run.EndedAt.IsZero()
	})
	return run
}

func isFault(err error, code string) bool {
	var f *fault.Fault
	return errors.As(err, &f) && f.Code == code
}
