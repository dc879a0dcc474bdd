package apikey_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

// house is a store with two organizations, each with one owner.
type house struct {
	*apikey.Store
	clock     *clock
	jane, bob access.Caller
}

func newHouse(t *testing.T, d *db.DB) *house {
	t.Helper()
	root, _ := seal.NewRoot()
	c := &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	h := &house{clock: c, Store: &apikey.Store{
		Acts: &access.Acts{DB: d, Root: root, Now: c.now}, DB: d, Root: root, Now: c.now, Prefix: "ra",
		HoldMember: func(context.Context, *db.Tx, string, string) error { return nil },
		HasAgent: func(_ context.Context, _ access.Caller, id string) error {
			if id == "invoices" || id == "portal" || id == "public/demo" {
				return nil
			}
			return fault.New(fault.NotFound, "AGENT_NOT_FOUND", "no agent")
		},
	}}
	for _, org := range []string{"org-jane", "org-bob"} {
		run(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ($1, 'o', 0, 'free', '{}', '{}', 1, 1, 1, $2)`, org, []byte{})
	}
	h.jane = access.Caller{AccountID: "jane", OrganizationID: "org-jane", Role: access.Owner, SignInID: "s", Quotas: access.Quotas{Keys: access.Unlimited}}
	h.bob = access.Caller{AccountID: "bob", OrganizationID: "org-bob", Role: access.Owner, SignInID: "s", Quotas: access.Quotas{Keys: 2}}
	return h
}

func run(t *testing.T, d *db.DB, query string, args ...any) {
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

func (h *house) make(t *testing.T, who access.Caller, in apikey.Request) (apikey.Key, seal.Secret) {
	t.Helper()
	made, err := h.Create(t.Context(), who, in)
	if err != nil {
		t.Fatal(err)
	}
	return made.Key, made.Secret
}

func (h *house) lookup(t *testing.T, secret seal.Secret) apikey.Found {
	t.Helper()
	f, err := h.Lookup(t.Context(), sha256.Sum256(secret.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Find is Lookup for a key that has to be good.
func (h *house) Find(ctx context.Context, secret seal.Secret) (apikey.Key, error) {
	f, err := h.Lookup(ctx, sha256.Sum256(secret.Bytes()))
	if err != nil {
		return apikey.Key{}, err
	}
	return f.Key, f.Usable(h.Now())
}

// state is what a request that presents secret is told.
func (h *house) state(t *testing.T, secret seal.Secret) error {
	t.Helper()
	_, err := h.Find(t.Context(), secret)
	return err
}

func (h *house) change(t *testing.T, who access.Caller, id int64, c apikey.Change) apikey.Issued {
	t.Helper()
	changed, err := h.Change(t.Context(), who, id, c)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func ptr[T any](v T) *T { return &v }

// with returns who as the caller that presents k, as its newest value.
func (h *house) with(t *testing.T, who access.Caller, k apikey.Key) access.Caller {
	t.Helper()
	var digest []byte
	if err := h.DB.QueryRow(t.Context(), `SELECT digest FROM api_key_secrets WHERE key_id = $1 ORDER BY created_at DESC LIMIT 1`, k.ID).Scan(&digest); err != nil {
		t.Fatal(err)
	}
	who.KeyValue = [32]byte(digest)
	who.SignInID, who.KeyID, who.KeyType, who.KeyExpiresAt, who.Scopes, who.AgentIDs = "", k.ID, k.Type, k.ExpiresAt, k.Scopes, k.AgentIDs
	return who
}

func TestAKeyWorksUntilItIsRevokedOrExpires(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, secret := h.make(t, h.jane, apikey.Request{Name: "ci"})
		if !strings.HasPrefix(secret.Reveal(), "ra_live_") || len(secret.Reveal()) != len("ra_live_")+38 {
			t.Errorf("a key of %d characters", len(secret.Reveal()))
		}
		found, err := h.Find(t.Context(), secret)
		if err != nil || found.ID != made.ID || found.AccountID != "jane" || found.OrganizationID != "org-jane" || found.ID >= 1<<53 {
			t.Fatalf("Find = %+v, %v", found, err)
		}
		if err := h.Revoke(t.Context(), h.jane, made.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Find(t.Context(), secret); !errors.Is(err, apikey.ErrRevoked) {
			t.Errorf("after the revocation: %v", err)
		}
		h.clock.pass(90 * 24 * time.Hour)
		if _, err := h.Find(t.Context(), secret); !errors.Is(err, apikey.ErrInvalid) {
			t.Errorf("90 days after: %v", err)
		}
		if n, err := h.Purge(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("Purge = %d, %v", n, err)
		}

		temp, secret := h.make(t, h.jane, apikey.Request{Name: "demo", Type: apikey.Temporary})
		if !strings.HasPrefix(secret.Reveal(), "ra_temp_") || !temp.ExpiresAt.Equal(h.clock.now().Add(time.Hour)) {
			t.Errorf("a temporary key: %+v", temp)
		}
		h.clock.pass(time.Hour)
		if _, err := h.Find(t.Context(), secret); !errors.Is(err, apikey.ErrExpired) {
			t.Errorf("after an hour: %v", err)
		}
	})
}

func TestAKeyTakesWhatItMadeWithIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		mother, ms := h.make(t, h.jane, apikey.Request{Name: "mother"})
		child, cs := h.make(t, h.with(t, h.jane, mother), apikey.Request{Name: "child"})
		_, gs := h.make(t, h.with(t, h.jane, child), apikey.Request{Name: "grandchild"})
		_, other := h.make(t, h.jane, apikey.Request{Name: "other"})
		if err := h.RevokeSelf(t.Context(), h.with(t, h.jane, mother)); err != nil {
			t.Fatal(err)
		}
		for _, s := range []seal.Secret{ms, cs, gs} {
			if _, err := h.Find(t.Context(), s); !errors.Is(err, apikey.ErrRevoked) {
				t.Errorf("a descendant: %v", err)
			}
		}
		if _, err := h.Find(t.Context(), other); err != nil {
			t.Errorf("a key that it did not make: %v", err)
		}
		if _, err := h.Create(t.Context(), h.with(t, h.jane, child), apikey.Request{Name: "late"}); !errors.Is(err, apikey.ErrRevoked) {
			t.Errorf("a revoked key makes another: %v", err)
		}
		var closed int
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM changes WHERE kind = 'key'`).Scan(&closed); err != nil || closed != 3 {
			t.Errorf("%d keys in the change log, want 3 (%v)", closed, err)
		}
	})
}

// A revocation and a key that makes keys race: no key may be left alive.
func TestRemovingAnAccountEndsItsKeysAndWhatTheyMade(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made := make([]seal.Secret, 0, 5)
		who := h.jane
		for i := range 5 { // each makes the next
			k, secret := h.make(t, who, apikey.Request{Name: fmt.Sprint("key ", i)})
			h.clock.pass(time.Second)
			who, made = h.with(t, h.jane, k), append(made, secret)
		}
		err := h.Acts.Do(t.Context(), h.jane, access.DeleteAccount, func(tx *db.Tx, act *access.Act) error {
			return h.RevokeAccount(t.Context(), tx, act, h.jane.AccountID)
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, secret := range made {
			if _, err := h.Find(t.Context(), secret); !errors.Is(err, apikey.ErrRevoked) {
				t.Errorf("key %d: %v, want REVOKED_API_KEY", i, err)
			}
		}
		var used int64
		if err := d.QueryRow(t.Context(), `SELECT used FROM quota_uses WHERE organization_id = 'org-jane' AND kind = 'keys'`).Scan(&used); err != nil || used != 0 {
			t.Errorf("%d keys are counted (%v), want 0", used, err)
		}
	})
}

func TestNoKeyOutlivesTheOneThatWasMakingIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for round := range 5 {
			mother, _ := h.make(t, h.jane, apikey.Request{Name: fmt.Sprint("mother", round)})
			var wg sync.WaitGroup
			var mu sync.Mutex
			var made []seal.Secret
			who := h.with(t, h.jane, mother)
			for i := range 8 {
				wg.Go(func() {
					child, err := h.Create(t.Context(), who, apikey.Request{Name: fmt.Sprint("child", round, "-", i)})
					if err == nil {
						mu.Lock()
						made = append(made, child.Secret)
						mu.Unlock()
					} else if !errors.Is(err, apikey.ErrRevoked) {
						t.Error(err)
					}
				})
			}
			wg.Go(func() {
				if err := h.Revoke(t.Context(), h.jane, mother.ID); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			for _, s := range made {
				if _, err := h.Find(t.Context(), s); !errors.Is(err, apikey.ErrRevoked) {
					t.Errorf("a child is alive after its mother's end: %v", err)
				}
			}
		}
	})
}

func TestAKeyMakesNoStrongerOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		temp, _ := h.make(t, h.jane, apikey.Request{Name: "temp", Type: apikey.Temporary, ExpiresIn: time.Hour})
		short, _ := h.make(t, h.jane, apikey.Request{Name: "short", ExpiresIn: time.Hour})
		for name, test := range map[string]struct {
			maker apikey.Key
			in    apikey.Request
			want  error
		}{
			"a personal key by a temporary one":  {temp, apikey.Request{Name: "a"}, apikey.ErrTooWeak},
			"a longer life":                      {temp, apikey.Request{Name: "b", Type: apikey.Temporary, ExpiresIn: 2 * time.Hour}, apikey.ErrTooWeak},
			"an endless life":                    {short, apikey.Request{Name: "c"}, apikey.ErrTooWeak},
			"a shorter life":                     {short, apikey.Request{Name: "d", ExpiresIn: time.Minute}, nil},
			"a temporary key by a temporary one": {temp, apikey.Request{Name: "e", Type: apikey.Temporary, ExpiresIn: time.Minute}, nil},
		} {
			if _, err := h.Create(t.Context(), h.with(t, h.jane, test.maker), test.in); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		}
	})
}

func TestNamesAreUniqueAmongTheLiving(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, err := h.CreateOwn(t.Context(), h.jane, "ci")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.CreateOwn(t.Context(), h.jane, "ci"); !errors.Is(err, apikey.ErrDuplicateNickname) {
			t.Errorf("twice by nickname: %v", err)
		}
		if _, err := h.Create(t.Context(), h.jane, apikey.Request{Name: "ci"}); !errors.Is(err, apikey.ErrDuplicateName) {
			t.Errorf("twice by name: %v", err)
		}
		if _, err := h.Create(t.Context(), h.bob, apikey.Request{Name: "ci"}); err != nil {
			t.Errorf("in another organization: %v", err)
		}
		if err := h.RevokeOwn(t.Context(), h.jane, k.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.CreateOwn(t.Context(), h.jane, "ci"); err != nil {
			t.Errorf("after the deletion: %v", err)
		}
	})
}

func TestOnlyItsOwnersEndAKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, secret := h.make(t, h.jane, apikey.Request{Name: "ci"})
		if err := h.RevokeOwn(t.Context(), h.bob, k.ID); !errors.Is(err, apikey.ErrOfAnotherAccount) {
			t.Errorf("another account, on /auth: %v", err)
		}
		if err := h.Revoke(t.Context(), h.bob, k.ID); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("another organization, on /v1: %v", err)
		}
		if _, err := h.Get(t.Context(), h.bob, k.ID); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("Get by another organization: %v", err)
		}
		if err := h.Revoke(t.Context(), access.Caller{}, k.ID); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("the zero caller: %v", err)
		}
		if _, err := h.Find(t.Context(), secret); err != nil {
			t.Errorf("the key died of it: %v", err)
		}
		if err := h.RevokeOwn(t.Context(), h.jane, 12345); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("no such key: %v", err)
		}
		if err := h.RevokeOwn(t.Context(), h.jane, k.ID); err != nil {
			t.Fatal(err)
		}
		if err := h.RevokeOwn(t.Context(), h.jane, k.ID); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("deleted twice on /auth: %v", err)
		}
		if err := h.Revoke(t.Context(), h.jane, k.ID); err != nil {
			t.Errorf("revoked twice on /v1: %v", err)
		}
	})
}

func TestQuotaOfKeysHolds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		a, _ := h.make(t, h.bob, apikey.Request{Name: "a"})
		h.make(t, h.bob, apikey.Request{Name: "b"})
		if _, err := h.Create(t.Context(), h.bob, apikey.Request{Name: "c"}); !errors.Is(err, fault.ErrQuota) {
			t.Errorf("a third of two: %v", err)
		}
		for range 2 { // the second time gives nothing back
			if err := h.Revoke(t.Context(), h.bob, a.ID); err != nil {
				t.Fatal(err)
			}
		}
		h.make(t, h.bob, apikey.Request{Name: "c"})
		if _, err := h.Create(t.Context(), h.bob, apikey.Request{Name: "d"}); !errors.Is(err, fault.ErrQuota) {
			t.Errorf("a third of two, later: %v", err)
		}
	})
}

