package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Bounds of the events that are kept of a run. What goes beyond is left out, its
// log says so, and the run goes on.
const (
	maxKept  = 12 << 20 // bytes: a log of 4 MiB, an output of 8 in chunks
	maxChunk = 1 << 20  // bytes
	maxBatch = 64 << 10 // bytes that are kept at once, and one event more
	perEvent = 64       // bytes that an event takes beside what is in it
)

// lag is how long an event may be only in memory. Whoever reads along does not
// wait for it.
const lag = 250 * time.Millisecond

// recorder is the sink of one run: it numbers its events and keeps them, a batch
// at a time. Until they are kept they are in memory, for those who read along;
// later ones read them from the database. So nobody who reads holds it back.
type recorder struct {
	runs *Runs
	run  Run // as it was when it began

	keeping sync.Mutex // held by whoever writes a batch
	mu      sync.Mutex
	seq     int64   // of the last event
	fresh   []Event // that are not kept yet
	size    int     // of what is in them
	room    int     // that has been used of maxKept
	full    bool
	hasLog  bool
	closed  bool
	timer   *time.Timer   // for the next batch; nil: there is none to come
	urgent  bool          // the next batch is full, and does not wait for its time
	changed chan struct{} // closed at the next event; nil: nobody waits
}

func (r *recorder) log(line []byte) {
	text, err := jsontext.AppendQuote(nil, line)
	if err != nil {
		return // a line is valid UTF-8
	}
	r.add(LogEvent, text)
}

func (r *recorder) chunk(v jsontext.Value) {
	if len(v) > maxChunk {
		r.log(fmt.Appendf(nil, "A part of the output is larger than %d MiB. It is left out here.", maxChunk>>20))
		return
	}
	r.add(ChunkEvent, v)
}

func (r *recorder) add(kind EventKind, data jsontext.Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full || r.closed {
		return
	}
	if r.room += len(data) + perEvent; r.room > maxKept {
		r.full = true
		kind, data = LogEvent, jsontext.Value(fmt.Sprintf(`"The log and the output in parts are larger than %d MiB. The rest of them is left out here."`, maxKept>>20))
	}
	r.seq++
	r.fresh = append(r.fresh, Event{Seq: r.seq, Kind: kind, At: r.runs.now(), Data: data})
	r.size += len(data) + perEvent
	r.tell()
	switch {
	case r.timer == nil:
		r.timer = time.AfterFunc(lag, r.keep)
	case r.size >= maxBatch && !r.urgent:
		r.urgent = r.timer.Stop() // else it is being kept already
		if r.urgent {
			r.timer = time.AfterFunc(0, r.keep)
		}
	}
}

// tell wakes those who read along. It is called with r.mu held.
func (r *recorder) tell() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// after returns the events after seq that are not kept yet, or, if there is none,
// what is closed when there is. With neither, the next ones are in the database.
func (r *recorder) after(seq int64) ([]Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fresh) > 0 && r.fresh[0].Seq <= seq+1 && seq < r.seq {
		return append([]Event{}, r.fresh[seq+1-r.fresh[0].Seq:]...), nil
	}
	if seq < r.seq || r.closed {
		return nil, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return nil, r.changed
}

