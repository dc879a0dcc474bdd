// Package run owns runs: one execution of an agent each, from its arguments to
// the session that it leaves.
//
// Its laws:
//
//   - A run is on disk before its agent is called, and its end is on disk before
//     it is answered.
//   - A run that began ends: by its agent's answer, by its timeout, on somebody's
//     word, or by the end of the server that does it. It is done a second time only
//     if its agent says that this does no harm.
//   - Its state changes along [moves] alone, in one place.
//   - Runs wait in the order in which they came, and organizations take turns.
//   - What it was given is cut out of what its agent says, before that is kept or
//     shown.
//
// Whose agents they are is package agent's, what is in a profile package vault's,
// and where a call may go package egress's.
package run

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// The ways in which a run is refused or not found.
var (
	ErrNotFound = fault.New(fault.NotFound, "RUN_NOT_FOUND", "There is no run with this id.")
	ErrEnded    = fault.New(fault.Conflict, "RUN_ENDED", "The run has ended already, so it can't be cancelled.")
	ErrReused   = fault.New(fault.Conflict, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was sent with another request within the last day. Send the same request, or another key.")

	errBusy     = fault.ErrUnavailable.Say("Too many callers wait for their runs to begin. Try again shortly, or start the run without waiting for it.").Retry(5 * time.Second)
	errStopping = fault.ErrUnavailable.Say("The server is stopping. Try again shortly.").Retry(5 * time.Second)
)

// Run is one execution of an agent.
type Run struct {
	ID             string
	OrganizationID string
	AgentUID       string
	AgentID        string // as its organization calls the agent
	AccountID      string // whose call started it
	KeyID          int64  // 0: without a key
	Profile        string // the name of the auth profile that it was given; "": none
	NodeID         string // of the server that does it
	Status         Status
	CreatedAt      time.Time
	StartedAt      time.Time // zero: not yet
	EndedAt        time.Time // zero: not yet

	Output       jsontext.Value // of one that succeeded
	ErrorMessage string         // of one that did not

	async      bool   // it waits on the disk, without whoever started it
	profileUID string // "": none
	lane       string // of the profile whose session it may leave; "": none
	width      int64  // of its agent's lane, when it was started; 0: it has none
	tries      int64  // how often it was begun
	mostTries  int64
	asked      bool  // somebody wants it cancelled
	events     int64 // the number of the last event that is kept, or 1 for its start
	hasLog     bool  // events are kept in rows of their own
}

// Request asks for a run.
type Request struct {
	AgentID    string
	Parameters map[string]jsontext.Value
	Token      seal.Secret // of an auth profile; empty: none
	Wait       bool        // until the run has ended

	IdempotencyKey string // within a day, the same key starts the same run; "": none
	Fingerprint    []byte // of all that must be the same under that key
}

// Profile is an auth profile that was opened for a run.
type Profile struct {
	UID         string
	Name        string
	Values      map[string]jsontext.Value
	KeepSession bool
	Session     jsontext.Value // what the agent left there; empty: nothing

	SaveSession func(ctx context.Context, session []byte) error
	Touch       func(ctx context.Context, tx *db.Tx) error // records its use in the run's own transaction
	Close       func()                                     // overwrites what is secret in it

	// RunSlot makes a token that opens the profile for one run alone.
	RunSlot func(expires time.Time) (Slot, error)
}

// Slot is a token that opens a profile for one run, and by what it is found. It
// opens nothing before Keep has written it, in the run's own transaction.
type Slot struct {
	Token   seal.Secret
	Locator []byte
	Keep    func(ctx context.Context, tx *db.Tx) error
}

// OpenProfile opens the profile of a that token is for, for a run that who
// starts.
type OpenProfile func(ctx context.Context, who access.Caller, a agent.Agent, token seal.Secret) (*Profile, error)
