package auth

import (
	"context"
	"net/http"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/fault"
)

type keySurface struct {
	keys *apikey.Store
}

// RegisterKeys adds the calls for the keys of an account to a.
func RegisterKeys(a *api.API, keys *apikey.Store) {
	s := &keySurface{keys}
	const tag = "API keys of an account"
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/auth/api-keys", Name: "createAPIKey", Tag: tag, Security: api.AccessToken, Action: access.CreateOwnKey, Status: http.StatusCreated,
		Summary:     "Make a personal API key",
		Description: "The key is shown this once.",
		Errors:      []*fault.Fault{apikey.ErrDuplicateNickname, fault.ErrQuota},
	}, s.create)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/auth/api-keys", Name: "listAPIKeys", Tag: tag, Security: api.AccessToken, Action: access.ReadOwnKeys,
		Summary:     "List the account's API keys",
		Description: "Personal and temporary keys that are not deleted, expired ones included.",
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/auth/api-keys/{id}", Name: "deleteAPIKey", Tag: tag, Security: api.AccessToken, Action: access.RevokeOwnKey,
		Summary:     "Delete an API key",
		Description: "When it answers, no request with the key is accepted any more, nor with a key that it made.",
		Errors:      []*fault.Fault{apikey.ErrOfAnotherAccount, apikey.ErrNotFound},
	}, s.remove)
}

// APIKey is a key of an account as /auth writes it.
type APIKey struct {
	ID        int64       `json:"id" doc:"Below 2^53"`
	Nickname  string      `json:"nickname"`
	CreatedAt client.Time `json:"createdAt"`
	UpdatedAt client.Time `json:"updatedAt"`
}

func keyJSON(k apikey.Key) APIKey {
	return APIKey{k.ID, k.Name, client.NewTime(k.CreatedAt), client.NewTime(k.UpdatedAt)}
}

// NewAPIKey is a key that was just made.
type NewAPIKey struct {
	APIKey
	Key string `json:"key" doc:"The API key itself. It is shown this once and can't be had again" example:"ra_live_…"`
}

type keyNickname struct {
	Nickname string `json:"nickname" minLength:"1" maxLength:"64" doc:"What people call the key; unique among the organization's keys that are not deleted" example:"production-agent"`
}

type createIn struct {
	Body keyNickname
}

func (s *keySurface) create(ctx context.Context, who access.Caller, in *createIn) (NewAPIKey, error) {
	made, err := s.keys.CreateOwn(ctx, who, in.Body.Nickname)
	if err != nil {
		return NewAPIKey{}, err
	}
	return NewAPIKey{keyJSON(made.Key), made.Secret.Reveal()}, nil
}

// APIKeys is the list of an account's keys.
type APIKeys struct {
	APIKeys []APIKey `json:"apiKeys"`
}

func (s *keySurface) list(ctx context.Context, who access.Caller, _ *struct{}) (APIKeys, error) {
	keys, err := s.keys.ListOwn(ctx, who)
	if err != nil {
		return APIKeys{}, err
	}
	list := APIKeys{[]APIKey{}}
	for _, k := range keys {
		list.APIKeys = append(list.APIKeys, keyJSON(k))
	}
	return list, nil
}

type removeKeyIn struct {
	ID int64 `path:"id" minimum:"1" maximum:"9007199254740991"`
}

// Message confirms something in words.
type Message struct {
	Message string `json:"message"`
}

func (s *keySurface) remove(ctx context.Context, who access.Caller, in *removeKeyIn) (Message, error) {
	if err := s.keys.RevokeOwn(ctx, who, in.ID); err != nil {
		return Message{}, err
	}
	return Message{"API key deleted successfully"}, nil
}
