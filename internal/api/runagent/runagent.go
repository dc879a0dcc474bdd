// Package runagent is the surface /api/v1, which the published RunAgent SDKs call:
// those for Python, TypeScript, Rust and Go of today, and runagent-go v1.0.4, whose
// wire is older.
//
// Its laws:
//
//   - The SDKs work unchanged. What they send and do not mean for us is ignored;
//     what they read stands where they look for it.
//   - Answers and failures have this surface's own shape (envelope.go). A run that
//     failed is an answer: HTTP 200 with success false.
//   - The key may stand in the URL, as token, where an SDK puts it there. The
//     query of a request is never logged, nor written anywhere else.
//   - An agent of ours has one entry point. A tag says only whether an SDK streams
//     (agents.go).
//
// What may be done, and what a run is, is known to the packages that this one
// calls.
package runagent

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
	"github.com/keyward/keyward/internal/vault"
)

// Prefix begins every address of the surface.
const Prefix = "/api/v1/"

const tag = "RunAgent SDKs"

// Parts are what the surface is made of.
type Parts struct {
	Now      func() time.Time
	Accounts *account.Store
	Agents   *agent.Store
	Runs     *run.Runs
	Devices  *device.Store

	Ready    func(ctx context.Context) error // why the server can't serve, or nil
	Stopping func() bool                     // whether the server is about to stop
	Streams  *sync.WaitGroup                 // of the WebSockets that are open

	VerificationURI func() string // the page where the code of a device login is typed
}

// surface is the surface of one server.
type surface struct {
	Parts
	api *api.API
}

// Register adds the calls to a.
func Register(a *api.API, parts Parts) {
	s := &surface{parts, a}
	a.Speak(Prefix, s.failure)
	s.registerAccount()
	s.registerAgents()
	s.registerRuns()
	s.registerStreams()
	s.registerDevice()
}

// running are the failures of calls that start a run.
var running = []*fault.Fault{
	agent.ErrNotFound, access.ErrAgentNotAllowed, agent.ErrUnknownArgument, agent.ErrNotDeclared, vault.ErrNotFound, vault.ErrAgentChanged, run.ErrReused, run.ErrNotFound,
}

func path(rest string) string { return Prefix + rest }

func get(rest, name, summary string) api.Operation {
	return api.Operation{Method: http.MethodGet, Path: path(rest), Name: name, Tag: tag, Summary: summary, Security: api.KeyOrToken, Loose: true}
}
