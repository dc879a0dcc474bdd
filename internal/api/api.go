// Package api is the web layer that every JSON surface of Keyward shares.
//
// It turns a request into a checked value and a caller, calls one function, and
// turns what that returns into an answer: see [Register]. A surface (the
// packages below this one) lists its operations and nothing else; no rule of
// Keyward lives here or there.
//
// Laws:
//   - Every answer has a request id, and every failure one shape (a surface that
//     others have drawn may [API.Speak] its own), one writer ([API.Fail]) and one
//     line in the log. No query, header or body is logged,
//     and no value that was sent is sent back.
//   - Who is asking is known before anything else is complained about, where
//     the credential stands in a header. A handler gets its caller as an
//     argument and cannot be written without it.
//   - A body is strict JSON of at most 1 MiB. It is checked while it is read
//     (scan.go) against the schema that the document shows (shape.go), so that
//     what a client can read in openapi.yaml is what is enforced.
//
// Huma makes the schemas and the document, fills the input and writes the
// output. Its own validation is not used: its errors hold what was sent, their
// kind is to be guessed from English text, and a name with a dot in it puts
// every later error at a wrong place.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// Config is what an API needs from the rest of the server.
type Config struct {
	Log *slog.Logger

	// Authenticate finds the caller behind a credential.
	Authenticate Authenticator

	// Refusals are the failures that Authenticate answers with, by what it was
	// asked to accept. They are for the document.
	Refusals map[Security][]*fault.Fault

	// IsOurs reports whether a text has the form of a Keyward credential, so
	// that one of somebody else's beside it is passed over. It is optional.
	IsOurs func(credential string) bool

	// Observe is told of each request that was answered: by which route (a
	// pattern; "" if there is none), with which status, and how long it took. It
	// is optional.
	Observe func(route string, status int, took time.Duration)

	// Stopping reports whether the server is about to stop. It is optional.
	Stopping func() bool

	// TrustedProxies are believed about the address of their client, in the
	// header ClientIPHeader (X-Forwarded-For if it is empty).
	TrustedProxies []netip.Prefix
	ClientIPHeader string
}

// Authenticator finds who stands behind c, and whether it may do c.Action. An
// Unauthenticated fault says that nobody does. The headers go with the answer,
// whatever it is: those of a limit go with a refusal, too.
type Authenticator func(ctx context.Context, c Credentials, from Client) (who access.Caller, headers Headers, err error)

// Headers are names and values in turn. The names are in their canonical form.
type Headers []string

// Set puts them into in.
func (h Headers) Set(in http.Header) {
	for i := 0; i+1 < len(h); i += 2 {
		in[h[i]] = h[i+1 : i+2 : i+2]
	}
}

// Client is where a request comes from.
type Client struct {
	Address   netip.Addr
	RequestID string
}

// API serves the operations that are registered with it.
type API struct {
	config Config
	mux    *http.ServeMux
	direct map[string]direct // by path
	huma   huma.API
	doc    document

	// bodyTime is how long a body may take to arrive.
	bodyTime time.Duration

	streams streams
	pace    pace // of streams
}

// New makes an API without operations, but for the one that serves the
// document.
func New(c Config) *API {
	if c.ClientIPHeader == "" {
		c.ClientIPHeader = "X-Forwarded-For"
	}
	c.TrustedProxies = unmapped(c.TrustedProxies)
	a := &API{config: c, mux: http.NewServeMux(), direct: map[string]direct{}, bodyTime: 30 * time.Second, pace: usualPace}
	a.doc = newDocument()
	a.huma = huma.NewAPI(huma.Config{
		OpenAPI:       a.doc.OpenAPI,
		Formats:       map[string]huma.Format{mediaType: {Marshal: writeEncoded, Unmarshal: decode}},
		DefaultFormat: mediaType,
		Transformers:  []huma.Transformer{encode},
	}, humago.NewAdapter(a.mux, ""))
	a.serveDocument()
	return a
}

// ServeHTTP answers a request. It stands around all operations and raw
// handlers, and around the addresses that have none.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	// One array for the values, which are there once each.
	values := []string{requestID(r), "nosniff", "no-store"}
	h := w.Header()
	h[requestIDHeader] = values[0:1:1]
	h["X-Content-Type-Options"] = values[1:2:2]
	h["Cache-Control"] = values[2:3:3]

	t := &tracked{ResponseWriter: w}
	defer a.finish(t, r, began)
	awaitBody(w, r, a.bodyTime)
	if d, ok := a.direct[r.URL.Path]; ok && (d.method == "" || d.method == r.Method) {
		r.Pattern = r.URL.Path
		d.ServeHTTP(t, r)
		return
	}
	a.Route(t, r)
}

// Route answers a request with the operation or the raw handler that its target
// names.
func (a *API) Route(w http.ResponseWriter, r *http.Request) {
	if err := checkTarget(r.URL); err != nil {
		a.Fail(w, r, err)
		return
	}
	a.route(w, r)
}

// finish answers for a handler that panicked, and says how it went.
func (a *API) finish(t *tracked, r *http.Request, began time.Time) {
	if observe := a.config.Observe; observe != nil {
		defer func() { observe(r.Pattern, t.status, time.Since(began)) }()
	}
	if v := recover(); v != nil {
		a.catch(t, r, v)
	}
}

// Client returns where a request to w comes from. It works inside ServeHTTP.
func (a *API) Client(w http.ResponseWriter, r *http.Request) Client {
	return Client{Address: a.address(r), RequestID: w.Header().Get(requestIDHeader)}
}

// tracked is a response that knows whether it has begun.
type tracked struct {
	http.ResponseWriter
	status int // 0: not begun
}

func (t *tracked) WriteHeader(status int) {
	if t.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracked) Write(b []byte) (int, error) {
	if t.status == 0 {
		t.status = http.StatusOK
	}
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }
