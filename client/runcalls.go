package client

import (
	"context"
	"iter"
	"net/url"
)

// RunCalls are the calls for runs of agents.
type RunCalls struct{ c *Client }

// RunFilter says which runs to list.
type RunFilter struct {
	Status  string // queued, running, succeeded, failed, cancelled, timed_out or interrupted
	AgentID string
	Page
}

func (f RunFilter) query() url.Values {
	q := url.Values{}
	set(q, "status", f.Status)
	set(q, "agent_id", f.AgentID)
	return q
}

// List returns a page of the organization's runs, newest first, without their
// output.
func (r RunCalls) List(ctx context.Context, f RunFilter) (List[Run], error) {
	return list[Run](ctx, r.c, listRuns, nil, f.query(), f.Page)
}

// All walks through the organization's runs, newest first, without their output.
func (r RunCalls) All(ctx context.Context, f RunFilter) iter.Seq2[Run, error] {
	return walkList[Run](ctx, r.c, listRuns, nil, f.query(), f.Page)
}

// Get returns a run.
func (r RunCalls) Get(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, r.c, getRun, request{path: []string{id}})
}
