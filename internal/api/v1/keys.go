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
	"github.com/keyward/keyward/internal/usage"
)

// LastUses returns the last use of each of the keys with these ids that was used
// at all.
type LastUses func(ctx context.Context, ids []int64) (map[int64]usage.Use, error)

type keySurface struct {
	keys *apikey.Store
	uses LastUses
}

// RegisterKeys adds the calls for API keys to a.
func RegisterKeys(a *api.API, keys *apikey.Store, uses LastUses) {
	s := &keySurface{keys, uses}
	const tag = "API keys"
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/keys", Name: "createKey", Tag: tag, Security: api.KeyOrToken, Action: access.CreateKey, Status: http.StatusCreated,
		Summary: "Make an API key",
		Description: "The key is shown this once.\n\nA key makes no key that is stronger than itself: none with a scope, an agent, an address, a limit or a lifetime more, " +
			"with a signature less, or of another account; and a temporary key makes only temporary ones.",
		Errors: []*fault.Fault{apikey.ErrDuplicateName, apikey.ErrTooWeak, fault.ErrQuota},
	}, s.create)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys", Name: "listKeys", Tag: tag, Security: api.KeyOrToken, Action: access.ReadKeys,
		Summary:     "List API keys",
		Description: "The organization's keys, newest first. Revoked ones are listed with status=revoked alone.",
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys/self", Name: "getOwnKey", Tag: tag, Security: api.KeyOrToken, Action: access.ReadSelf,
		Summary: "Show the API key of this request",
		Errors:  []*fault.Fault{fault.ErrNotAllowed},
	}, s.getSelf)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/keys/self", Name: "revokeOwnKey", Tag: tag, Security: api.KeyOrToken, Free: true, Action: access.RevokeSelf, Status: http.StatusNoContent,
		Summary:     "Revoke the API key of this request",
		Description: "Whoever holds a key may end it. What it made ends with it.",
		Errors:      []*fault.Fault{fault.ErrNotAllowed},
	}, s.revokeSelf)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys/{id}", Name: "getKey", Tag: tag, Security: api.KeyOrToken, Action: access.ReadKeys,
		Summary: "Show an API key",
		Errors:  []*fault.Fault{apikey.ErrNotFound},
	}, s.get)
	api.Register(a, api.Operation{
		Method: http.MethodPatch, Path: "/v1/keys/{id}", Name: "changeKey", Tag: tag, Security: api.KeyOrToken, Action: access.ChangeKey,
		Summary: "Change an API key",
		Description: "What is left out stays; lists are replaced, and null removes a setting. When it answers, the key is what it says everywhere.\n\n" +
			"A key changes no key that is stronger than itself, before or after; of itself it may only narrow what it may do.",
		Errors: []*fault.Fault{apikey.ErrNotFound, apikey.ErrDuplicateName, apikey.ErrIsRevoked, apikey.ErrTooWeak},
	}, s.change)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/keys/{id}/rotate", Name: "rotateKey", Tag: tag, Security: api.KeyOrToken, Action: access.RotateKey,
		Summary: "Give an API key a new value",
		Description: "Under the same id, settings, limits and usage. The new value, and what its requests are signed with if they must be, are shown this once. " +
			"The values before work until grace_period has passed; then they are answered REVOKED_API_KEY for 90 days.\n\n" +
			"A key rotates no key that is stronger than itself, and not itself.",
		Errors: []*fault.Fault{apikey.ErrNotFound, apikey.ErrIsRevoked, apikey.ErrTooManyValues, apikey.ErrTooWeak},
	}, s.rotate)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/keys/{id}", Name: "revokeKey", Tag: tag, Security: api.KeyOrToken, Action: access.RevokeKey, Status: http.StatusNoContent,
		Summary:     "Revoke an API key",
		Description: "When it answers, no request with the key is accepted any more, nor with a key that it made. For 90 days such a request is answered REVOKED_API_KEY, then INVALID_API_KEY.",
		Errors:      []*fault.Fault{apikey.ErrNotFound},
	}, s.revoke)
}

