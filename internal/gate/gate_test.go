package gate_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/gate"
	"github.com/keyward/keyward/internal/limit"
	"github.com/keyward/keyward/internal/metrics"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/usage"
)

// house is one server's gate with what stands behind it.
type house struct {
	*gate.Gate
	jane access.Caller
}

func newHouse(t testing.TB, d *db.DB) *house {
	t.Helper()
	root, _ := seal.NewRoot()
	log := slog.New(slog.DiscardHandler)
	acts := &access.Acts{DB: d, Root: root, Now: time.Now}
	accounts := &account.Store{
		Acts: acts, DB: d, Root: root, Now: time.Now, Log: log, SignupOpen: true, DefaultTier: "enterprise",
		DefaultQuotas: access.Quotas{Agents: -1, AuthProfiles: -1, Keys: -1},
	}
	keys := &apikey.Store{Acts: acts, DB: d, Root: root, Now: time.Now, Prefix: "ra", HoldMember: accounts.HoldMember}
	accounts.RevokeKeys = keys.RevokeAccount
	h := &house{Gate: gate.New(gate.Parts{
		DB: d, Keys: keys, Accounts: accounts, Log: log, Now: time.Now,
		Limits: &limit.Keeper{DB: d, Clock: limit.Steady(time.Now), Log: log}, Usage: &usage.Counter{DB: d, Now: time.Now, Log: log},
		Metrics:   metrics.New(func() time.Duration { return 0 }, func() int { return 0 }),
		Others:    func(context.Context) (int, error) { return 0, nil },
		Threshold: func(context.Context, int64) (int64, error) { return 0, nil },
		Crossed:   func(int64, string, string, time.Time, int64, int64) {},
	})}
	acts.Closed = h.Closed
	if _, _, err := accounts.EnsureOperator(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	visitor := access.NewVisitor(netip.MustParseAddr("192.0.2.1"), "r")
	a, err := accounts.Register(t.Context(), visitor, account.Registration{Name: "Jane", Email: db.NewID() + "@example.com", Password: seal.NewSecret("right horse")})
	if err != nil {
		t.Fatal(err)
	}
	var org string
	if err := d.QueryRow(t.Context(), `SELECT organization_id FROM memberships WHERE account_id = $1`, a.ID).Scan(&org); err != nil {
		t.Fatal(err)
	}
	if h.jane, err = accounts.Member(t.Context(), a.ID, org); err != nil {
		t.Fatal(err)
	}
	h.jane.SignInID = "s"
	return h
}

func (h *house) make(t testing.TB, in apikey.Request) (apikey.Key, []byte) {
	t.Helper()
	made, err := h.Keys.Create(t.Context(), h.jane, in)
	if err != nil {
		t.Fatal(err)
	}
	return made.Key, made.Secret.Bytes()
}

func (h *house) check(key []byte, q gate.Question) (gate.Answer, error) {
	var a gate.Answer
	err := h.Check(context.Background(), key, &q, &a)
	return a, err
}

func count(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// unknown returns a key that is well formed and does not exist.
func unknown() []byte {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := []byte("ra_live_")
	for range 32 {
		text = append(text, base62[rand.IntN(62)])
	}
	sum, tail := crc32.ChecksumIEEE(text), [6]byte{}
	for i := range tail {
		tail[5-i] = base62[sum%62]
		sum /= 62
	}
	return append(text, tail[:]...)
}

func TestAKeyIsLookedUpOnceHoweverManyAskAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		_, known := h.make(t, apikey.Request{Name: "k"})
		for name, test := range map[string]struct {
			key  []byte
			want error
		}{"a key": {known, nil}, "no key": {unknown(), apikey.ErrInvalid}} {
			before := count(t, h.Metrics.Lookups)
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 20 {
						if _, err := h.check(test.key, gate.Question{Cost: 1}); !errors.Is(err, test.want) {
							t.Errorf("%s: %v", name, err)
						}
					}
				})
			}
			wg.Wait()
			if n := count(t, h.Metrics.Lookups) - before; n != 1 {
				t.Errorf("%s was looked up %v times", name, n)
			}
		}
	})
}

