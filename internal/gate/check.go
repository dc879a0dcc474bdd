package gate

import (
	"context"
	"crypto/sha256"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/limit"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/usage"
)

// Failures of a good key outside of its limits.
var (
	ErrIPNotAllowed = fault.New(fault.Forbidden, "IP_NOT_ALLOWED", "The API key is not allowed from this address.").
			With(fault.Details{"field": "allowed_ips", "reason": "the address is not among the key's allowed_ips, or is not known"})
	ErrRateLimited = fault.New(fault.RateLimited, "RATE_LIMITED", "Too many requests")
)

// checked is what a check needs to know of a key's secret, and no more.
type checked struct {
	settings
	rare *rare // nil for most keys
}

// settings is what there is of every key's secret: a hundred thousand of these are
// in memory at once. It has no pointers.
type settings struct {
	id            int64
	expiresAt     int64 // in microseconds; 0: never
	secretExpires int64
	revokedAt     int64 // 0: not revoked
	limits        access.Limits
	scopes        access.Scopes
	kind          uint8 // its type, in types
	alert         uint8 // the percentage of the limit at which an alert fires; 0: none
	disabled      bool
	signed        bool     // its requests must be
	long          bool     // its names are rare
	name, holder  uint8    // of how many of the bytes of names each of them is
	names         [44]byte // its name, and what its owner calls its holder
}

// types are the types of keys.
var types = []string{apikey.Personal, apikey.Temporary, apikey.Service}

// kindOf returns the place of a type. There is no other: a row's tag vouches for
// its type.
func kindOf(name string) uint8 {
	i := slices.Index(types, name)
	if i < 0 {
		panic("gate: a key of an unknown type")
	}
	return uint8(i)
}

func (c *checked) nameText() string {
	if c.long {
		return c.rare.name
	}
	return string(c.names[:c.name])
}

func (c *checked) externalID() string {
	if c.long {
		return c.rare.externalID
	}
	return string(c.names[c.name:][:c.holder])
}

// rare is what few keys have.
type rare struct {
	name       string // if both together are longer than there is room for
	externalID string
	agentIDs   []string
	allowedIPs []netip.Prefix
	metadata   []byte
	signing    seal.Secret
}

// check takes from a key what a check of it needs; who is its member.
func check(f apikey.Found, who access.Caller) checked {
	k := f.Key
	c := checked{settings: settings{
		id: k.ID, kind: kindOf(k.Type), scopes: k.Scopes, disabled: k.Disabled, signed: k.RequireSignature,
		expiresAt: db.Micros(k.ExpiresAt), secretExpires: db.Micros(f.SecretExpiresAt), revokedAt: db.Micros(k.RevokedAt),
		limits: who.Limits.Lowered(k.Limits),
	}}
	long := len(k.Name)+len(k.ExternalID) > len(c.names)
	if long || k.AgentIDs != nil || k.AllowedIPs != nil || k.Metadata != nil || k.RequireSignature {
		c.rare = &rare{agentIDs: k.AgentIDs, allowedIPs: k.AllowedIPs, metadata: k.Metadata, signing: f.Signing}
	}
	if c.long = long; long {
		c.rare.name, c.rare.externalID = k.Name, k.ExternalID
	} else {
		c.name, c.holder = uint8(copy(c.names[:], k.Name)), uint8(copy(c.names[len(k.Name):], k.ExternalID))
	}
	return c
}

// usable returns why the key may not be used at now, or nil: the rule is the
// key's own.
func (c *checked) usable(now time.Time) error {
	if c.revokedAt == 0 && !c.disabled {
		at := now.UnixMicro()
		if (c.expiresAt == 0 || at < c.expiresAt) && (c.secretExpires == 0 || at < c.secretExpires) {
			return nil
		}
	}
	return apikey.Found{
		Key:             apikey.Key{ExpiresAt: db.Time(c.expiresAt), RevokedAt: db.Time(c.revokedAt), Disabled: c.disabled},
		SecretExpiresAt: db.Time(c.secretExpires),
	}.Usable(now)
}

// Question is what is asked of a key.
type Question struct {
	Organization string        // whose keys are looked for; "": anybody's
	Action       access.Action // what the key's holder wants here; "": nothing that the table knows
	Scopes       access.Scopes // all of these are needed
	AgentID      string        // for which agent
	AgentAsked   bool          // a key for some agents is refused without AgentID
	Address      netip.Addr    // where the request comes from; the zero Addr is not known
	Cost         int64         // what it counts against the limits; 0: it is only looked at
	Signature    Signature
	RequestID    string

	// Source is the service that asks, if it does not say where its caller is:
	// keys that do not exist are counted against it, and not against Address.
	Source string
	// Free leaves the limits and the counts alone.
	Free bool
	// Again asks about a request that was let in and goes on. It was counted, and
	// its signature seen, when it came.
	Again bool
}

