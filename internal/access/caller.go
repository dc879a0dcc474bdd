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
	"slices"
	"strings"
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
	Limits         Limits // what the organization gives each of its keys
	Quotas         Quotas

	KeyID        int64    // an API key was presented; 0 if not
	KeyValue     [32]byte // the digest of the value that it was presented as
	KeyType      string
	KeyExpiresAt time.Time // zero: never
	Scopes       Scopes    // of the key; a sign-in needs none
	AgentIDs     []string  // the only agents that the key is for; nil: all
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
	QueuedRuns   int64 // that nobody waits for, and that have not ended
}

// Unlimited as a quota is no quota.
const Unlimited = -1

// Limits says how often a key may be used. Zero is without that limit.
type Limits struct {
	PerHour  int64 // requests in a window of an hour that opens with its first one
	Burst    int64 // requests in any one second
	PerMonth int64 // requests in a calendar month, UTC
}

// Lowered returns l, and own where that is lower: a key's own limits may only
// lower what its organization gives.
func (l Limits) Lowered(own Limits) Limits {
	lower := func(a, b int64) int64 {
		if a == 0 || b != 0 && b < a {
			return b
		}
		return a
	}
	return Limits{lower(l.PerHour, own.PerHour), lower(l.Burst, own.Burst), lower(l.PerMonth, own.PerMonth)}
}

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
	ChangeKey      Action = "key.change"
	RotateKey      Action = "key.rotate"
	VerifyKeys     Action = "key.verify"
	ReadUsage      Action = "usage.read"
	SetAlert       Action = "alert.set"
	RemoveAlert    Action = "alert.remove"
	ReadAlerts     Action = "alert.read"
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
	UseAgent       Action = "agent.use" // find it, for something that is asked for by itself
	RenewRunner    Action = "agent.renew_runner_secret"
	DeclareAgent   Action = "agent.declare"
	CreateProfile  Action = "profile.create"
	ReplaceProfile Action = "profile.replace"
	UpdateProfile  Action = "profile.update"
	RotateToken    Action = "profile.rotate_token"
	DeleteProfile  Action = "profile.delete"
	DeleteSession  Action = "profile.delete_session"
	ReadProfiles   Action = "profile.read"
	StartRun       Action = "run.start"
	CancelRun      Action = "run.cancel"
	ReadRuns       Action = "run.read"
	ReadAudit      Action = "audit.read"
	BeginDevice    Action = "device.begin"
	FindDevice     Action = "device.find"
	ApproveDevice  Action = "device.approve"
	DenyDevice     Action = "device.deny"
	PollDevice     Action = "device.poll"    // recorded as key.create if it gives a key, as device.abandon if it ends one
	AbandonDevice  Action = "device.abandon" // the key that a device login made was never used: it ends
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

// rule is what an action asks of a caller. Of a key it asks for one of the
// scopes besides; a key whose action has none here may not do it.
type rule struct {
	need   need
	scopes Scopes
}

