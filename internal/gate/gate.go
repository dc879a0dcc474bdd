// Package gate checks what a request shows: it is where a credential becomes
// somebody who may do something, and where an API key's settings, limits and
// counts are asked.
//
// A check of a key is a straight line. Its text has a form and a checksum, which
// cost garbage its way in (no I/O). Its SHA-256 finds what is remembered of it,
// or the database is read (load.go). Its own settings are asked: whether it is
// good now, its scopes, agents, addresses, its signature (check.go,
// signature.go). Its limits are asked (package limit), and what came of it is
// counted (package usage). None of this writes to the database before the
// answer, but for what package limit reserves ahead.
//
// What is remembered lives by the change log (cache.go, follow.go): when an act
// that closed something answers, no server remembers what was before.
//
// An access token is read from the database each time (package account), its
// sign-in included, so that signing out holds at once.
package gate

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/limit"
	"github.com/keyward/keyward/internal/metrics"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/usage"
)

// Parts are what a gate is made of.
type Parts struct {
	DB       *db.DB
	Keys     *apikey.Store
	Accounts *account.Store
	Limits   *limit.Keeper
	Usage    *usage.Counter
	Metrics  *metrics.Metrics
	Log      *slog.Logger
	Now      func() time.Time

	// Others returns how many other servers use the database. It is asked only
	// if that is Shared.
	Others func(ctx context.Context) (int, error)
	Shared bool

	// Beaten returns when this server told the others last that it is there. For
	// Counted after that they count it, whatever happens to it. Both are asked
	// only if the database is Shared.
	Beaten  func() time.Time
	Counted time.Duration

	// Threshold returns the percentage of its limit at which a key's alert
	// fires, 0 if it has none. Crossed is told when so much is used; it does not
	// wait for anything.
	Threshold func(ctx context.Context, keyID int64) (int64, error)
	Crossed   func(keyID int64, organizationID, span string, window time.Time, used, of int64)

	// Remember is how many keys are kept in memory.
	Remember int
}

// Gate checks credentials.
type Gate struct {
	Parts
	cache   *cache
	loader  *loader
	replays *replays
	looked  atomic.Pointer[moment] // at the change log, last
	valid   prometheus.Counter
	refused map[limit.Span]prometheus.Counter
}

// Remember is how many keys a gate keeps in memory if it is not told otherwise:
// some 50 MB of them.
const Remember = 1 << 17

// New makes a gate.
func New(p Parts) *Gate {
	if p.Remember == 0 {
		p.Remember = Remember
	}
	g := &Gate{Parts: p, cache: newCache(p.Remember), loader: newLoader(), replays: newReplays(p.Now())}
	g.valid = p.Metrics.Check("VALID")
	g.refused = map[limit.Span]prometheus.Counter{}
	for _, span := range []limit.Span{limit.Hour, limit.Burst, limit.Month} {
		g.refused[span] = p.Metrics.Refused(string(span))
	}
	return g
}

// Remembered returns how many keys are in memory.
func (g *Gate) Remembered() int { return g.cache.size() }

// Refusals are the failures that a key can meet in front of any request.
var Refusals = []*fault.Fault{
	apikey.ErrInvalid, apikey.ErrExpired, apikey.ErrRevoked, apikey.ErrDisabled,
	ErrSignatureRequired, ErrInvalidSignature, ErrSignatureExpired, ErrSignatureReplayed,
	ErrIPNotAllowed, ErrRateLimited,
}

// Key returns the caller that presents an API key, if it may do what is asked.
// The headers tell of its limit; they come with a refusal, too.
func (g *Gate) Key(ctx context.Context, presented seal.Secret, q Question) (who access.Caller, headers []string, err error) {
	var a Answer
	err = g.Check(ctx, presented.Bytes(), &q, &a)
	headers = a.RateHeaders(nil, g.Now())
	if err != nil {
		return access.Caller{}, headers, err
	}
	return a.Caller(&q), headers, nil
}

// Token returns the caller that presents an access token, if it may do action.
func (g *Gate) Token(ctx context.Context, presented seal.Secret, action access.Action, address netip.Addr, requestID string) (access.Caller, error) {
	who, err := g.Accounts.CheckAccessToken(ctx, presented.Reveal(), address, requestID)
	if err == nil && action != "" {
		err = who.May(action)
	}
	return who, err
}

// IsKey reports whether text has the form of an API key with a right checksum.
func IsKey(text string) bool { return apikey.WellFormed(text) }

// IsOurs reports whether text has the form of a credential of ours: an API key,
// or an access token.
func IsOurs(text string) bool { return IsKey(text) || IsToken(text) }

// IsToken reports whether text has the three parts of a JWT and begins as the
// JSON of its header does. No API key has a dot.
func IsToken(text string) bool {
	return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2
}
