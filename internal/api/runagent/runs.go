package runagent

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/run"
)

func (s *surface) registerRuns() {
	const failed = "A run that did not succeed is answered with 200 and success false."
	api.Register(s.api, api.Operation{
		Method: http.MethodPost, Path: path("agents/{id}/run"), Name: "runAgentRun", Tag: tag, Security: api.KeyOrToken, Action: access.StartRun, Loose: true,
		Summary: "Run an agent",
		Description: "It waits for the run to end, unless async_execution is true. timeout_seconds is the caller's own affair: how long a run may take is the agent's setting. " + failed +
			"\n\nAn auth profile is named by auth_token, beside input_kwargs or in it.",
		Errors: running,
	}, s.run)
	api.Register(s.api, api.Operation{
		Method: http.MethodPost, Path: path("agents/{id}/execute/{tag}"), Name: "runAgentExecute", Tag: tag, Security: api.KeyOrToken, Action: access.StartRun, Loose: true,
		Summary:     "Run an agent, as older SDKs do",
		Description: "It waits for the run to end. " + failed + " The error is a text then. Any tag will do: an agent has one entry point.",
		Errors:      running,
	}, s.execute)
}

type runIn struct {
	AgentPath
	api.Idempotent
	Body agentCall
}

// runAnswer is an answer about a run.
type runAnswer struct {
	Envelope[*string]
	RunID string `json:"run_id"`
}

func (s *surface) run(ctx context.Context, who access.Caller, in *runIn) (runAnswer, error) {
	r, err := s.start(ctx, who, in.ID, in.Body, in.IdempotencyKey, !in.Body.AsyncExecution)
	if err != nil {
		return runAnswer{}, err
	}
	answer := runAnswer{envelope(s, who.RequestID, (*string)(nil), ran(r)), r.ID}
	output := r.Output
	switch {
	case in.Body.AsyncExecution:
		if output, err = json.Marshal(map[string]string{"run_id": r.ID, "status": string(r.Status)}, json.Deterministic(true)); err != nil {
			return runAnswer{}, err
		}
	case r.Status != run.Succeeded:
		answer.Success = false
		answer.Error = Problem{Code: code(r), Message: r.ErrorMessage, Status: http.StatusOK}
		return answer, nil
	}
	text, err := encode(output)
	answer.Data = &text
	return answer, err
}

// start starts the run that is called for.
func (s *surface) start(ctx context.Context, who access.Caller, agentID string, call agentCall, idempotencyKey string, wait bool) (run.Run, error) {
	request, err := s.request(ctx, who, agentID, call, idempotencyKey)
	if err != nil {
		return run.Run{}, err
	}
	request.Wait = wait
	return s.Runs.Start(ctx, who, request)
}

// ran says in words how a run stands.
func ran(r run.Run) string {
	switch {
	case r.Status == run.Succeeded:
		return "The agent has run."
	case !r.EndedAt.IsZero():
		return r.ErrorMessage
	}
	return "The run is started."
}

// code is what programs are told of a run that did not succeed.
func code(r run.Run) string { return "RUN_" + strings.ToUpper(string(r.Status)) }

// agentExecution is a run, as older SDKs ask for one.
type agentExecution struct {
	InputData AgentInput `json:"input_data,omitzero"`
	AuthToken *string    `json:"auth_token,omitzero" minLength:"1" maxLength:"128" doc:"Of the auth profile to run with"`
}

type executeIn struct {
	AgentPath
	Tag string `path:"tag" minLength:"1" maxLength:"200"`
	api.Idempotent
	Body agentExecution
}

// executeAnswer is an answer about a run for older SDKs.
type executeAnswer struct {
	Envelope[any]
	OutputData    jsontext.Value `json:"output_data" doc:"What the agent put out: any JSON"`
	ExecutionTime float64        `json:"execution_time" doc:"In seconds"`
	AgentID       string         `json:"agent_id"`
	RunID         string         `json:"run_id"`
}

func (s *surface) execute(ctx context.Context, who access.Caller, in *executeIn) (executeAnswer, error) {
	r, err := s.start(ctx, who, in.ID, in.Body.call(), in.IdempotencyKey, true)
	if err != nil {
		return executeAnswer{}, err
	}
	answer := executeAnswer{Envelope: envelope(s, who.RequestID, any(nil), ran(r)), OutputData: r.Output, AgentID: r.AgentID, RunID: r.ID}
	if !r.StartedAt.IsZero() {
		answer.ExecutionTime = r.EndedAt.Sub(r.StartedAt).Seconds()
	}
	if r.Status != run.Succeeded {
		// An object here would be taken for what the agent put out.
		answer.Success, answer.Error = false, r.ErrorMessage
	}
	return answer, nil
}

func (e agentExecution) call() agentCall {
	return agentCall{AgentInput: e.InputData, AuthToken: e.AuthToken}
}