func TestGarbageIsRefusedWithoutALookUp(t *testing.T) {
	h := newHouse(t, dbtest.SQLite(t))
	good := unknown()
	bad := []byte(string(good))
	bad[len(bad)-1] ^= 1
	for _, garbage := range [][]byte{nil, []byte("x"), bad, good[:len(good)-1], append(good, '0'), []byte("ra_live_"), make([]byte, 100_000)} {
		if _, err := h.check(garbage, gate.Question{}); !errors.Is(err, apikey.ErrInvalid) {
			t.Errorf("%d bytes: %v", len(garbage), err)
		}
	}
	if n := count(t, h.Metrics.Lookups); n != 0 {
		t.Errorf("%v look-ups", n)
	}
}

func TestKeysThatDoNotExistReachTheDatabaseAFewTimesForAnAddress(t *testing.T) {
	h := newHouse(t, dbtest.SQLite(t))
	from := netip.MustParseAddr("2001:db8::1")
	refused := 0
	for n := range 1000 {
		at := from
		if n%2 == 1 {
			at = netip.MustParseAddr("2001:db8::2") // the same host, as far as anybody can tell
		}
		_, err := h.check(unknown(), gate.Question{Address: at})
		switch {
		case errors.Is(err, apikey.ErrInvalid):
		case fault.Of(err).Kind == fault.RateLimited && fault.Of(err).RetryAfter > 0:
			refused++
		default:
			t.Fatal(err)
		}
	}
	if n := count(t, h.Metrics.Lookups); n > 200 || refused < 800 {
		t.Errorf("%v look-ups, %d refused, of 1000", n, refused)
	}
	_, key := h.make(t, apikey.Request{Name: "k"})
	if _, err := h.check(key, gate.Question{Address: netip.MustParseAddr("192.0.2.5"), Cost: 1}); err != nil {
		t.Errorf("a key from elsewhere: %v", err)
	}
}

func TestWhoeverDoesNotWaitForTheAnswerIsCountedToo(t *testing.T) {
	h := newHouse(t, dbtest.SQLite(t))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 1000 {
		before := count(t, h.Metrics.Lookups)
		err := h.Check(gone, unknown(), &gate.Question{Address: netip.MustParseAddr("192.0.2.1")}, &gate.Answer{})
		if fault.Of(err).Kind == fault.RateLimited {
			continue
		}
		// Its look-up goes on by itself, but for one that meets the pace's end.
		for since := time.Now(); count(t, h.Metrics.Lookups) == before && time.Since(since) < 100*time.Millisecond; {
			runtime.Gosched()
		}
	}
	if n := count(t, h.Metrics.Lookups); n > 200 {
		t.Errorf("%v look-ups of 1000", n)
	}
}

func TestACrowdOfUnknownKeysAtOnceIsCountedAsItGoes(t *testing.T) {
	h := newHouse(t, dbtest.SQLite(t))
	var wg sync.WaitGroup
	for range 2000 {
		wg.Go(func() {
			if _, err := h.check(unknown(), gate.Question{Address: netip.MustParseAddr("192.0.2.1")}); err == nil {
				t.Error("a key that does not exist is good")
			}
		})
	}
	wg.Wait()
	if n := count(t, h.Metrics.Lookups); n > 250 {
		t.Errorf("%v look-ups of 2000", n)
	}
}

func TestAMillionKeysThatDoNotExistLeaveMemoryFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("a million checks take a while")
	}
	h := newHouse(t, dbtest.SQLite(t))
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	flood := func(n int) {
		var wg sync.WaitGroup
		var at atomic.Int64
		for range 4 {
			wg.Go(func() {
				for {
					i := at.Add(1)
					if i > int64(n) {
						return
					}
					from := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
					if _, err := h.check(unknown(), gate.Question{Address: from}); err == nil {
						t.Error("a key that does not exist is good")
					}
				}
			})
		}
		wg.Wait()
	}
	flood(20_000) // what is kept of one size is there
	before := used()
	flood(200_000)
	if after := used(); after > before+4<<20 {
		t.Errorf("the heap grew from %d to %d KiB", before>>10, after>>10)
	}
}

