package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// RunCalls are the calls for runs of agents.
type RunCalls struct{ c *Client }

// RunInput is what a run is started with.
type RunInput struct {
	// Parameters are values for input arguments that the auth profile does not
	// give: whatever becomes JSON.
	Parameters map[string]any

	// AuthToken opens the auth profile to run with.
	AuthToken string

	// IdempotencyKey is by what the server knows the run again for a day: another
	// call with it starts no other run, and is told of this one. "" is one that the
	// client makes, so that it can try again by itself.
	IdempotencyKey string
}

func (in RunInput) request(agentID string) (request, error) {
	body := StartRun{Parameters: make(map[string]json.RawMessage, len(in.Parameters))}
	for name, value := range in.Parameters {
		text, err := encode(value)
		if err != nil {
			return request{}, fmt.Errorf("keyward: a parameter can't be written as JSON: %w", err)
		}
		body.Parameters[name] = text
	}
	if in.AuthToken != "" {
		body.AuthToken = &in.AuthToken
	}
	key := in.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	return request{path: []string{agentID}, body: body, header: http.Header{idempotencyHeader: {key}}}, nil
}

// Invoke runs an agent and waits for its result. A run that did not succeed is an
// error: [ErrRunFailed], [ErrRunTimedOut], [ErrRunCancelled] or
// [ErrRunInterrupted], whose Details have the run_id. The run goes on if ctx ends
// first.
func (r RunCalls) Invoke(ctx context.Context, agentID string, in RunInput) (Invoked, error) {
	q, err := in.request(agentID)
	if err != nil {
		return Invoked{}, err
	}
	return call[Invoked](ctx, r.c, invokeAgent, q)
}

// Start starts a run and does not wait for it. It is on the server's disk when
// Start returns, and goes on from there, also after a restart.
func (r RunCalls) Start(ctx context.Context, agentID string, in RunInput) (Run, error) {
	q, err := in.request(agentID)
	if err != nil {
		return Run{}, err
	}
	return call[Run](ctx, r.c, startRun, q)
}

// Stream runs an agent and tells what happens, as [RunCalls.Events] does. The run
// goes on if the loop is left.
func (r RunCalls) Stream(ctx context.Context, agentID string, in RunInput) iter.Seq2[Event, error] {
	q, err := in.request(agentID)
	if err != nil {
		return func(yield func(Event, error) bool) { yield(Event{}, err) }
	}
	// Sent again, it is the same run, whose events go on after the last one seen.
	return r.c.watch(ctx, streamAgent, q, 0)
}

// Events tells what happens in a run after the event with that ID, from its
// beginning after 0, and ends with the event done. When the connection breaks it
// goes on after the last event that it told, so none is lost and none is told
// twice.
func (r RunCalls) Events(ctx context.Context, runID string, after int64) iter.Seq2[Event, error] {
	return r.c.watch(ctx, getRunEvents, request{path: []string{runID}}, after)
}

// Wait waits until a run has ended, and returns it, succeeded or not.
func (r RunCalls) Wait(ctx context.Context, runID string) (Run, error) {
	for e, err := range r.Events(ctx, runID, 0) {
		if err != nil {
			return Run{}, err
		}
		if e.Kind == EventDone {
			return e.Run()
		}
	}
	return r.Get(ctx, runID) // its events are not kept any more
}

// Cancel cancels a run. One that is under way ends as soon as its agent is
// stopped, and is returned as it is until then.
func (r RunCalls) Cancel(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, r.c, cancelRun, request{path: []string{id}})
}

// RunFilter says which runs to list.
type RunFilter struct {
	Status  string // queued, running, succeeded, failed, cancelled, timed_out or interrupted
	AgentID string
	Page
}

func (f RunFilter) query() url.Values {
	q := url.Values{}
	set(q, "status", f.Status)
	set(q, "agent_id", f.AgentID)
	return q
}

// List returns a page of the organization's runs, newest first, without their
// output.
func (r RunCalls) List(ctx context.Context, f RunFilter) (List[Run], error) {
	return list[Run](ctx, r.c, listRuns, nil, f.query(), f.Page)
}

// All walks through the organization's runs, newest first, without their output.
func (r RunCalls) All(ctx context.Context, f RunFilter) iter.Seq2[Run, error] {
	return walkList[Run](ctx, r.c, listRuns, nil, f.query(), f.Page)
}

// Get returns a run.
func (r RunCalls) Get(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, r.c, getRun, request{path: []string{id}})
}

// The kinds of an [Event].
const (
	EventStart = "start" // a run began; one that is done again begins again
	EventLog   = "log"   // a line that a command wrote to its standard error: [Event.Text]
	EventChunk = "chunk" // a part of the output: any JSON
	EventError = "error" // the run did not succeed: [Event.Failure]
	EventDone  = "done"  // the run has ended; it is the last event: [Event.Run]
)

// Event is something that happened in a run.
type Event struct {
	ID   int64           `json:"id"` // from 1, without gaps
	Kind string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Text returns the text of a log or chunk, and the JSON of what is none.
func (e Event) Text() string {
	var text string
	if json.Unmarshal(e.Data, &text) != nil {
		return string(e.Data)
	}
	return text
}

// Run returns the run that the event done is about.
func (e Event) Run() (r Run, err error) {
	if err := json.Unmarshal(e.Data, &r); err != nil || r.ID == "" {
		return Run{}, fmt.Errorf("keyward: the event %d has no run", e.ID)
	}
	return r, nil
}

// Failure returns why the run of the event error did not succeed.
func (e Event) Failure() (f RunFailure, err error) {
	if err := json.Unmarshal(e.Data, &f); err != nil || f.Code == "" {
		return RunFailure{}, fmt.Errorf("keyward: the event %d has no failure", e.ID)
	}
	return f, nil
}

func eventID(id int64) []string { return []string{strconv.FormatInt(id, 10)} }
