package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

// hands is a clock that a test sets.
type hands struct{ ns atomic.Int64 }

func setTo(t time.Time) *hands {
	h := &hands{}
	h.ns.Store(t.UnixNano())
	return h
}

func (h *hands) now() time.Time          { return time.Unix(0, h.ns.Load()) }
func (h *hands) advance(d time.Duration) { h.ns.Add(int64(d)) }

// open is a Keeper that begins now.
func open(d *db.DB, clock func() time.Time) *Keeper {
	k := &Keeper{DB: d, Clock: clock, Log: slog.New(slog.DiscardHandler)}
	k.once.Do(k.begin)
	return k
}

func take(t *testing.T, k *Keeper, key int64, l access.Limits, cost int64) Verdict {
	t.Helper()
	v, err := k.Take(t.Context(), key, l, cost)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// exhaust takes with many callers at once until each was refused, and returns
// what was admitted in all.
func exhaust(t *testing.T, key int64, l access.Limits, cost func(i int) int64, keepers ...*Keeper) int64 {
	t.Helper()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			c := cost(i)
			for {
				v, err := keepers[i%len(keepers)].Take(t.Context(), key, l, c)
				if err != nil {
					t.Error(err)
					return
				}
				if !v.Allowed {
					return
				}
				admitted.Add(c)
			}
		})
	}
	wg.Wait()
	return admitted.Load()
}

func one(int) int64 { return 1 }

// rest waits until nothing is being reserved.
func rest(k *Keeper) {
	for {
		_, busy := k.leaving(k.now(), func(w *window) bool { return w.attempt != nil })
		if len(busy) == 0 {
			return
		}
		for _, a := range busy {
			<-a.done
		}
	}
}

func stored(t *testing.T, d *db.DB, key int64) (r row) {
	t.Helper()
	if err := r.scan(d.QueryRow(t.Context(), `SELECT `+rowColumns+` FROM limit_windows WHERE key_id = $1`, key)); err != nil {
		t.Fatal(err)
	}
	return r
}

func store(t *testing.T, d *db.DB, key int64, r row) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := r.insert(t.Context(), tx, key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var someLimits = []int64{1, 2, 3, 7, 63, 64, 65, 100, 999, 10_000}

func TestALimitOfNAdmitsNAndNeverMore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := setTo(noon)
		k := open(d, clock.now)
		for i, n := range someLimits {
			for span, l := range map[string]access.Limits{
				"hour": {PerHour: n}, "month": {PerMonth: n}, "burst": {Burst: n},
				"hour and month": {PerHour: n, PerMonth: n + 1}, "all": {PerHour: n + 1, Burst: n, PerMonth: n + 2},
			} {
				key := int64(i)*100 + int64(len(span))
				if got := exhaust(t, key, l, one, k); got != n {
					t.Errorf("%s of %d: %d were admitted", span, n, got)
				}
			}
		}
	})
}

func TestCostsTogetherNeverExceedTheLimit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := open(d, setTo(noon).now)
		for i, n := range someLimits {
			for j, l := range []access.Limits{{PerHour: n}, {PerMonth: n}, {Burst: n}, {PerHour: n, Burst: n, PerMonth: n}} {
				key := int64(i)*100 + int64(j)
				got := exhaust(t, key, l, func(i int) int64 { return int64(i%5 + 1) }, k)
				// Callers with a cost of 1 go on until nothing is left.
				if got != n {
					t.Errorf("%+v: %d were admitted", l, got)
				}
			}
		}
	})
}

// The second slides, so the claim is tested on the moments of what was admitted:
// no N+1 of them lie within a second.
func TestNoSecondAdmitsMoreThanTheBurst(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := setTo(noon)
		k := open(d, clock.now)
		for _, n := range []int64{1, 3, 50} {
			l := access.Limits{Burst: n, PerHour: 100_000}
			var mu sync.Mutex
			var moments []int64
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 16 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						// Between these two the moment of the request lies.
						before := clock.ns.Load()
						v, err := k.Take(t.Context(), n, l, 1)
						if err != nil {
							t.Error(err)
							return
						}
						if v.Allowed && before == clock.ns.Load() {
							mu.Lock()
							moments = append(moments, before)
							mu.Unlock()
						}
					}
				})
			}
			for range 300 {
				clock.advance(17 * time.Millisecond)
				time.Sleep(200 * time.Microsecond)
			}
			close(stop)
			wg.Wait()
			if int64(len(moments)) < n {
				t.Errorf("burst %d: only %d were seen to be admitted", n, len(moments))
			}
			for _, from := range moments {
				within := int64(0)
				for _, m := range moments {
					if m >= from && m < from+int64(time.Second) {
						within++
					}
				}
				if within > n {
					t.Fatalf("burst %d: a second admitted %d", n, within)
				}
			}
		}
	})
}