func TestListsPageAndFilter(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var revoke apikey.Key
		for i := range 7 {
			h.clock.pass(time.Second)
			k, _ := h.make(t, h.jane, apikey.Request{Name: fmt.Sprint("key", i)})
			if i == 3 {
				revoke = k
			}
		}
		h.make(t, h.jane, apikey.Request{Name: "temp", Type: apikey.Temporary, ExpiresIn: time.Minute})
		if err := h.Revoke(t.Context(), h.jane, revoke.ID); err != nil {
			t.Fatal(err)
		}
		var names []string
		f := apikey.Filter{Status: "active", Type: apikey.Personal, Limit: 4}
		for {
			page, total, err := h.List(t.Context(), h.jane, f)
			if err != nil || total != 6 {
				t.Fatalf("List: %d in all, %v", total, err)
			}
			if len(page) == 0 {
				break
			}
			for _, k := range page {
				names = append(names, k.Name)
				if !strings.HasPrefix(k.Hint, "ra_live_…") || len(k.Hint) != len("ra_live_…")+4 {
					t.Errorf("hint %q", k.Hint)
				}
			}
			f.After = page[len(page)-1].Mark()
		}
		if got, want := strings.Join(names, " "), "key6 key5 key4 key2 key1 key0"; got != want {
			t.Errorf("listed %s, want %s", got, want)
		}
		h.clock.pass(time.Hour)
		for status, want := range map[string]int64{"": 7, "active": 6, "expired": 1, "revoked": 1} {
			if _, total, err := h.List(t.Context(), h.jane, apikey.Filter{Status: status, Limit: 10}); err != nil || total != want {
				t.Errorf("status %q: %d, %v, want %d", status, total, err, want)
			}
		}
		if own, err := h.ListOwn(t.Context(), h.jane); err != nil || len(own) != 7 || own[0].Name != "key0" {
			t.Errorf("ListOwn: %d keys, %v", len(own), err)
		}
		if _, total, _ := h.List(t.Context(), h.bob, apikey.Filter{Limit: 10}); total != 0 {
			t.Errorf("another organization sees %d of them", total)
		}
	})
}

func TestBadRequestsForKeysAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, in := range map[string]apikey.Request{
			"no name":             {},
			"a long name":         {Name: strings.Repeat("é", 65)},
			"a control character": {Name: "a\nb"},
			"a space at the end":  {Name: "a "},
			"an unknown type":     {Name: "a", Type: "root"},
			"too long a life":     {Name: "a", Type: apikey.Temporary, ExpiresIn: 31 * 24 * time.Hour},
			"a life below zero":   {Name: "a", ExpiresIn: -time.Second},
		} {
			if _, err := h.Create(t.Context(), h.jane, in); !errors.Is(err, fault.ErrInvalidRequest) {
				t.Errorf("%s: %v", name, err)
			}
		}
		h.make(t, h.jane, apikey.Request{Name: strings.Repeat("é", 64)})
	})
}

func TestResealRenewsEveryTag(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var secrets []seal.Secret
		for i := range 5 {
			_, s := h.make(t, h.jane, apikey.Request{Name: fmt.Sprint(i), RequireSignature: i%2 == 0, AllowedIPs: []string{"10.0.0.0/8"}})
			secrets = append(secrets, s)
		}
		signing := h.lookup(t, secrets[0]).Signing.Reveal()
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		total := 0
		for {
			n, err := h.Reseal(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			total += n
		}
		if total != 10 {
			t.Errorf("%d rows were renewed, want 10", total)
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if _, err := h.Find(t.Context(), s); err != nil {
				t.Error(err)
			}
		}
		if signing == "" || h.lookup(t, secrets[0]).Signing.Reveal() != signing {
			t.Error("another signing secret than before")
		}
	})
}

// A row that is written while the root key is being rotated, before its turn
// comes, has its box and its tag under the same root key.
func TestWhatChangesWhileTheRootKeyRotatesIsNotLost(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, old := h.make(t, h.jane, apikey.Request{Name: "a", RequireSignature: true})
		signing := h.lookup(t, old).Signing.Reveal()
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Rotate(t.Context(), h.jane, k.ID, time.Hour); err != nil {
			t.Fatal(err)
		}
		for n := 1; n > 0; {
			var err error
			if n, err = h.Reseal(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		if got := h.lookup(t, old).Signing.Reveal(); got != signing {
			t.Error("the old value is signed with something else")
		}
	})
}
