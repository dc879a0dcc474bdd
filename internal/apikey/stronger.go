package apikey

import (
	"net/netip"
	"slices"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// stronger says in which setting a is stronger than b, and why; "" says in none.
// Both are of one organization.
//
// It looks at each key's own settings and at nothing that can change around
// them: what is not stronger now is not so later either, when the organization
// gets a larger tier or this server learns of more scopes. Networks are compared
// one by one: one that only several of b's together cover counts as more.
//
// "Not stronger" is reflexive and transitive, or a chain of keys could lead
// upwards.
func stronger(a, b Key) (field, reason string) {
	switch {
	case a.holder() != "" && a.holder() != b.holder():
		return "account", "it belongs to another account"
	case rank[a.Type] > rank[b.Type]:
		return "type", "a " + b.Type + " key is not enough for a " + a.Type + " key"
	case !b.Scopes.Has(a.Scopes) || b.scoped && !a.scoped:
		return "scopes", "it has scopes that the key of this request has not"
	case !covers(b.AgentIDs, a.AgentIDs, func(a, b string) bool { return a == b }):
		return "agent_ids", "it is for agents that the key of this request is not for"
	case !covers(b.AllowedIPs, a.AllowedIPs, contains):
		return "allowed_ips", "it may be used from where the key of this request may not"
	case b.RequireSignature && !a.RequireSignature:
		return "require_signature", "its requests need no signature, and those of the key of this request do"
	case outlives(a.ExpiresAt, b.ExpiresAt):
		return "expires_in", "it lives longer than the key of this request"
	}
	if field := moreOften(a.Limits, b.Limits); field != "" {
		return "limits." + field, "it may be used more often than the key of this request"
	}
	return "", ""
}

// rank orders the types. A service key is less than a personal one: it can have
// fewer scopes, and one that a key made ends with that key.
var rank = map[string]int{Temporary: 1, Service: 2, Personal: 3}

// holder is the account that k is tied to; a service key is tied to none.
func (k Key) holder() string {
	if k.Type == Service {
		return ""
	}
	return k.AccountID
}

// covers reports whether each of want is within one of have. Nil is everything.
func covers[T any](have, want []T, contains func(outer, inner T) bool) bool {
	if have == nil || want == nil {
		return have == nil
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h T) bool { return contains(h, w) }) {
			return false
		}
	}
	return true
}

func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// outlives reports whether what ends at a lives longer than what ends at b; the
// zero is for ever.
func outlives(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}

func moreOften(a, b access.Limits) (field string) {
	more := func(a, b int64) bool { return b != 0 && (a == 0 || a > b) }
	switch {
	case more(a.PerHour, b.PerHour):
		return "requests_per_hour"
	case more(a.Burst, b.Burst):
		return "burst"
	case more(a.PerMonth, b.PerMonth):
		return "requests_per_month"
	}
	return ""
}

// notStronger returns ErrTooWeak if k is stronger than the key that asks.
func (k Key) notStronger(than Key) error {
	if field, reason := stronger(k, than); field != "" {
		return tooWeak(field, reason)
	}
	return nil
}

func tooWeak(field, reason string) error {
	return ErrTooWeak.Say("The key of this request is too weak for that: %s: %s.", field, reason).
		With(fault.Details{"field": field, "reason": reason})
}
