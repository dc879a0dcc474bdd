// Package verify is the face for those who check their own callers' keys: POST
// /v1/keys/verify for services and /v1/verify for gateways.
//
// Both are asked in front of every request of somebody else's, so what goes well
// goes past the machinery of package api. What does not go well goes through it.
package verify

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/gate"
)

// Any stands for the keys of all organizations.
const Any = "any"

type surface struct {
	api      *api.API
	gate     *gate.Gate
	gateways []netip.Prefix
	last     atomic.Pointer[known] // the query that was read last
}

// Register adds the two calls to a. Gateways are the addresses that may ask for
// the keys of all organizations.
func Register(a *api.API, g *gate.Gate, gateways []netip.Prefix) {
	s := &surface{api: a, gate: g, gateways: gateways}
	const tag = "API keys"
	post := api.Operation{
		Method: http.MethodPost, Path: "/v1/keys/verify", Name: "verifyKey", Tag: tag, Security: api.KeyOrToken, Action: access.VerifyKeys, Free: true,
		Summary: "Check the key of a caller of yours",
		Description: "For a service that checks its own callers' keys. The checked key's limits are counted, yours are not. " +
			"A key that is not good is answered with 200 and valid false; an error means that the question could not be answered.",
		Errors: []*fault.Fault{fault.ErrNotAllowed},
	}
	api.Register(a, post, func(ctx context.Context, who access.Caller, in *verifyIn) (client.Verification, error) {
		return s.verify(ctx, who, &in.Body)
	})
	a.Direct(post, http.HandlerFunc(s.post))
	gateway := api.Operation{
		Path: "/v1/verify", Name: "verifyForGateway", Tag: tag, Security: api.KeyOrToken,
		Summary: "Check the key of a request that a gateway passes on",
		Description: "For nginx auth_request, Caddy and Traefik forward_auth, with any method. The key is read from the request's own Authorization or X-API-Key. " +
			"The gateway's configuration gives the query: organization (whose keys are let in; any, from an address in the setting gateways), " +
			"scope (one or more, separated by commas), agent_id, and deny=403, which answers 403 to everything that is refused, with the true status in X-Deny-Status and the body in X-Deny-Body. " +
			"A good key is answered with X-Key-Id, X-Key-Name, X-Account-Id, X-Organization-Id, X-Key-Scopes and the headers of its limit.",
		Errors: append([]*fault.Fault{fault.ErrInvalidRequest, fault.ErrMissingField, fault.ErrUnknownField, fault.ErrUnavailable, access.ErrInsufficientScope, access.ErrAgentNotAllowed, fault.ErrNotAllowed}, gate.Refusals...),
	}
	a.Raw(gateway, http.HandlerFunc(s.forward), api.Answer{Status: http.StatusOK})
	a.Direct(gateway, http.HandlerFunc(s.forward))
}

type verifyIn struct{ Body client.VerifyKey }

// post answers what goes well by itself. All else is for the operation that the
// document describes, which finds what is wrong; a body that was read is put back.
func (s *surface) post(w http.ResponseWriter, r *http.Request) {
	text, err := s.api.Credential(api.KeyOrToken, r.Header)
	if err != nil || !gate.IsKey(text) || r.URL.RawQuery != "" || r.Header["X-Signature"] != nil || r.Header["X-Timestamp"] != nil {
		s.api.Route(w, r)
		return
	}
	from := s.api.Client(w, r)
	q := gate.Question{Action: access.VerifyKeys, Address: from.Address, RequestID: from.RequestID, Free: true}
	var a gate.Answer
	if err := s.gate.Check(r.Context(), []byte(text), &q, &a); err != nil {
		s.api.Fail(w, r, err)
		return
	}
	// Nobody has his body kept before it is known who he is.
	body, err := api.ReadBody(w, r)
	if err != nil {
		s.api.Fail(w, r, err)
		return
	}
	var in client.VerifyKey
	if json.Unmarshal(body, &in, json.RejectUnknownMembers(true)) != nil || !plain(body, &in) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.api.Route(w, r)
		return
	}
	out, err := s.verify(r.Context(), a.Caller(&q), &in)
	if err != nil {
		s.api.Fail(w, r, err)
		return
	}
	answer, err := encode(&out)
	if err != nil {
		s.api.Fail(w, r, err)
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	_, _ = w.Write(answer)
}

