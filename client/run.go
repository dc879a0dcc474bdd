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

// StreamError is the data of the error event with which a stream ends that can't
// go on.
type StreamError struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
}
