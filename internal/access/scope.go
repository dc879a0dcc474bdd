package access

import (
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/keyward/keyward/internal/fault"
)

// Scopes is a set of the permissions that a key can carry. The zero Scopes is
// none.
type Scopes uint16

// The scopes.
const (
	AgentsRead Scopes = 1 << iota
	AgentsWrite
	AgentsRun
	ProfilesRead
	ProfilesWrite
	KeysRead
	KeysWrite
	KeysVerify
	UsageRead
	AuditRead

	AllScopes Scopes = 1<<iota - 1
)

// ServiceScopes are what a service key may have: it makes and shows no keys.
const ServiceScopes = AllScopes &^ (KeysRead | KeysWrite)

// AgentScopes are what a key has that is made for agents without naming scopes.
const AgentScopes = AgentsRead | AgentsRun | ProfilesRead | ProfilesWrite

// scopeNames are the names of the scopes, in the order of their bits.
var scopeNames = []string{
	"agents:read", "agents:write", "agents:run", "profiles:read", "profiles:write",
	"keys:read", "keys:write", "keys:verify", "usage:read", "audit:read",
}

// ScopeNames lists every name that [ParseScopes] takes, the short forms last.
func ScopeNames() []string { return append(slices.Clone(scopeNames), "read", "write", "run", "*") }

// ParseScopes returns the scopes that names stand for, of those that a key may
// have. A short form (read, write, run, *) means what the key may have of it;
// to name one that it may not have is an error, as is a name that is no scope.
// The errors are about the field scopes.
func ParseScopes(names []string, may Scopes) (Scopes, error) {
	var all Scopes
	for _, name := range names {
		var s Scopes
		switch name {
		case "*":
			s = may
		case "read", "write":
			for i, full := range scopeNames {
				if strings.HasSuffix(full, ":"+name) {
					s |= 1 << i
				}
			}
			s &= may
		case "run":
			s = AgentsRun & may
		default:
			i := slices.Index(scopeNames, name)
			if i < 0 {
				return 0, fault.Field("scopes", "holds a name that is no scope; the scopes are "+strings.Join(ScopeNames(), ", "))
			}
			s = 1 << i
			if s&may == 0 {
				return 0, fault.Field("scopes", "a service key can't have "+name)
			}
		}
		all |= s
	}
	return all, nil
}

// Names returns the names of the scopes in s, in a fixed order. They are not the
// caller's to change.
func (s Scopes) Names() []string { return s.written().names }

// Text returns the names of the scopes in s with a space between each.
func (s Scopes) Text() string { return s.written().text }

// written is a set of scopes as people write it. Each set is written once.
type written struct {
	names []string
	text  string
}

var allWritten [AllScopes + 1]atomic.Pointer[written]

func (s Scopes) written() *written {
	at := &allWritten[s&AllScopes]
	if w := at.Load(); w != nil {
		return w
	}
	w := &written{names: make([]string, 0, bits.OnesCount16(uint16(s)))}
	for i, name := range scopeNames {
		if s&(1<<i) != 0 {
			w.names = append(w.names, name)
		}
	}
	w.names = slices.Clip(w.names)
	w.text = strings.Join(w.names, " ")
	at.Store(w)
	return w
}

// Has reports whether s holds all of need.
func (s Scopes) Has(need Scopes) bool { return s&need == need }

// ErrInsufficientScope refuses a key that lacks a scope; its details name it.
var ErrInsufficientScope = fault.New(fault.Forbidden, "INSUFFICIENT_SCOPE", "The API key lacks the scope that this needs.")

// ErrAgentNotAllowed refuses a key that is made for other agents.
var ErrAgentNotAllowed = fault.New(fault.Forbidden, "AGENT_NOT_ALLOWED", "The API key is not made for this agent.").
	With(fault.Details{"field": "agent_id", "reason": "the key's agent_ids do not have this agent"})

// Lacks returns ErrInsufficientScope that names every scope in need which s has
// not, or nil.
func (s Scopes) Lacks(need Scopes) error {
	if s.Has(need) {
		return nil
	}
	return lacks((need &^ s).Names(), " and ")
}

func lacks(names []string, joint string) error {
	text := strings.Join(names, joint)
	return ErrInsufficientScope.Say("The API key lacks the scope %s.", text).With(fault.Details{"scope": text})
}
