package client

import (
	"context"
	"iter"
)

// AgentCalls are the calls for agents.
type AgentCalls struct{ c *Client }

// Create defines an agent. What it returns is the only thing that ever has the
// secret of its runner.
func (a AgentCalls) Create(ctx context.Context, in AgentDefinition) (CreatedAgent, error) {
	return call[CreatedAgent](ctx, a.c, createAgent, request{body: in})
}

// List returns a page of the agents.
func (a AgentCalls) List(ctx context.Context, p Page) (List[Agent], error) {
	return list[Agent](ctx, a.c, listAgents, nil, nil, p)
}

// All walks through the agents.
func (a AgentCalls) All(ctx context.Context, p Page) iter.Seq2[Agent, error] {
	return walkList[Agent](ctx, a.c, listAgents, nil, nil, p)
}

// Get returns an agent; one of the operator's public agents is public/ID.
func (a AgentCalls) Get(ctx context.Context, id string) (Agent, error) {
	return call[Agent](ctx, a.c, getAgent, request{path: []string{id}})
}

// Change changes what of an agent is in the change.
func (a AgentCalls) Change(ctx context.Context, id string, in AgentChange) (Agent, error) {
	return call[Agent](ctx, a.c, changeAgent, request{path: []string{id}, body: in})
}

// Delete deletes an agent with all its auth profiles.
func (a AgentCalls) Delete(ctx context.Context, id string) error {
	return a.c.run(ctx, deleteAgent, request{path: []string{id}})
}

// Health asks whether an agent's runner can be reached.
func (a AgentCalls) Health(ctx context.Context, id string) (AgentHealth, error) {
	return call[AgentHealth](ctx, a.c, getAgentHealth, request{path: []string{id}})
}

// RenewRunnerSecret gives an agent's runner a new secret.
func (a AgentCalls) RenewRunnerSecret(ctx context.Context, id string) (RunnerSecret, error) {
	return call[RunnerSecret](ctx, a.c, renewRunnerSecret, request{path: []string{id}})
}
