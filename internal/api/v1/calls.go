package v1

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

// What a run that was waited for is answered with if it did not succeed. Neither a
// cancelled nor an interrupted one is answered with a status at which programs try
// again by themselves: the agent may have acted.
var endings = map[run.Status]*fault.Fault{
	run.Failed:      fault.New(fault.Unprocessable, "RUN_FAILED", "The agent ended with an error, which is told here."),
	run.TimedOut:    fault.New(fault.TimedOut, "RUN_TIMED_OUT", "The agent did not end in time."),
	run.Cancelled:   fault.New(fault.Conflict, "RUN_CANCELLED", "The run was cancelled."),
	run.Interrupted: fault.New(fault.Conflict, "RUN_INTERRUPTED", "The server stopped while the run was under way, or the run could not go on."),
}

// starting are the failures of calls that start a run.
var starting = []*fault.Fault{
	agent.ErrNotFound, access.ErrAgentNotAllowed, agent.ErrUnknownArgument, agent.ErrNotDeclared, vault.ErrNotFound, vault.ErrAgentChanged,
	fault.ErrQuota, run.ErrReused, run.ErrNotFound,
}

const (
	runIDHeader  = "X-Run-Id"
	aboutRunID   = "The run's id"
	onParameters = "Parameters are values for the agent's input arguments that the auth profile does not give; query is the same as parameters.query."
	onRepeating  = "With an Idempotency-Key the same request starts one run within a day, also if it comes by another of the calls that start runs."
)

func (s *runSurface) registerCalls(a *api.API) {
	ended := []*fault.Fault{}
	for _, status := range []run.Status{run.Failed, run.TimedOut, run.Cancelled, run.Interrupted} {
		ended = append(ended, endings[status])
	}
	op := func(last, name, summary, description string) api.Operation {
		return api.Operation{
			Method: http.MethodPost, Path: "/v1/agents/{id}/" + last, Name: name, Tag: runsTag, Security: api.KeyOrToken, Action: access.StartRun,
			Summary: summary, Description: description + "\n\n" + onParameters + " " + onRepeating,
			Headers: map[string]string{runIDHeader: aboutRunID}, Errors: starting,
		}
	}

	invoke := op("invoke", "invokeAgent", "Run an agent and wait for its result",
		"A run that did not succeed is a failure, whose details have run_id and status. The run goes on if the caller goes.")
	invoke.Errors = append(ended, starting...)
	api.RegisterWith(a, invoke, s.invoke)

	start := op("runs", "startRun", "Start a run of an agent", "It is on the disk when this answers, and goes on from there, also after a restart.")
	start.Status = http.StatusAccepted
	start.Headers = map[string]string{runIDHeader: aboutRunID, "Location": "The address of the run"}
	api.RegisterWith(a, start, s.start)

	api.RegisterStream(a, op("stream", "streamAgent", "Run an agent and watch it",
		onEvents+" The run goes on if the caller goes. To go on watching, read getRunEvents after the last id; or send this request with its Idempotency-Key again, and with Last-Event-ID."), s.stream)
	api.RegisterStream(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/runs/{id}/events", Name: "getRunEvents", Tag: runsTag, Security: api.KeyOrToken, Action: access.ReadRuns,
		Summary: "Watch a run", Description: onEvents + " A run that has ended is told once more from the beginning, or after the last id that was seen; after the very last one there is nothing to tell (204).",
		Headers: map[string]string{runIDHeader: aboutRunID}, Errors: []*fault.Fault{run.ErrNotFound},
	}, s.events)
}

type startIn struct {
	AgentPath
	api.Idempotent
	Body *client.StartRun
}

// request makes of what was sent what a run is started with.
func (in *startIn) request() (run.Request, error) {
	r := run.Request{AgentID: in.ID, IdempotencyKey: in.IdempotencyKey}
	if b := in.Body; b != nil {
		r.Parameters = make(map[string]jsontext.Value, len(b.Parameters)+1)
		for name, value := range b.Parameters {
			r.Parameters[name] = jsontext.Value(value)
		}
		if query := jsontext.Value(b.Query); len(query) > 0 && query.Kind() != jsontext.KindNull {
			if _, twice := r.Parameters["query"]; twice {
				return run.Request{}, fault.Field("query", "stands in parameters, too; send it once")
			}
			r.Parameters["query"] = query
		}
		if b.AuthToken != nil {
			r.Token = seal.NewSecret(*b.AuthToken)
		}
	}
	var err error
	r.Fingerprint, err = in.Fingerprint(in.ID, r.Parameters, r.Token)
	return r, err
}

func (s *runSurface) invoke(ctx context.Context, who access.Caller, in *startIn) (client.Invoked, api.Headers, error) {
	request, err := in.request()
	if err != nil {
		return client.Invoked{}, nil, err
	}
	request.Wait = true
	r, err := s.runs.Start(ctx, who, request)
	if err != nil {
		return client.Invoked{}, nil, err
	}
	headers := api.Headers{runIDHeader, r.ID}
	if r.Status != run.Succeeded {
		return client.Invoked{}, headers, endings[r.Status].Say("%s", r.ErrorMessage).With(fault.Details{"run_id": r.ID, "status": string(r.Status)})
	}
	return client.Invoked{
		Result:   []byte(r.Output),
		Metadata: client.RunMetadata{RunID: r.ID, ExecutionTime: r.EndedAt.Sub(r.StartedAt).Seconds(), RequestID: who.RequestID},
	}, headers, nil
}

func (s *runSurface) start(ctx context.Context, who access.Caller, in *startIn) (client.Run, api.Headers, error) {
	request, err := in.request()
	if err != nil {
		return client.Run{}, nil, err
	}
	r, err := s.runs.Start(ctx, who, request)
	if err != nil {
		return client.Run{}, nil, err
	}
	return runJSON(r), api.Headers{runIDHeader, r.ID, "Location", "/v1/runs/" + r.ID}, nil
}

func (s *runSurface) cancel(ctx context.Context, who access.Caller, in *RunPath) (client.Run, error) {
	r, err := s.runs.Cancel(ctx, who, in.ID)
	if err != nil {
		return client.Run{}, err
	}
	return runJSON(r), nil
}
