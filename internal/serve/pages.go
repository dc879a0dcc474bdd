package serve

import (
	"context"
	"errors"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/dashboard"
)

// pages are the parts of the pages for browsers.
func (s *server) pages() dashboard.Parts {
	p := dashboard.Parts{
		URL: func() string { return s.url }, Now: time.Now, Accounts: s.accounts, Runs: s.runs, Devices: s.devices, Stopping: s.draining.Load,
		AgentName: func(ctx context.Context, who access.Caller, id string) (string, error) {
			a, err := s.agents.Find(ctx, who, id)
			if errors.Is(err, agent.ErrNotFound) {
				return "", nil
			}
			return a.Name, err
		},
	}
	if s.Config.URL != nil {
		p.Host = s.Config.URL.Host
	}
	return p
}
