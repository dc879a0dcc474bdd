package client

import "encoding/json"

// VerifyKey asks whether a key is good for a request that its holder made to
// you.
type VerifyKey struct {
	Key          string         `json:"key" minLength:"1" maxLength:"4096" doc:"The key as its holder sent it"`
	Organization string         `json:"organization,omitzero" minLength:"1" maxLength:"64" doc:"Whose key it must be. Left out: your own organization's. The operator's keys may ask for any"`
	Scopes       []string       `json:"scopes,omitzero" maxItems:"32" doc:"The key must have all of these"`
	AgentID      string         `json:"agent_id,omitzero" minLength:"1" maxLength:"200" doc:"The agent that the request is about. A key for some agents alone is refused without it"`
	IP           string         `json:"ip,omitzero" minLength:"2" maxLength:"45" doc:"Where the request comes from. A key with allowed_ips is refused without it" example:"192.0.2.7"`
	Cost         *int64         `json:"cost,omitzero" minimum:"0" maximum:"1000000" doc:"What the request counts against the key's limits. Left out: 1. 0: the key is looked at and nothing is counted"`
	Signature    *SignedRequest `json:"signature,omitzero" doc:"The request, if it is signed. A key that requires signatures is refused without it"`
}

// SignedRequest is a request with its signature, as its receiver saw it.
type SignedRequest struct {
	Method    string `json:"method" minLength:"1" maxLength:"32" example:"POST"`
	Path      string `json:"path" minLength:"1" maxLength:"16384" doc:"The path and the query as they were sent" example:"/v1/agents?limit=5"`
	Timestamp string `json:"timestamp" minLength:"1" maxLength:"32" doc:"X-Timestamp"`
	Value     string `json:"value" minLength:"1" maxLength:"128" doc:"X-Signature"`
	Body      []byte `json:"body,omitzero" doc:"The raw body in base64"`
}

// Verification says whether a key is good for a request, and whose it is.
type Verification struct {
	Valid          bool            `json:"valid"`
	Code           string          `json:"code" doc:"VALID, or the code of the error that the request would get" example:"VALID"`
	Message        string          `json:"message,omitzero" doc:"Why the key is not good for the request"`
	Details        map[string]any  `json:"details,omitzero" doc:"More of that for programs, such as the scope that is missing"`
	RetryAfter     int             `json:"retry_after,omitzero" doc:"Seconds after which the request would be let in"`
	KeyID          int64           `json:"key_id,omitzero" doc:"Left out if the key is not known"`
	Name           string          `json:"name,omitzero"`
	Type           string          `json:"type,omitzero" enum:"personal,service,temporary"`
	OrganizationID string          `json:"organization_id,omitzero"`
	AccountID      string          `json:"account_id,omitzero" doc:"Left out for a service key"`
	ExternalID     string          `json:"external_id,omitzero"`
	Metadata       json.RawMessage `json:"metadata,omitzero"`
	Scopes         []string        `json:"scopes,omitzero"`
	AgentIDs       []string        `json:"agent_ids,omitzero" doc:"The only agents that the key is for. Left out: all"`
	ExpiresAt      Time            `json:"expires_at,omitzero" doc:"Left out: never"`
	RateLimit      *RateLimit      `json:"ratelimit,omitzero" doc:"Left out for a key without an hourly limit"`
}

// RateLimit is how a key stands with its hourly limit.
type RateLimit struct {
	Limit     int64 `json:"limit"`
	Remaining int64 `json:"remaining"`
	Reset     int64 `json:"reset" doc:"When the window ends, in Unix seconds"`
}
