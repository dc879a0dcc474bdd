package client

import "encoding/json"

// Run is one execution of an agent.
type Run struct {
	ID           string          `json:"id"`
	AgentID      string          `json:"agent_id"`
	Status       string          `json:"status" enum:"queued,running,succeeded,failed,cancelled,timed_out,interrupted"`
	AuthProfile  string          `json:"auth_profile,omitzero" doc:"The name of the auth profile that the run was given"`
	Output       json.RawMessage `json:"output,omitzero" doc:"What the agent put out. Values that it was given are cut out"`
	ErrorMessage string          `json:"error_message,omitzero"`
	CreatedAt    Time            `json:"created_at"`
	StartedAt    Time            `json:"started_at,omitzero"`
	EndedAt      Time            `json:"ended_at,omitzero"`
}

// StartRun is what a run is started with.
type StartRun struct {
	Parameters map[string]json.RawMessage `json:"parameters,omitzero" maxProperties:"100" doc:"Values for input arguments that the auth profile does not give"`
	Query      json.RawMessage            `json:"query,omitzero" doc:"The same as parameters.query"`
	AuthToken  *string                    `json:"auth_token,omitzero" minLength:"1" maxLength:"128" doc:"Of the auth profile to run with"`
}

// Invoked is what an agent has put out that was waited for.
type Invoked struct {
	Result   json.RawMessage `json:"result" doc:"Any JSON. Values that the agent was given are cut out"`
	Metadata RunMetadata     `json:"metadata"`
}

// RunMetadata is beside what an agent has put out.
type RunMetadata struct {
	RunID         string  `json:"run_id"`
	ExecutionTime float64 `json:"execution_time" doc:"In seconds"`
	RequestID     string  `json:"request_id"`
}

// RunStarted is the data of the event start.
type RunStarted struct {
	RunID   string `json:"run_id"`
	AgentID string `json:"agent_id"`
}

// RunFailure is the data of the event error with which a run tells that it did not
// succeed. The event done follows, whose data is the [Run].
type RunFailure struct {
	Code    string `json:"code" enum:"RUN_FAILED,RUN_CANCELLED,RUN_TIMED_OUT,RUN_INTERRUPTED"`
	Message string `json:"message"`
	Status  string `json:"status"`
}

// StreamError is the data of the event error, without an id, with which a stream
// ends that can't go on. The run may.
type StreamError struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
}
