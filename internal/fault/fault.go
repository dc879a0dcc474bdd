// Package fault has the ways in which Keyward refuses or fails.
//
// A package declares its failures next to its rules, with [New]; a face turns
// whatever error reaches it into an answer with [Of]. The kinds are few and
// closed, and the one table from kind to HTTP status is here. An error that is
// not a Fault is Internal: its text goes to the log and never to the caller.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// Kind is what sort of failure a Fault is; each has one HTTP status.
type Kind int

// The kinds of failure.
const (
	Internal Kind = iota
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	MethodNotAllowed
	Conflict
	TooLarge
	UnsupportedMedia
	Misdirected
	Unprocessable // it was done as asked, and what was asked did not succeed
	RateLimited
	Unavailable
	TimedOut // somebody who was asked for it did not answer in time
	kinds    // how many there are
)

var statuses = [kinds]int{
	Internal:         http.StatusInternalServerError,
	Invalid:          http.StatusBadRequest,
	Unauthenticated:  http.StatusUnauthorized,
	Forbidden:        http.StatusForbidden,
	NotFound:         http.StatusNotFound,
	MethodNotAllowed: http.StatusMethodNotAllowed,
	Conflict:         http.StatusConflict,
	TooLarge:         http.StatusRequestEntityTooLarge,
	UnsupportedMedia: http.StatusUnsupportedMediaType,
	Misdirected:      http.StatusMisdirectedRequest,
	Unprocessable:    http.StatusUnprocessableEntity,
	RateLimited:      http.StatusTooManyRequests,
	Unavailable:      http.StatusServiceUnavailable,
	TimedOut:         http.StatusGatewayTimeout,
}

// Status returns the HTTP status that answers a failure of kind k.
func Status(k Kind) int {
	if k < 0 || k >= kinds {
		return http.StatusInternalServerError
	}
	return statuses[k]
}

// Details says more about a failure in fields that a program can read, such as
// "field" and "reason". It never holds a value that the caller sent.
type Details map[string]any

// Fault is a failure that a caller may be told of.
//
// Message says what is wrong and what to do about it. Two Faults are the same
// to errors.Is when their codes are.
type Fault struct {
	Kind       Kind
	Code       string
	Message    string
	Details    Details
	RetryAfter time.Duration // zero: not said
	cause      error
}

// New declares a failure. It is called for package variables.
func New(kind Kind, code, message string) *Fault {
	return &Fault{Kind: kind, Code: code, Message: message}
}

// Error returns the code and the message, and the cause if there is one: it is
// text for the log.
func (f *Fault) Error() string {
	if f.cause != nil {
		return f.Code + ": " + f.Message + ": " + f.cause.Error()
	}
	return f.Code + ": " + f.Message
}

// Unwrap returns what caused f.
func (f *Fault) Unwrap() error { return f.cause }

// Is reports whether target is a Fault of the same code.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Code == f.Code
}

// With returns f with details added to its own.
func (f *Fault) With(details Details) *Fault {
	g := *f
	g.Details = maps.Clone(f.Details)
	if g.Details == nil {
		g.Details = Details{}
	}
	maps.Copy(g.Details, details)
	return &g
}

// Say returns f with another message.
func (f *Fault) Say(format string, args ...any) *Fault {
	g := *f
	g.Message = fmt.Sprintf(format, args...)
	return &g
}

// Retry returns f with the time after which the caller may try again.
func (f *Fault) Retry(after time.Duration) *Fault {
	g := *f
	g.RetryAfter = after
	return &g
}

// Because returns f with its cause, which goes to the log alone.
func (f *Fault) Because(cause error) *Fault {
	g := *f
	g.cause = cause
	return &g
}

// Failures that no single package owns.
var (
	ErrInternal       = New(Internal, "INTERNAL_ERROR", "Something went wrong on the server. Its log has the details under this request id.")
	ErrUnavailable    = New(Unavailable, "UNAVAILABLE", "The server can't do this just now. Try again shortly.")
	ErrInvalidRequest = New(Invalid, "INVALID_REQUEST", "The request is not valid.")
	ErrMissingField   = New(Invalid, "MISSING_REQUIRED_FIELD", "A required field is missing.")
	ErrFieldType      = New(Invalid, "INVALID_FIELD_TYPE", "A field has a value of the wrong type.")
	ErrUnknownField   = New(Invalid, "UNKNOWN_FIELD", "The request has a field that this call does not know.")
	ErrQuota          = New(Conflict, "QUOTA_EXCEEDED", "The organization has as many of these as its quota allows. Delete some, or ask the operator for more.")
	ErrNotAllowed     = New(Forbidden, "NOT_ALLOWED", "This caller may not do that.")
)

// Field returns an INVALID_REQUEST about one field of the request. The field
// is a name of ours, never one that was sent.
func Field(field, reason string) *Fault {
	return ErrInvalidRequest.Say("%s: %s", field, reason).With(Details{"field": field, "reason": reason})
}

// Of returns the Fault that err is or wraps. Any other error is ErrInternal
// with err as its cause.
func Of(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return ErrInternal.Because(err)
}
