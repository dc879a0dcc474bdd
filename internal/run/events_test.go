package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

// eventsOf reads the events of a run of jane's to their end.
func (h *house) eventsOf(t *testing.T, id string, after int64) (all []Event) {
	t.Helper()
	events, err := h.Events(t.Context(), h.jane, id, after)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	for {
		e, err := events.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func TestEventsAreToldAsTheyComeAndAgainLater(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		next := make(chan string)
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			for text := range next {
				fmt.Fprintln(w, text)
				_ = http.NewResponseController(w).Flush()
			}
		})
		run := h.later(t, h.jane, "a")
		other := &house{op: h.op, jane: h.jane, log: h.log, profiles: h.profiles, keyring: h.keyring} // another server
		other.start(t, d, h.Root, "node-2")
		var readers []*Events
		for _, r := range []*house{h, other} {
			events, err := r.Events(t.Context(), r.jane, run.ID, 0)
			if err != nil {
				t.Fatal(err)
			}
			readers = append(readers, events)
		}
		told := func(want string) {
			t.Helper()
			for i, r := range readers {
				e, err := r.Next(t.Context())
				if got := fmt.Sprintf("%d %s %s", e.Seq, e.Kind, e.Data); err != nil || got != want {
					t.Errorf("reader %d: %s, %v, want %s", i, got, err, want)
				}
			}
		}
		told(`1 start {"run_id":"` + run.ID + `","agent_id":"a"}`)
		next <- `{"chunk":{"n":1}}`
		told(`2 chunk {"n":1}`)
		next <- `{"chunk":2}`
		told(`3 chunk 2`)
		next <- `{"error":"no more"}`
		close(next)
		told(`4 error {"status":"failed","message":"no more"}`)
		told(`5 done {"status":"failed"}`)
		for i, r := range readers {
			if _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("reader %d: %v after the end", i, err)
			}
		}
		for after, want := range []string{"1start 2chunk 3chunk 4error 5done", "2chunk 3chunk 4error 5done", "3chunk 4error 5done", "4error 5done", "5done", "", ""} {
			if got := h.kinds(t, run.ID, int64(after)); got != want {
				t.Errorf("after %d: %s, want %s", after, got, want)
			}
		}
		if _, err := h.Events(t.Context(), owner("bob"), run.ID, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("to another organization: %v", err)
		}
		if n := number(t, d, `SELECT count(*) FROM run_events`); n > 2 {
			t.Errorf("%d rows for two events", n)
		}
	})
}

func TestALogIsKeptSealedAndInBatches(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.declare(t, shell(`i=0; while [ $i -lt 5000 ]; do echo "line $i" >&2; i=$((i+1)); done; echo '{"output":1}'`))
		run := h.run(t, "public/c", "")
		events := h.eventsOf(t, run.ID, 0)
		if len(events) != 5002 {
			t.Fatalf("%d events", len(events))
		}
		for i, e := range events[1:5001] {
			if e.Seq != int64(i+2) || e.Kind != LogEvent || string(e.Data) != fmt.Sprintf(`"line %d"`, i) {
				t.Fatalf("%+v at %d", e, i)
			}
		}
		n := number(t, d, `SELECT count(*) FROM run_events`)
		if n > 100 {
			t.Errorf("%d rows", n)
		}
		rows, err := d.Query(t.Context(), `SELECT box FROM run_events`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var box []byte
			if err := rows.Scan(&box); err != nil || strings.Contains(string(box), "line") {
				t.Errorf("%.100q, %v", box, err)
			}
		}
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			n, err := h.Reseal(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			more = n > 0
		}
		if n := number(t, d, `SELECT count(*) FROM run_events WHERE root_version <> $1`, version); n != 0 {
			t.Errorf("%d are left under the old root key", n)
		}
		if again := h.eventsOf(t, run.ID, 4000); len(again) != 1002 {
			t.Errorf("%d events after that", len(again))
		}
	})
}

func TestWhatARunSaysIsBounded(t *testing.T) {
	h := onSQLite(t)
	// It keeps nothing before the end, however long that takes.
	rec := &recorder{runs: h.Runs, run: Run{ID: "r", OrganizationID: "jane", Status: Running}, seq: 1, timer: time.NewTimer(time.Hour), urgent: true}
	if err := h.DB.Tx(t.Context(), func(tx *db.Tx) error { return h.insert(t.Context(), tx, rec.run) }); err != nil {
		t.Fatal(err)
	}
	rec.chunk(jsontext.Value(`"` + strings.Repeat("x", maxChunk) + `"`))
	line := []byte(strings.Repeat("y", 8000))
	for range maxKept/8000 + 100 {
		rec.log(line)
	}
	var run Run
	batches := rec.close(&run)
	rec.log(line)
	e := &Events{runs: h.Runs, run: rec.run} // what was kept while it went on
	for {
		kept, err := e.batches(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) == 0 {
			break
		}
		batches, e.seq = append(batches, kept...), kept[len(kept)-1].last
	}
	slices.SortFunc(batches, func(a, b batch) int { return cmp.Compare(a.first, b.first) })
	all := 0
	var last Event
	for _, b := range batches {
		events, err := h.openBatch(&rec.run, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			all += len(e.Data)
			last = e
		}
	}
	if all > maxKept+1000 || !strings.Contains(string(last.Data), "left out") || last.Seq != run.events || !run.hasLog {
		t.Errorf("%d bytes, the last says %.100s", all, last.Data)
	}
}

