package v1

import (
	"context"
	"net/http"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

type profileSurface struct {
	vault *vault.Store
}

// RegisterProfiles adds the calls for auth profiles to a. There is none that
// returns a stored value.
func RegisterProfiles(a *api.API, v *vault.Store) {
	s := &profileSurface{v}
	const tag = "Auth profiles"
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/agents/{id}/auth-profiles", Name: "listAuthProfiles", Tag: tag, Security: api.KeyOrToken, Action: access.ReadProfiles,
		Summary: "List the auth profiles that the organization has for an agent", Description: "Newest first.",
		Errors: []*fault.Fault{agent.ErrNotFound, access.ErrAgentNotAllowed},
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/auth-profiles/{id}", Name: "getAuthProfile", Tag: tag, Security: api.KeyOrToken, Action: access.ReadProfiles,
		Summary: "Show an auth profile", Description: "The names of its values, never the values.",
		Errors: []*fault.Fault{vault.ErrNotFound},
	}, s.get)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/auth-profiles/{id}", Name: "deleteAuthProfile", Tag: tag, Security: api.KeyOrToken, Action: access.DeleteProfile, Status: http.StatusNoContent,
		Summary: "Delete an auth profile", Description: "Its values can't be read from then on, with whatever token.",
		Errors: []*fault.Fault{vault.ErrNotFound},
	}, s.remove)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/auth-profiles/{id}/session", Name: "deleteSession", Tag: tag, Security: api.KeyOrToken, Action: access.DeleteSession, Status: http.StatusNoContent,
		Summary: "Delete the session that an auth profile keeps", Description: "Its values and tokens stay. The next run begins without a session, and a run that is under way leaves none.",
		Errors: []*fault.Fault{vault.ErrNotFound},
	}, s.removeSession)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/auth-profiles/token/rotate", Name: "rotateAuthToken", Tag: tag, Security: api.KeyOrToken, Action: access.RotateToken,
		Summary:     "Get a new auth token for an auth profile",
		Description: "The old one works until grace_period has passed; left out or 0, it is dead when this answers.",
		Errors:      []*fault.Fault{agent.ErrNotFound, access.ErrAgentNotAllowed, vault.ErrNotFound, vault.ErrTooManyTokens},
	}, s.rotate)
}

func profileJSON(p vault.Profile) client.AuthProfile {
	fields := p.Fields
	if fields == nil {
		fields = []string{}
	}
	return client.AuthProfile{
		ID: p.ID, Name: p.Name, AgentID: p.AgentID, Fields: fields, ShouldSaveSession: p.KeepSession, HasSession: p.HasSession,
		Destination: p.Destination, CreatedAt: client.NewTime(p.CreatedAt), UpdatedAt: client.NewTime(p.UpdatedAt), LastUsedAt: client.NewTime(p.LastUsedAt),
	}
}

type listProfilesIn struct {
	AgentPath
	api.Cursored
}

func (s *profileSurface) list(ctx context.Context, who access.Caller, in *listProfilesIn) (client.List[client.AuthProfile], error) {
	after, err := afterID(in.Cursored)
	if err != nil {
		return client.List[client.AuthProfile]{}, err
	}
	found, err := s.vault.List(ctx, who, in.ID, after, in.Limit+1)
	if err != nil {
		return client.List[client.AuthProfile]{}, err
	}
	return convert(api.NewList(in.Cursored, found, func(p vault.Profile) []string { return []string{p.ID} }), profileJSON), nil
}

type profileIn struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *profileSurface) get(ctx context.Context, who access.Caller, in *profileIn) (client.AuthProfile, error) {
	p, err := s.vault.Get(ctx, who, in.ID)
	if err != nil {
		return client.AuthProfile{}, err
	}
	return profileJSON(p), nil
}

func (s *profileSurface) remove(ctx context.Context, who access.Caller, in *profileIn) (api.Nothing, error) {
	return api.Nothing{}, s.vault.Delete(ctx, who, in.ID)
}

func (s *profileSurface) removeSession(ctx context.Context, who access.Caller, in *profileIn) (api.Nothing, error) {
	return api.Nothing{}, s.vault.DeleteSession(ctx, who, in.ID)
}

type rotateIn struct{ Body client.RotateToken }

func (s *profileSurface) rotate(ctx context.Context, who access.Caller, in *rotateIn) (client.AuthToken, error) {
	token, err := s.vault.RotateToken(ctx, who, in.Body.AgentID, seal.NewSecret(in.Body.AuthToken), time.Duration(in.Body.GracePeriod)*time.Second)
	if err != nil {
		return client.AuthToken{}, err
	}
	return client.AuthToken{AuthToken: token.Reveal()}, nil
}
