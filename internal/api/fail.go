package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/fault"
)

// errorAnswer is the shape of a failure, but where a surface has its own.
type errorAnswer struct {
	Fault client.Error `json:"error"`
}

// dialect is how failures are written at the addresses of one surface.
type dialect struct {
	prefix  string
	failure func(e client.Error) any
}

// Speak has failures at the addresses that begin with prefix written in a shape
// of their own: as the JSON of what failure makes of one. It comes before the
// operations there are registered.
func (a *API) Speak(prefix string, failure func(e client.Error) any) {
	a.doc.dialects = append(a.doc.dialects, dialect{prefix, failure})
}

// failureAt returns e in the shape that it has at path.
func (d *document) failureAt(path string, e client.Error) any {
	for _, own := range d.dialects {
		if strings.HasPrefix(path, own.prefix) {
			return own.failure(e)
		}
	}
	return errorAnswer{e}
}

const challenge = `Bearer realm="keyward"`

// Fail answers r with err and logs it: the only writer of failures, for the
// operations and for raw handlers. What the caller may not read, the operator
// reads in the log.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	f, status := a.Report(w, r, err)
	h := w.Header()
	id := h.Get(requestIDHeader)

	answer := client.Error{Code: f.Code, Message: f.Message, Status: status, RequestID: id, Details: f.Details}
	if f.RetryAfter > 0 {
		answer.RetryAfter = int((f.RetryAfter + time.Second - 1) / time.Second)
		h.Set("Retry-After", strconv.Itoa(answer.RetryAfter))
	}
	if status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", challenge)
	}
	body, err := json.Marshal(a.doc.failureAt(r.URL.Path, answer), marshaling)
	if err != nil {
		// Details are ours; one that JSON can't hold is a bug, and the code
		// still tells the caller what happened.
		answer.Details = nil
		body, _ = json.Marshal(a.doc.failureAt(r.URL.Path, answer), marshaling)
	}
	// A handler may have set these for the answer that did not come.
	h.Del("Content-Encoding")
	h.Del("ETag")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Report logs err as the failure of r and returns what its caller may be told of
// it: for pages, whose failures are pages.
func (a *API) Report(w http.ResponseWriter, r *http.Request, err error) (f *fault.Fault, status int) {
	f = fault.Of(err)
	status = fault.Status(f.Kind)
	a.log(r, f, w.Header().Get(requestIDHeader), status)
	return f, status
}

func (a *API) log(r *http.Request, f *fault.Fault, id string, status int) {
	level := slog.LevelInfo
	// A caller that has gone away makes the work below fail; that is no
	// failure of the server.
	if f.Kind == fault.Internal && r.Context().Err() == nil {
		level = slog.LevelError
	}
	if _, direct := a.direct[r.Pattern]; direct && status < 500 {
		// A refusal there is an answer like others, and metrics count it. A line
		// for each would cost more than the check.
		level = slog.LevelDebug
	}
	if !a.config.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("route", r.Pattern), slog.String("code", f.Code),
		slog.Int("status", status), slog.String("request_id", id),
	}
	if cause := f.Unwrap(); cause != nil {
		attrs = append(attrs, slog.String("err", cause.Error()))
	}
	a.config.Log.LogAttrs(r.Context(), level, "request failed", attrs...)
}

// catch answers for a handler that panicked with v. If its answer has begun, the
// connection is cut, so that half an answer is not taken for a whole one.
func (a *API) catch(w *tracked, r *http.Request, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	f := fault.ErrInternal.Because(fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
	if w.status != 0 {
		a.log(r, f, w.Header().Get(requestIDHeader), fault.Status(f.Kind))
		panic(http.ErrAbortHandler)
	}
	a.Fail(w, r, f)
}
