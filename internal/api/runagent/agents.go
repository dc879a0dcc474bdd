package runagent

import (
	"context"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
)

// tags are the names of an agent's one entry point. SDKs look for theirs in this
// list before they run anything, and stream if it ends in _stream. A run asks for
// no certain one.
var tags = []string{"main", "main_stream", "generic", "generic_stream"}

// agentsAtAll asks how many agents there are.
var agentsAtAll = agent.Filter{}

func (s *surface) registerAgents() {
	architecture := get("agents/{id}/architecture", "runAgentArchitecture", "List the entry points of an agent")
	architecture.Description = "An agent has one entry point, under names which tell SDKs whether to stream."
	status := get("agents/{id}/status", "runAgentStatus", "Tell whether an agent can be run")
	// Whoever runs an agent has to ask these first.
	architecture.Action, status.Action = access.UseAgent, access.UseAgent
	errors := []*fault.Fault{agent.ErrNotFound, access.ErrAgentNotAllowed}
	architecture.Errors, status.Errors = errors, errors
	api.Register(s.api, architecture, s.architecture)
	api.Register(s.api, status, s.status)
}

// AgentPath names an agent.
type AgentPath struct {
	ID string `path:"id" minLength:"1" maxLength:"128" doc:"The agent's id; public%2FID for a public one of the operator's"`
}

// Architecture is what can be called of an agent.
type Architecture struct {
	AgentID     string       `json:"agent_id"`
	Entrypoints []Entrypoint `json:"entrypoints"`
}

// Entrypoint is a name by which an agent is called.
type Entrypoint struct {
	Tag       string            `json:"tag"`
	File      string            `json:"file" doc:"\"\": where an agent's program is, is not told"`
	Module    string            `json:"module" doc:"\"\""`
	Extractor map[string]string `json:"extractor" doc:"Empty"`
}

// architectureAnswer has the entry points once more where older SDKs look for
// them.
type architectureAnswer struct {
	Envelope[Architecture]
	Entrypoints []Entrypoint `json:"entrypoints"`
}

func (s *surface) architecture(ctx context.Context, who access.Caller, in *AgentPath) (architectureAnswer, error) {
	a, err := s.Agents.Find(ctx, who, in.ID)
	if err != nil {
		return architectureAnswer{}, err
	}
	all := make([]Entrypoint, len(tags))
	for i, tag := range tags {
		all[i] = Entrypoint{Tag: tag, Extractor: map[string]string{}}
	}
	return architectureAnswer{envelope(s, who.RequestID, Architecture{a.IDFor(who), all}, "These are the agent's entry points."), all}, nil
}

// AgentStatus is whether an agent can be run.
type AgentStatus struct {
	AgentID string `json:"agent_id"`
	Status  string `json:"status" enum:"deployed,stopped"`
}

func (s *surface) status(ctx context.Context, who access.Caller, in *AgentPath) (Envelope[AgentStatus], error) {
	a, err := s.Agents.Find(ctx, who, in.ID)
	if err != nil {
		return Envelope[AgentStatus]{}, err
	}
	status := AgentStatus{a.IDFor(who), "deployed"}
	message := "The agent can be run."
	if err := a.Runnable(); err != nil {
		status.Status, message = "stopped", fault.Of(err).Message
	}
	return envelope(s, who.RequestID, status, message), nil
}
