// Package invoices is an agent that Keyward runs: it signs in to the sample
// portal with the values of an auth profile, fetches the invoices behind the
// login, and hands back its cookies as the session. The next run signs in with
// the cookies alone, as long as the portal takes them.
//
// The portal's address is the agent's own setting and never comes from a run,
// so whoever starts runs cannot choose where the credentials go.
package invoices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

const maxInput = 8 << 20

// Agent is the runner. It is an http.Handler; RunOnce is the same for a
// program that is started for one run. Set its fields before it serves.
type Agent struct {
	Now func() time.Time // checks the age of signatures
	Log io.Writer        // takes a line for each answer of the portal; nil: none

	portal  *url.URL
	secret  []byte // nil: runs need no signature
	client  *http.Client
	handler http.Handler
}

// task is what Keyward sends: one run.
type task struct {
	Arguments map[string]any  `json:"arguments"`
	Session   json.RawMessage `json:"session"`
}

// answer is what Keyward gets: an output with a session, or an error.
type answer struct {
	Output  *output  `json:"output,omitempty"`
	Session *session `json:"session,omitempty"`
	Error   string   `json:"error,omitempty"`
}

type output struct {
	Invoices     []json.RawMessage `json:"invoices"`
	SignedInWith string            `json:"signed_in_with"` // password or session
}

// failure is a sentence for whoever started the run. It never holds a value
// that the run was given, nor anything that the portal said.
type failure string

func (f failure) Error() string { return string(f) }

const errInput = failure("The input is not the JSON of a run.")

// New is an agent for the portal at this address. With a runner secret
// (whsec_…) it takes signed runs only; without one, anybody's.
func New(portal, runnerSecret string) (*Agent, error) {
	address, err := parsePortal(portal)
	if err != nil {
		return nil, err
	}
	a := &Agent{Now: time.Now, portal: address, client: newClient()}
	if runnerSecret != "" {
		if a.secret, err = parseSecret(runnerSecret); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serveHealth)
	mux.HandleFunc("GET /health", serveHealth)
	mux.HandleFunc("POST /{$}", a.serveRun)
	a.handler = mux
	return a, nil
}

// ServeHTTP takes runs at POST / and health probes at GET / and /health.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

func serveHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (a *Agent) serveRun(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxInput))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		writeJSON(w, http.StatusRequestEntityTooLarge, answer{Error: "The input is too large."})
		return
	} else if err != nil {
		writeJSON(w, http.StatusBadRequest, answer{Error: "The input was cut off."})
		return
	}
	if a.secret != nil {
		if err := checkSignature(a.secret, r.Header, body, a.Now()); err != nil {
			writeJSON(w, http.StatusUnauthorized, answer{Error: err.Error()})
			return
		}
	}
	t, err := parseTask(body)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, answer{Error: err.Error()})
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), linesType) {
		writeJSON(w, http.StatusOK, a.run(r.Context(), t, func(string) {}))
		return
	}
	w.Header().Set("Content-Type", linesType)
	a.runInLines(r.Context(), t, w, func() { http.NewResponseController(w).Flush() })
}

// linesType is the media type of JSON values in lines. Who asks for it sees each
// step as it begins.
const linesType = "application/x-ndjson"

// runInLines writes a line of JSON for each step and, as the last line, the
// answer.
func (a *Agent) runInLines(ctx context.Context, t task, out io.Writer, flush func()) error {
	lines := json.NewEncoder(out)
	return lines.Encode(a.run(ctx, t, func(step string) {
		lines.Encode(map[string]string{"chunk": step})
		flush()
	}))
}

// RunOnce is the command runner: it reads one run, writes a line of JSON for
// each step and, as the last line, the answer. A run that fails is an answer
// too; the error is only that nothing could be read or written. What is written
// to Log belongs on standard error.
func (a *Agent) RunOnce(ctx context.Context, in io.Reader, out io.Writer) error {
	body, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return fmt.Errorf("read the run: %w", err)
	}
	lines := json.NewEncoder(out)
	if len(body) > maxInput {
		return lines.Encode(answer{Error: "The input is too large."})
	}
	t, err := parseTask(body)
	if err != nil {
		return lines.Encode(answer{Error: err.Error()})
	}
	return a.runInLines(ctx, t, out, func() {})
}

func parseTask(body []byte) (task, error) {
	var t task
	if !utf8.Valid(body) || json.Unmarshal(body, &t) != nil || t.Arguments == nil {
		return task{}, errInput // the decoder's own text would quote the body
	}
	return t, nil
}

// run does the agent's work, and says each step as it begins.
func (a *Agent) run(ctx context.Context, t task, say func(step string)) answer {
	if cookies := parseSession(t.Session); len(cookies) > 0 {
		say("Fetching the invoices with the saved session.")
		v := a.visit(ctx, cookies)
		list, err := v.invoices()
		if !errors.Is(err, errSignedOut) {
			return answered(list, "session", v, err)
		}
	}
	say("Signing in with the password.")
	v := a.visit(ctx, make(map[string]string))
	if err := v.signIn(t.Arguments); err != nil {
		return answered(nil, "", v, err)
	}
	say("Fetching the invoices.")
	list, err := v.invoices()
	return answered(list, "password", v, err)
}

func (a *Agent) visit(ctx context.Context, cookies map[string]string) *visit {
	log := a.Log
	if log == nil {
		log = io.Discard
	}
	return &visit{ctx: ctx, client: a.client, portal: a.portal, cookies: cookies, log: log}
}

func answered(list []json.RawMessage, signedInWith string, v *visit, err error) answer {
	if err != nil {
		var f failure
		if !errors.As(err, &f) {
			f = "The agent failed."
		}
		return answer{Error: f.Error()}
	}
	return answer{Output: &output{list, signedInWith}, Session: &session{v.cookies}}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
