package v1

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
)

type runSurface struct {
	runs *run.Runs
}

const runsTag = "Runs"

// RegisterRuns adds the calls for runs to a.
func RegisterRuns(a *api.API, runs *run.Runs) {
	s := &runSurface{runs}
	s.registerCalls(a)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/runs", Name: "listRuns", Tag: runsTag, Security: api.KeyOrToken, Action: access.ReadRuns,
		Summary: "List the organization's runs", Description: "Newest first, without their output. For a key with agent_ids, the runs of those agents.",
		Errors: []*fault.Fault{access.ErrAgentNotAllowed},
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/runs/{id}", Name: "getRun", Tag: runsTag, Security: api.KeyOrToken, Action: access.ReadRuns,
		Summary: "Show a run",
		Errors:  []*fault.Fault{run.ErrNotFound},
	}, s.get)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/runs/{id}/cancel", Name: "cancelRun", Tag: runsTag, Security: api.KeyOrToken, Action: access.CancelRun,
		Summary: "Cancel a run", Description: "One that waits ends at once, one that is under way as soon as its agent is stopped. On another server that takes about a second, and the run is answered as it is until then.",
		Errors: []*fault.Fault{run.ErrNotFound, run.ErrEnded},
	}, s.cancel)
}

func runJSON(r run.Run) client.Run {
	return client.Run{
		ID: r.ID, AgentID: r.AgentID, Status: string(r.Status), AuthProfile: r.Profile,
		Output: json.RawMessage(r.Output), ErrorMessage: r.ErrorMessage,
		CreatedAt: client.NewTime(r.CreatedAt), StartedAt: client.NewTime(r.StartedAt), EndedAt: client.NewTime(r.EndedAt),
	}
}

type listRunsIn struct {
	api.Cursored
	Status  string `query:"status" enum:"queued,running,succeeded,failed,cancelled,timed_out,interrupted"`
	AgentID string `query:"agent_id" maxLength:"128"`
}

func (s *runSurface) list(ctx context.Context, who access.Caller, in *listRunsIn) (client.List[client.Run], error) {
	after, err := afterID(in.Cursored)
	if err != nil {
		return client.List[client.Run]{}, err
	}
	found, err := s.runs.List(ctx, who, run.Filter{Status: run.Status(in.Status), AgentID: in.AgentID, After: after, Limit: int64(in.Limit) + 1})
	if err != nil {
		return client.List[client.Run]{}, err
	}
	return convert(api.NewList(in.Cursored, found, func(r run.Run) []string { return []string{r.ID} }), runJSON), nil
}

// RunPath is the run that a request names in its path.
type RunPath struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *runSurface) get(ctx context.Context, who access.Caller, in *RunPath) (client.Run, error) {
	r, err := s.runs.Get(ctx, who, in.ID)
	if err != nil {
		return client.Run{}, err
	}
	return runJSON(r), nil
}