func TestAKeyWithoutLimitsTouchesNothing(t *testing.T) {
	k := &Keeper{} // without a database or a clock it would panic
	if v, err := k.Take(t.Context(), 1, access.Limits{}, 1); err != nil || v != (Verdict{Allowed: true}) {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestACrashLosesABlockAtMostAndAdmitsNoMore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for i, n := range someLimits {
			for j, l := range []access.Limits{{PerHour: n}, {PerMonth: n}, {PerHour: n, PerMonth: 2 * n}} {
				key, clock := int64(i)*100+int64(j), setTo(noon)
				first := open(d, clock.now)
				admitted := int64(0)
				for range (n + 1) / 2 {
					if !take(t, first, key, l, 1).Allowed {
						t.Fatal("refused before the limit was reached")
					}
					admitted++
				}
				rest(first) // and then it is gone, without a word
				clock.advance(3 * time.Second)
				admitted += exhaust(t, key, l, one, open(d, clock.now))
				// A block is what was used in a second, or a hundredth.
				if admitted > n || admitted < n-max(blockFor(l, 0), (n+1)/2) {
					t.Errorf("%+v: %d were admitted", l, admitted)
				}
			}
		}
	})
}

func TestASlowKeyLosesAHundredthInACrash(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{PerHour: 1000}
		first := open(d, clock.now)
		for range 333 {
			clock.advance(2 * time.Second)
			take(t, first, 1, l, 1)
		}
		rest(first)
		if got := 333 + exhaust(t, 1, l, one, open(d, clock.now)); got > 1000 || got < 990 {
			t.Errorf("%d were admitted", got)
		}
	})
}

func TestAKeyWritesAboutAHundredTimesAnHour(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, n := range []int64{100, 1000} {
			clock, l, writes, reserved := setTo(noon), access.Limits{PerHour: n, Burst: 10, PerMonth: 1_000_000}, 0, int64(0)
			k := open(d, clock.now)
			for range n {
				take(t, k, n, l, 1)
				clock.advance(time.Hour / time.Duration(n+1))
				rest(k)
				if r := stored(t, d, n); r.reserved != reserved {
					writes, reserved = writes+1, r.reserved
				}
			}
			if writes > 135 {
				t.Errorf("%d requests took %d writes", n, writes)
			}
		}
	})
}

// The wait at the start is a second at most, whatever a clock has stored.
func TestAProcessFollowsAnotherForASecondAtMost(t *testing.T) {
	const second = int64(time.Second)
	for _, c := range []struct{ settled, began, want int64 }{
		{0, 100 * second, 101 * second}, // it died, or still runs
		{40 * second, 100 * second, 41 * second},
		{99*second + 1, 100 * second, 100*second + 1},
		{500 * second, 100 * second, 101 * second},
	} {
		var w window
		w.follow(c.settled, c.began)
		early := w.early(access.Limits{Burst: 1}, instant{ns: c.began})
		if got := c.began + int64(early); got != c.want {
			t.Errorf("settled at %d, began at %d: not before %d, want %d", c.settled, c.began, got, c.want)
		}
		if w.early(access.Limits{PerHour: 1}, instant{ns: c.began}) != 0 {
			t.Error("a key without a burst waits")
		}
	}
}

func TestWhatIsSettledIsNotLost(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for i, n := range someLimits {
			l, key, clock := access.Limits{PerHour: n, PerMonth: n + 5}, int64(i), setTo(noon)
			admitted := int64(0)
			for range 3 {
				k := open(d, clock.now)
				for range n / 4 {
					take(t, k, key, l, 1)
					admitted++
				}
				if err := k.Settle(t.Context()); err != nil {
					t.Fatal(err)
				}
				if k.count() != 0 {
					t.Error("there are windows left")
				}
			}
			last := open(d, clock.now)
			if got := admitted + exhaust(t, key, l, one, last); got != n {
				t.Errorf("a limit of %d over several servers: %d were admitted", n, got)
			}
			clock.advance(time.Hour) // another window, the same month
			if got := exhaust(t, key, l, one, last); got != min(n, 5) {
				t.Errorf("a month of %d: %d were admitted after %d", n+5, got, n)
			}
		}
	})
}

