package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
)

// EventKind is what an event tells of.
type EventKind string

// The kinds of event, in the order in which a run has them. One that is done
// again starts again.
const (
	StartEvent EventKind = "start" // the agent is called: {"run_id": …, "agent_id": …}
	LogEvent   EventKind = "log"   // a line of its log: a text
	ChunkEvent EventKind = "chunk" // a part of its output: any JSON
	ErrorEvent EventKind = "error" // the run did not succeed: {"status": …, "message": …}
	DoneEvent  EventKind = "done"  // the last of all: {"status": …}
)

// Event is one thing that happened in a run.
type Event struct {
	Seq  int64 // 1, 2, 3, …
	Kind EventKind
	At   time.Time
	Data jsontext.Value
}

// Events are the events of one run, from a place on. It is used by one goroutine.
type Events struct {
	runs  *Runs
	run   Run
	seq   int64   // of the last event that Next has returned
	ready []Event // that follow
	pause time.Duration
}

// While nothing happens, other servers' runs are looked at after these pauses.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 320 * time.Millisecond
)

// atATime bounds the batches that are read at once for one who reads.
const atATime = 8

// Events returns the events of a run of who's organization that come after the
// one with that number; 0 is from the beginning.
//
// Of a run whose log is no longer kept they are its start and its end.
func (r *Runs) Events(ctx context.Context, who access.Caller, id string, after int64) (*Events, error) {
	run, err := r.Get(ctx, who, id)
	if err != nil {
		return nil, err
	}
	return &Events{runs: r, run: run, seq: max(0, after), pause: firstPause}, nil
}

// Next returns the next event, and waits for it if need be. After the last one
// it returns [io.EOF].
func (e *Events) Next(ctx context.Context) (Event, error) {
	for len(e.ready) == 0 {
		var wait <-chan struct{}
		live := false
		if j := e.runs.jobWithEvents(e.run.ID); j != nil && e.seq > 0 {
			e.ready, wait = j.after(e.seq)
			live = len(e.ready) > 0 || wait != nil
		}
		if !live {
			ended, err := e.read(ctx)
			if err != nil {
				return Event{}, err
			}
			if len(e.ready) == 0 && ended {
				return Event{}, io.EOF
			}
		}
		if len(e.ready) > 0 {
			break
		}
		timer := time.NewTimer(e.pause)
		if wait != nil {
			timer.Stop()
		} else {
			e.pause = min(2*e.pause, lastPause)
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return Event{}, ctx.Err()
		case <-timer.C:
		case <-wait:
		}
		timer.Stop()
	}
	next := e.ready[0]
	e.ready, e.seq, e.pause = e.ready[1:], next.Seq, firstPause
	return next, nil
}

// Close gives back what e holds.
func (e *Events) Close() { e.ready = nil }

// jobWithEvents returns the recorder of a run that this server does, or nil.
func (r *Runs) jobWithEvents(id string) *recorder {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.known[id]; j != nil {
		return j.events
	}
	return nil
}

// read makes ready what the database has, and reports whether the run has ended.
func (e *Events) read(ctx context.Context) (ended bool, err error) {
	// First the run and then its events: if it has ended, they are all there.
	run, err := e.runs.read(ctx, e.run.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return false, ErrNotFound
	}
	if err != nil {
		return false, err
	}
	e.run = run
	if e.seq == 0 && run.tries > 0 {
		at := run.StartedAt
		if at.IsZero() {
			at = run.CreatedAt // it waits to be done again
		}
		e.ready = append(e.ready, Event{Seq: 1, Kind: StartEvent, At: at, Data: run.startData()})
		return false, nil
	}
	if e.seq == 0 && run.EndedAt.IsZero() {
		return false, nil // it waits: if it has begun since it was read, the first event is not the first that is kept
	}
	batches, err := e.batches(ctx)
	if err != nil {
		return false, err
	}
	for _, b := range batches {
		events, err := e.runs.openBatch(&run, b)
		if err != nil {
			return false, err
		}
		for _, event := range events {
			if event.Seq > e.seq {
				e.ready = append(e.ready, event)
			}
		}
	}
	if run.EndedAt.IsZero() || len(e.ready) > 0 {
		return false, nil
	}
	seq := run.events
	if run.Status != Succeeded {
		if seq++; e.seq < seq {
			e.ready = append(e.ready, Event{Seq: seq, Kind: ErrorEvent, At: run.EndedAt, Data: object("status", string(run.Status), "message", run.ErrorMessage)})
		}
	}
	if seq++; e.seq < seq {
		e.ready = append(e.ready, Event{Seq: seq, Kind: DoneEvent, At: run.EndedAt, Data: object("status", string(run.Status))})
	}
	return true, nil
}

func (e *Events) batches(ctx context.Context) ([]batch, error) {
	rows, err := e.runs.DB.Query(ctx, `SELECT first, seq, box FROM run_events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`, e.run.ID, e.seq, atATime)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var batches []batch
	for rows.Next() {
		var b batch
		if err := rows.Scan(&b.first, &b.last, &b.box); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		batches = append(batches, b)
	}
	return batches, rows.Err()
}

// countEvents sets what the row of a run says of its events, after its server has
// not done so.
func countEvents(ctx context.Context, tx *db.Tx, runID string) error {
	_, err := tx.Exec(ctx, `
		UPDATE runs SET has_log = 1, events = (SELECT max(seq) FROM run_events WHERE run_id = $1)
		WHERE id = $1 AND EXISTS (SELECT 1 FROM run_events WHERE run_id = $1 AND seq > runs.events)`, runID)
	if err != nil {
		return fmt.Errorf("count the events of a run: %w", err)
	}
	return nil
}

func (run *Run) startData() jsontext.Value { return object("run_id", run.ID, "agent_id", run.AgentID) }

// object returns a JSON object of texts.
func object(pairs ...string) jsontext.Value {
	b := []byte{'{'}
	for i, text := range pairs {
		switch {
		case i%2 == 1:
			b = append(b, ':')
		case i > 0:
			b = append(b, ',')
		}
		var err error
		if b, err = jsontext.AppendQuote(b, text); err != nil {
			panic(fmt.Sprintf("run: a text of an event: %v", err)) // none is invalid UTF-8
		}
	}
	return append(b, '}')
}
