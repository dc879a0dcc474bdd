package usage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/usage"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

var (
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	here = netip.MustParseAddr("192.0.2.7")
	jane = access.Caller{AccountID: "jane", OrganizationID: "org-jane", Role: access.Owner, SignInID: "s"}
)

const allowed, denied, limited = usage.Allowed, usage.Denied, usage.RateLimited

// server is one of those that count in a database.
type server struct {
	*usage.Counter
	clock *clock
	t     *testing.T
}

func newServer(t *testing.T, d *db.DB) *server {
	c := &clock{t: noon.Add(3 * time.Second)}
	return &server{clock: c, t: t, Counter: &usage.Counter{
		DB: d, Now: c.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		KeepMinutes: 48 * time.Hour, KeepHours: 90 * 24 * time.Hour, KeepDays: 730 * 24 * time.Hour,
	}}
}

// again returns a server that starts on the same database after s was killed.
func (s *server) again() *server {
	next := newServer(s.t, s.DB)
	next.clock = s.clock
	next.Now = s.clock.now
	return next
}

func (s *server) count(key int64, n int, o usage.Outcome) {
	for range n {
		s.Count(key, o, s.clock.now(), here)
	}
}

func (s *server) flush() {
	s.t.Helper()
	if err := s.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) rollUp() {
	s.t.Helper()
	if err := s.RollUp(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// series returns what is known of a key in the six hours from noon.
func (s *server) series(key int64, interval usage.Interval) []usage.Counts {
	s.t.Helper()
	p, err := usage.NewPeriod(noon, noon.Add(6*time.Hour), interval, s.clock.now())
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := s.Series(s.t.Context(), jane, []int64{key}, p)
	if err != nil {
		s.t.Fatal(err)
	}
	return got[key]
}

// has fails the test unless the key has these counts in all, by each interval.
func (s *server) has(key int64, want usage.Counts) {
	s.t.Helper()
	for _, interval := range []usage.Interval{usage.Minute, usage.Hour, usage.Day} {
		if got := total(s.series(key, interval)); got != want {
			s.t.Errorf("key %d has %+v by %s, want %+v", key, got, interval, want)
		}
	}
}

func total(series []usage.Counts) (sum usage.Counts) {
	for _, c := range series {
		sum.Allowed += c.Allowed
		sum.Denied += c.Denied
		sum.RateLimited += c.RateLimited
	}
	return sum
}

func rows(t *testing.T, d *db.DB, table string) (n int) {
	t.Helper()
	if err := d.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
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

func makeKeys(t *testing.T, d *db.DB, ids ...int64) {
	t.Helper()
	change(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
		VALUES ('org-jane', 'o', 0, 'free', '{}', '{}', 1, 1, 1, $1)`, []byte{})
	for _, id := range ids {
		change(t, d, `INSERT INTO api_keys (id, organization_id, account_id, name, type, made_by_key, created_at, updated_at, expires_at, revoked_at, root_version, tag)
			VALUES ($1, 'org-jane', 'jane', $2, 'personal', 0, 1, 1, 0, 0, 1, $3)`, id, fmt.Sprint("key ", id), []byte{})
	}
}

func TestEachCountIsSeenOnceWhereverItIs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		s.count(7, 3, allowed)
		s.count(7, 2, denied)
		s.count(71, 1, limited) // of the same shard
		want := usage.Counts{Allowed: 3, Denied: 2}
		s.has(7, want) // in memory
		s.flush()
		s.has(7, want) // in a batch
		s.clock.pass(time.Second)
		s.count(7, 1, limited)
		want.RateLimited++
		s.has(7, want) // in both
		s.flush()
		s.clock.pass(time.Minute)
		s.rollUp()
		if n := rows(t, d, "usage_batches"); n != 2 {
			t.Errorf("%d batches: the minute was rolled up before all servers had written it", n)
		}
		s.clock.pass(time.Second)
		s.count(7, 1, allowed)
		s.rollUp()
		want.Allowed++
		s.has(7, want) // rolled up, and in memory
		s.has(71, usage.Counts{RateLimited: 1})
		s.has(8, usage.Counts{})
		for table, want := range map[string]int{"usage_batches": 0, "usage_rolls": 0, "usage_counts": 3} {
			if n := rows(t, d, table); n != want {
				t.Errorf("%d rows in %s, want %d", n, table, want)
			}
		}
	})
}

func TestASeriesIsCompleteAndOfWholeSpans(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		for range 3 { // at 12:00, 12:50 and 13:40
			s.count(7, 1, allowed)
			s.flush()
			s.clock.pass(50 * time.Minute)
			s.rollUp()
		}
		s.count(7, 5, denied) // 14:30
		s.flush()
		one, none := usage.Counts{Allowed: 1}, usage.Counts{}
		if got, want := s.series(7, usage.Hour), []usage.Counts{{Allowed: 2}, one, {Denied: 5}, none, none, none}; !slices.Equal(got, want) {
			t.Errorf("by hour: %v", got)
		}
		minutes := s.series(7, usage.Minute)
		if len(minutes) != 360 || minutes[0] != one || minutes[50] != one || minutes[100] != one || minutes[150] != (usage.Counts{Denied: 5}) {
			t.Errorf("by minute: %v", minutes)
		}
		p, err := usage.NewPeriod(noon.Add(10*time.Minute), noon.Add(61*time.Minute), usage.Hour, s.clock.now())
		if err != nil || !p.From.Equal(noon) || !p.To.Equal(noon.Add(2*time.Hour)) || p.Points() != 2 || !p.Time(1).Equal(noon.Add(time.Hour)) {
			t.Errorf("NewPeriod = %v, %v", p, err)
		}
	})
}

func TestAPeriodIsTheLastDayByHourAndHasBounds(t *testing.T) {
	now := noon.Add(34 * time.Minute)
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	for name, tc := range map[string]struct {
		from, to  time.Time
		interval  usage.Interval
		wantFrom  time.Time
		wantTo    time.Time
		wantField string
	}{
		"nothing said":         {wantFrom: at(-23 * time.Hour), wantTo: at(time.Hour)},
		"by day":               {interval: usage.Day, wantFrom: at(-12 * time.Hour), wantTo: at(12 * time.Hour)},
		"by minute":            {interval: usage.Minute, wantFrom: at(34*time.Minute - 24*time.Hour), wantTo: now},
		"from alone":           {from: at(-90 * time.Minute), wantFrom: at(-2 * time.Hour), wantTo: at(time.Hour)},
		"to alone":             {to: at(-48 * time.Hour), wantFrom: at(-72 * time.Hour), wantTo: at(-48 * time.Hour)},
		"another zone":         {from: at(0).In(time.FixedZone("", 5400)), to: at(time.Minute), wantFrom: at(0), wantTo: at(time.Hour)},
		"the most points":      {from: at(-1999 * time.Hour), wantFrom: at(-1999 * time.Hour), wantTo: at(time.Hour)},
		"too many points":      {from: at(-2000 * time.Hour), wantField: "interval"},
		"nothing between":      {from: at(0), to: at(0), wantField: "from"},
		"the wrong way round":  {from: at(1), to: at(0), wantField: "from"},
		"from the future":      {from: at(time.Hour), wantField: "from"},
		"before there was one": {from: time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC), wantField: "from"},
		"the last year":        {to: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), wantField: "to"},
		"another interval":     {interval: "week", wantField: "interval"},
	} {
		p, err := usage.NewPeriod(tc.from, tc.to, tc.interval, now)
		if f := fault.Of(err); tc.wantField != "" {
			if f.Kind != fault.Invalid || f.Details["field"] != tc.wantField {
				t.Errorf("%s: %v, want a refusal of %s", name, err, tc.wantField)
			}
			continue
		}
		if err != nil || !p.From.Equal(tc.wantFrom) || !p.To.Equal(tc.wantTo) {
			t.Errorf("%s: %v to %v, %v", name, p.From, p.To, err)
		}
	}
}

func TestOnlyWhoMayReadUsageDoes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		p, _ := usage.NewPeriod(time.Time{}, time.Time{}, "", noon)
		who := jane
		who.SignInID, who.KeyID, who.Scopes = "", 9, access.KeysRead
		if _, err := s.Series(t.Context(), who, []int64{7}, p); !errors.Is(err, access.ErrInsufficientScope) {
			t.Errorf("Series = %v", err)
		}
		if _, err := s.Series(t.Context(), access.Caller{}, []int64{7}, p); fault.Of(err).Kind != fault.Forbidden {
			t.Errorf("Series = %v", err)
		}
	})
}

func TestAFlushThatFailsLosesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		s.count(7, 1, allowed)
		change(t, d, `ALTER TABLE usage_batches RENAME TO away`)
		for range 3 {
			if err := s.Flush(t.Context()); err == nil {
				t.Fatal("Flush wrote to a table that is not there")
			}
			s.clock.pass(time.Minute)
			s.count(7, 1, allowed)
		}
		change(t, d, `ALTER TABLE away RENAME TO usage_batches`)
		s.has(7, usage.Counts{Allowed: 4})
		s.flush()
		s.has(7, usage.Counts{Allowed: 4})
		s.clock.pass(2 * time.Minute)
		s.rollUp()
		s.has(7, usage.Counts{Allowed: 4})
		if got := s.series(7, usage.Minute)[:4]; !slices.Equal(got, slices.Repeat([]usage.Counts{{Allowed: 1}}, 4)) {
			t.Errorf("by minute: %v", got)
		}
		if !s.Flushed().After(noon) {
			t.Errorf("Flushed = %v", s.Flushed())
		}
	})
}

func TestAServerThatIsKilledLosesWhatItHadNotFlushed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		s.count(7, 2, allowed)
		s.flush()
		s.count(7, 3, allowed)
		s = s.again()
		s.has(7, usage.Counts{Allowed: 2})
	})
}

func TestARollUpThatWasCutOffIsFinished(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeKeys(t, d, 7)
		s := newServer(t, d)
		for key := range int64(500) {
			s.count(key+1, 2, allowed)
		}
		s.flush()
		s.clock.pass(2 * time.Minute)
		// Without this table it comes to an end after the rows are written.
		change(t, d, `ALTER TABLE key_uses RENAME TO away`)
		if err := s.RollUp(t.Context()); err == nil {
			t.Fatal("a roll-up wrote to a table that is not there")
		}
		if rows(t, d, "usage_rolls") != 1 || rows(t, d, "usage_batches") != 1 {
			t.Error("the claim is gone")
		}
		s.has(7, usage.Counts{Allowed: 2})
		change(t, d, `ALTER TABLE away RENAME TO key_uses`)
		s = s.again()
		for range 2 { // in a fleet, one pass sees that nobody is at it
			s.rollUp()
		}
		s.has(7, usage.Counts{Allowed: 2})
		if rows(t, d, "usage_rolls") != 0 || rows(t, d, "usage_batches") != 0 || rows(t, d, "key_uses") != 64 {
			t.Error("it was not finished")
		}
	})
}

func TestWhatComesLateIsCounted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		prompt, late := newServer(t, d), newServer(t, d)
		prompt.count(7, 1, allowed)
		late.count(7, 2, allowed)
		late.count(8, 1, denied)
		prompt.flush()
		prompt.clock.pass(3 * time.Hour)
		prompt.rollUp()
		late.flush()
		prompt.has(7, usage.Counts{Allowed: 3})
		prompt.rollUp()
		prompt.has(7, usage.Counts{Allowed: 3})
		prompt.has(8, usage.Counts{Denied: 1})
		if rows(t, d, "usage_batches") != 0 {
			t.Error("the late batch was left")
		}
	})
}

func TestServersThatRollUpAtOnceCountEachBatchOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const minutes, keys = 6, 300
		servers := []*server{newServer(t, d), newServer(t, d), newServer(t, d)}
		want := map[int64]int64{}
		for range minutes {
			for _, s := range servers {
				for range 400 {
					key := 1 + rand.Int64N(keys)
					s.count(key, 1, allowed)
					want[key]++
				}
				s.flush()
				s.clock.pass(time.Minute)
			}
		}
		var wg sync.WaitGroup
		for _, s := range servers {
			s.clock.pass(time.Minute)
			wg.Go(func() {
				for range 10 {
					if err := s.RollUp(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		servers[0].rollUp()
		servers[0].rollUp()
		if n := rows(t, d, "usage_batches"); n != 0 {
			t.Errorf("%d batches are left", n)
		}
		for key, n := range want {
			servers[0].has(key, usage.Counts{Allowed: n})
		}
	})
}

func TestASeriesNeverLosesACountThatMoves(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, other := newServer(t, d), newServer(t, d)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				s.flush()
			}
		})
		for _, r := range []*server{s, other} {
			wg.Go(func() {
				for ctx.Err() == nil {
					r.clock.pass(20 * time.Second)
					r.rollUp()
				}
			})
		}
		for n := range int64(200) {
			s.Count(7, allowed, noon.Add(time.Duration(n%5)*time.Minute), here)
			for _, interval := range []usage.Interval{usage.Minute, usage.Hour} {
				if got := total(s.series(7, interval)); got.Allowed != n+1 {
					t.Fatalf("after %d counts there are %d by %s", n+1, got.Allowed, interval)
				}
			}
		}
		stop()
		wg.Wait()
	})
}

func TestManyKeysCostAMinuteFewRows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		const keys = 20_000
		ids, want := make([]int64, keys), map[int64]usage.Counts{}
		for i := range ids {
			ids[i] = 1 + rand.Int64N(1<<53-1)
		}
		for range 3 {
			for i, id := range ids {
				c := want[id]
				s.count(id, 1, allowed)
				c.Allowed++
				if i%10 == 0 {
					s.count(id, 1, limited)
					c.RateLimited++
				}
				want[id] = c
			}
			s.flush()
			s.clock.pass(time.Second)
		}
		began := time.Now()
		s.clock.pass(2 * time.Minute)
		s.rollUp()
		t.Logf("rolled up %d keys in %v", keys, time.Since(began))
		if n := rows(t, d, "usage_counts"); n != 3*64 {
			t.Errorf("%d rows, want 64 for the minute, its hour and its day", n)
		}
		for _, interval := range []usage.Interval{usage.Minute, usage.Hour, usage.Day} {
			p, _ := usage.NewPeriod(noon, noon.Add(time.Minute), interval, s.clock.now())
			got, err := s.Series(t.Context(), jane, ids, p)
			if err != nil {
				t.Fatal(err)
			}
			for id, c := range want {
				if total(got[id]) != c {
					t.Fatalf("key %d has %+v by %s, want %+v", id, got[id], interval, c)
				}
			}
		}
	})
}

func TestTheLastUseIsTheLatestAllowedRequest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeKeys(t, d, 7, 8, 9)
		s, other := newServer(t, d), newServer(t, d)
		there := netip.MustParseAddr("2001:db8::1")
		last := func(key int64) usage.Use {
			t.Helper()
			uses, err := s.LastUses(t.Context(), []int64{7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 99})
			if err != nil {
				t.Fatal(err)
			}
			return uses[key]
		}
		check := func(want usage.Use) {
			t.Helper()
			if got := last(7); !got.At.Equal(want.At) || got.From != want.From {
				t.Errorf("last use %v, want %v", got, want)
			}
		}
		if got := last(7); got != (usage.Use{}) {
			t.Errorf("a key that was never used was used %v", got)
		}
		at := noon.Add(5123 * time.Millisecond)
		s.Count(7, allowed, at, here)
		s.Count(7, denied, at.Add(time.Second), there)
		s.Count(9, limited, at, there)
		s.Count(99, allowed, at, there) // there is no such key
		check(usage.Use{At: at, From: here})
		s.flush()
		check(usage.Use{At: at, From: here})
		s.clock.pass(2 * time.Minute)
		s.rollUp()
		check(usage.Use{At: at, From: here})
		other.Count(7, allowed, at.Add(-time.Second), there) // earlier, and told later
		other.flush()
		s.rollUp()
		check(usage.Use{At: at, From: here})
		other.Count(7, allowed, at.Add(time.Second), there)
		other.flush()
		check(usage.Use{At: at.Add(time.Second), From: there})
		if got := last(9); got != (usage.Use{}) {
			t.Errorf("a request that was refused is a use: %v", got)
		}
		s.rollUp()
		check(usage.Use{At: at.Add(time.Second), From: there})
		if got := last(99); got == (usage.Use{}) {
			t.Error("the use of a key that was removed meanwhile went before the purge")
		}
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(usage.Use{At: at.Add(time.Second), From: there})
		if got := last(99); got != (usage.Use{}) {
			t.Errorf("the last use of a key that there is not was left: %v", got)
		}
		change(t, d, `DELETE FROM api_keys WHERE id = 7`)
		s.clock.pass(25 * time.Hour)
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := last(7); got != (usage.Use{}) {
			t.Errorf("the last use of a key that is gone was left: %v", got)
		}
	})
}

func TestRowsGoWhenTheirTimeIsOver(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		purge := func(after time.Duration, want int) {
			t.Helper()
			s.clock.pass(after)
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := rows(t, d, "usage_counts"); n != want {
				t.Errorf("%d rows, want %d", n, want)
			}
		}
		for key := range int64(64) {
			s.count(key+1, 1, allowed)
		}
		s.flush()
		s.clock.pass(2 * time.Minute)
		s.rollUp()
		purge(0, 3*64)
		purge(48*time.Hour-2*time.Minute, 3*64)
		purge(time.Minute, 2*64)
		purge(90*24*time.Hour-48*time.Hour, 2*64)
		purge(time.Hour, 64)
		purge(730*24*time.Hour, 0)
	})
}

func TestCountersCountUnderLoad(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newServer(t, d)
		ctx, stop := context.WithCancel(t.Context())
		var flusher, counters sync.WaitGroup
		flusher.Go(func() {
			for ctx.Err() == nil {
				s.flush()
			}
		})
		for range 8 {
			counters.Go(func() {
				for i := range int64(5000) {
					s.Count(1+i%10, allowed, noon, here)
				}
			})
		}
		counters.Wait()
		stop()
		flusher.Wait()
		s.flush()
		for key := range int64(10) {
			s.has(key+1, usage.Counts{Allowed: 4000})
		}
	})
}