func TestServersTogetherNeverExceedALimit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := setTo(noon)
		for i, n := range someLimits {
			for j, l := range []access.Limits{{PerHour: n}, {PerMonth: n}, {PerHour: n, PerMonth: n}} {
				key := int64(i)*100 + int64(j)
				a, b, c := open(d, clock.now), open(d, clock.now), open(d, clock.now)
				got := exhaust(t, key, l, func(i int) int64 { return int64(i%2 + 1) }, a, b, c)
				if got > n {
					t.Errorf("%+v: %d were admitted by three servers", l, got)
				}
				for _, k := range []*Keeper{a, b, c} {
					if err := k.Settle(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if got += exhaust(t, key, l, one, open(d, clock.now)); got != n {
					t.Errorf("%+v: %d were admitted when all had given back", l, got)
				}
			}
		}
	})
}

func TestWhatIsLeftOfAnOldWindowIsNotGivenBackToANewOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for key, c := range []struct {
			after       time.Duration
			hour, month int64 // what is given back
		}{
			{time.Minute, 9, 9},
			{time.Hour, 0, 9},      // another window
			{12 * time.Hour, 0, 0}, // and another month
		} {
			clock, l := setTo(noon), access.Limits{PerHour: 1000, PerMonth: 10_000}
			a, b := open(d, clock.now), open(d, clock.now)
			take(t, a, int64(key), l, 1) // holds nine more of each
			clock.advance(c.after)
			take(t, b, int64(key), l, 1)
			before := stored(t, d, int64(key))
			if err := a.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := before
			want.reserved, want.monthReserved = before.reserved-c.hour, before.monthReserved-c.month
			if after := stored(t, d, int64(key)); after != want { // the other still holds its part
				t.Errorf("after %v the row was %+v and is %+v, want %+v", c.after, before, after, want)
			}
		}
	})
}

func TestServersTakeOverEachOthersWindow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{PerHour: 100}
		a, b := open(d, clock.now), open(d, clock.now)
		if got := exhaust(t, 1, l, one, a, b); got > 100 {
			t.Errorf("%d in the first hour", got)
		}
		clock.advance(time.Hour)
		take(t, a, 1, l, 1)
		opened := stored(t, d, 1).opened
		take(t, b, 1, l, 1)
		if v := take(t, b, 1, l, 1); v.HourOpened.UnixNano() != opened {
			t.Errorf("the other server's window opened at %v", v.HourOpened)
		}
		if got := 3 + exhaust(t, 1, l, one, a, b); got > 100 || got < 97 {
			t.Errorf("%d in the second hour", got)
		}
	})
}

func TestABurstHoldsOverRestarts(t *testing.T) {
	l := access.Limits{Burst: 5}
	for name, end := range map[string]func(*testing.T, *Keeper){
		"settled": func(t *testing.T, k *Keeper) {
			if err := k.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"killed": func(*testing.T, *Keeper) {},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				k := open(d, Steady(time.Now))
				began := time.Now()
				if got := exhaust(t, 1, l, one, k); got != 5 && time.Since(began) < time.Second {
					t.Fatalf("%d were admitted", got)
				}
				lastly := time.Now()
				end(t, k)

				k = open(d, Steady(time.Now))
				if v := take(t, k, 1, l, 0); !v.Allowed {
					t.Error("a look waits for nobody and was refused")
				}
				if !take(t, k, 1, l, 1).Allowed {
					t.Error("the first request was refused, it should have waited")
				}
				// The others may have been admitted up to a moment before lastly.
				if waited := time.Since(lastly); waited < 990*time.Millisecond-lastly.Sub(began) {
					t.Errorf("the next was admitted %v after the burst", waited)
				}
			})
		})
	}
}

func TestALongSettledBurstWaitsForNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{Burst: 5}
		k := open(d, clock.now)
		exhaust(t, 1, l, one, k)
		if err := k.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.advance(time.Second)
		// The clock stands still: a request that waited would wait for ever.
		if got := exhaust(t, 1, l, one, open(d, clock.now)); got != 5 {
			t.Errorf("%d were admitted", got)
		}
	})
}

