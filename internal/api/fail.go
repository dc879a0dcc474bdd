package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/fault"
)

// errorAnswer is the one shape of a failure.
type errorAnswer struct {
	Fault client.Error `json:"error"`
}

const challenge = `Bearer realm="keyward"`

// Fail answers r with err and logs it: the only writer of failures, for the
// operations and for raw handlers. What the caller may not read, the operator
// reads in the log.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	f, status := a.Report(w, r, err)
	h := w.Header()
	id := h.Get(requestIDHeader)

	answer := errorAnswer{client.Error{
		Code: f.Code, Message: f.Message, Status: status, RequestID: id, Details: f.Details,
	}}
	if f.RetryAfter > 0 {
		answer.Fault.RetryAfter = int((f.RetryAfter + time.Second - 1) / time.Second)
		h.Set("Retry-After", strconv.Itoa(answer.Fault.RetryAfter))
	}
	if status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", challenge)
	}
	body, err := json.Marshal(answer, marshaling)
	if err != nil {
		// Details are ours; one that JSON can't hold is a bug, and the code
		// still tells the caller what happened.
		answer.Fault.Details = nil
		body, _ = json.Marshal(answer, marshaling)
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
