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

// RegisterRuns adds the calls for runs to a.
func RegisterRuns(a *api.API, runs *run.Runs) {
	s := &runSurface{runs}
	const tag = "Runs"
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/runs", Name: "listRuns", Tag: tag, Security: api.KeyOrToken, Action: access.ReadRuns,
		Summary: "List the organization's runs", Description: "Newest first, without their output. For a key with agent_ids, the runs of those agents.",
		Errors: []*fault.Fault{access.ErrAgentNotAllowed},
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/runs/{id}", Name: "getRun", Tag: tag, Security: api.KeyOrToken, Action: access.ReadRuns,
		Summary: "Show a run",
		Errors:  []*fault.Fault{run.ErrNotFound},
	}, s.get)
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

type getRunIn struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *runSurface) get(ctx context.Context, who access.Caller, in *getRunIn) (client.Run, error) {
	r, err := s.runs.Get(ctx, who, in.ID)
	if err != nil {
		return client.Run{}, err
	}
	return runJSON(r), nil
}
