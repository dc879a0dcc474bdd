package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/node"
	"github.com/keyward/keyward/internal/seal"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock(at string) *clock {
	t, err := time.Parse(time.DateTime, at)
	if err != nil {
		panic(err)
	}
	return &clock{t: t}
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

// ring returns another server's copy of root.
func ring(t *testing.T, root *seal.Root) *seal.Root {
	t.Helper()
	again, err := seal.ParseRoot(root.Text())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func join(t *testing.T, d *db.DB, root *seal.Root, host string, c *clock) *node.Fleet {
	t.Helper()
	f := &node.Fleet{DB: d, Root: root, Host: host, Now: c.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if err := f.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func beat(t *testing.T, fleets ...*node.Fleet) {
	t.Helper()
	for _, f := range fleets {
		if err := f.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// hosts returns the hosts that f takes for live.
func hosts(t *testing.T, f *node.Fleet) string {
	t.Helper()
	live, err := f.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range live {
		names = append(names, n.Host)
	}
	return strings.Join(names, " ")
}

// shared opens a database that several servers can use.
func shared(t *testing.T) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
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
		t.Fatalf("%s: %v", query, err)
	}
}

func TestAServerIsLiveFromRegisterToLeave(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root, _ := seal.NewRoot()
		c := newClock("2026-01-02 03:04:05")
		f := join(t, d, root, "a", c)
		live, err := f.Live(t.Context())
		if err != nil || len(live) != 1 {
			t.Fatalf("Live = %v, %v", live, err)
		}
		n := live[0]
		if n.ID != f.ID() || n.Host != "a" || !n.StartedAt.Equal(c.now()) || n.RootActive != 1 ||
			fmt.Sprint(n.RootVersions) != fmt.Sprint(map[uint32]string{1: root.ID(1)}) {
			t.Errorf("the server says %+v", n)
		}
		if err := f.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if live, err := f.Live(t.Context()); err != nil || len(live) != 0 {
			t.Errorf("after Leave, Live = %v, %v", live, err)
		}
		if err := f.Beat(t.Context()); err == nil {
			t.Error("a server that has left still has a heartbeat")
		}
	})
}

// The clocks of these servers are years apart; their heartbeats are not.
func TestAWrongClockTakesNobodyForDead(t *testing.T) {
	d := shared(t)
	root, _ := seal.NewRoot()
	past, future := newClock("2019-01-02 03:04:05"), newClock("2031-01-02 03:04:05")
	a, b := join(t, d, ring(t, root), "a", past), join(t, d, ring(t, root), "b", future)
	for range 30 {
		past.pass(node.Silence / 2)
		future.pass(node.Silence / 2)
		beat(t, a, b)
		if got := hosts(t, a); got != "a b" {
			t.Fatalf("a sees %q", got)
		}
		if got := hosts(t, b); got != "a b" {
			t.Fatalf("b sees %q", got)
		}
	}

	// b falls silent; a clock that was set back counts as a heartbeat all the same.
	past.pass(-time.Hour)
	for range 3 {
		beat(t, a)
		past.pass(node.Silence / 4)
	}
	if got := hosts(t, a); got != "a b" {
		t.Errorf("a sees %q before b was silent for %v", got, node.Silence)
	}
	past.pass(node.Silence)
	beat(t, a)
	if got := hosts(t, a); got != "a" {
		t.Errorf("a sees %q after b was silent for %v", got, node.Silence)
	}

	// b comes back.
	beat(t, b)
	if got := hosts(t, a); got != "a b" {
		t.Errorf("a sees %q after b was heard again", got)
	}
}

func TestAHeartbeatCountsThoughTheClockStandsStill(t *testing.T) {
	d := shared(t)
	root, _ := seal.NewRoot()
	still, moving := newClock("2026-01-02 03:04:05"), newClock("2026-01-02 03:04:05")
	a, b := join(t, d, ring(t, root), "a", moving), join(t, d, ring(t, root), "b", still)
	for range 6 {
		moving.pass(node.Silence - time.Second)
		still.pass(-time.Minute)
		beat(t, a, b)
		if got := hosts(t, a); got != "a b" {
			t.Fatalf("a sees %q", got)
		}
	}
}

func TestTheRowOfALongDeadServerGoes(t *testing.T) {
	d := shared(t)
	root, _ := seal.NewRoot()
	c := newClock("2026-01-02 03:04:05")
	a, b := join(t, d, ring(t, root), "a", c), join(t, d, ring(t, root), "b", c)
	rows := func() (n int) {
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM nodes`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	beat(t, a)
	c.pass(9 * time.Minute)
	beat(t, a)
	if n := rows(); n != 2 {
		t.Errorf("%d rows after nine minutes, want 2", n)
	}
	c.pass(2 * time.Minute)
	beat(t, a)
	if n := rows(); n != 1 {
		t.Errorf("%d rows after eleven minutes, want 1", n)
	}

	// It was only asleep.
	id := b.ID()
	beat(t, b)
	if live, err := a.Live(t.Context()); err != nil || len(live) != 2 || live[1].ID != id {
		t.Errorf("after b woke up, Live = %+v, %v", live, err)
	}
}

func TestOnSQLiteRegisterTakesAwayTheDead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root, _ := seal.NewRoot()
		c := newClock("2026-01-02 03:04:05")
		join(t, d, root, "killed", c)
		want := "again"
		if d.Shared() {
			want = "killed again"
		}
		if got := hosts(t, join(t, d, root, "again", c)); got != want {
			t.Errorf("live: %q, want %q", got, want)
		}
	})
}

func TestAServerTellsWhatItHoldsOfTheRootKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root, _ := seal.NewRoot()
		f := join(t, d, root, "a", newClock("2026-01-02 03:04:05"))
		says := func() string {
			live, err := f.Live(t.Context())
			if err != nil || len(live) != 1 {
				t.Fatalf("Live = %v, %v", live, err)
			}
			return fmt.Sprint(live[0].RootActive, live[0].RootVersions)
		}
		next, _ := root.AddNew()
		beat(t, f)
		if got, want := says(), fmt.Sprint(1, map[uint32]string{1: root.ID(1), 2: root.ID(2)}); got != want {
			t.Errorf("after a version was added it says %s, want %s", got, want)
		}
		if err := root.SetActive(next); err != nil {
			t.Fatal(err)
		}
		beat(t, f)
		if got, want := says(), fmt.Sprint(2, map[uint32]string{1: root.ID(1), 2: root.ID(2)}); got != want {
			t.Errorf("after it became active it says %s, want %s", got, want)
		}
		if err := root.Remove(1); err != nil {
			t.Fatal(err)
		}
		beat(t, f)
		if got, want := says(), fmt.Sprint(2, map[uint32]string{2: root.ID(2)}); got != want {
			t.Errorf("after the old one went it says %s, want %s", got, want)
		}
	})
}

func TestAServerTellsWithWhatOthersSealToIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root, _ := seal.NewRoot()
		f := &node.Fleet{DB: d, Root: root, Host: "a", Now: newClock("2026-01-02 03:04:05").now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		tells := func(want string) {
			t.Helper()
			live, err := f.Live(t.Context())
			if err != nil || len(live) != 1 || string(live[0].RunKey) != want {
				t.Errorf("%+v, %v, want one with the run key %q", live, err, want)
			}
		}
		announce := func(key string) {
			t.Helper()
			if err := f.Announce(t.Context(), []byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		announce("first") // before it is registered
		if err := f.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		tells("first")
		announce("second")
		tells("second")
		beat(t, f)
		tells("second")
		if _, err := f.Reseal(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		tells("second")
	})
}

func TestARowThatWasChangedIsNotBelieved(t *testing.T) {
	d := shared(t)
	root, _ := seal.NewRoot()
	c := newClock("2026-01-02 03:04:05")
	a, b := join(t, d, ring(t, root), "a", c), join(t, d, ring(t, root), "b", c)
	if err := b.Announce(t.Context(), []byte("public half")); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{
		`UPDATE nodes SET root_active = 2 WHERE id = $1`,
		`UPDATE nodes SET root_versions = root_versions || ' 2:00' WHERE id = $1`,
		`UPDATE nodes SET root_versions = '01' || root_versions WHERE id = $1`,
		`UPDATE nodes SET host = 'c' WHERE id = $1`,
		`UPDATE nodes SET started_at = started_at + 1 WHERE id = $1`,
		`UPDATE nodes SET run_key = run_key || run_key WHERE id = $1`,
		`UPDATE nodes SET run_key = '' WHERE id = $1`,
	} {
		run(t, d, change, b.ID())
		if _, err := a.Live(t.Context()); !errors.Is(err, seal.ErrTag) || !strings.Contains(err.Error(), b.ID()) {
			t.Errorf("%s: Live: %v, want one that names the row", change, err)
		}
		beat(t, b) // its next heartbeat sets it right
		if got := hosts(t, a); got != "a b" {
			t.Errorf("%s: then a sees %q", change, got)
		}
	}
}

func TestResealRenewsEveryRow(t *testing.T) {
	d := shared(t)
	root, _ := seal.NewRoot()
	c := newClock("2026-01-02 03:04:05")
	a := join(t, d, root, "a", c)
	for i := range 4 {
		join(t, d, ring(t, root), fmt.Sprint("dead", i), c)
	}
	next, _ := root.AddNew()
	if err := root.SetActive(next); err != nil {
		t.Fatal(err)
	}
	total := 0
	for {
		n, err := a.Reseal(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		total += n
	}
	if total != 5 {
		t.Errorf("%d rows were renewed, want 5", total)
	}
	if err := root.Remove(1); err != nil {
		t.Fatal(err)
	}
	if got := hosts(t, a); got != "a dead0 dead1 dead2 dead3" {
		t.Errorf("live: %q", got)
	}
}

func TestFollowKeepsTheHeartbeat(t *testing.T) {
	d := shared(t)
	root, _ := seal.NewRoot()
	f := join(t, d, root, "a", &clock{t: time.Now()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Follow(ctx) }()
	seen := func() (at int64) {
		if err := d.QueryRow(t.Context(), `SELECT seen_at FROM nodes`).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	first := seen()
	for end := time.Now().Add(30 * time.Second); seen() < first+2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there were no two heartbeats in 30 seconds")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error("Follow: ", err)
	}
}

func TestAServerKnowsWhenTheOthersHeardItLast(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if !d.Shared() {
			return // there are no others
		}
		root, _ := seal.NewRoot()
		c := newClock("2024-01-01 00:00:00")
		f := join(t, d, root, "a", c)
		if got := f.Beaten(); !got.Equal(c.now()) {
			t.Errorf("after it registered at %v: %v", c.now(), got)
		}
		c.pass(time.Hour)
		beat(t, f)
		last := c.now()
		c.pass(time.Hour)
		cut, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Beat(cut); err == nil {
			t.Fatal("a heartbeat that is cut off succeeds")
		}
		if got := f.Beaten(); !got.Equal(last) {
			t.Errorf("after a heartbeat at %v and one that failed: %v", last, got)
		}
	})
}
