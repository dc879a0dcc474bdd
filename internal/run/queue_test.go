package run

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

// turnstile is a service that lets one call through for each pass, and knows who
// has called.
type turnstile struct {
	pass chan struct{}

	mu        sync.Mutex
	calls     []string // the run ids, in the order in which they came
	now, most int
}

func newTurnstile() *turnstile { return &turnstile{pass: make(chan struct{})} }

func (s *turnstile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, rest, _ := strings.Cut(string(body), `"run_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	s.mu.Lock()
	s.calls = append(s.calls, id)
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	select {
	case <-s.pass:
	case <-r.Context().Done():
	}
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	fmt.Fprint(w, `{"output":1}`)
}

func (s *turnstile) called() []string { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.calls) }

// through waits until n have called in all.
func (s *turnstile) through(t *testing.T, n int) []string {
	t.Helper()
	eventually(t, fmt.Sprintf("%d calls", n), func() bool { return len(s.called()) >= n })
	return s.called()
}

// shared defines a public agent at serve.
func (h *house) shared(t *testing.T, id string, serve http.HandlerFunc, d agent.Definition) {
	t.Helper()
	h.service(t, "at-"+id, serve)
	a, err := h.Agents.Find(t.Context(), h.jane, "at-"+id)
	if err != nil {
		t.Fatal(err)
	}
	d.ID, d.Visibility, d.Runner = id, agent.Public, a.Runner
	if _, _, err := h.Agents.Create(t.Context(), h.op, d); err != nil {
		t.Fatal(err)
	}
}

// later starts a run without waiting for it.
func (h *house) later(t *testing.T, who access.Caller, agentID string) Run {
	t.Helper()
	run, err := h.Start(t.Context(), who, Request{AgentID: agentID})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestOrganizationsTakeTurnsAndWaitInOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.AtOnce = 1
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		bob := owner("bob")
		first := h.later(t, h.jane, "public/a")
		s.through(t, 1)
		var janes, bobs []string
		for range 5 {
			janes = append(janes, h.later(t, h.jane, "public/a").ID)
		}
		for range 2 {
			bobs = append(bobs, h.later(t, bob, "public/a").ID)
		}
		want := []string{first.ID, bobs[0], janes[0], bobs[1], janes[1], janes[2], janes[3], janes[4]}
		for n := range want {
			s.through(t, n+1)
			s.pass <- struct{}{}
		}
		if got := s.called(); !slices.Equal(got, want) || s.most != 1 {
			t.Errorf("they came as\n%v, %d at once, want\n%v", got, s.most, want)
		}
	})
}

// One organization alone leaves a place for others, whose runs so begin at once.
func TestNoOrganizationTakesAllPlaces(t *testing.T) {
	h := onSQLite(t)
	h.AtOnce = 4
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	for range 10 {
		h.later(t, h.jane, "public/a")
	}
	s.through(t, 3)
	run := h.later(t, owner("bob"), "public/a")
	if calls := s.through(t, 4); calls[3] != run.ID {
		t.Errorf("the fourth is %s, want bob's", calls[3])
	}
	var wg sync.WaitGroup
	for range 10 { // callers wait in the same line
		wg.Go(func() { h.run(t, "public/a", "") })
	}
	for range 21 {
		s.pass <- struct{}{}
	}
	wg.Wait()
	eventually(t, "all end", func() bool { return number(t, h.DB, `SELECT count(*) FROM runs WHERE status = 'succeeded'`) == 21 })
	if s.most > 4 {
		t.Errorf("%d at once", s.most)
	}
	eventually(t, "all places are free", func() bool { return h.idle() })
}

// tick does what the server does every second or so, more often.
func (h *house) tick(t *testing.T) {
	runs := h.Runs
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := runs.Look(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
}

func (h *house) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &h.Runs.queue
	return q.busy == 0 && len(q.of) == 0 && q.waiting == 0 && len(h.known) == 0
}

func TestAnAgentHasNoMoreRunsAtOnceThanItSays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s := newTurnstile()
		h.shared(t, "a", s.ServeHTTP, agent.Definition{MaxConcurrent: 2})
		h.service(t, "free", says(`{"output":1}`))
		other := &house{op: h.op, jane: h.jane, log: h.log, profiles: h.profiles, keyring: h.keyring} // another server
		other.start(t, d, h.Root, "node-2")
		for i := range 6 {
			[]*house{h, other}[i%2].later(t, []access.Caller{h.jane, owner("bob")}[i%2], "public/a")
		}
		s.through(t, 2)
		if run := h.run(t, "free", ""); run.Status != Succeeded { // nobody else is held up
			t.Errorf("%+v", run)
		}
		var wg sync.WaitGroup
		wg.Go(func() { h.run(t, "public/a", "") })
		h.tick(t)
		other.tick(t)
		for range 7 {
			s.pass <- struct{}{}
		}
		wg.Wait()
		eventually(t, "all end", func() bool { return number(t, d, `SELECT count(*) FROM runs WHERE status = 'succeeded'`) == 8 })
		if s.most > 2 {
			t.Errorf("%d at once", s.most)
		}
		if n := number(t, d, `SELECT count(*) FROM run_lanes`) + number(t, d, `SELECT count(*) FROM run_inputs`); n != 0 {
			t.Errorf("%d places and inputs are left", n)
		}
	})
}

func TestRunsOfAProfileThatKeepsItsSessionWaitForEachOther(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var visits atomic.Int64
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, rest, _ := strings.Cut(string(body), `"visit":`)
			var n int64
			_, _ = fmt.Sscan(strings.TrimRight(rest, "}"), &n)
			if visits.Load() != n {
				t.Errorf("visit %d was given the session of visit %d", visits.Load(), n)
			}
			visits.Add(1)
			fmt.Fprintf(w, `{"output":1,"session":{"visit":%d}}`, n+1)
		})
		var mu sync.Mutex
		session := []byte(`{"visit":0}`)
		opens := h.OpenProfile
		h.OpenProfile = func(ctx context.Context, who access.Caller, a agent.Agent, token seal.Secret) (*Profile, error) {
			p, err := opens(ctx, who, a, token)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				p.Session = jsontext.Value(session)
			}
			return p, err
		}
		h.profiles["t"] = &Profile{Name: "p", KeepSession: true, SaveSession: func(_ context.Context, s []byte) error {
			mu.Lock()
			defer mu.Unlock()
			session = slices.Clone(s)
			return nil
		}}
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				if i%2 == 0 {
					h.run(t, "a", "t")
				} else if _, err := h.Start(t.Context(), h.jane, Request{AgentID: "a", Token: seal.NewSecret("t")}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		eventually(t, "all end", func() bool { return number(t, d, `SELECT count(*) FROM runs WHERE status = 'succeeded'`) == 12 })
		if string(session) != `{"visit":12}` {
			t.Errorf("the session is %s", session)
		}
	})
}

// Ten thousand runs wait in no more memory than ten.
func TestAQueueTakesNoMemory(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	h := onSQLite(t)
	h.AtOnce = 8
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	h.later(t, h.jane, "public/a")
	s.through(t, 1)
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range n / 64 {
				h.later(t, h.jane, "public/a")
			}
		})
	}
	wg.Wait()
	if grown := heap() - before; grown > 12<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	began := time.Now()
	if run := h.later(t, owner("bob"), "public/a"); !slices.Contains(s.through(t, 7), run.ID) || time.Since(began) > 5*time.Second {
		t.Errorf("bob's run came after %s", time.Since(began))
	}
	close(s.pass)
	began = time.Now()
	for left := int64(1); left > 0; time.Sleep(20 * time.Millisecond) {
		if left = number(t, h.DB, `SELECT count(*) FROM runs WHERE ended_at = 0`); time.Since(began) > 2*time.Minute {
			t.Fatalf("%d wait still", left)
		}
	}
	t.Logf("%d runs after %s", n, time.Since(began).Round(time.Millisecond))
}
