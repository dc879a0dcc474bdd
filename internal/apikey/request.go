package apikey

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// Bounds of what a key can be asked to be.
const (
	MaxName          = 64
	MaxAgentIDs      = 100
	MaxAllowedIPs    = 100
	MaxExternalID    = 128
	MaxMetadata      = 4 << 10
	MaxLimit         = 1_000_000_000_000
	DefaultTemporary = time.Hour
	MaxTemporary     = 30 * 24 * time.Hour
	MaxLife          = 10 * 365 * 24 * time.Hour // of any other

	maxAgentID = 128 // more than any has
)

// Request asks for a key.
type Request struct {
	Name      string
	Type      string        // "": personal, or service if it names scopes or agents
	ExpiresIn time.Duration // 0: not said

	Scopes           []string // as people name them; nil: not said
	AgentIDs         []string // nil: not said
	AllowedIPs       []string // addresses and networks; nil: not said
	Limits           access.Limits
	RequireSignature bool
	Disabled         bool
	ExternalID       string
	Metadata         []byte // JSON
}

// settle checks r for who and fills in what it leaves open; field is what the
// face calls the name.
func (r Request) settle(who access.Caller, field string, now time.Time) (Key, error) {
	k := Key{
		OrganizationID: who.OrganizationID, AccountID: who.AccountID, Type: r.Type, MadeByKey: who.KeyID, CreatedAt: now,
		Scopes: access.AllScopes,
	}
	switch r.Type {
	case "":
		k.Type = Personal
		if r.Scopes != nil || r.AgentIDs != nil {
			k.Type = Service
		}
	case Temporary:
		if r.ExpiresIn == 0 {
			r.ExpiresIn = DefaultTemporary
		}
	case Personal, Service:
	default:
		return Key{}, fault.Field("type", "must be personal, service or temporary")
	}
	if r.Type == "" && k.Type == Service {
		if scopes, err := access.ParseScopes(r.Scopes, access.AllScopes); err == nil && scopes&^access.ServiceScopes != 0 && namesBeyond(r.Scopes) {
			return Key{}, fault.Field("scopes", "a key that names scopes is a service key unless its type is said, and a service key can't have keys:read or keys:write; say \"type\":\"personal\"")
		}
	}
	c := Change{
		Name: &r.Name, PerHour: &r.Limits.PerHour, Burst: &r.Limits.Burst, PerMonth: &r.Limits.PerMonth,
		RequireSignature: &r.RequireSignature, Disabled: &r.Disabled,
		ExpiresIn: &r.ExpiresIn, ExternalID: &r.ExternalID, Metadata: &r.Metadata,
		Scopes: &r.Scopes, AgentIDs: &r.AgentIDs, AllowedIPs: &r.AllowedIPs,
	}
	return c.apply(k, who.Limits, field, now)
}

// namesBeyond reports whether names has one that a service key is refused for.
// A short form is none: it means what a key may have.
func namesBeyond(names []string) bool {
	for _, name := range names {
		if _, err := access.ParseScopes([]string{name}, access.ServiceScopes); err != nil {
			return true
		}
	}
	return false
}

func checkName(field, name string) error {
	if n := utf8.RuneCountInString(name); n < 1 || n > MaxName {
		return fault.Field(field, "must have 1 to 64 characters")
	}
	if strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name {
		return fault.Field(field, "must not have control characters, or spaces at its ends")
	}
	return nil
}

func checkExternalID(id string) error {
	if n := utf8.RuneCountInString(id); n > MaxExternalID {
		return fault.Field("external_id", "must have 1 to 128 characters")
	}
	if strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(id) != id {
		return fault.Field("external_id", "must have printable characters alone, and no spaces at its ends")
	}
	return nil
}

// settleMetadata returns the object as it is kept: without white space, and
// without escapes that need not be.
func settleMetadata(object []byte) ([]byte, error) {
	if object == nil {
		return nil, nil
	}
	text, err := json.Marshal(jsontext.Value(object))
	if err != nil || text[0] != '{' {
		return nil, fault.Field("metadata", "must be a JSON object")
	}
	if len(text) > MaxMetadata {
		return nil, fault.Field("metadata", "must have at most 4096 bytes as JSON without white space")
	}
	return text, nil
}

// settleAgents returns ids, each once. Whether there are such agents is not
// asked here.
func settleAgents(ids []string) ([]string, error) {
	if ids == nil {
		return nil, nil
	}
	if len(ids) < 1 || len(ids) > MaxAgentIDs {
		return nil, fault.Field("agent_ids", "must have 1 to 100 entries; leave it out for a key that is for every agent")
	}
	var once []string
	seen := map[string]bool{}
	for i, id := range ids {
		if len(id) < 1 || len(id) > maxAgentID {
			return nil, entry("agent_ids", i, "is no id of an agent")
		}
		if !seen[id] {
			seen[id] = true
			once = append(once, id)
		}
	}
	return once, nil
}

// checkLimit says what is wrong with a limit of a key, of an organization that
// gives most; 0 is no limit.
func checkLimit(field string, n, most int64) error {
	switch {
	case n < 0 || n > MaxLimit:
		return fault.Field("limits."+field, "must be from 1 to "+number(MaxLimit))
	case most != 0 && n > most:
		return fault.Field("limits."+field, "must be at most "+number(most)+": a key's own limit may only lower what its organization's tier gives")
	}
	return nil
}

// checkLife returns when a key of type t ends that is to live for d from now
// on; 0 is for ever.
func checkLife(t string, d time.Duration, now time.Time) (time.Time, error) {
	longest := MaxLife
	if t == Temporary {
		longest = MaxTemporary
	}
	switch {
	case d < 0 || d > longest:
		return time.Time{}, fault.Field("expires_in", "must be from 1 to "+seconds(longest)+" seconds for a "+t+" key")
	case d == 0 && t == Temporary:
		return time.Time{}, fault.Field("expires_in", "can't be removed: a temporary key expires")
	case d == 0:
		return time.Time{}, nil
	}
	return now.Add(d), nil
}

// entry is fault.Field about one entry of a list, counted from 1.
func entry(field string, i int, reason string) error {
	return fault.Field(field, "entry "+number(int64(i)+1)+" "+reason)
}
