package v1

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
)

const onEvents = "Server-sent events with ids: `start` (`{run_id, agent_id}`), `log` (a text), `chunk` (any JSON), `error` (`{code, message, status}`) if the run does not succeed, and `done`, whose data is the run. " +
	"An `error` without an id (`{code, message, request_id}`) ends a stream that can't go on, while the run may."

var (
	errGoesOn = fault.ErrUnavailable.Say("The server is stopping. The run is not; read on after the last id.")

	// A program that comes again by itself after its connection broke off would
	// start a second run.
	errWouldStart = fault.Field("Last-Event-ID", "needs the Idempotency-Key of the request before, or another run would be started; or read on at /v1/runs/ID/events")
)

// Resumed says what a reader has seen already.
type Resumed struct {
	LastEventID string `header:"Last-Event-ID" maxLength:"20" pattern:"^[0-9]{1,18}$" patternDescription:"be the id of an event" doc:"The id of the last event that was seen. The stream goes on after it"`
}

func (r Resumed) seen() int64 {
	seen, _ := strconv.ParseInt(r.LastEventID, 10, 64) // the pattern is of one
	return seen
}

type streamIn struct {
	AgentPath
	api.Idempotent
	Resumed
	Body *client.StartRun
}

func (s *runSurface) stream(ctx context.Context, who access.Caller, in *streamIn) (*api.Source, api.Headers, error) {
	request, err := (&startIn{in.AgentPath, in.Idempotent, in.Body}).request()
	if err != nil {
		return nil, nil, err
	}
	start := s.runs.Start
	if in.LastEventID != "" {
		if in.IdempotencyKey == "" {
			return nil, nil, errWouldStart
		}
		start = s.runs.Again
	}
	r, err := start(ctx, who, request)
	if err != nil {
		return nil, nil, err
	}
	return s.watch(ctx, who, r.ID, in.seen())
}

type eventsIn struct {
	RunPath
	Resumed
	Seen string `query:"last_event_id" maxLength:"20" pattern:"^[0-9]{1,18}$" patternDescription:"be the id of an event" doc:"As Last-Event-ID, which goes before it, for clients that can send no header"`
}

func (s *runSurface) events(ctx context.Context, who access.Caller, in *eventsIn) (*api.Source, api.Headers, error) {
	if in.LastEventID == "" {
		in.LastEventID = in.Seen
	}
	return s.watch(ctx, who, in.ID, in.seen())
}

// watch tells what happens in a run after the event with that number.
func (s *runSurface) watch(ctx context.Context, who access.Caller, runID string, seen int64) (*api.Source, api.Headers, error) {
	headers := api.Headers{runIDHeader, runID}
	events, err := s.runs.Resume(ctx, who, runID, seen)
	if errors.Is(err, io.EOF) {
		return nil, headers, nil
	}
	if err != nil {
		return nil, nil, err
	}
	w := &watch{runs: s.runs, events: events, who: who, runID: runID}
	return &api.Source{Next: w.next, Still: w.still, Close: events.Close}, headers, nil
}

// watch is a run that somebody watches.
type watch struct {
	runs   *run.Runs
	events *run.Events
	who    access.Caller
	runID  string
	held   *run.Event // that is not told yet
}

func (w *watch) next(ctx context.Context) (api.Message, error) {
	if w.held == nil {
		e, err := w.events.Next(ctx)
		if err != nil {
			return api.Message{}, err
		}
		w.held = &e
	}
	m := api.Message{ID: w.held.Seq, Event: string(w.held.Kind), Data: w.held.Data}
	switch w.held.Kind {
	case run.ErrorEvent:
		var said client.RunFailure
		if err := json.Unmarshal(w.held.Data, &said); err != nil {
			return api.Message{}, err
		}
		said.Code = "RUN_" + strings.ToUpper(said.Status)
		m.Data = said
	case run.DoneEvent:
		r, err := w.runs.Get(ctx, w.who, w.runID)
		if err != nil {
			return api.Message{}, err
		}
		m.Data = runJSON(r)
	}
	w.held = nil
	return m, nil
}

// still lets go whoever may no longer see the run, and, when the server stops,
// whoever watches one that does not end with it.
func (w *watch) still(ctx context.Context, who access.Caller, stopping bool) error {
	r, err := w.runs.Get(ctx, who, w.runID)
	if err != nil {
		return err
	}
	if stopping && r.EndedAt.IsZero() && (r.Status == run.Queued || r.NodeID != w.runs.NodeID) {
		return errGoesOn
	}
	w.who = who
	return nil
}
