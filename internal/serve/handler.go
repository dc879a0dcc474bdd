package serve

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/api/auth"
	"github.com/keyward/keyward/internal/api/profiles"
	"github.com/keyward/keyward/internal/api/runagent"
	v1 "github.com/keyward/keyward/internal/api/v1"
	"github.com/keyward/keyward/internal/api/verify"
	"github.com/keyward/keyward/internal/dashboard"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/gate"
)

// Document returns openapi.yaml: every call of a server, in OpenAPI 3.1.
func Document() ([]byte, error) {
	s := &server{url: "http://127.0.0.1:8080"}
	return s.handler().SpecYAML()
}

// handler is every surface of the server.
func (s *server) handler() *api.API {
	keys := gate.Refusals
	tokens := []*fault.Fault{account.ErrInvalidAccessToken, account.ErrExpiredAccessToken}
	a := api.New(api.Config{
		Log: s.log, Authenticate: s.authenticate, IsOurs: gate.IsOurs,
		Refusals: map[api.Security][]*fault.Fault{
			api.KeyOrToken: append(keys, tokens...), api.KeyInURL: append(keys, tokens...), api.AccessToken: tokens, api.KeyInBody: keys,
		},
		Observe: s.observe, Stopping: s.draining.Load, TrustedProxies: s.Config.TrustedProxies, ClientIPHeader: s.Config.ClientIPHeader,
	})
	auth.Register(a, s.accounts)
	auth.RegisterKeys(a, s.keys)
	v1.RegisterKeys(a, s.keys, s.usage.LastUses)
	v1.RegisterUsage(a, s.keys, s.usage, s.keyLimits)
	verify.Register(a, s.gate, s.Config.Gateways)
	v1.RegisterAlerts(a, s.alerts)
	v1.RegisterAgents(a, s.agents, s.runs)
	v1.RegisterProfiles(a, s.vault)
	v1.RegisterRuns(a, s.runs)
	v1.RegisterAudit(a, s.audit)
	v1.RegisterOperator(a, s.accounts)
	profiles.Register(a, s.vault, s.runs, func(id string) string { return s.url + "/runs/" + id })
	runagent.Register(a, s.runAgent())
	dashboard.Register(a, s.pages())
	s.registerRest(a)
	return a
}

// authenticate finds who shows a credential, and whether it may do what it is
// shown for.
func (s *server) authenticate(ctx context.Context, c api.Credentials, from api.Client) (access.Caller, api.Headers, error) {
	if c.Accepts == api.AccessToken || c.Accepts == api.KeyOrToken && gate.IsToken(string(c.Secret.Bytes())) {
		who, err := s.gate.Token(ctx, c.Secret, c.Action, from.Address, from.RequestID)
		return who, nil, err
	}
	return s.gate.Key(ctx, c.Secret, gate.Question{
		Action: c.Action, Address: from.Address, RequestID: from.RequestID, Cost: 1, Free: c.Free, Again: c.Again, Signature: gate.Signature(c.Signature),
	})
}

// runAgent are the parts of the surface for the RunAgent SDKs.
func (s *server) runAgent() runagent.Parts {
	return runagent.Parts{
		Now: time.Now, Accounts: s.accounts, Agents: s.agents, Runs: s.runs, Devices: s.devices, Ready: s.ready, Stopping: s.draining.Load, Streams: &s.streams,
		VerificationURI: func() string { return s.url + "/device" },
	}
}

// status is what a probe is answered.
type status struct {
	Status string `json:"status"`
}

// registerRest adds what is no call of the API: probes and public keys.
func (s *server) registerRest(a *api.API) {
	const tag = "Server"
	json := func(status int, body any) api.Answer {
		return api.Answer{Status: status, ContentType: "application/json", Body: body}
	}
	a.Raw(api.Operation{
		Method: http.MethodGet, Path: "/healthz", Name: "health", Tag: tag, Summary: "Tell whether the server lives", Security: api.Public,
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, []byte(`{"status":"ok"}`))
	}), json(200, status{}))
	a.Raw(api.Operation{
		Method: http.MethodGet, Path: "/readyz", Name: "ready", Tag: tag, Summary: "Tell whether the server can serve", Security: api.Public,
		Errors: []*fault.Fault{fault.ErrUnavailable},
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.ready(r.Context()); err != nil {
			a.Fail(w, r, fault.ErrUnavailable.Say("The server can't serve just now.").Because(err))
			return
		}
		writeJSON(w, []byte(`{"status":"ready"}`))
	}), json(200, status{}))
	a.Raw(api.Operation{
		Method: http.MethodGet, Path: "/.well-known/jwks.json", Name: "jwks", Tag: tag, Security: api.Public,
		Summary: "Show the public keys that access tokens verify against", Description: "A JSON Web Key Set (RFC 7517).",
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys, err := s.signing.JWKS()
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("Access-Control-Allow-Origin", "*") // browsers verify tokens, too
		writeJSON(w, keys)
	}), json(200, map[string]any{}))

	if s.metrics != nil && s.Config.MetricsAddr == "" {
		a.Raw(api.Operation{Method: http.MethodGet, Path: "/metrics"}, s.metrics.Handler())
	}
}

func writeJSON(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

var errStopping = errors.New("the server is stopping")

// ready returns why the server can't serve, or nil.
func (s *server) ready(ctx context.Context) error {
	if s.draining.Load() {
		return errStopping
	}
	if err := s.rootKeys.Ready(); err != nil {
		return err
	}
	return s.db.Ping(ctx)
}