// show returns k as its organization sees it.
func (s *keySurface) show(k apikey.Key, who access.Caller, use usage.Use) client.Key {
	out := client.Key{
		ID: k.ID, Name: k.Name, Hint: k.Hint, Type: k.Type, Tier: who.Tier, Status: k.Status(s.keys.Now()),
		Scopes: k.Scopes.Names(), AgentIDs: k.AgentIDs, RequireSignature: k.RequireSignature, Enabled: !k.Disabled,
		ExternalID: k.ExternalID, Metadata: client.Object(k.Metadata),
		MadeBy:    client.MadeBy{AccountID: k.AccountID, KeyID: k.MadeByKey},
		CreatedAt: client.NewTime(k.CreatedAt), UpdatedAt: client.NewTime(k.UpdatedAt),
		ExpiresAt: client.NewTime(k.ExpiresAt), RevokedAt: client.NewTime(k.RevokedAt), LastUsedAt: client.NewTime(use.At),
	}
	for _, p := range k.AllowedIPs {
		out.AllowedIPs = append(out.AllowedIPs, apikey.IPText(p))
	}
	if k.Limits != (access.Limits{}) {
		out.Limits = &client.KeyLimits{RequestsPerHour: k.Limits.PerHour, Burst: k.Limits.Burst, RequestsPerMonth: k.Limits.PerMonth}
	}
	if use.From.IsValid() {
		out.LastUsedIP = use.From.String()
	}
	return out
}

// showUsed is show for a key that may have been used.
func (s *keySurface) showUsed(ctx context.Context, k apikey.Key, who access.Caller) (client.Key, error) {
	uses, err := s.uses(ctx, []int64{k.ID})
	return s.show(k, who, uses[k.ID]), err
}

type createKeyIn struct{ Body client.CreateKey }

func (s *keySurface) create(ctx context.Context, who access.Caller, in *createKeyIn) (client.IssuedKey, error) {
	r := apikey.Request{
		Name: in.Body.Name, Type: in.Body.Type, ExpiresIn: seconds(in.Body.ExpiresIn),
		Scopes: in.Body.Scopes, AgentIDs: in.Body.AgentIDs, AllowedIPs: in.Body.AllowedIPs, RequireSignature: in.Body.RequireSignature,
		Disabled: in.Body.Enabled != nil && !*in.Body.Enabled, ExternalID: in.Body.ExternalID, Metadata: in.Body.Metadata,
	}
	if l := in.Body.Limits; l != nil {
		r.Limits = access.Limits{PerHour: l.RequestsPerHour, Burst: l.Burst, PerMonth: l.RequestsPerMonth}
	}
	made, err := s.keys.Create(ctx, who, r)
	if err != nil {
		return client.IssuedKey{}, err
	}
	return client.IssuedKey{Key: s.show(made.Key, who, usage.Use{}), Secret: made.Secret.Reveal(), SigningSecret: made.Signing.Reveal()}, nil
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

type listKeysIn struct {
	api.Paged
	Status     string `query:"status" enum:"active,disabled,expired,revoked" doc:"Left out: all that are not revoked"`
	Type       string `query:"type" enum:"personal,service,temporary"`
	ExternalID string `query:"external_id" maxLength:"128"`
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
		Status: in.Status, Type: in.Type, ExternalID: in.ExternalID, Limit: int64(in.Limit) + 1, Offset: int64(offset),
		After: apikey.Mark{CreatedAt: after.at, ID: after.id},
	})
	if err != nil {
		return none, err
	}
	ids := make([]int64, len(found))
	for i, k := range found {
		ids[i] = k.ID
	}
	uses, err := s.uses(ctx, ids)
	if err != nil {
		return none, err
	}
	key := func(k apikey.Key) []string {
		return []string{strconv.FormatInt(k.CreatedAt.UnixMicro(), 10), strconv.FormatInt(k.ID, 10)}
	}
	show := func(k apikey.Key) client.Key { return s.show(k, who, uses[k.ID]) }
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