// keep writes what is fresh. If that fails it is tried again, and what has come
// meanwhile with it.
func (r *recorder) keep() {
	r.keeping.Lock()
	defer r.keeping.Unlock()
	r.mu.Lock()
	fresh, closed := r.fresh, r.closed
	r.mu.Unlock()
	if len(fresh) == 0 || closed {
		return // what is left is kept with the end of the run
	}
	batches, err := r.batches(fresh)
	if err == nil {
		ctx := context.Background()
		err = r.runs.DB.Tx(ctx, func(tx *db.Tx) error {
			// It also keeps others from giving the run up until these are counted.
			n, err := tx.Exec(ctx, `UPDATE runs SET has_log = 1 WHERE id = $1 AND status = 'running' AND tries = $2`, r.run.ID, r.run.tries)
			if err == nil && n == 0 {
				err = errLost
			}
			if err != nil {
				return err
			}
			for _, b := range batches {
				if err := b.insert(ctx, tx, r.run.ID); err != nil {
					return err
				}
			}
			return nil
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, errLost) {
		r.fresh, r.closed = nil, true
		r.tell()
		if j := r.runs.job(r.run.ID); j != nil {
			j.cancel(errLost)
		}
		return
	}
	if err != nil {
		r.runs.Log.Warn("events of a run can't be kept and are tried again", "run", r.run.ID, "err", err)
		r.timer = time.AfterFunc(4*lag, r.keep)
		return
	}
	r.hasLog = true
	r.fresh = append([]Event(nil), r.fresh[len(fresh):]...) // the others' memory is free
	r.size, r.timer, r.urgent = 0, nil, false
	for _, e := range r.fresh {
		r.size += len(e.Data) + perEvent
	}
	switch {
	case r.size >= maxBatch:
		r.urgent, r.timer = true, time.AfterFunc(0, r.keep)
	case len(r.fresh) > 0:
		r.timer = time.AfterFunc(lag, r.keep)
	}
}

// close takes no more events, and returns those that are still to be kept, for
// the transaction in which the run ends. It sets what run says of its events.
func (r *recorder) close(run *Run) []batch {
	r.keeping.Lock() // a batch that is being written is whole before the run ends
	defer r.keeping.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	batches, err := r.batches(r.fresh)
	if err != nil {
		r.runs.Log.Error("the last events of a run can't be kept", "run", r.run.ID, "err", err)
	}
	run.events, run.hasLog = r.seq, run.hasLog || r.hasLog || len(batches) > 0
	r.tell()
	return batches
}

// batch is a row of events.
type batch struct {
	first, last int64
	box         []byte
}

// kept is an event as it lies in a box.
type kept struct {
	Kind EventKind      `json:"kind"`
	At   int64          `json:"at"`
	Data jsontext.Value `json:"data"`
}

func (r *recorder) batches(events []Event) (batches []batch, err error) {
	for len(events) > 0 {
		var rows []kept
		for size := 0; len(rows) < len(events) && size < maxBatch; {
			e := events[len(rows)]
			size += len(e.Data) + perEvent
			rows = append(rows, kept{e.Kind, db.Micros(e.At), e.Data})
		}
		b := batch{first: events[0].Seq, last: events[len(rows)-1].Seq}
		plaintext, err := json.Marshal(rows)
		if err == nil {
			b.box, err = r.runs.Root.Seal(seal.RunRecord, plaintext, r.run.eventsPlace(b.first, b.last)...)
		}
		if err != nil {
			return batches, err
		}
		batches, events = append(batches, b), events[len(rows):]
	}
	return batches, nil
}

// eventsPlace is the context of the box that holds some events of a run.
func (run *Run) eventsPlace(first, last int64) [][]byte {
	return append(run.place("events"), seal.Int(first), seal.Int(last))
}

func (b batch) insert(ctx context.Context, tx *db.Tx, runID string) error {
	_, err := tx.Exec(ctx, `INSERT INTO run_events (run_id, seq, first, box, root_version) VALUES ($1, $2, $3, $4, $5)`,
		runID, b.last, b.first, b.box, seal.BoxVersion(b.box))
	return err
}

// open returns the events that b holds.
func (r *Runs) openBatch(run *Run, b batch) ([]Event, error) {
	plaintext, err := r.Root.Open(seal.RunRecord, b.box, run.eventsPlace(b.first, b.last)...)
	if err != nil {
		return nil, fmt.Errorf("events %d to %d of run %s: %w", b.first, b.last, run.ID, err)
	}
	var rows []kept
	if err := json.Unmarshal(plaintext, &rows); err != nil {
		return nil, fmt.Errorf("events %d to %d of run %s: %w", b.first, b.last, run.ID, err)
	}
	events := make([]Event, len(rows))
	for i, k := range rows {
		events[i] = Event{Seq: b.first + int64(i), Kind: k.Kind, At: db.Time(k.At), Data: k.Data}
	}
	return events, nil
}
