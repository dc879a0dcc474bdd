// Package profiles is the surface of seed documents 000 and 001: auth profiles
// and runs, with the API key in the body.
package profiles

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

const tag = "Auth profiles and runs"

type surface struct {
	vault  *vault.Store
	runs   *run.Runs
	runURL func(id string) string
}

// Register adds the calls to a. RunURL returns the address of a run's page.
func Register(a *api.API, v *vault.Store, runs *run.Runs, runURL func(id string) string) {
	s := &surface{v, runs, runURL}
	storing := []*fault.Fault{agent.ErrNotFound, access.ErrAgentNotAllowed, agent.ErrUnknownArgument, fault.ErrQuota}
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/api/create_agent_auth_profile", Name: "createAgentAuthProfile", Tag: tag, Security: api.KeyInBody, Action: access.CreateProfile, Loose: true,
		Summary:     "Store an auth profile",
		Description: "A profile of this name and agent in the same organization is replaced, and its token dies.",
		Errors:      storing,
	}, s.create)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/api/upsert_agent_auth_profile", Name: "upsertAgentAuthProfile", Tag: tag, Security: api.KeyInBody, Action: access.CreateProfile, Loose: true,
		Summary: "Store or update an auth profile",
		Description: "Without auth_token a profile is made, or the one of this name replaced: name is required, and the token is new. " +
			"With auth_token the profile that it opens is updated and the token stays good: names that are sent are set, a name sent as null is removed, the others stay; " +
			"changed data drops the saved session; another name renames the profile.",
		Errors: slices.Concat(storing, []*fault.Fault{vault.ErrNotFound, vault.ErrDuplicateName}),
	}, s.upsert)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/run_agent", Also: []string{"/api/run_agent"}, Name: "runAgent", Tag: tag, Security: api.KeyInBody, Action: access.StartRun, Loose: true,
		Summary:     "Run an agent",
		Description: "With run_async false it waits, and answers agent_output or error_message too.",
		Errors: []*fault.Fault{
			agent.ErrNotFound, access.ErrAgentNotAllowed, agent.ErrUnknownArgument, agent.ErrNotDeclared, vault.ErrNotFound, vault.ErrAgentChanged,
			fault.ErrQuota, run.ErrReused, run.ErrNotFound,
		},
	}, s.run)
}

// ProfileToken is the token of a profile.
type ProfileToken struct {
	AuthToken string `json:"auth_token" doc:"Opens the profile. It is shown this once and can't be had again"`
}

type profileCreation struct {
	Name     string                    `json:"name" minLength:"1" maxLength:"200" doc:"What people call the profile"`
	AgentID  string                    `json:"agent_id" minLength:"1" maxLength:"128"`
	AuthData map[string]jsontext.Value `json:"auth_data" maxProperties:"100" doc:"Values for the agent's input arguments"`
}

type createIn struct {
	Body profileCreation
}

func (s *surface) create(ctx context.Context, who access.Caller, in *createIn) (ProfileToken, error) {
	made, err := s.vault.Create(ctx, who, in.Body.AgentID, in.Body.Name, values(in.Body.AuthData))
	if err != nil {
		return ProfileToken{}, err
	}
	return ProfileToken{made.Token.Reveal()}, nil
}

// values returns what was sent, by name: JSON objects have no order.
func values(sent map[string]jsontext.Value) []vault.Value {
	all := make([]vault.Value, 0, len(sent))
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		all = append(all, vault.NewValue(name, sent[name]))
	}
	return all
}

type profileUpsert struct {
	AgentID           string                    `json:"agent_id" minLength:"1" maxLength:"128"`
	AuthData          map[string]jsontext.Value `json:"auth_data" maxProperties:"100" doc:"Values for the agent's input arguments. In an update null removes the name"`
	Name              *string                   `json:"name,omitzero" minLength:"1" maxLength:"200" doc:"Required without auth_token; with one, it renames"`
	ShouldSaveSession bool                      `json:"should_save_session,omitzero" doc:"Whether what the agent leaves is kept for its next run. Left out: false"`
	AuthToken         *string                   `json:"auth_token,omitzero" minLength:"1" maxLength:"128" doc:"Of the profile to update"`
}

type upsertIn struct {
	Body profileUpsert
}

// Upserted is what an upsert did.
type Upserted struct {
	AuthToken         string `json:"auth_token"`
	Name              string `json:"name"`
	Type              string `json:"type" enum:"create,replace,update"`
	ShouldSaveSession bool   `json:"should_save_session"`
}

func (s *surface) upsert(ctx context.Context, who access.Caller, in *upsertIn) (Upserted, error) {
	request := vault.UpsertRequest{
		AgentID: in.Body.AgentID, Name: in.Body.Name, Values: values(in.Body.AuthData), KeepSession: in.Body.ShouldSaveSession,
	}
	if in.Body.AuthToken != nil {
		request.Token = seal.NewSecret(*in.Body.AuthToken)
	}
	did, err := s.vault.Upsert(ctx, who, request)
	if err != nil {
		return Upserted{}, err
	}
	return Upserted{did.Token.Reveal(), did.Name, string(did.Kind), did.KeepSession}, nil
}

type runRequest struct {
	AgentID    string                    `json:"agent_id" minLength:"1" maxLength:"128"`
	Parameters map[string]jsontext.Value `json:"parameters,omitzero" maxProperties:"100" doc:"Values for input arguments that the profile does not give"`
	AuthToken  *string                   `json:"auth_token,omitzero" minLength:"1" maxLength:"128" doc:"Of the auth profile to run with"`
	RunAsync   *bool                     `json:"run_async,omitzero" doc:"Left out: true"`
}

type runIn struct {
	api.Idempotent
	Body runRequest
}

// Started is a run that was started, and ended if it was waited for.
type Started struct {
	AgentRunURL  string         `json:"agent_run_url"`
	SessionID    string         `json:"session_id" doc:"The run's id"`
	AgentOutput  jsontext.Value `json:"agent_output,omitzero" doc:"What the agent put out, if it was waited for: any JSON"`
	ErrorMessage *string        `json:"error_message,omitzero" doc:"Why the run failed, if it was waited for"`
}

func (s *surface) run(ctx context.Context, who access.Caller, in *runIn) (Started, error) {
	wait := in.Body.RunAsync != nil && !*in.Body.RunAsync
	request := run.Request{AgentID: in.Body.AgentID, Parameters: in.Body.Parameters, Wait: wait, IdempotencyKey: in.IdempotencyKey}
	if in.Body.AuthToken != nil {
		request.Token = seal.NewSecret(*in.Body.AuthToken)
	}
	var err error
	if request.Fingerprint, err = in.Fingerprint(request.AgentID, request.Parameters, request.Token); err != nil {
		return Started{}, err
	}
	r, err := s.runs.Start(ctx, who, request)
	if err != nil {
		return Started{}, err
	}
	out := Started{AgentRunURL: s.runURL(r.ID), SessionID: r.ID}
	if wait {
		out.AgentOutput = r.Output
		if r.ErrorMessage != "" {
			out.ErrorMessage = &r.ErrorMessage
		}
	}
	return out, nil
}
