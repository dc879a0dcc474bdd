package limit

import (
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

func benched(b *testing.B) *Keeper {
	d, err := db.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "x.db"))
	if err == nil {
		err = d.Migrate(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	return open(d, Steady(time.Now))
}

// BenchmarkTake is a request on a key that is in use, reservations included.
func BenchmarkTake(b *testing.B) {
	for name, l := range map[string]access.Limits{
		"hour":    {PerHour: 1 << 40},
		"all":     {PerHour: 1 << 40, Burst: 1 << 40, PerMonth: 1 << 40},
		"refused": {PerHour: 1},
	} {
		b.Run(name, func(b *testing.B) {
			k := benched(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Take(b.Context(), 1, l, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("1000 keys", func(b *testing.B) {
		k, l := benched(b), access.Limits{PerHour: 1_000_000, Burst: 100_000, PerMonth: 100_000_000}
		b.ReportAllocs()
		var next atomic.Int64
		b.RunParallel(func(p *testing.PB) {
			for key := next.Add(1) * 311; p.Next(); key++ {
				if _, err := k.Take(b.Context(), key%1000, l, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// BenchmarkColdKey is the first request of a key: it waits for a durable write.
func BenchmarkColdKey(b *testing.B) {
	k, l := benched(b), access.Limits{PerHour: 1000, Burst: 100}
	b.SetParallelism(8)
	var key atomic.Int64
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := k.Take(b.Context(), key.Add(1), l, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestAHundredThousandKeysInUseTake25MB(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	k, l := &Keeper{Clock: setTo(noon).now}, access.Limits{PerHour: 1000, Burst: 100, PerMonth: 10_000}
	now := k.now()
	for i := range int64(100_000) {
		var w window
		s := k.shard(i * 7919)
		s.load(i*7919, &w)
		w.admit(l, now, 1)
		now.ns++
		w.admit(l, now, 1)
		s.store(&w)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if mb := float64(after.HeapAlloc-before.HeapAlloc) / 1e6; mb > 25 {
		t.Errorf("%.1f MB", mb)
	} else {
		t.Logf("%.1f MB", mb)
	}
	runtime.KeepAlive(k)
}

func TestAKeyInUseAllocatesNothing(t *testing.T) {
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err == nil {
		err = d.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	clock, l := setTo(noon), access.Limits{PerHour: 1 << 40, Burst: 10, PerMonth: 1 << 40}
	k := open(d, clock.now)
	l.Burst = 1 << 30
	if n := testing.AllocsPerRun(10_000, func() {
		clock.advance(100 * time.Millisecond)
		take(t, k, 1, l, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
