package runagent

import (
	"context"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
	"github.com/keyward/keyward/internal/seal"
)

// AgentInput is what an agent is called with.
type AgentInput struct {
	InputArgs   []jsontext.Value          `json:"input_args,omitzero" maxItems:"100" doc:"Values for the agent's input arguments in the order of their definition"`
	InputKwargs map[string]jsontext.Value `json:"input_kwargs,omitzero" maxProperties:"101" doc:"Values for the agent's input arguments by their names. A name auth_token that the agent does not define is the field auth_token"`
}

// agentCall is a run, as the SDKs of today ask for one.
type agentCall struct {
	EntrypointTag *string `json:"entrypoint_tag,omitzero" maxLength:"200" doc:"Any: an agent has one entry point"`
	AgentInput
	AuthToken      *string `json:"auth_token,omitzero" minLength:"1" maxLength:"128" doc:"Of the auth profile to run with"`
	AsyncExecution bool    `json:"async_execution,omitzero" doc:"The run is answered when it is started, not when it has ended"`
}

// tokenName is the keyword argument that holds an auth token: SDKs have no other
// place for one.
const tokenName = "auth_token"

// request makes of a call what a run is started with.
func (s *surface) request(ctx context.Context, who access.Caller, agentID string, call agentCall, idempotencyKey string) (run.Request, error) {
	r := run.Request{AgentID: agentID, Parameters: call.InputKwargs, IdempotencyKey: idempotencyKey}
	token := ""
	if call.AuthToken != nil {
		token = *call.AuthToken
	}
	if named := call.InputKwargs[tokenName]; len(call.InputArgs) > 0 || len(named) > 0 {
		a, err := s.Agents.Find(ctx, who, agentID)
		if err != nil {
			return run.Request{}, err
		}
		if r.Parameters, err = parameters(a.InputArguments, call.AgentInput); err != nil {
			return run.Request{}, err
		}
		if token, err = takeToken(a.InputArguments, r.Parameters, token); err != nil {
			return run.Request{}, err
		}
	}
	if token != "" {
		r.Token = seal.NewSecret(token)
	}
	var err error
	r.Fingerprint, err = api.Idempotent{IdempotencyKey: idempotencyKey}.Fingerprint(agentID, r.Parameters, r.Token)
	return r, err
}

// parameters gives the values without names those of the arguments that are
// defined in their places.
func parameters(defined []agent.Argument, in AgentInput) (map[string]jsontext.Value, error) {
	if len(in.InputArgs) > len(defined) {
		return nil, fault.Field("input_args", "the agent has fewer input arguments than there are values here")
	}
	all := map[string]jsontext.Value{}
	for name, value := range in.InputKwargs {
		all[name] = value
	}
	for i, value := range in.InputArgs {
		name := defined[i].Name
		if _, twice := all[name]; twice {
			return nil, fault.Field("input_args", "gives a value to an input argument that input_kwargs has, too")
		}
		all[name] = value
	}
	return all, nil
}

// takeToken takes the auth token out of the parameters, unless the agent has an
// input argument that is called so.
func takeToken(defined []agent.Argument, parameters map[string]jsontext.Value, beside string) (token string, err error) {
	value := parameters[tokenName]
	for _, a := range defined {
		if a.Name == tokenName {
			return beside, nil
		}
	}
	delete(parameters, tokenName)
	if len(value) == 0 || value.Kind() == jsontext.KindNull {
		return beside, nil
	}
	const field = "input_kwargs." + tokenName
	if value.Kind() != jsontext.KindString || json.Unmarshal(value, &token) != nil {
		return "", fault.ErrFieldType.Say("%s: must be a string", field).With(fault.Details{"field": field, "reason": "must be a string"})
	}
	switch {
	case token == "":
		return "", fault.Field(field, "must not be empty")
	case beside != "" && beside != token:
		return "", fault.Field(field, "is another than auth_token")
	}
	return token, nil
}
