package run

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/webhook"
)

// callHTTP posts a run to the agent's web service and returns its answer. What
// comes before that may be chunks.
func (r *Runs) callHTTP(ctx context.Context, a agent.Agent, runID string, body []byte, to sink) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Runner.URL, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, application/x-ndjson, text/event-stream")
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
		return answer{}, redirects(response.StatusCode)
	}
	got := &bounded{from: response.Body, room: maxAnswer}
	var said answer
	if response.StatusCode/100 != 2 {
		err = badStatus(response.StatusCode, got)
	} else if mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); mediaType == "text/event-stream" {
		said, err = readBody(&eventData{from: bufio.NewReader(got)}, to)
	} else {
		said, err = readBody(got, to)
	}
	switch {
	case got.err == errTooLarge:
		return answer{}, errTooLarge
	case got.err != nil && got.err != io.EOF:
		return answer{}, failsBecause(got.err, "The agent broke off in the middle of its answer.")
	}
	return said, err
}

func redirects(status int) error {
	return fails("The agent answered with a redirect (HTTP status %d), which is not followed. Its runner must be defined with the address that it redirects to.", status)
}

var errTooLarge = fails("The agent's answer is larger than 8 MiB.")

// bounded reads no more than room bytes.
type bounded struct {
	from io.Reader
	room int
	err  error // that ended the reading
}

func (b *bounded) Read(p []byte) (n int, err error) {
	n, err = b.from.Read(p[:min(len(p), b.room+1)])
	if b.room -= n; b.room < 0 {
		n, err = 0, errTooLarge
	}
	if err != nil {
		b.err = err
	}
	return n, err
}

// eventData reads the data of server-sent events, and leaves out what else there
// is of them.
type eventData struct {
	from   *bufio.Reader
	inLine bool   // the last read ended within a line
	isData bool   // that line is data
	rest   []byte // of it, which is not read yet
}

func (e *eventData) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		line, err := e.from.ReadSlice('\n')
		if len(line) == 0 {
			return 0, err
		}
		begins := !e.inLine
		e.inLine = line[len(line)-1] != '\n'
		if begins {
			line, e.isData = bytes.CutPrefix(line, []byte("data:"))
		}
		if e.isData {
			e.rest = line
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
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
func badStatus(status int, body io.Reader) error {
	var m message
	if json.UnmarshalRead(body, &m) == nil {
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