func TestARequestThatWaitsLeavesWithItsContext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{Burst: 5}
		take(t, open(d, clock.now), 1, l, 1)
		k := open(d, clock.now)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if v, err := k.Take(ctx, 1, l, 1); !errors.Is(err, context.DeadlineExceeded) || v.Allowed {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func TestAClosedDatabaseAdmitsNothing(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d, err := db.Open(t.Context(), url)
		if err == nil {
			err = d.Migrate(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		clock, l := setTo(noon), access.Limits{PerHour: 1000}
		k := open(d, clock.now)
		take(t, k, 1, l, 1)
		rest(k)
		d.Close()
		admitted := int64(1)
		for {
			v, err := k.Take(t.Context(), 1, l, 1)
			if err != nil {
				break
			}
			if !v.Allowed {
				t.Fatal("it was refused as if it were over its limit")
			}
			admitted++
		}
		// What it held it had reserved.
		if admitted != 10 {
			t.Errorf("%d were admitted of a block of 10", admitted)
		}
		for key := range int64(3) {
			if v, err := k.Take(t.Context(), key, l, 1); err == nil || v.Allowed {
				t.Errorf("key %d: %+v, %v", key, v, err)
			}
		}
		if _, err := k.Take(t.Context(), 9, l, 0); err == nil {
			t.Error("a look at a row that can't be read is no error")
		}
		if _, err := k.Look(t.Context(), []int64{9}); err == nil {
			t.Error("Look without a database is no error")
		}
		if err := k.Settle(t.Context()); err == nil {
			t.Error("Settle without a database is no error")
		}
	})
}

func TestAFailedReservationIsTriedAgain(t *testing.T) {
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	k, l := open(d, setTo(noon).now), access.Limits{PerHour: 3}
	if _, err := k.Take(t.Context(), 1, l, 1); err == nil {
		t.Fatal("admitted without its table")
	}
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := exhaust(t, 1, l, one, k); got != 3 {
		t.Errorf("%d were admitted", got)
	}
}

func TestWindowsAndMonthsRoll(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{PerHour: 20, Burst: 15, PerMonth: 50}
		k := open(d, clock.now)
		for i, c := range []struct {
			after time.Duration
			want  int64
		}{
			{0, 15}, {time.Second, 5}, {time.Second, 0}, {time.Hour - 3*time.Second, 0},
			{time.Second, 15}, {time.Second, 5}, // the second hour opened an hour after the first
			{time.Hour, 10},    // all of the month
			{9 * time.Hour, 0}, // half past eleven
			{time.Hour, 15},    // February
			{0, 0}, {time.Second, 5},
		} {
			clock.advance(c.after)
			if got := exhaust(t, 1, l, one, k); got != c.want {
				t.Errorf("step %d: %d were admitted, want %d", i, got, c.want)
			}
		}
		if v := take(t, k, 1, l, 0); v.MonthUsed != 20 || v.Month.Month() != time.February || v.HourUsed != 20 {
			t.Errorf("%+v", v)
		}
	})
}

// What is left of a block does not carry over: it was of the window, or the
// month, that is over.
func TestANewWindowIsReservedBeforeItAdmits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for key, l := range []access.Limits{{PerHour: 1000}, {PerMonth: 10_000}, {PerHour: 1000, PerMonth: 10_000}} {
			clock := setTo(noon)
			k := open(d, clock.now)
			for i, after := range []time.Duration{0, time.Hour, 12 * time.Hour, 28 * 24 * time.Hour} {
				clock.advance(after)
				for range 5 {
					take(t, k, int64(key), l, 1)
				}
				rest(k)
				// The reserved part alone, as a server after a crash sees it.
				opened, month := clock.now(), monthOf(clock.now())
				r := stored(t, d, int64(key))
				if l.PerHour > 0 && (r.opened != opened.UnixNano() || r.reserved < 5 || r.reserved > 20) {
					t.Errorf("%+v after %v: opened %v, %d reserved", l, after, at(r.opened), r.reserved)
				}
				if l.PerMonth > 0 && (r.month != month || r.monthReserved < 5) {
					t.Errorf("%+v after %v: %d of month %d reserved", l, after, r.monthReserved, r.month)
				}
				if v := take(t, k, int64(key), l, 0); l.PerHour > 0 && v.HourUsed != 5 {
					t.Errorf("%+v after %v: %d are used", l, after, v.HourUsed)
				} else if want := []int64{5, 10, 5, 5}[i]; l.PerMonth > 0 && v.MonthUsed != want {
					t.Errorf("%+v after %v: %d are used of the month, want %d", l, after, v.MonthUsed, want)
				}
			}
		}
	})
}

