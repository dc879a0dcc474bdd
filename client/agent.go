package client

import "encoding/json"

// AgentDefinition defines an agent.
type AgentDefinition struct {
	ID             string          `json:"id,omitzero" minLength:"1" maxLength:"64" doc:"1 to 64 of A-Z a-z 0-9 . _ -, unique in the organization. Left out: a UUID" example:"invoices"`
	Name           string          `json:"name" minLength:"1" maxLength:"200" example:"Invoices"`
	Description    string          `json:"description,omitzero" maxLength:"2000"`
	InputArguments []InputArgument `json:"input_arguments,omitzero" maxItems:"100"`
	Runner         Runner          `json:"runner"`
	Visibility     string          `json:"visibility,omitzero" enum:"private,public" doc:"public: every organization may run it, as public/ID; only the operator's organization may set it. Left out: private"`
	TimeoutSeconds int64           `json:"timeout_seconds,omitzero" minimum:"1" maximum:"3600" doc:"How long a run may take. Left out: 300"`
	Idempotent     bool            `json:"idempotent,omitzero" doc:"Whether a run that was cut short by the end of its server may be done again from its beginning. Without it such a run is interrupted, since the agent may have acted already"`
	MaxConcurrent  int64           `json:"max_concurrent,omitzero" minimum:"0" maximum:"10000" doc:"How many runs there may be at once; further ones wait. Left out or 0: no bound of its own"`
}

// AgentChange changes what of an agent is in it; what is left out stays.
type AgentChange struct {
	Name           *string          `json:"name,omitzero" minLength:"1" maxLength:"200"`
	Description    *string          `json:"description,omitzero" maxLength:"2000"`
	InputArguments *[]InputArgument `json:"input_arguments,omitzero" maxItems:"100" doc:"Replaces all of them"`
	Runner         *Runner          `json:"runner,omitzero"`
	Visibility     *string          `json:"visibility,omitzero" enum:"private,public"`
	TimeoutSeconds *int64           `json:"timeout_seconds,omitzero" minimum:"1" maximum:"3600"`
	Idempotent     *bool            `json:"idempotent,omitzero"`
	MaxConcurrent  *int64           `json:"max_concurrent,omitzero" minimum:"0" maximum:"10000" doc:"0: no bound of its own"`
}

// InputArgument is one argument that an agent takes.
type InputArgument struct {
	Name        string          `json:"name" minLength:"1" maxLength:"64" example:"username"`
	Type        string          `json:"type" enum:"string,number,boolean,json,totp" doc:"totp: the secret is stored, and the agent gets the current 6-digit code (RFC 6238)"`
	Required    bool            `json:"required,omitzero"`
	Sensitive   bool            `json:"sensitive,omitzero" doc:"Never shown; totp always is. A sensitive argument has no default"`
	Default     json.RawMessage `json:"default,omitzero" doc:"What the agent gets when nothing is given"`
	Description string          `json:"description,omitzero" maxLength:"1000"`
}

// Runner says how an agent is reached.
type Runner struct {
	Type    string   `json:"type" enum:"http,command"`
	URL     string   `json:"url,omitzero" maxLength:"2048" doc:"Of an http runner: where a run is posted to" example:"https://agents.example.com/invoices"`
	Command []string `json:"command,omitzero" doc:"Of a command runner, which only the operator's config file can define"`

	Limits *RunnerLimits `json:"limits,omitzero" doc:"Of a command runner: what each of its processes may use"`
}

// RunnerLimits are what each process of a command runner may use.
type RunnerLimits struct {
	MemoryMB   int64 `json:"memory_mb,omitzero" doc:"Of data. Left out: 4096"`
	CPUSeconds int64 `json:"cpu_seconds,omitzero" doc:"Left out: timeout_seconds"`
	FileMB     int64 `json:"file_mb,omitzero" doc:"That a file it writes may be long. Left out: 1024"`
}

// Agent is an agent as it is defined.
type Agent struct {
	ID             string          `json:"id" doc:"With public/ before it if it is the operator's public agent and not the caller's own"`
	Name           string          `json:"name"`
	Description    string          `json:"description"`
	InputArguments []InputArgument `json:"input_arguments"`
	Runner         Runner          `json:"runner"`
	Visibility     string          `json:"visibility" enum:"private,public"`
	TimeoutSeconds int64           `json:"timeout_seconds"`
	Idempotent     bool            `json:"idempotent"`
	MaxConcurrent  int64           `json:"max_concurrent" doc:"0: no bound of its own"`
	CreatedAt      Time            `json:"created_at"`
	UpdatedAt      Time            `json:"updated_at"`
}

// CreatedAgent is an agent that was just made, with the secret that its runner
// checks signatures with: it is shown this once.
type CreatedAgent struct {
	Agent
	RunnerSecret string `json:"runner_secret" doc:"What requests to the runner are signed with (Standard Webhooks). It is shown this once" example:"whsec_…"`
}

// AgentHealth is whether an agent's runner can be reached.
type AgentHealth struct {
	Status    string `json:"status" enum:"ok,unreachable"`
	CheckedAt Time   `json:"checked_at"`
	LatencyMS int64  `json:"latency_ms"`
	Reason    string `json:"reason,omitzero" doc:"Why the runner can't be reached"`
}

// RunnerSecret is a runner's new secret.
type RunnerSecret struct {
	RunnerSecret string `json:"runner_secret" doc:"What requests to the runner are signed with from now on. It is shown this once" example:"whsec_…"`
}