func TestAServerThatTheOthersMayHaveForgottenTrustsNothing(t *testing.T) {
	h := newHouse(t, dbtest.SQLite(t))
	_, key := h.make(t, apikey.Request{Name: "k"})
	h.Shared, h.Counted = true, time.Minute
	var beaten atomic.Int64
	h.Beaten = func() time.Time { return time.Unix(0, beaten.Load()) }
	follow := func(name string, at time.Time, trusts bool) {
		t.Helper()
		beaten.Store(at.UnixNano())
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		wg.Go(func() { _ = h.Follow(ctx) })
		before, since := count(t, h.Metrics.CacheHits), time.Now()
		for time.Since(since) < 300*time.Millisecond {
			if _, err := h.check(key, gate.Question{Cost: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if got := count(t, h.Metrics.CacheHits) > before; got != trusts {
			t.Errorf("%s: it trusts what it remembers is %v", name, got)
		}
	}
	follow("forgotten", time.Now().Add(-2*time.Minute), false)
	follow("counted", time.Now(), true)
}

func TestASignedRequestThatTheLimitsRefuseIsNotRemembered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.Shared = true // the memory of signatures is in the database, where it can be counted
		made, err := h.Keys.Create(t.Context(), h.jane, apikey.Request{Name: "k", RequireSignature: true, Limits: access.Limits{PerHour: 3}})
		if err != nil {
			t.Fatal(err)
		}
		send := func(body string) error {
			s := gate.Signature{Timestamp: strconv.FormatInt(time.Now().Unix(), 10), Method: "POST", Target: "/x", Body: []byte(body)}
			mac := hmac.New(sha256.New, made.Signing.Bytes())
			fmt.Fprintf(mac, "%s\n%s\n%s\n%s", s.Method, s.Target, s.Timestamp, s.Body)
			s.Value = hex.EncodeToString(mac.Sum(nil))
			_, err := h.check(made.Secret.Bytes(), gate.Question{Cost: 1, Signature: s})
			return err
		}
		for n := range 10 {
			err := send(strconv.Itoa(n))
			if n < 3 && err != nil || n >= 3 && !errors.Is(err, gate.ErrRateLimited) {
				t.Fatalf("request %d: %v", n, err)
			}
		}
		var remembered int
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM signatures_seen`).Scan(&remembered); err != nil || remembered != 3 {
			t.Errorf("%d signatures are remembered of 3 requests that were let in (%v)", remembered, err)
		}
	})
}

func TestAnExpiredKeyIsRefusedFromMemoryToo(t *testing.T) {
	h := newHouse(t, dbtest.SQLite(t))
	now := time.Now()
	h.Now = func() time.Time { return now }
	_, key := h.make(t, apikey.Request{Name: "k", Type: apikey.Temporary, ExpiresIn: time.Minute})
	if _, err := h.check(key, gate.Question{Cost: 1}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	if _, err := h.check(key, gate.Question{Cost: 1}); !errors.Is(err, apikey.ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
	if n := count(t, h.Metrics.Lookups); n != 1 {
		t.Errorf("%v look-ups", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	d := dbtest.SQLite(b)
	h := newHouse(b, d)
	_, key := h.make(b, apikey.Request{Name: "k", Limits: access.Limits{PerHour: 1e12, Burst: 1e9}})
	q := gate.Question{Cost: 1, Address: netip.MustParseAddr("192.0.2.1"), Organization: h.jane.OrganizationID}
	b.ReportAllocs()
	for b.Loop() {
		var a gate.Answer
		if err := h.Check(b.Context(), key, &q, &a); err != nil {
			b.Fatal(err)
		}
	}
}