// Nobody who reads holds a run back, and nobody loses anything by being slow.
func TestASlowReaderHoldsNobodyBack(t *testing.T) {
	h := onSQLite(t)
	h.declare(t, shell(`i=0; while [ $i -lt 20000 ]; do echo "{\"chunk\":$i}"; i=$((i+1)); done; echo '{"output":1}'`))
	run := h.later(t, h.jane, "public/c")
	slow, err := h.Events(t.Context(), h.jane, run.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := slow.Next(t.Context()); err != nil || e.Kind != StartEvent {
		t.Fatalf("%+v, %v", e, err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if events := h.eventsOf(t, run.ID, 0); len(events) != 20002 {
				t.Errorf("%d events", len(events))
			}
		})
	}
	wg.Wait()
	h.ended(t, run.ID)
	for n := int64(2); n <= 20002; n++ {
		if e, err := slow.Next(t.Context()); err != nil || e.Seq != n {
			t.Fatalf("%+v, %v, want %d", e, err, n)
		}
	}
}

func TestOneRunForOneIdempotencyKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		s := newTurnstile()
		close(s.pass)
		h.shared(t, "a", s.ServeHTTP, agent.Definition{})
		request := Request{AgentID: "public/a", IdempotencyKey: "order-1", Fingerprint: []byte("body")}
		var mu sync.Mutex
		ids := map[string]int{}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				req := request
				req.Wait = i%2 == 0
				run, err := h.Start(t.Context(), h.jane, req)
				if err != nil || req.Wait && run.Status != Succeeded {
					t.Errorf("%+v, %v", run, err)
				}
				mu.Lock()
				ids[run.ID]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if calls := s.called(); len(ids) != 1 || len(calls) != 1 {
			t.Errorf("%d runs, %d calls", len(ids), len(calls))
		}
		other := request
		other.Fingerprint = []byte("another body")
		if _, err := h.Start(t.Context(), h.jane, other); !errors.Is(err, ErrReused) {
			t.Errorf("with another body: %v", err)
		}
		if run, err := h.Start(t.Context(), owner("bob"), request); err != nil || ids[run.ID] != 0 {
			t.Errorf("of another organization: %+v, %v", run, err)
		}
		other.IdempotencyKey = strings.Repeat("k", 256)
		if _, err := h.Start(t.Context(), h.jane, other); !isFault(err, "INVALID_REQUEST") {
			t.Errorf("a key that is too long: %v", err)
		}

		// Across a rotation of the root key, and for a day.
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		for n := 1; n > 0; {
			var err error
			if n, err = h.Reseal(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		h.start(t, d, h.Root, "node-2")
		if run, err := h.Start(t.Context(), h.jane, request); err != nil || ids[run.ID] == 0 {
			t.Errorf("after a rotation: %+v, %v", run, err)
		}
		h.Now = func() time.Time { return time.Now().Add(remembered + time.Second) }
		if run, err := h.Start(t.Context(), h.jane, request); err != nil || ids[run.ID] != 0 {
			t.Errorf("after a day: %+v, %v", run, err)
		}
		if _, err := h.Purge(t.Context(), time.Hour*1000, time.Hour*1000); err != nil {
			t.Fatal(err)
		}
		if n := number(t, d, `SELECT count(*) FROM run_requests`); n != 1 {
			t.Errorf("%d are remembered, want the last alone", n)
		}
	})
}

func TestRunsAndTheirLogsAreRemovedInTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.declare(t, shell(`echo hello >&2; echo '{"output":1}'`))
		s := newTurnstile()
		h.shared(t, "open", s.ServeHTTP, agent.Definition{})
		var ids []string
		for range fewRuns + 5 {
			ids = append(ids, h.run(t, "public/c", "").ID)
		}
		open := h.later(t, h.jane, "public/open")
		s.through(t, 1)
		purge := func(after time.Duration, runs, logs int64) {
			t.Helper()
			h.Now = func() time.Time { return time.Now().Add(after) }
			done, err := h.Purge(t.Context(), 48*time.Hour, 24*time.Hour)
			if err != nil || done != (Pruned{runs, logs}) {
				t.Errorf("after %s: %+v, %v", after, done, err)
			}
		}
		purge(23*time.Hour, 0, 0)
		purge(25*time.Hour, 0, fewRuns+5)
		if got := h.kinds(t, ids[0], 0); got != "1start 3done" {
			t.Errorf("without its log a run tells %s", got)
		}
		purge(49*time.Hour, fewRuns+5, 0)
		if n := number(t, d, `SELECT count(*) FROM runs`); n != 1 {
			t.Errorf("%d runs are left", n)
		}
		close(s.pass)
		h.ended(t, open.ID)
	})
}

func TestASessionOfARunThatFailedIsKeptIfItsAnswerSaysSo(t *testing.T) {
	h := onSQLite(t)
	for answer, want := range map[string]string{
		`{"error":"no","session":{"a":1},"save_session":true}`:  `{"a":1}`,
		`{"error":"no","session":{"a":1},"save_session":false}`: "",
		`{"error":"no","session":{"a":1},"save_session":"yes"}`: "",
		`{"error":"no","session":{"a":1}}`:                      "",
		`{"error":"no","session":null,"save_session":true}`:     "",
	} {
		id := db.NewID()
		h.service(t, id, says(answer))
		saved := ""
		h.profiles["t"] = &Profile{Name: "p", KeepSession: true, SaveSession: func(_ context.Context, s []byte) error { saved = string(s); return nil }}
		if run := h.run(t, id, "t"); run.Status != Failed || saved != want {
			t.Errorf("%s: %s, saved %q", answer, run.Status, saved)
		}
	}
}
