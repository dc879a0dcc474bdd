// Package access knows who asks and what they may do, and is the one gate that
// every act passes.
//
// A [Caller] is made only where a request is authenticated. Every method that
// reads or changes something owned takes it as its first argument after ctx: a
// read asks [Caller.May] in its first line, an act goes through [Acts.Do], which
// asks, runs the act's body in a transaction, and writes the tagged audit row
// inside the same transaction. So neither the check nor the record is forgotten.
//
// Listing and chaining the audit log is package audit's.
package access

import (
	"net/netip"
	"time"

	"github.com/keyward/keyward/internal/fault"
)

// Role is what an account is in an organization, or what a caller without an
// account is to the server.
type Role string

// The roles. A membership has Owner; the others are made where a request has no
// account behind it.
const (
	Owner   Role = "owner"
	Visitor Role = "visitor" // nobody yet: may register and sign in
	Console Role = "console" // the control socket: the operator without a password
	Server  Role = "server"  // Keyward itself, at start and in the background
)

// Caller is who asks. The zero Caller may do nothing.
type Caller struct {
	AccountID      string
	OrganizationID string
	Operator       bool // the organization is the one that owns the server
	Role           Role
	Tier           string
	Quotas         Quotas

	KeyID        int64 // an API key was presented; 0 if not
	KeyType      string
	KeyExpiresAt time.Time // zero: never
	SignInID     string    // an access token was presented; "" if not

	Address   netip.Addr
	RequestID string
}

// Quotas says how many of each thing an organization may have. Unlimited is
// below zero.
type Quotas struct {
	Agents       int64
	AuthProfiles int64
	Keys         int64
}

// Unlimited as a quota is no quota.
const Unlimited = -1

// NewVisitor returns the caller of a request that has shown no credential.
func NewVisitor(address netip.Addr, requestID string) Caller {
	return Caller{Role: Visitor, Address: address, RequestID: requestID}
}

// NewConsole returns the caller of a request through the control socket.
func NewConsole(requestID string) Caller {
	return Caller{Role: Console, Operator: true, RequestID: requestID}
}

// NewServer returns Keyward itself as a caller.
func NewServer() Caller { return Caller{Role: Server} }

// Action names something that can be done. It is what the audit log calls it.
type Action string

// The actions. Reads are checked and not recorded.
const (
	Register       Action = "account.register"
	SignIn         Action = "account.sign_in"
	Refresh        Action = "account.refresh" // recorded only where it ends the sign-in
	SignOut        Action = "account.sign_out"
	EndReused      Action = "account.refresh_token_reused"
	ChangePassword Action = "account.change_password"
	DeleteAccount  Action = "account.delete"
	ReadAccount    Action = "account.read"
	CreateAccount  Action = "account.create"
	ListAccounts   Action = "account.list"

	ListOrganizations  Action = "organization.list"
	ChangeOrganization Action = "organization.change"
	MakeSetupCode      Action = "server.setup_code"
	RotateRoot         Action = "server.rotate_root_key"
	RotateSigningKey   Action = "server.rotate_signing_key"

	CreateKey      Action = "key.create"
	RevokeKey      Action = "key.revoke"
	RevokeSelf     Action = "key.revoke_self"
	ReadKeys       Action = "key.read"
	ReadSelf       Action = "key.read_self"
	CreateOwnKey   Action = "account_key.create"
	RevokeOwnKey   Action = "account_key.revoke"
	ReadOwnKeys    Action = "account_key.read"
	CreateAgent    Action = "agent.create"
	ChangeAgent    Action = "agent.change"
	DeleteAgent    Action = "agent.delete"
	ReadAgents     Action = "agent.read"
	RenewRunner    Action = "agent.renew_runner_secret"
	DeclareAgent   Action = "agent.declare"
	CreateProfile  Action = "profile.create"
	ReplaceProfile Action = "profile.replace"
	UpdateProfile  Action = "profile.update"
	RotateToken    Action = "profile.rotate_token"
	DeleteProfile  Action = "profile.delete"
	ReadProfiles   Action = "profile.read"
	StartRun       Action = "run.start"
	ReadRuns       Action = "run.read"
	ReadAudit      Action = "audit.read"
)

// need is what a caller must be for an action.
type need int

const (
	nobody    need = iota // an action that is not in the table is allowed to nobody
	anyone                // a visitor, and the console on somebody's behalf
	signedIn              // an account with an access token; not a key
	withKey               // an API key
	member                // an account in its organization, by access token or key
	operator              // the console, or the operator's own sign-in
	theServer             // Keyward itself
)

var needs = map[Action]need{
	Register:       anyone,
	SignIn:         anyone,
	Refresh:        anyone,
	EndReused:      anyone,
	SignOut:        anyone, // shown by the refresh token that it ends
	ChangePassword: signedIn,
	DeleteAccount:  signedIn,
	ReadAccount:    signedIn,
	CreateOwnKey:   signedIn,
	RevokeOwnKey:   signedIn,
	ReadOwnKeys:    signedIn,
	RevokeSelf:     withKey,
	ReadSelf:       withKey,

	CreateAccount:      operator,
	ListAccounts:       operator,
	ListOrganizations:  operator,
	ChangeOrganization: operator,
	RotateRoot:         operator,
	MakeSetupCode:      theServer,
	RotateSigningKey:   theServer,
	DeclareAgent:       theServer,

	CreateKey:      member,
	RevokeKey:      member,
	ReadKeys:       member,
	CreateAgent:    member,
	ChangeAgent:    member,
	DeleteAgent:    member,
	ReadAgents:     member,
	RenewRunner:    member,
	CreateProfile:  member,
	ReplaceProfile: member,
	UpdateProfile:  member,
	RotateToken:    member,
	DeleteProfile:  member,
	ReadProfiles:   member,
	StartRun:       member,
	ReadRuns:       member,
	ReadAudit:      member,
}

// May returns nil if c may do a, and a Forbidden fault if not.
func (c Caller) May(a Action) error {
	ok := false
	switch needs[a] {
	case anyone:
		ok = c.Role == Visitor || c.Role == Console
	case signedIn:
		ok = c.isMember() && c.SignInID != ""
	case withKey:
		ok = c.isMember() && c.KeyID != 0
	case member:
		ok = c.isMember()
	case operator:
		ok = c.Role == Console || c.isMember() && c.Operator && c.SignInID != ""
	case theServer:
		ok = c.Role == Server
	}
	if !ok {
		return fault.ErrNotAllowed
	}
	return nil
}

// isMember reports whether c is an account that acts in an organization. Owner
// is the only role that a membership can have so far.
func (c Caller) isMember() bool {
	return c.Role == Owner && c.OrganizationID != "" && c.AccountID != ""
}