// KeyPath is the key that a request names in its path.
type KeyPath struct {
	ID int64 `path:"id" minimum:"1" maximum:"9007199254740991"`
}

func (s *keySurface) get(ctx context.Context, who access.Caller, in *KeyPath) (client.Key, error) {
	k, err := s.keys.Get(ctx, who, in.ID)
	if err != nil {
		return client.Key{}, err
	}
	return s.showUsed(ctx, k, who)
}

func (s *keySurface) getSelf(ctx context.Context, who access.Caller, _ *struct{}) (client.Key, error) {
	k, err := s.keys.GetSelf(ctx, who)
	if err != nil {
		return client.Key{}, err
	}
	return s.showUsed(ctx, k, who)
}

type changeKeyIn struct {
	KeyPath
	Body client.ChangeKey
}

func (s *keySurface) change(ctx context.Context, who access.Caller, in *changeKeyIn) (client.ChangedKey, error) {
	c := apikey.Change{
		Name: in.Body.Name, Scopes: in.Body.Scopes.To(), AgentIDs: in.Body.AgentIDs.To(),
		AllowedIPs: in.Body.AllowedIPs.To(), AddIPs: in.Body.AddIPs, RemoveIPs: in.Body.RemoveIPs,
		RequireSignature: in.Body.RequireSignature, ExternalID: in.Body.ExternalID.To(), Metadata: (*[]byte)(in.Body.Metadata.To()),
	}
	if n := in.Body.ExpiresIn.To(); n != nil {
		d := seconds(*n)
		c.ExpiresIn = &d
	}
	if on := in.Body.Enabled; on != nil {
		off := !*on
		c.Disabled = &off
	}
	if in.Body.Limits.Removed() {
		c.PerHour, c.Burst, c.PerMonth = new(int64), new(int64), new(int64)
	} else if l := in.Body.Limits.To(); l != nil {
		c.PerHour, c.Burst, c.PerMonth = l.RequestsPerHour.To(), l.Burst.To(), l.RequestsPerMonth.To()
	}
	uses, err := s.uses(ctx, []int64{in.ID})
	if err != nil {
		return client.ChangedKey{}, err
	}
	// Nothing may fail after this: what is shown once would be lost.
	changed, err := s.keys.Change(ctx, who, in.ID, c)
	if err != nil {
		return client.ChangedKey{}, err
	}
	return client.ChangedKey{Key: s.show(changed.Key, who, uses[in.ID]), SigningSecret: changed.Signing.Reveal()}, nil
}

type rotateKeyIn struct {
	KeyPath
	Body *client.RotateKey
}

func (s *keySurface) rotate(ctx context.Context, who access.Caller, in *rotateKeyIn) (client.IssuedKey, error) {
	var grace time.Duration
	if in.Body != nil {
		grace = seconds(in.Body.GracePeriod)
	}
	uses, err := s.uses(ctx, []int64{in.ID})
	if err != nil {
		return client.IssuedKey{}, err
	}
	// Nothing may fail after this: what is shown once would be lost.
	made, err := s.keys.Rotate(ctx, who, in.ID, grace)
	if err != nil {
		return client.IssuedKey{}, err
	}
	return client.IssuedKey{Key: s.show(made.Key, who, uses[in.ID]), Secret: made.Secret.Reveal(), SigningSecret: made.Signing.Reveal()}, nil
}

func (s *keySurface) revoke(ctx context.Context, who access.Caller, in *KeyPath) (api.Nothing, error) {
	return api.Nothing{}, s.keys.Revoke(ctx, who, in.ID)
}

func (s *keySurface) revokeSelf(ctx context.Context, who access.Caller, _ *struct{}) (api.Nothing, error) {
	return api.Nothing{}, s.keys.RevokeSelf(ctx, who)
}
