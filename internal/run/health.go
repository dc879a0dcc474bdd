package run

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// healthTimeout is how long a web service may take to say that it is there.
const healthTimeout = 5 * time.Second

// Health is whether an agent's runner can be reached.
type Health struct {
	CheckedAt time.Time
	Latency   time.Duration
	Reason    string // why it can't be; "": it can. It does not tell where the runner is
}

// Health asks the runner of the agent that who calls id. A web service is there
// if it answers a GET, signed as a run is, with anything but a redirect or a
// server's error: it need not know the method. A program is there if it can be
// executed; it is not started.
func (r *Runs) Health(ctx context.Context, who access.Caller, id string) (Health, error) {
	if err := who.May(access.ReadAgents); err != nil {
		return Health{}, err
	}
	a, err := r.Agents.Find(ctx, who, id)
	if err != nil {
		return Health{}, err
	}
	h := Health{CheckedAt: r.Now()}
	began := time.Now()
	switch gone := a.Runnable(); {
	case gone != nil:
		h.Reason = fault.Of(gone).Message
	case a.Runner.Type == agent.Command:
		if _, err := exec.LookPath(a.Runner.Command[0]); err != nil {
			h.Reason = "The agent's program is not there, or can't be executed."
		}
	default:
		if h.Reason, err = r.askHTTP(ctx, a); err != nil {
			return Health{}, err
		}
	}
	h.Latency = time.Since(began)
	return h, nil
}

// askHTTP returns why the agent's web service can't be reached, or "".
func (r *Runs) askHTTP(ctx context.Context, a agent.Agent) (reason string, err error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Runner.URL, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("User-Agent", "keyward")
	if err := r.sign(request.Header, a, "health_"+db.NewID(), nil); err != nil {
		return "", err
	}
	response, err := r.Client(r.Agents.Operators(a)).Do(request)
	switch {
	case err == nil:
	case caller.Err() != nil:
		return "", caller.Err()
	case ctx.Err() != nil:
		return fmt.Sprintf("The agent did not answer within %d seconds.", int(healthTimeout.Seconds())), nil
	default:
		return unreachable(err).Error(), nil
	}
	response.Body.Close()
	switch status := response.StatusCode; {
	case status/100 == 3:
		return redirects(status).Error(), nil
	case status >= 500:
		return fails("The agent answered with HTTP status %d.", status).Error(), nil
	}
	return "", nil
}
