package v1

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
)

type agentSurface struct {
	agents *agent.Store
	runs   *run.Runs
}

// RegisterAgents adds the calls for agents to a.
func RegisterAgents(a *api.API, agents *agent.Store, runs *run.Runs) {
	s := &agentSurface{agents, runs}
	const tag = "Agents"
	defining := []*fault.Fault{fault.ErrNotAllowed, access.ErrAgentNotAllowed, agent.ErrDestination}
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/agents", Name: "createAgent", Tag: tag, Security: api.KeyOrToken, Action: access.CreateAgent, Status: http.StatusCreated,
		Summary: "Define an agent", Description: "The runner's secret is shown this once.",
		Errors: append(defining, agent.ErrExists, fault.ErrQuota),
	}, s.create)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/agents", Name: "listAgents", Tag: tag, Security: api.KeyOrToken, Action: access.ReadAgents,
		Summary: "List the organization's agents", Description: "Newest first. For a key with agent_ids, those of them.",
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/agents/{id}", Name: "getAgent", Tag: tag, Security: api.KeyOrToken, Action: access.ReadAgents,
		Summary: "Show an agent", Description: "One of the organization's, or a public one as public%2FID.",
		Errors: []*fault.Fault{agent.ErrNotFound, access.ErrAgentNotAllowed},
	}, s.get)
	api.Register(a, api.Operation{
		Method: http.MethodPatch, Path: "/v1/agents/{id}", Name: "changeAgent", Tag: tag, Security: api.KeyOrToken, Action: access.ChangeAgent,
		Summary: "Change an agent",
		Description: "What is left out stays; lists are replaced. A stored value whose argument is gone is not handed over any more, and one whose type changed makes a run fail. " +
			"If the runner is pointed elsewhere, the agent's auth profiles do not open until their owners accept it.",
		Errors: append(defining, agent.ErrNotFound),
	}, s.change)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/agents/{id}", Name: "deleteAgent", Tag: tag, Security: api.KeyOrToken, Action: access.DeleteAgent, Status: http.StatusNoContent,
		Summary: "Delete an agent", Description: "Its auth profiles go with it, whosever they are. It can't be undone.",
		Errors: []*fault.Fault{agent.ErrNotFound, fault.ErrNotAllowed, access.ErrAgentNotAllowed},
	}, s.remove)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/agents/{id}/runner-secret", Name: "renewRunnerSecret", Tag: tag, Security: api.KeyOrToken, Action: access.RenewRunner, Status: http.StatusCreated,
		Summary: "Give an agent a new runner secret", Description: "It is shown this once; nothing is signed with the old one any more.",
		Errors: []*fault.Fault{agent.ErrNotFound, fault.ErrNotAllowed, access.ErrAgentNotAllowed},
	}, s.renew)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/agents/{id}/health", Name: "getAgentHealth", Tag: tag, Security: api.KeyOrToken, Action: access.ReadAgents,
		Summary: "Ask whether an agent's runner can be reached",
		Description: "A web service is sent a GET at its address, signed like a run, and has five seconds: any answer but a redirect or a 5xx is ok. " +
			"A program is looked for and not started. The reason never tells where the runner is.",
		Errors: []*fault.Fault{agent.ErrNotFound, access.ErrAgentNotAllowed},
	}, s.health)
}

func argumentsOf(sent []client.InputArgument) []agent.Argument {
	arguments := make([]agent.Argument, len(sent))
	for i, a := range sent {
		arguments[i] = agent.Argument{Name: a.Name, Type: agent.Type(a.Type), Required: a.Required, Sensitive: a.Sensitive, Description: a.Description}
		if a.Default != nil && string(a.Default) != "null" {
			arguments[i].Default = jsontext.Value(a.Default)
		}
	}
	return arguments
}

func runnerOf(r client.Runner) agent.Runner {
	out := agent.Runner{Type: agent.RunnerType(r.Type), URL: r.URL, Command: r.Command}
	if r.Limits != nil {
		out.Limits = agent.Limits(*r.Limits)
	}
	return out
}

func runnerJSON(r agent.Runner) client.Runner {
	out := client.Runner{Type: string(r.Type), URL: r.URL, Command: r.Command}
	if limits := client.RunnerLimits(r.Limits); limits != (client.RunnerLimits{}) {
		out.Limits = &limits
	}
	return out
}

func agentJSON(a agent.Agent, who access.Caller) client.Agent {
	out := client.Agent{
		ID: a.IDFor(who), Name: a.Name, Description: a.Description, InputArguments: make([]client.InputArgument, len(a.InputArguments)),
		Runner:     runnerJSON(a.Runner),
		Visibility: string(a.Visibility), TimeoutSeconds: a.TimeoutSeconds, Idempotent: a.Idempotent, MaxConcurrent: a.MaxConcurrent,
		CreatedAt: client.NewTime(a.CreatedAt), UpdatedAt: client.NewTime(a.UpdatedAt),
	}
	for i, in := range a.InputArguments {
		out.InputArguments[i] = client.InputArgument{Name: in.Name, Type: string(in.Type), Required: in.Required, Sensitive: in.Sensitive,
			Default: json.RawMessage(in.Default), Description: in.Description}
	}
	return out
}