func TestAWindowThatRollsWhileARequestWaits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := access.Limits{PerHour: 10}
		clock := setTo(noon)
		k := open(d, clock.now)
		var wg sync.WaitGroup
		var mu sync.Mutex
		admitted := map[int64]int{}
		for range 16 {
			wg.Go(func() {
				for range 400 {
					v, err := k.Take(t.Context(), 1, l, 1)
					if err != nil {
						t.Error(err)
					}
					if v.Allowed {
						mu.Lock()
						admitted[v.HourOpened.UnixNano()]++
						mu.Unlock()
					}
					clock.advance(100 * time.Millisecond * 60)
				}
			})
		}
		wg.Wait()
		last := int64(0)
		for opened, n := range admitted {
			if n > 10 {
				t.Errorf("the window of %v admitted %d", at(opened), n)
			}
			last = max(last, opened)
		}
		for opened := range admitted {
			for other := range admitted {
				if d := time.Duration(other - opened); d > 0 && d < time.Hour {
					t.Errorf("windows opened %v apart", d)
				}
			}
		}
	})
}

func TestLimitsThatChangeApplyAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := setTo(noon)
		k := open(d, clock.now)
		for range 40 {
			take(t, k, 1, access.Limits{PerHour: 10_000, PerMonth: 10_000}, 1)
		}
		for i, c := range []struct {
			l    access.Limits
			want int64
		}{
			{access.Limits{PerHour: 40, PerMonth: 10_000}, 0},
			{access.Limits{PerHour: 45, PerMonth: 10_000}, 5},
			{access.Limits{PerHour: 10, PerMonth: 10_000}, 0},
			{access.Limits{PerHour: 1000, PerMonth: 50}, 5},
			{access.Limits{PerHour: 60, PerMonth: 0}, 10},
			{access.Limits{PerHour: 60, PerMonth: 60}, 0}, // the hour holds out
			{access.Limits{PerHour: 61, Burst: 1, PerMonth: 1000}, 1},
		} {
			if got := exhaust(t, 1, c.l, one, k); got != c.want {
				t.Errorf("step %d, %+v: %d were admitted, want %d", i, c.l, got, c.want)
			}
		}
	})
}

func TestLimitsThatAreLoweredBetweenServers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if !d.Shared() {
			t.Skip("one server alone uses this database")
		}
		clock, high := setTo(noon), access.Limits{PerHour: 10_000}
		a, b := open(d, clock.now), open(d, clock.now)
		take(t, a, 1, high, 1) // holds 99 more, below 100
		used := int64(1)
		for range 190 {
			take(t, b, 1, high, 1)
			used++
		}
		low := access.Limits{PerHour: 200}
		if used += exhaust(t, 1, low, one, a, b); used > 200 {
			t.Errorf("%d were admitted under a limit of 200", used)
		}
	})
}

func TestClocksThatWereWrong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		now := instantAt(noon)
		l := access.Limits{PerHour: 10, PerMonth: 100}
		for i, c := range []struct {
			name      string
			row       row
			want      int64
			hour      int64 // which it is after that
			tillReset time.Duration
		}{
			{"an hour ahead", row{now.ns + int64(time.Hour), 4, now.month, 4, 1}, 6, 10, time.Hour},
			{"years ahead", row{now.ns + int64(50000*time.Hour), 4, now.month + 60, 97, 1}, 3, 7, time.Hour},
			{"a month ahead", row{now.ns - int64(time.Minute), 4, now.month + 1, 97, 1}, 3, 7, time.Hour - time.Minute},
			{"years behind", row{now.ns - int64(50000*time.Hour), 9, now.month - 60, 100, 1}, 10, 10, time.Hour},
		} {
			key, clock := int64(i), setTo(noon)
			store(t, d, key, c.row)
			k := open(d, clock.now)
			if got := exhaust(t, key, l, one, k); got != c.want {
				t.Errorf("%s: %d were admitted, want %d", c.name, got, c.want)
			}
			if v := take(t, k, key, l, 0); v.HourUsed != c.hour || v.Reset.Sub(noon) != c.tillReset {
				t.Errorf("%s: %+v", c.name, v)
			}
			clock.advance(time.Hour)
			if got, want := exhaust(t, key, l, one, k), min(10, 100-c.row.monthReserved-c.want); got != max(want, 0) && i != 3 {
				t.Errorf("%s, an hour later: %d were admitted, want %d", c.name, got, want)
			}
		}
	})
}

func TestASteadyClockNeverGoesBack(t *testing.T) {
	wall := noon
	clock := Steady(func() time.Time { return wall })
	first := clock()
	wall = wall.Add(-24 * time.Hour)
	if d := clock().Sub(first); first.Before(noon) || d < 0 || d > time.Minute {
		t.Errorf("it went %v", d)
	}
	wall = wall.Add(240 * time.Hour)
	if d := clock().Sub(first); d > time.Minute {
		t.Errorf("it went %v", d)
	}
}

