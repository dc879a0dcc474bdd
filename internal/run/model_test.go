package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

// stage is a service whose calls end when and how the test says.
type stage struct {
	mu    sync.Mutex
	ends  map[string]chan string // of the calls under way, by run
	calls map[string]int         // that there were
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, rest, _ := strings.Cut(string(body), `"run_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	end := make(chan string, 1)
	s.mu.Lock()
	s.ends[id] = end
	s.calls[id]++
	s.mu.Unlock()
	select {
	case text := <-end:
		fmt.Fprint(w, text)
	case <-r.Context().Done():
	}
}

func (s *stage) end(id, text string)  { s.mu.Lock(); defer s.mu.Unlock(); s.ends[id] <- text }
func (s *stage) called(id string) int { s.mu.Lock(); defer s.mu.Unlock(); return s.calls[id] }

// model is what the queue of one server is to be: runs begin in the order in which
// they came, so many at once, and end as the histories say.
type model struct {
	atOnce int
	runs   []*modelled // the oldest first
}

type modelled struct {
	id     string
	again  bool // its agent is idempotent
	status Status
	tries  int // and calls of its agent
}

func (m *model) with(status ...Status) (some []*modelled) {
	for _, run := range m.runs {
		if slices.Contains(status, run.status) {
			some = append(some, run)
		}
	}
	return some
}

// settle begins what has its turn.
func (m *model) settle() {
	for _, run := range m.with(Queued) {
		if len(m.with(Running)) < m.atOnce {
			run.status = Running
			run.tries++
		}
	}
}

// crash is what the end of the server, and the next one's start, do.
func (m *model) crash() {
	for _, run := range m.with(Running) {
		run.status = Interrupted
		if run.again && run.tries < tries {
			run.status = Queued
		}
	}
}

// TestHistoriesOfRunsEndAsTheModelSays does at random what happens to runs, and
// looks after each step whether every run is in the state that a small model of
// the queue says, and whether its agent was called as often.
func TestHistoriesOfRunsEndAsTheModelSays(t *testing.T) {
	histories, steps := 8, 60
	if testing.Short() {
		histories, steps = 2, 40
	}
	dbtest.EachURL(t, func(t *testing.T, url string) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		d := reopen(t, url)
		h := newHouse(t, d)
		s := &stage{ends: map[string]chan string{}, calls: map[string]int{}}
		h.shared(t, "once", s.ServeHTTP, agent.Definition{})
		h.shared(t, "again", s.ServeHTTP, agent.Definition{Idempotent: true})
		for n := range histories {
			d = h.history(t, url, d, s, rand.New(rand.NewPCG(seed, uint64(n))), steps)
			if t.Failed() {
				break
			}
		}
		t.Cleanup(func() { d.Close() })
		h.die(t, d)
		d = reopen(t, url)
	})
}

func (h *house) history(t *testing.T, url string, d *db.DB, s *stage, random *rand.Rand, steps int) *db.DB {
	m := &model{atOnce: 1 + random.IntN(3)}
	said := []string{}
	h.AtOnce = m.atOnce
	restart := func(kill bool) {
		if kill {
			h.die(t, d)
			d = reopen(t, url)
		} else {
			now, cancel := context.WithCancel(t.Context())
			cancel()
			h.Shutdown(now)
		}
		node := db.NewID()
		h.start(t, d, h.Root, node)
		h.AtOnce = m.atOnce
		if err := errors.Join(h.Tend(t.Context(), only(node)), h.Look(t.Context())); err != nil {
			t.Fatal(err)
		}
		m.crash()
	}
	pick := func(from []*modelled) *modelled { return from[random.IntN(len(from))] }
	for range steps {
		running := m.with(Running)
		switch what := random.IntN(10); {
		case what < 4:
			id := []string{"once", "again"}[random.IntN(2)]
			m.runs = append(m.runs, &modelled{id: h.later(t, h.jane, "public/"+id).ID, again: id == "again", status: Queued})
			said = append(said, "start "+id)
		case what < 6 && len(running) > 0:
			run := pick(running)
			text := `{"output":1}`
			if run.status = Succeeded; random.IntN(2) == 0 {
				run.status, text = Failed, `{"error":"no"}`
			}
			s.end(run.id, text)
			said = append(said, "end "+run.id)
		case what < 8 && len(m.runs) > 0:
			run := pick(m.runs)
			got, err := h.Cancel(t.Context(), h.jane, run.id)
			said = append(said, "cancel "+run.id)
			if run.status.ends() {
				if !errors.Is(err, ErrEnded) {
					t.Errorf("to cancel one that has ended: %v", err)
				}
			} else if run.status = Cancelled; err != nil || got.Status != Cancelled {
				t.Errorf("cancelled: %+v, %v", got, err)
			}
		case what == 8:
			restart(true)
			said = append(said, "kill")
		case what == 9:
			restart(false)
			said = append(said, "shut down")
		}
		m.settle()
		differs := m.differs(t, h, s)
		for deadline := time.Now().Add(20 * time.Second); differs != "" && time.Now().Before(deadline); differs = m.differs(t, h, s) {
			time.Sleep(2 * time.Millisecond)
		}
		if differs != "" || t.Failed() {
			t.Fatalf("%d at once, after %s:\n%s", m.atOnce, strings.Join(said, ", "), differs)
		}
	}
	for _, run := range m.with(Queued, Running) {
		if _, err := h.Cancel(t.Context(), h.jane, run.id); err != nil {
			t.Error(err)
		}
		run.status = Cancelled
	}
	if n := number(t, d, `SELECT (SELECT count(*) FROM run_inputs) + (SELECT count(*) FROM run_lanes) + (SELECT count(*) FROM quota_uses WHERE kind = 'queued_runs' AND used <> 0)`); n != 0 {
		t.Errorf("%d rows are left of runs that have ended", n)
	}
	return d
}

// differs says where the runs are not as the model has them.
func (m *model) differs(t *testing.T, h *house, s *stage) string {
	var all strings.Builder
	for _, run := range m.runs {
		got, err := h.Get(t.Context(), h.jane, run.id)
		if err != nil || got.Status != run.status || s.called(run.id) != run.tries {
			fmt.Fprintf(&all, "%s is %s after %d calls, want %s after %d (%v)\n", run.id, got.Status, s.called(run.id), run.status, run.tries, err)
		}
	}
	return all.String()
}
