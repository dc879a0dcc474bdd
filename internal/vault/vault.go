// Package vault owns auth profiles: values for some of an agent's input
// arguments, which nobody can read while they wait, and the session that the
// agent wants to find again.
//
// Its laws:
//
//   - A profile opens only with its auth token, and only for the organization
//     and the agent it was stored for. Both are the caller's and the request's,
//     never what a row says: they are part of what the key is derived from.
//   - Every open checks the manifest before a value is used: what was dropped,
//     swapped, put back or pointed elsewhere in the database is noticed.
//   - Every write is one compare-and-swap on the profile's revision, together
//     with the manifest of what it leaves.
//   - A token that opens nothing is one answer, whatever the reason, after the
//     same work.
//   - No call but [Store.Open] gives a stored value.
//
// How things are sealed is package seal's; whose the caller is, package gate's;
// what happens with the values, package run's.
package vault

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Bounds of a profile.
const (
	MaxName   = 200 // characters
	MaxFields = 100
	MaxGrace  = 30 * 24 * time.Hour // of an old token
	MaxTokens = 5                   // that are good at one time
)

// The ways in which a profile is refused or not found.
var (
	ErrNotFound = fault.New(fault.NotFound, "AUTH_PROFILE_NOT_FOUND", "There is no auth profile with this id.")
	// ErrToken is ErrNotFound to a program. It does not say which of the
	// reasons it was.
	ErrToken = ErrNotFound.Say("This auth_token opens no auth profile of this agent.")

	ErrDuplicateName   = fault.New(fault.Conflict, "DUPLICATE_NAME", "Another auth profile of this agent has this name. Choose another, or delete that profile first.").With(fault.Details{"field": "name"})
	ErrAgentChanged    = fault.New(fault.Conflict, "AGENT_CHANGED", "The agent has been pointed elsewhere since this auth profile was stored. To accept where its values go now, upsert the profile with its auth_token.")
	ErrTooManyTokens   = fault.New(fault.Conflict, "TOO_MANY_TOKENS", "Too many earlier tokens of this auth profile are still in their grace. Wait until one ends, or rotate with a grace_period of 0, which ends them all.")
	ErrChanged         = fault.New(fault.Conflict, "AUTH_PROFILE_CHANGED", "The auth profile was changed while the run was under way, so the run's session was not saved.")
	ErrSessionTooLarge = fault.New(fault.TooLarge, "SESSION_TOO_LARGE", "The session is larger than 4 MiB.")
)

// Agent is what a profile needs to know of an agent.
type Agent struct {
	UID         string // the server's own, never used again
	ID          string
	Destination string // where its runner takes what it is given

	// Check returns why value can't be a value of the input argument name. For
	// a nil value, which is one to be removed, only the name is asked about.
	Check func(name string, value jsontext.Value) error
}

// Store keeps the auth profiles.
type Store struct {
	Acts *access.Acts
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time

	// FindAgent returns an agent that who may use, by the id who calls it.
	FindAgent func(ctx context.Context, who access.Caller, id string) (Agent, error)
}

// tries bounds how often a change is worked out again because another came
// first. Each time one of the others has been written, so it is not a spin.
const tries = 100

// checkName returns name as it is kept: in Unicode's form NFC, so that two
// spellings which nobody can tell apart are one name. Upper and lower case are
// different names.
func checkName(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", fault.Field("name", "must be valid UTF-8")
	}
	name = norm.NFC.String(name)
	switch {
	case name == "" || utf8.RuneCountInString(name) > MaxName:
		return "", fault.Field("name", "must have 1 to 200 characters")
	case strings.ContainsFunc(name, breaksLine) || strings.TrimSpace(name) != name:
		return "", fault.Field("name", "must not have control characters, or spaces at its ends")
	}
	return name, nil
}

func breaksLine(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) }