func TestLookTellsWhatIsUsedAndMakesNoWindows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{PerHour: 1000, PerMonth: 5000}
		k := open(d, clock.now)
		var ids []int64
		for key := int64(1); key <= 50; key++ {
			ids = append(ids, key)
			if key%2 == 0 {
				take(t, k, key, l, key)
			}
		}
		check := func(k *Keeper) {
			t.Helper()
			uses, err := k.Look(t.Context(), ids)
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range ids {
				want := Use{Month: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
				if key%2 == 0 {
					want.HourOpened, want.HourUsed, want.MonthUsed = noon, key, key
				}
				if uses[key] != want {
					t.Errorf("key %d: %+v, want %+v", key, uses[key], want)
				}
				if v := take(t, k, key, l, 0); v.HourUsed != want.HourUsed || v.Remaining != 1000-want.HourUsed {
					t.Errorf("key %d: a look says %+v", key, v)
				}
			}
		}
		check(k)
		if k.count() != 25 {
			t.Errorf("%d windows", k.count())
		}
		if err := k.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(k)
		if k.count() != 0 {
			t.Errorf("%d windows after looks alone", k.count())
		}
		clock.advance(time.Hour)
		if uses, err := k.Look(t.Context(), []int64{2}); err != nil || !uses[2].HourOpened.IsZero() || uses[2].HourUsed != 0 || uses[2].MonthUsed != 2 {
			t.Errorf("an hour later: %+v, %v", uses, err)
		}
	})
}

func TestIdleWindowsGoAndLoseNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{PerHour: 1000}
		k := open(d, clock.now)
		for key := range int64(500) {
			take(t, k, key, l, 1)
		}
		clock.advance(idle)
		take(t, k, 7, l, 1)
		clock.advance(time.Second)
		rest(k)
		if err := k.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := k.count(); n != 1 {
			t.Errorf("%d windows are left, want the one that is in use", n)
		}
		if r := stored(t, d, 8); r.reserved != 1 || r.settled != noon.UnixNano() {
			t.Errorf("an idle key's row: %+v", r)
		}
		for _, key := range []int64{7, 8} {
			if got := exhaust(t, key, l, one, k); got != 1000-max(1, 9-key) {
				t.Errorf("key %d: %d more were admitted", key, got)
			}
		}
	})
}

func TestSweepsAndRequestsDoNotMeet(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock, l := setTo(noon), access.Limits{PerHour: 5000, Burst: 5000}
		k := open(d, clock.now)
		clock.advance(time.Second) // a window that follows another waits for nothing now
		ctx, cancel := context.WithCancel(t.Context())
		var sweeps sync.WaitGroup
		sweeps.Go(func() {
			for ctx.Err() == nil {
				leaving, _ := k.leaving(k.now(), func(*window) bool { return true })
				if err := k.giveBack(t.Context(), leaving); err != nil {
					t.Error(err)
				}
			}
		})
		got := map[int64]int64{}
		for key := range int64(3) {
			got[key] = exhaust(t, key, l, one, k)
		}
		cancel()
		sweeps.Wait()
		for key, n := range got {
			// The second that a dropped window had counted is gone with it; the
			// hour's limit is not.
			if n != 5000 {
				t.Errorf("key %d: %d were admitted", key, n)
			}
		}
	})
}

func TestPurgeRemovesRowsOfKeysThatAreGone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			for _, text := range []string{
				`INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
				 VALUES ('o', 'o', 0, 'free', '', '', 1, 1, 1, '')`,
				`INSERT INTO api_keys (id, organization_id, account_id, name, type, made_by_key, created_at, updated_at, expires_at, revoked_at, root_version, tag)
				 VALUES (3, 'o', '', 'n', 'service', 0, 1, 1, 0, 0, 1, '')`,
			} {
				if _, err := tx.Exec(t.Context(), text); err != nil {
					return fmt.Errorf("%s: %w", text, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for key := range int64(10) {
			store(t, d, key, row{opened: 1000, reserved: 1})
		}
		k := open(d, setTo(noon).now)
		for i, want := range []int{4, 4, 1, 0} {
			if n, err := k.Purge(t.Context(), 4); n != want || err != nil {
				t.Errorf("purge %d: %d, %v; want %d", i, n, err, want)
			}
		}
		stored(t, d, 3)
	})
}