// Answer is what came of a check. After a refusal the part of it is filled that
// was known by then.
type Answer struct {
	KeyID          int64
	Type           string
	OrganizationID string
	AccountID      string // "" of a service key
	Metadata       []byte
	Scopes         access.Scopes
	AgentIDs       []string
	ExpiresAt      time.Time
	Limits         access.Limits
	Verdict        limit.Verdict
	Counted        bool // Verdict is known

	found entry
}

// Name returns the key's name.
func (a *Answer) Name() string { return a.found.key.nameText() }

// ExternalID returns what the key's owner calls its holder.
func (a *Answer) ExternalID() string { return a.found.key.externalID() }

// Caller returns who a checked key makes of its holder.
func (a *Answer) Caller(q *Question) access.Caller {
	who := a.found.member.who
	who.KeyID, who.KeyValue, who.KeyType, who.KeyExpiresAt = a.KeyID, a.found.digest, a.Type, a.ExpiresAt
	who.Scopes, who.AgentIDs = a.Scopes, a.AgentIDs
	who.Address, who.RequestID = q.Address, q.RequestID
	return who
}

// Check checks a key: that it is one, whose, that it may do what is asked, from
// where, as often; and counts it. An error that is a fault is the refusal; into
// answers what is known.
//
// A key of another organization is as if it were not there, and not counted.
func (g *Gate) Check(ctx context.Context, presented []byte, q *Question, into *Answer) error {
	err := g.check(ctx, presented, q, into)
	switch {
	case q.Again:
	case err == nil:
		g.valid.Inc()
	default:
		g.Metrics.Check(fault.Of(err).Code).Inc()
	}
	return err
}

func (g *Gate) check(ctx context.Context, presented []byte, q *Question, a *Answer) error {
	if !apikey.WellFormed(presented) {
		return apikey.ErrInvalid
	}
	digest := apikey.Digest(sha256.Sum256(presented))
	e := &a.found
	err := g.find(ctx, &digest, q, e)
	if err != nil {
		return err
	}
	if q.Organization != "" && e.member.organizationID != q.Organization {
		return apikey.ErrInvalid
	}
	a.learn()
	now := g.Now()
	if err = g.refusal(&e.key, q, now); err == nil {
		err = g.admit(ctx, e, q, a, now)
	} else if fault.Of(err).Kind == fault.Forbidden {
		// The key is good, so its holder is told how it stands with its limit.
		look := *q
		look.Cost = 0
		if failed := g.take(ctx, e, &look, a); fault.Of(failed).Kind == fault.Unavailable {
			return failed
		}
	}
	if q.Free || q.Again || q.Cost == 0 {
		return err
	}
	g.Usage.Count(e.key.id, outcome(err), now, q.Address)
	return err
}

func (a *Answer) learn() {
	k, m := &a.found.key, a.found.member
	a.KeyID, a.Type, a.Scopes, a.Limits = k.id, types[k.kind], k.scopes, k.limits
	a.OrganizationID, a.AccountID = m.organizationID, m.accountID
	a.ExpiresAt = db.Time(k.expiresAt)
	if r := k.rare; r != nil {
		a.AgentIDs, a.Metadata = r.agentIDs, r.metadata
	}
}

// outcome says how a check is counted that ended with err.
func outcome(err error) usage.Outcome {
	switch {
	case err == nil:
		return usage.Allowed
	case fault.Of(err).Kind == fault.RateLimited:
		return usage.RateLimited
	}
	return usage.Denied
}

