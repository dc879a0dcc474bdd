package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/terminal"
)

// advice is a failure with what to do about it.
type advice struct {
	err  error
	next string
	code client.Code // for programs, of what no server has said
}

func (a *advice) Error() string { return a.err.Error() }
func (a *advice) Unwrap() error { return a.err }

func advise(err error, format string, args ...any) error {
	return &advice{err: err, next: fmt.Sprintf(format, args...)}
}

// missing says that there is nothing of a name.
func missing(code client.Code, said, next string) error {
	return &advice{errors.New(said), next, code}
}

// told is a failure that was printed.
type told struct{ error }

// ownName is what package client's errors begin with, as this command's do.
var ownName = regexp.MustCompile(`(^|: )keyward: `)

// explain makes a failure one that people can do something about, or prints it as
// JSON if programs are to read it.
func (r *remote) explain(err error) error {
	refused := (*client.Error)(nil)
	message, next := err.Error(), r.next(err)
	if errors.As(err, &refused) {
		// The code comes last, and its request is for the log.
		message = strings.Replace(message, refused.Error(), refused.Message, 1)
		if next == "" && refused.RequestID != "" && refused.Status >= 500 {
			next = "The server's log has more, under the request " + refused.RequestID + "."
		}
	}
	message = ownName.ReplaceAllString(message, "$1")
	if !r.json {
		if refused != nil {
			message += " (" + refused.Code + ")"
		}
		return &advice{err: errors.New(terminal.Clean(message)), next: terminal.Clean(next)}
	}
	shown := struct {
		Code      string         `json:"code"`
		Message   string         `json:"message"`
		Next      string         `json:"next,omitzero"`
		Status    int            `json:"status,omitzero"`
		RequestID string         `json:"request_id,omitzero"`
		Details   map[string]any `json:"details,omitzero"`
	}{Code: codeOf(err), Message: message, Next: next}
	if refused != nil {
		shown.Code, shown.Status, shown.RequestID, shown.Details = refused.Code, refused.Status, refused.RequestID, refused.Details
	}
	text, _ := json.Marshal(map[string]any{"error": shown})
	fmt.Fprintln(r.Err, terminal.Clean(string(text)))
	return told{err}
}

// codeOf names what did not come from a server.
func codeOf(err error) string {
	said := (*advice)(nil)
	switch {
	case errors.As(err, &said) && said.code != "":
		return string(said.code)
	case errors.Is(err, client.ErrUnreachable):
		return "UNREACHABLE"
	case errors.Is(err, client.ErrNotKeyward):
		return "NOT_KEYWARD"
	}
	return "FAILED"
}

// next says what to do about a failure.
func (r *remote) next(err error) string {
	said := (*advice)(nil)
	refused := (*client.Error)(nil)
	is := func(codes ...client.Code) bool {
		return slices.ContainsFunc(codes, func(c client.Code) bool { return errors.Is(err, c) })
	}
	list := func(noun string) string { return "keyward " + noun + " list shows them." }
	switch {
	case errors.As(err, &said):
		return said.next
	case errors.Is(err, client.ErrUnreachable):
		return "Is it running, and is that its address? keyward serve starts a server, --server names another, --timeout waits longer."
	case errors.Is(err, client.ErrNotKeyward):
		return "Is it the address of a Keyward server? keyward config show tells where it comes from, --server names another."
	case is(client.ErrInvalidAPIKey, client.ErrExpiredAPIKey, client.ErrRevokedAPIKey, client.ErrDisabledAPIKey):
		if slices.Contains(keyVariables, r.keptIn) {
			return fmt.Sprintf("The key is the one in %s: set another, or unset it to use the one that is kept.", r.keptIn)
		}
		return "keyward login signs in again; keyward config show tells which key it is."
	case is(client.ErrExpiredAccessToken, client.ErrInvalidAccessToken, client.ErrInvalidRefreshToken, client.ErrRefreshTokenReused):
		return "The sign-in has ended. keyward login signs in again."
	case is(client.ErrSignatureRequired):
		return "Give the key's signing secret in KEYWARD_SIGNING_SECRET."
	case is(client.ErrSignatureExpired):
		return "Is the clock of this machine right?"
	case is(client.ErrKeyNotFound):
		return list("keys")
	case is(client.ErrAgentNotFound):
		return list("agents")
	case is(client.ErrAuthProfileNotFound):
		return list("profiles")
	case is(client.ErrRunNotFound):
		return list("runs")
	case is(client.ErrAlertNotFound):
		return "keyward keys alert KEY --threshold 80 sets one."
	case is(client.ErrSignupClosed):
		return "The operator makes accounts with keyward accounts create."
	case is(client.ErrEmailTaken):
		return "Is it yours? Then sign in: keyward login --email …"
	case is(client.ErrDuplicateName):
		return "Choose another name, or revoke the key that has it."
	case is(client.ErrAgentExists):
		return "Choose another id, or change that agent: keyward agents apply -f FILE."
	case is(client.ErrAgentChanged):
		return "Its destination is another than when the profile was stored: keyward profiles update accepts it."
	case is(client.ErrKeyTooWeak):
		return "A key can make, change and rotate what is no stronger than itself, and not itself. keyward login --email signs you in as yourself."
	case is(client.ErrInsufficientScope, client.ErrAgentNotAllowed, client.ErrIPNotAllowed):
		return "keyward whoami tells what your key may do. One that may do more is needed."
	case is(client.ErrRouteNotFound, client.ErrMethodNotAllowed):
		return fmt.Sprintf("The server does not know this call: it is older, or newer, than this keyward (%s). Use the version that it has.", version())
	case is(client.ErrUnknownField):
		return fmt.Sprintf("The server may be older than this keyward (%s). Use the version that it has.", version())
	case errors.As(err, &refused) && refused.RetryAfter > 0:
		return fmt.Sprintf("Try again in %d s.", refused.RetryAfter)
	case is(client.ErrRateLimited, client.ErrUnavailable, client.ErrTooManyStreams):
		return "Try again in a little while."
	}
	return ""
}

// report prints a failure for people.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "keyward: %v\n", err)
	said := (*advice)(nil)
	if errors.As(err, &said) && said.next != "" {
		fmt.Fprintln(w, said.next)
	}
}
