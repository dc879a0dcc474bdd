package run

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
)

// EventKind is what an event tells of.
type EventKind string

// The kinds of event, in the order in which a run has them.
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

// Events are the events of one run, from a place on.
type Events struct {
	runs *Runs
	who  access.Caller
	id   string
	seq  int64
}

// Events returns the events of a run of who's organization that come after the
// one with that number; 0 is from the beginning.
func (r *Runs) Events(ctx context.Context, who access.Caller, id string, after int64) (*Events, error) {
	if _, err := r.Get(ctx, who, id); err != nil {
		return nil, err
	}
	return &Events{runs: r, who: who, id: id, seq: after}, nil
}

// Next returns the next event, and waits for it if need be. After the last one
// it returns [io.EOF].
func (e *Events) Next(ctx context.Context) (Event, error) {
	for {
		run, err := e.runs.Get(ctx, e.who, e.id)
		if err != nil {
			return Event{}, err
		}
		all := []Event{{Kind: StartEvent, At: run.StartedAt, Data: object("run_id", run.ID, "agent_id", run.AgentID)}}
		if !run.EndedAt.IsZero() {
			if run.Status != Succeeded {
				all = append(all, Event{Kind: ErrorEvent, At: run.EndedAt, Data: object("status", string(run.Status), "message", run.ErrorMessage)})
			}
			all = append(all, Event{Kind: DoneEvent, At: run.EndedAt, Data: object("status", string(run.Status))})
		}
		if e.seq < int64(len(all)) {
			next := all[e.seq]
			e.seq++
			next.Seq = e.seq
			return next, nil
		}
		if !run.EndedAt.IsZero() {
			return Event{}, io.EOF
		}
		select {
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Close gives back what e holds.
func (e *Events) Close() {}

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