// rules is the one table of what may be done by whom: [Caller.May] enforces it,
// and the API's document is printed from it.
var rules = map[Action]rule{
	Register:       {need: anyone},
	SignIn:         {need: anyone},
	Refresh:        {need: anyone},
	EndReused:      {need: anyone},
	SignOut:        {need: anyone}, // shown by the refresh token that it ends
	ChangePassword: {need: signedIn},
	DeleteAccount:  {need: signedIn},
	ReadAccount:    {need: signedIn},
	CreateOwnKey:   {need: signedIn},
	RevokeOwnKey:   {need: signedIn},
	ReadOwnKeys:    {need: signedIn},
	RevokeSelf:     {need: withKey}, // whoever holds a key may end it
	ReadSelf:       {need: withKey},

	BeginDevice:   {need: anyone},
	PollDevice:    {need: anyone}, // shown by the device code and the session secret
	FindDevice:    {need: signedIn},
	ApproveDevice: {need: signedIn},
	DenyDevice:    {need: signedIn},
	AbandonDevice: {need: theServer},

	CreateAccount:      {need: operator},
	ListAccounts:       {need: operator},
	ListOrganizations:  {need: operator},
	ChangeOrganization: {need: operator},
	RotateRoot:         {need: operator},
	MakeSetupCode:      {need: theServer},
	RotateSigningKey:   {need: theServer},
	DeclareAgent:       {need: theServer},

	CreateKey:      {member, KeysWrite},
	ChangeKey:      {member, KeysWrite},
	RotateKey:      {member, KeysWrite},
	RevokeKey:      {member, KeysWrite},
	SetAlert:       {member, KeysWrite},
	RemoveAlert:    {member, KeysWrite},
	ReadKeys:       {member, KeysRead},
	VerifyKeys:     {member, KeysVerify},
	ReadUsage:      {member, UsageRead},
	ReadAlerts:     {member, UsageRead},
	CreateAgent:    {member, AgentsWrite},
	ChangeAgent:    {member, AgentsWrite},
	DeleteAgent:    {member, AgentsWrite},
	RenewRunner:    {member, AgentsWrite},
	ReadAgents:     {member, AgentsRead},
	UseAgent:       {member, AgentsRead | AgentsWrite | AgentsRun | ProfilesRead | ProfilesWrite | KeysWrite},
	StartRun:       {member, AgentsRun},
	CancelRun:      {member, AgentsRun},
	ReadRuns:       {member, AgentsRead | AgentsRun}, // who starts a run may see how it went
	CreateProfile:  {member, ProfilesWrite},
	ReplaceProfile: {member, ProfilesWrite},
	UpdateProfile:  {member, ProfilesWrite},
	RotateToken:    {member, ProfilesWrite},
	DeleteProfile:  {member, ProfilesWrite},
	DeleteSession:  {member, ProfilesWrite},
	ReadProfiles:   {member, ProfilesRead},
	ReadAudit:      {member, AuditRead},
}

// ScopesFor returns the scopes of which a key needs one for a; none means that
// a asks for no scope.
func ScopesFor(a Action) Scopes { return rules[a].scopes }

// May returns nil if c may do a, and a Forbidden fault if not.
func (c Caller) May(a Action) error {
	ok := false
	switch rules[a].need {
	case anyone:
		ok = c.Role == Visitor || c.Role == Console
	case signedIn:
		ok = c.isMember() && c.SignInID != ""
	case withKey:
		ok = c.isMember() && c.KeyID != 0
	case member:
		ok = c.isMember()
		if ok && c.KeyID != 0 {
			return KeyMay(c.Scopes, a)
		}
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

// KeyMay returns nil if a key with these scopes may do a, whoever holds it.
func KeyMay(scopes Scopes, a Action) error {
	switch r := rules[a]; {
	case r.need == withKey:
		return nil
	case r.need != member:
		return fault.ErrNotAllowed
	case scopes&r.scopes == 0:
		return lacks(r.scopes.Names(), " or ")
	}
	return nil
}

// MayUse returns nil if c may do what it may do with the agent of this id, and
// ErrAgentNotAllowed if its key is made for others.
func (c Caller) MayUse(agentID string) error {
	if c.AgentIDs == nil || slices.Contains(c.AgentIDs, agentID) {
		return nil
	}
	return ErrAgentNotAllowed
}

// AgentFilter returns the ids of the agents that c's key is for as one text, for
// queries that list: "" is all, and a column id is one of them if
//
//	$1 = '' OR replace($1, ',' || id || ',', '') <> $1
//
// No id has a comma.
func (c Caller) AgentFilter() string {
	if c.AgentIDs == nil {
		return ""
	}
	return "," + strings.Join(c.AgentIDs, ",") + ","
}

// isMember reports whether c acts in an organization: an account, or a service
// key, which belongs to the organization alone. Owner is the only role that a
// membership can have so far.
func (c Caller) isMember() bool {
	return c.Role == Owner && c.OrganizationID != "" && (c.AccountID != "" || c.KeyID != 0)
}
