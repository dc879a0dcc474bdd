package runagent

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
)

func (s *surface) registerAccount() {
	validate := api.Operation{
		Method: http.MethodPost, Path: path("tokens/validate"), Name: "runAgentValidateToken", Tag: tag, Security: api.KeyInURL,
		Summary:     "Tell whether an API key is good, and whose it is",
		Description: "A key that is not good is answered with 200 and valid false. The check counts against the key's limits.",
		Errors:      []*fault.Fault{fault.ErrUnavailable, errRateLimited},
	}
	s.api.Raw(validate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks := validate
		asks.Action = access.ReadSelf
		s.validate(w, r, asks)
	}), api.Answer{Status: http.StatusOK, ContentType: "application/json", Body: Envelope[Validation]{}})

	profile := get("users/profile", "runAgentProfile", "Show whose API key this is")
	profile.Action, profile.Errors = access.ReadSelf, []*fault.Fault{fault.ErrNotAllowed}
	api.Register(s.api, profile, s.profile)

	projects := get("projects", "runAgentProjects", "List projects")
	projects.Description = "There is one: the organization."
	projects.Action, projects.Errors = access.ReadSelf, []*fault.Fault{fault.ErrNotAllowed}
	api.Register(s.api, projects, s.projects)

	limits := get("limits/agents", "runAgentLimits", "Tell how many agents the organization may have")
	limits.Action = access.ReadAgents
	api.Register(s.api, limits, s.limits)

	health := get("health", "runAgentHealth", "Tell whether the server can serve")
	health.Security = api.Public
	api.Register(s.api, health, s.health)
}

// errRateLimited is what the gate says; it is here for the document.
var errRateLimited = fault.New(fault.RateLimited, "RATE_LIMITED", "Too many requests")

// Validation is what is said of a key.
type Validation struct {
	Valid              bool   `json:"valid"`
	Reason             string `json:"reason,omitzero" doc:"Why it is not"`
	UserEmail          string `json:"user_email,omitzero"`
	UserID             string `json:"user_id,omitzero" doc:"The account's id; of a service key the organization's"`
	UserTier           string `json:"user_tier,omitzero"`
	DefaultProjectName string `json:"default_project_name,omitzero" doc:"The organization's name"`
	DefaultProjectID   string `json:"default_project_id,omitzero" doc:"The organization's id"`
}

// validate answers for a key that is not good, too: that it is not.
func (s *surface) validate(w http.ResponseWriter, r *http.Request, op api.Operation) {
	who, err := s.api.Identify(w, r, op)
	v := Validation{}
	if err == nil {
		v, err = s.validation(r.Context(), who)
	} else if f := fault.Of(err); f.Kind == fault.Unauthenticated || f.Kind == fault.Forbidden {
		v.Reason, err = f.Message, nil
	}
	if err != nil {
		s.api.Fail(w, r, err)
		return
	}
	message := "The API key is good."
	if !v.Valid {
		message = "The API key is not good."
	}
	body, err := json.Marshal(envelope(s, s.api.Client(w, r).RequestID, v, message), json.Deterministic(true))
	if err != nil {
		s.api.Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func (s *surface) validation(ctx context.Context, who access.Caller) (Validation, error) {
	a, o, err := s.Accounts.Holder(ctx, who)
	if err != nil {
		return Validation{}, err
	}
	v := Validation{Valid: true, UserEmail: a.Email, UserID: a.ID, UserTier: o.Tier, DefaultProjectName: o.Name, DefaultProjectID: o.ID}
	if v.UserID == "" {
		v.UserID = o.ID
	}
	return v, nil
}

// Profile is whose key it is.
type Profile struct {
	ID    string `json:"id"`
	Email string `json:"email" doc:"\"\" of a service key"`
	Name  string `json:"name"`
	Tier  string `json:"tier"`
}

func (s *surface) profile(ctx context.Context, who access.Caller, _ *struct{}) (Envelope[Profile], error) {
	a, o, err := s.Accounts.Holder(ctx, who)
	if err != nil {
		return Envelope[Profile]{}, err
	}
	p := Profile{a.ID, a.Email, a.Name, o.Tier}
	if p.ID == "" {
		p.ID, p.Name = o.ID, o.Name
	}
	return envelope(s, who.RequestID, p, "This is whose API key it is."), nil
}

// Projects are all there are.
type Projects struct {
	Projects []Project `json:"projects"`
	Total    int       `json:"total"`
}

// Project is an organization, as the SDKs call it.
type Project struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	IsDefault bool   `json:"is_default"`
}

func (s *surface) projects(ctx context.Context, who access.Caller, _ *struct{}) (Envelope[Projects], error) {
	_, o, err := s.Accounts.Holder(ctx, who)
	if err != nil {
		return Envelope[Projects]{}, err
	}
	return envelope(s, who.RequestID, Projects{[]Project{{o.ID, o.Name, true}}, 1}, "These are the projects."), nil
}

// AgentLimits is how many agents there may be.
type AgentLimits struct {
	MaxAgents     int64 `json:"max_agents" doc:"-1: as many as one likes"`
	CurrentAgents int64 `json:"current_agents"`
	Unlimited     bool  `json:"unlimited"`
}

// limitsAnswer has the number once more where older SDKs look for it.
type limitsAnswer struct {
	Envelope[AgentLimits]
	MaxAgents int64 `json:"max_agents"`
}

func (s *surface) limits(ctx context.Context, who access.Caller, _ *struct{}) (limitsAnswer, error) {
	_, have, err := s.Agents.List(ctx, who, agentsAtAll)
	if err != nil {
		return limitsAnswer{}, err
	}
	l := AgentLimits{MaxAgents: who.Quotas.Agents, CurrentAgents: have}
	if l.MaxAgents < 0 {
		l.MaxAgents, l.Unlimited = access.Unlimited, true
	}
	return limitsAnswer{envelope(s, who.RequestID, l, "These are the limits."), l.MaxAgents}, nil
}

// Alive is what a probe is answered.
type Alive struct {
	Status string `json:"status" enum:"healthy"`
}

func (s *surface) health(ctx context.Context, who access.Caller, _ *struct{}) (Envelope[Alive], error) {
	if err := s.Ready(ctx); err != nil {
		return Envelope[Alive]{}, fault.ErrUnavailable.Say("The server can't serve just now.").Because(err)
	}
	return envelope(s, who.RequestID, Alive{"healthy"}, "The server can serve."), nil
}
