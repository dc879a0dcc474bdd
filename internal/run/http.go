package run

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/webhook"
)

// callHTTP posts a run to the agent's web service and returns its answer.
func (r *Runs) callHTTP(ctx context.Context, a agent.Agent, runID string, body []byte, to sink) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Runner.URL, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", "keyward")
	if err := r.sign(request.Header, a, runID, body); err != nil {
		return answer{}, err
	}
	response, err := r.Client(r.Agents.Operators(a)).Do(request)
	if err != nil {
		return answer{}, unreachable(err)
	}
	defer response.Body.Close()

	// What is packed is not unpacked: it could be of any size.
	if coding := response.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return answer{}, fails("The agent's answer is compressed, which was not asked for (Content-Encoding).")
	}
	if response.StatusCode/100 == 3 {
		return answer{}, fails("The agent answered with a redirect (HTTP status %d), which is not followed. Its runner must be defined with the address that it redirects to.", response.StatusCode)
	}
	got, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, failsBecause(err, "The agent broke off in the middle of its answer.")
	case len(got) > maxAnswer:
		return answer{}, fails("The agent's answer is larger than 8 MiB.")
	case response.StatusCode/100 != 2:
		return answer{}, badStatus(response.StatusCode, got)
	}
	return parseBody(got)
}

// sign adds the headers of Standard Webhooks, by which the service knows that
// the run is from this server.
func (r *Runs) sign(header http.Header, a agent.Agent, runID string, body []byte) error {
	secret, err := r.Agents.RunnerSecret(a)
	if err != nil {
		return err
	}
	defer secret.Clear()
	return webhook.Sign(header, secret, runID, r.Now(), body)
}

// badStatus says what a service answered that failed. Of its body only an error
// that is an agent's is shown: a page that a proxy wrote says too much.
func badStatus(status int, body []byte) error {
	var m message
	if json.Unmarshal(body, &m) == nil {
		if text, ok := m.errorText(); ok && text != "" {
			return fails("The agent answered with HTTP status %d: %s", status, text)
		}
	}
	return fails("The agent answered with HTTP status %d.", status)
}

// unreachable says why there was no response. Which address was tried is for
// the log alone: an agent's caller need not know where it runs.
func unreachable(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err // without the URL, which may hold a secret
	}
	return failsBecause(err, egress.Explain("The agent", err))
}