// plain reports whether a body that was read into in is without question within
// the bounds of its schema. Of any other the operation decides, and says why. An
// empty text can't be told from none here, nor a null from an empty text, and a
// signature takes its time anyway.
func plain(body []byte, in *client.VerifyKey) bool {
	const most = 40 // characters of an address, an id
	return in.Key != "" && len(in.Key) <= 4*most && len(in.Organization) <= most && len(in.AgentID) <= most && len(in.IP) <= most &&
		len(in.Scopes) <= 32 && (in.Cost == nil || *in.Cost >= 0 && *in.Cost <= 1000) && in.Signature == nil &&
		(in.IP == "" || len(in.IP) > 1) && !slices.Contains(in.Scopes, "") && !bytes.Contains(body, []byte(`""`)) && !bytes.Contains(body, []byte(`\u`))
}

// verify checks the key that in holds, for who.
func (s *surface) verify(ctx context.Context, who access.Caller, in *client.VerifyKey) (client.Verification, error) {
	none := client.Verification{}
	q := gate.Question{Organization: who.OrganizationID, AgentID: in.AgentID, AgentAsked: true, Cost: 1, RequestID: who.RequestID}
	switch {
	case in.Organization == "" || in.Organization == who.OrganizationID:
	case !who.Operator:
		return none, fault.ErrNotAllowed.Say("Only the operator's keys may ask about the keys of other organizations.").With(fault.Details{"field": "organization"})
	case in.Organization == Any:
		q.Organization = ""
	default:
		q.Organization = in.Organization
	}
	var err error
	if q.Scopes, err = access.ParseScopes(in.Scopes, access.AllScopes); err != nil {
		return none, err
	}
	if in.IP != "" {
		if q.Address, err = netip.ParseAddr(in.IP); err != nil || q.Address.Zone() != "" {
			return none, fault.Field("ip", "must be an IPv4 or IPv6 address")
		}
		q.Address = q.Address.Unmap()
	} else {
		q.Source = "key " + strconv.FormatInt(who.KeyID, 10) + " " + who.AccountID
	}
	if in.Cost != nil {
		q.Cost = *in.Cost
	}
	if g := in.Signature; g != nil {
		q.Signature = gate.Signature{Value: g.Value, Timestamp: g.Timestamp, Method: g.Method, Target: g.Path, Body: g.Body}
	}
	var a gate.Answer
	err = s.gate.Check(ctx, []byte(in.Key), &q, &a)
	out := client.Verification{Valid: err == nil, Code: "VALID"}
	if err != nil {
		f := fault.Of(err)
		if f.Kind == fault.Internal || f.Kind == fault.Unavailable {
			return none, err
		}
		out.Code, out.Message, out.Details = f.Code, f.Message, f.Details
		out.RetryAfter = int((f.RetryAfter + time.Second - 1) / time.Second)
	}
	if a.KeyID == 0 {
		return out, nil
	}
	out.KeyID, out.Name, out.Type, out.OrganizationID, out.AccountID = a.KeyID, a.Name(), a.Type, a.OrganizationID, a.AccountID
	out.ExternalID, out.Metadata, out.Scopes, out.AgentIDs = a.ExternalID(), a.Metadata, a.Scopes.Names(), a.AgentIDs
	out.ExpiresAt = client.NewTime(a.ExpiresAt)
	if a.Counted && a.Limits.PerHour > 0 {
		v := a.Verdict
		out.RateLimit = &client.RateLimit{Limit: v.Limit, Remaining: v.Remaining, Reset: gate.Reset(v)}
	}
	return out, nil
}