type createAgentIn struct{ Body client.AgentDefinition }

func (s *agentSurface) create(ctx context.Context, who access.Caller, in *createAgentIn) (client.CreatedAgent, error) {
	a, secret, err := s.agents.Create(ctx, who, agent.Definition{
		ID: in.Body.ID, Name: in.Body.Name, Description: in.Body.Description, InputArguments: argumentsOf(in.Body.InputArguments),
		Runner: runnerOf(in.Body.Runner), Visibility: agent.Visibility(in.Body.Visibility), TimeoutSeconds: in.Body.TimeoutSeconds,
		Idempotent: in.Body.Idempotent, MaxConcurrent: in.Body.MaxConcurrent,
	})
	if err != nil {
		return client.CreatedAgent{}, err
	}
	return client.CreatedAgent{Agent: agentJSON(a, who), RunnerSecret: secret.Reveal()}, nil
}

type listAgentsIn struct{ api.Paged }

func (s *agentSurface) list(ctx context.Context, who access.Caller, in *listAgentsIn) (client.List[client.Agent], error) {
	none := client.List[client.Agent]{}
	after, err := afterID(in.Cursored)
	if err != nil {
		return none, err
	}
	offset, paged, err := in.Offset()
	if err != nil {
		return none, err
	}
	found, total, err := s.agents.List(ctx, who, agent.Filter{After: after, Offset: int64(offset), Limit: int64(in.Limit) + 1})
	if err != nil {
		return none, err
	}
	key := func(a agent.Agent) []string { return []string{a.UID} }
	if paged {
		return convert(api.NewPage(in.Paged, found, key, int(total)), func(a agent.Agent) client.Agent { return agentJSON(a, who) }), nil
	}
	return convert(api.NewList(in.Cursored, found, key), func(a agent.Agent) client.Agent { return agentJSON(a, who) }), nil
}

// convert returns the list with each entry as the answer has it.
func convert[From, To any](list client.List[From], to func(From) To) client.List[To] {
	out := client.List[To]{Data: make([]To, len(list.Data)), Pagination: list.Pagination}
	for i, entry := range list.Data {
		out.Data[i] = to(entry)
	}
	return out
}

// AgentPath is the agent that a request names in its path.
type AgentPath struct {
	ID string `path:"id" maxLength:"128"`
}

func (s *agentSurface) get(ctx context.Context, who access.Caller, in *AgentPath) (client.Agent, error) {
	a, err := s.agents.Get(ctx, who, in.ID)
	if err != nil {
		return client.Agent{}, err
	}
	return agentJSON(a, who), nil
}

type changeAgentIn struct {
	AgentPath
	Body client.AgentChange
}

func (s *agentSurface) change(ctx context.Context, who access.Caller, in *changeAgentIn) (client.Agent, error) {
	change := agent.Change{
		Name: in.Body.Name, Description: in.Body.Description, TimeoutSeconds: in.Body.TimeoutSeconds,
		Visibility: (*agent.Visibility)(in.Body.Visibility), Idempotent: in.Body.Idempotent, MaxConcurrent: in.Body.MaxConcurrent,
	}
	if in.Body.InputArguments != nil {
		arguments := argumentsOf(*in.Body.InputArguments)
		change.InputArguments = &arguments
	}
	if in.Body.Runner != nil {
		r := runnerOf(*in.Body.Runner)
		change.Runner = &r
	}
	a, err := s.agents.Change(ctx, who, in.ID, change)
	if err != nil {
		return client.Agent{}, err
	}
	return agentJSON(a, who), nil
}

func (s *agentSurface) remove(ctx context.Context, who access.Caller, in *AgentPath) (api.Nothing, error) {
	return api.Nothing{}, s.agents.Delete(ctx, who, in.ID)
}

func (s *agentSurface) renew(ctx context.Context, who access.Caller, in *AgentPath) (client.RunnerSecret, error) {
	secret, err := s.agents.RenewRunnerSecret(ctx, who, in.ID)
	if err != nil {
		return client.RunnerSecret{}, err
	}
	return client.RunnerSecret{RunnerSecret: secret.Reveal()}, nil
}

func (s *agentSurface) health(ctx context.Context, who access.Caller, in *AgentPath) (client.AgentHealth, error) {
	h, err := s.runs.Health(ctx, who, in.ID)
	if err != nil {
		return client.AgentHealth{}, err
	}
	status := "ok"
	if h.Reason != "" {
		status = "unreachable"
	}
	return client.AgentHealth{Status: status, CheckedAt: client.NewTime(h.CheckedAt), LatencyMS: h.Latency.Milliseconds(), Reason: h.Reason}, nil
}
