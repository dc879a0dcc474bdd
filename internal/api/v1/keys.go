package v1

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/fault"
)

type keySurface struct {
	keys *apikey.Store
}

// RegisterKeys adds the calls for API keys to a.
func RegisterKeys(a *api.API, keys *apikey.Store) {
	s := &keySurface{keys}
	const tag = "API keys"
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/keys", Name: "createKey", Tag: tag, Security: api.KeyOrToken, Status: http.StatusCreated,
		Summary:     "Make an API key",
		Description: "The key is shown this once. A key makes no key that is stronger than itself: none that lives longer, and a temporary key makes only temporary ones.",
		Errors:      []*fault.Fault{apikey.ErrDuplicateName, apikey.ErrTooWeak, fault.ErrQuota},
	}, s.create)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys", Name: "listKeys", Tag: tag, Security: api.KeyOrToken,
		Summary:     "List API keys",
		Description: "The organization's keys, newest first. Revoked ones are listed with status=revoked alone.",
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys/self", Name: "getOwnKey", Tag: tag, Security: api.KeyOrToken,
		Summary: "Show the API key of this request",
		Errors:  []*fault.Fault{fault.ErrNotAllowed},
	}, s.getSelf)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/keys/self", Name: "revokeOwnKey", Tag: tag, Security: api.KeyOrToken, Status: http.StatusNoContent,
		Summary:     "Revoke the API key of this request",
		Description: "Whoever holds a key may end it. What it made ends with it.",
		Errors:      []*fault.Fault{fault.ErrNotAllowed},
	}, s.revokeSelf)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys/{id}", Name: "getKey", Tag: tag, Security: api.KeyOrToken,
		Summary: "Show an API key",
		Errors:  []*fault.Fault{apikey.ErrNotFound},
	}, s.get)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/keys/{id}", Name: "revokeKey", Tag: tag, Security: api.KeyOrToken, Status: http.StatusNoContent,
		Summary:     "Revoke an API key",
		Description: "When it answers, no request with the key is accepted any more, nor with a key that it made. For 90 days such a request is answered REVOKED_API_KEY, then INVALID_API_KEY.",
		Errors:      []*fault.Fault{apikey.ErrNotFound},
	}, s.revoke)
}

func (s *keySurface) json(k apikey.Key, who access.Caller) client.Key {
	return client.Key{
		ID: k.ID, Name: k.Name, Hint: k.Hint, Type: k.Type, Tier: who.Tier, Status: k.Status(s.keys.Now()),
		MadeBy:    client.MadeBy{AccountID: k.AccountID, KeyID: k.MadeByKey},
		CreatedAt: client.NewTime(k.CreatedAt), UpdatedAt: client.NewTime(k.UpdatedAt),
		ExpiresAt: client.NewTime(k.ExpiresAt), RevokedAt: client.NewTime(k.RevokedAt),
	}
}

type createKeyIn struct{ Body client.CreateKey }

func (s *keySurface) create(ctx context.Context, who access.Caller, in *createKeyIn) (client.IssuedKey, error) {
	k, secret, err := s.keys.Create(ctx, who, apikey.Request{
		Name: in.Body.Name, Type: in.Body.Type, ExpiresIn: time.Duration(in.Body.ExpiresIn) * time.Second,
	})
	if err != nil {
		return client.IssuedKey{}, err
	}
	return client.IssuedKey{Key: s.json(k, who), Secret: secret.Reveal()}, nil
}

type listKeysIn struct {
	api.Paged
	Status string `query:"status" enum:"active,expired,revoked" doc:"Left out: all that are not revoked"`
	Type   string `query:"type" enum:"personal,service,temporary"`
}

func (s *keySurface) list(ctx context.Context, who access.Caller, in *listKeysIn) (client.List[client.Key], error) {
	none := client.List[client.Key]{}
	after, err := readMark(in.Cursored)
	if err != nil {
		return none, err
	}
	offset, paged, err := in.Offset()
	if err != nil {
		return none, err
	}
	found, total, err := s.keys.List(ctx, who, apikey.Filter{
		Status: in.Status, Type: in.Type, Limit: int64(in.Limit) + 1, Offset: int64(offset),
		After: apikey.Mark{CreatedAt: after.at, ID: after.id},
	})
	if err != nil {
		return none, err
	}
	key := func(k apikey.Key) []string {
		return []string{strconv.FormatInt(k.CreatedAt.UnixMicro(), 10), strconv.FormatInt(k.ID, 10)}
	}
	show := func(k apikey.Key) client.Key { return s.json(k, who) }
	if paged {
		return convert(api.NewPage(in.Paged, found, key, int(total)), show), nil
	}
	return convert(api.NewList(in.Cursored, found, key), show), nil
}

// mark is the place in a list of what has a time and a number.
type mark struct {
	at time.Time
	id int64
}

func readMark(q api.Cursored) (mark, error) {
	parts, err := q.After(2)
	if err != nil || parts == nil {
		return mark{}, err
	}
	at, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return mark{}, api.ErrCursor
	}
	id, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return mark{}, api.ErrCursor
	}
	return mark{time.UnixMicro(at).UTC(), id}, nil
}

type keyIn struct {
	ID int64 `path:"id" minimum:"1" maximum:"9007199254740991"`
}

func (s *keySurface) get(ctx context.Context, who access.Caller, in *keyIn) (client.Key, error) {
	k, err := s.keys.Get(ctx, who, in.ID)
	if err != nil {
		return client.Key{}, err
	}
	return s.json(k, who), nil
}

func (s *keySurface) getSelf(ctx context.Context, who access.Caller, _ *struct{}) (client.Key, error) {
	k, err := s.keys.GetSelf(ctx, who)
	if err != nil {
		return client.Key{}, err
	}
	return s.json(k, who), nil
}

func (s *keySurface) revoke(ctx context.Context, who access.Caller, in *keyIn) (api.Nothing, error) {
	return api.Nothing{}, s.keys.Revoke(ctx, who, in.ID)
}

func (s *keySurface) revokeSelf(ctx context.Context, who access.Caller, _ *struct{}) (api.Nothing, error) {
	return api.Nothing{}, s.keys.RevokeSelf(ctx, who)
}
