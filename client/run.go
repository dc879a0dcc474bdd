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
