package client

import (
	"context"
	"encoding/json"
	"iter"
)

// AuthProfileCalls are the calls for auth profiles: what an agent signs in with
// at other services. No call returns a stored value.
type AuthProfileCalls struct{ c *Client }

// CreateAuthProfile asks to store an auth profile.
type CreateAuthProfile struct {
	Name     string         `json:"name"`
	AgentID  string         `json:"agent_id"`
	AuthData map[string]any `json:"auth_data"` // values for the agent's input arguments
}

// MarshalJSON writes empty data as an object, which the server asks for.
func (p CreateAuthProfile) MarshalJSON() ([]byte, error) {
	if p.AuthData == nil {
		p.AuthData = map[string]any{}
	}
	type plain CreateAuthProfile
	return json.Marshal(plain(p))
}

// UpsertAuthProfile asks to store an auth profile, or to update one.
//
// Without AuthToken the profile is made, or the one of that Name is replaced. With
// one the profile that it opens is updated, and the token stays good: values that
// are there are set, those that are nil are removed, and the others stay.
type UpsertAuthProfile struct {
	AgentID           string         `json:"agent_id"`
	AuthData          map[string]any `json:"auth_data"`
	Name              string         `json:"name,omitzero"`
	ShouldSaveSession bool           `json:"should_save_session,omitzero"`
	AuthToken         string         `json:"auth_token,omitzero"`
}

// MarshalJSON writes empty data as an object, which the server asks for.
func (p UpsertAuthProfile) MarshalJSON() ([]byte, error) {
	if p.AuthData == nil {
		p.AuthData = map[string]any{}
	}
	type plain UpsertAuthProfile
	return json.Marshal(plain(p))
}

// UpsertedAuthProfile is what an upsert did.
type UpsertedAuthProfile struct {
	AuthToken         string `json:"auth_token"`
	Name              string `json:"name"`
	Type              string `json:"type"` // create, replace or update
	ShouldSaveSession bool   `json:"should_save_session"`
}

// Create stores an auth profile, and returns the token that opens it: it is shown
// this once. A profile of the same name and agent is replaced. It needs an API
// key; an access token can't.
func (p AuthProfileCalls) Create(ctx context.Context, in CreateAuthProfile) (AuthToken, error) {
	return call[AuthToken](ctx, p.c, createAgentAuthProfile, request{body: in})
}

// Upsert stores an auth profile, or updates one. It needs an API key; an access
// token can't.
func (p AuthProfileCalls) Upsert(ctx context.Context, in UpsertAuthProfile) (UpsertedAuthProfile, error) {
	return call[UpsertedAuthProfile](ctx, p.c, upsertAgentAuthProfile, request{body: in})
}

// List returns a page of an agent's auth profiles.
func (p AuthProfileCalls) List(ctx context.Context, agentID string, at Page) (List[AuthProfile], error) {
	return list[AuthProfile](ctx, p.c, listAuthProfiles, []string{agentID}, nil, at)
}

// All walks through an agent's auth profiles.
func (p AuthProfileCalls) All(ctx context.Context, agentID string, at Page) iter.Seq2[AuthProfile, error] {
	return walkList[AuthProfile](ctx, p.c, listAuthProfiles, []string{agentID}, nil, at)
}

// Get returns what may be seen of an auth profile.
func (p AuthProfileCalls) Get(ctx context.Context, id string) (AuthProfile, error) {
	return call[AuthProfile](ctx, p.c, getAuthProfile, request{path: []string{id}})
}

// Delete deletes an auth profile.
func (p AuthProfileCalls) Delete(ctx context.Context, id string) error {
	return p.c.run(ctx, deleteAuthProfile, request{path: []string{id}})
}

// DeleteSession deletes the session that is kept of an auth profile.
func (p AuthProfileCalls) DeleteSession(ctx context.Context, id string) error {
	return p.c.run(ctx, deleteSession, request{path: []string{id}})
}

// RotateToken gives an auth profile a new token; the old one works until the
// grace ends.
func (p AuthProfileCalls) RotateToken(ctx context.Context, in RotateToken) (AuthToken, error) {
	return call[AuthToken](ctx, p.c, rotateAuthToken, request{body: in})
}