// refusal returns why the key's settings do not let the request in, or nil.
func (g *Gate) refusal(k *checked, q *Question, now time.Time) error {
	if err := k.usable(now); err != nil {
		return err
	}
	if q.Action != "" {
		if err := access.KeyMay(k.scopes, q.Action); err != nil {
			return err
		}
	}
	if err := k.scopes.Lacks(q.Scopes); err != nil {
		return err
	}
	if k.rare != nil {
		if q.AgentAsked && k.rare.agentIDs != nil && !slices.Contains(k.rare.agentIDs, q.AgentID) {
			return access.ErrAgentNotAllowed
		}
		if k.rare.allowedIPs != nil && !contains(k.rare.allowedIPs, q.Address) {
			return ErrIPNotAllowed
		}
	}
	if k.signed && !q.Again {
		return checkSignature(k, &q.Signature, now)
	}
	return nil
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// admit lets a request in that nothing of the key's settings is against: once, if
// it is signed, and within its limits.
func (g *Gate) admit(ctx context.Context, e *entry, q *Question, a *Answer, now time.Time) error {
	if !e.key.signed || q.Again || !q.Signature.counts() {
		return g.take(ctx, e, q, a)
	}
	// What the limits refuse is not remembered, or a key with the smallest of
	// limits could fill the memory of signatures for all.
	if !q.Free && e.key.limits != (access.Limits{}) {
		v, err := g.Limits.Would(ctx, e.key.id, e.key.limits, q.Cost)
		if err != nil {
			return unavailable(err)
		} else if !v.Allowed {
			return g.judge(e, v, a)
		}
	}
	if err := g.remember(ctx, &e.key, &q.Signature, now); err != nil {
		return err
	}
	return g.take(ctx, e, q, a)
}

// unavailable is what a check ends in whose database fails.
func unavailable(err error) error { return fault.ErrUnavailable.Retry(time.Second).Because(err) }

// take asks the key's limits.
func (g *Gate) take(ctx context.Context, e *entry, q *Question, a *Answer) error {
	k := &e.key
	if q.Free || q.Again || k.limits == (access.Limits{}) {
		return nil
	}
	v, err := g.Limits.Take(ctx, k.id, k.limits, q.Cost)
	if err != nil {
		return unavailable(err)
	}
	return g.judge(e, v, a)
}

// judge tells the answer and the alert of a verdict, and returns why it refuses
// the request, or nil.
func (g *Gate) judge(e *entry, v limit.Verdict, a *Answer) error {
	k := &e.key
	a.Verdict, a.Counted = v, true
	if k.alert > 0 {
		// After a refusal too: the request that crossed the threshold may have
		// been the last that was let in, and nobody was told since.
		g.alert(e, v)
	}
	if !v.Allowed {
		g.refused[v.Refused].Inc()
		return ErrRateLimited.Retry(v.RetryAfter)
	}
	return nil
}

// alert says that a key has used so much of its limit that somebody wants to
// know it.
func (g *Gate) alert(e *entry, v limit.Verdict) {
	k := &e.key
	span, window, used, of := "hour", v.HourOpened, v.HourUsed, k.limits.PerHour
	if of == 0 {
		span, window, used, of = "month", v.Month, v.MonthUsed, k.limits.PerMonth
	}
	if of > 0 && float64(used) >= math.Ceil(float64(of)*float64(k.alert)/100) {
		g.Crossed(k.id, e.member.organizationID, span, window, used, of)
	}
}

// Reset returns when the hour's window ends, in whole Unix seconds: at that
// second it has ended.
func Reset(v limit.Verdict) int64 { return (v.Reset.UnixMicro() + 999_999) / 1_000_000 }

// RateHeaders adds to headers what tells of the key's limit: X-RateLimit-… and
// the pair of the IETF's draft. They tell of the hour, and are absent without a
// limit for it.
func (a *Answer) RateHeaders(headers []string, now time.Time) []string {
	if !a.Counted || a.Limits.PerHour == 0 {
		return headers
	}
	v := a.Verdict
	// The window goes by a clock that nobody sets.
	t := min(max(0, (v.Reset.Sub(now)+time.Second-1)/time.Second), time.Hour/time.Second)
	// All in one text, of which the values are parts.
	var room [160]byte
	var ends [5]int
	b := strconv.AppendInt(room[:0], v.Limit, 10)
	ends[0] = len(b)
	b = strconv.AppendInt(b, v.Remaining, 10)
	ends[1] = len(b)
	b = strconv.AppendInt(b, Reset(v), 10)
	ends[2] = len(b)
	b = append(strconv.AppendInt(append(b, `"hour";q=`...), v.Limit, 10), `;w=3600`...)
	if a.Limits.Burst > 0 {
		b = append(strconv.AppendInt(append(b, `, "burst";q=`...), a.Limits.Burst, 10), `;w=1`...)
	}
	ends[3] = len(b)
	b = strconv.AppendInt(append(b, `"hour";r=`...), v.Remaining, 10)
	b = strconv.AppendInt(append(b, `;t=`...), int64(t), 10)
	ends[4] = len(b)
	text, from := string(b), 0
	for i, name := range rateHeaders {
		headers = append(headers, name, text[from:ends[i]])
		from = ends[i]
	}
	return headers
}

var rateHeaders = [...]string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"}
