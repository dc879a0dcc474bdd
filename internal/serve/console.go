package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	v1 "github.com/keyward/keyward/internal/api/v1"
	"github.com/keyward/keyward/internal/fault"
)

// consoleHandler serves the control socket: whoever can open it is the
// operator, since it lies in a folder that only the server's own user enters.
func (s *server) consoleHandler() http.Handler {
	a := api.New(api.Config{
		Log: s.log.With("part", "console"),
		Authenticate: func(_ context.Context, _ api.Credentials, from api.Client) (access.Caller, api.Headers, error) {
			return access.NewConsole(from.RequestID), nil, nil
		},
	})
	v1.RegisterOperator(a, s.accounts)
	a.Raw(api.Operation{Method: http.MethodPost, Path: "/root/rotate"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		report := newReport(w)
		report.end(s.rootKeys.Rotate(r.Context(), access.NewConsole(w.Header().Get("X-Request-Id")), report.line))
	}))
	a.Raw(api.Operation{Method: http.MethodGet, Path: "/root/status"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		report := newReport(w)
		report.end(rootStatus(r.Context(), s.rootKeys, report.line))
	}))
	a.Raw(api.Operation{Method: http.MethodPost, Path: "/runs/prune"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		report := newReport(w)
		report.end(s.pruneRuns(r.Context(), r.URL.Query().Get("older_than"), report.line))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The socket itself is the credential.
		r.Header.Set("Authorization", "Bearer control-socket")
		a.ServeHTTP(w, r)
	})
}

// report is an answer that grows while something is done: a line of JSON for
// each step, and one at the end that says how it went.
type report struct {
	w    http.ResponseWriter
	json *json.Encoder
}

// Step is one line of a report.
type Step struct {
	Line  string `json:"line,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

func newReport(w http.ResponseWriter) *report {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &report{w, json.NewEncoder(w)}
}

func (r *report) line(text string) {
	_ = r.json.Encode(Step{Line: text}) // a client that has left does not stop the work
	_ = http.NewResponseController(r.w).Flush()
}

func (r *report) end(err error) {
	step := Step{Done: true}
	if err != nil {
		step.Error = err.Error()
		var f *fault.Fault
		if errors.As(err, &f) {
			step.Error = f.Message
		}
	}
	_ = r.json.Encode(step)
}
