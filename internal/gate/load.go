package gate

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/throttle"
)

const (
	// lookups is how many keys are looked up in the database at once. The rest
	// wait: a flood of keys that nobody has seen takes no more of it than this.
	lookups = 32

	// waiting is how many look-ups may wait for that, whether or not anybody still
	// waits for them, and lookupTime how long one may take: a database that hangs
	// holds no place for ever.
	waiting    = 1 << 13
	lookupTime = 10 * time.Second

	// joinable is how long after its beginning a look-up may be waited for. Its
	// caller came that much later, and what the look-up took from memory was that
	// much older, so that both together are within the lease.
	joinable = lease / 2

	// strangersKept and strangerFor bound the memory of keys that do not exist.
	// No key that is made later has been asked for before.
	strangersKept = 1 << 14
	strangerFor   = 10 * time.Second
)

// How often an address may show keys that do not exist, and how often a service
// may ask for such without saying where they come from.
var (
	addressPace = throttle.Pace{Burst: 100, Every: 100 * time.Millisecond}
	servicePace = throttle.Pace{Burst: 1000, Every: 10 * time.Millisecond}
)

// errBusy refuses a key that is not remembered while too many others are looked
// up.
var errBusy = fault.ErrUnavailable.Say("Too many keys are looked up just now.").Retry(time.Second)

// errTooManyUnknown refuses an address that goes on guessing.
var errTooManyUnknown = fault.New(fault.RateLimited, "RATE_LIMITED", "Too many requests with keys that do not exist came from this address.")

// loader reads keys, each once at a time.
type loader struct {
	mu      sync.Mutex
	flights map[apikey.Digest]*flight
	// underWay is how many have not landed, those included that were replaced
	// since a door was closed.
	underWay int
	places   chan struct{}

	strangers strangers
	addresses throttle.Throttle
	services  throttle.Throttle
}

// flight is a look-up that is under way.
type flight struct {
	digest     apikey.Digest
	by         guesser
	generation uint64
	began      time.Time
	done       chan struct{}
	entry      *entry
	err        error
}

// guesser is who is kept to a pace in showing keys that do not exist.
type guesser struct {
	*throttle.Throttle
	pace   throttle.Pace
	source string
}

// full returns why g may not show another key that may not exist, or nil.
func (g guesser) full(now time.Time) error {
	if wait := g.Full(g.pace, now, g.source); wait > 0 {
		return errTooManyUnknown.Retry(wait)
	}
	return nil
}

func newLoader() *loader {
	return &loader{flights: map[apikey.Digest]*flight{}, places: make(chan struct{}, lookups), strangers: strangers{}}
}

// find finds what is known of a key's secret, in memory or the database.
func (g *Gate) find(ctx context.Context, digest *apikey.Digest, q *Question, into *entry) error {
	if g.cache.get(digest, into) && g.mayTrust() {
		g.Metrics.CacheHits.Inc()
		return nil
	}
	*into = entry{}
	g.Metrics.CacheMisses.Inc()
	l, now := g.loader, time.Now()
	if l.strangers.has(digest, now) {
		return apikey.ErrInvalid
	}
	by := guesser{&l.addresses, addressPace, throttle.Network(q.Address)}
	if q.Source != "" {
		by = guesser{&l.services, servicePace, q.Source}
	}
	if err := by.full(now); err != nil {
		return err
	}
	e, err := g.fly(ctx, *digest, by)
	if err == nil {
		*into = *e
	}
	return err
}

// fly looks a key up, or waits for a look-up that is under way if that has seen
// all that was closed before this call.
func (g *Gate) fly(ctx context.Context, digest apikey.Digest, by guesser) (*entry, error) {
	l := g.loader
	l.mu.Lock()
	f := l.flights[digest]
	// What another server closed is seen by a look-up that began less than a
	// lease ago, since the act has waited for that long.
	if f != nil && f.generation == g.cache.generation.Load() && (!g.Shared || time.Since(f.began) < joinable) {
		l.mu.Unlock()
	} else if e, err := g.landed(&digest); e != nil || err != nil {
		l.mu.Unlock()
		return e, err
	} else if l.underWay >= waiting {
		l.mu.Unlock()
		return nil, errBusy
	} else {
		f = &flight{digest: digest, by: by, generation: g.cache.generation.Load(), began: time.Now(), done: make(chan struct{})}
		l.flights[digest] = f
		l.underWay++
		l.mu.Unlock()
		// Those who wait for it must get it, though this caller may go.
		go g.land(context.WithoutCancel(ctx), f)
	}
	select {
	case <-f.done:
		return f.entry, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// landed returns what a look-up has found that ended since the caller looked.
func (g *Gate) landed(digest *apikey.Digest) (*entry, error) {
	if e := new(entry); g.cache.get(digest, e) && g.mayTrust() {
		return e, nil
	}
	if g.loader.strangers.has(digest, time.Now()) {
		return nil, apikey.ErrInvalid
	}
	return nil, nil
}

// land does the look-up f.
func (g *Gate) land(ctx context.Context, f *flight) {
	l := g.loader
	defer func() {
		if p := recover(); p != nil {
			f.entry, f.err = nil, fault.ErrInternal.Because(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		l.mu.Lock()
		if l.flights[f.digest] == f {
			delete(l.flights, f.digest)
		}
		l.underWay--
		l.mu.Unlock()
		close(f.done)
	}()
	l.places <- struct{}{}
	defer func() { <-l.places }()
	// Those who came at once are counted as their look-ups end.
	if f.err = f.by.full(time.Now()); f.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	g.Metrics.Lookups.Inc()
	f.entry, f.err = g.load(ctx, f.digest)
	switch now := time.Now(); {
	case f.err == nil:
		g.cache.put(f.entry, f.generation)
	case errors.Is(f.err, apikey.ErrInvalid):
		l.strangers.add(&f.digest, now)
		// Here and not where it is waited for: whoever goes away is counted too.
		f.by.Take(f.by.pace, now, f.by.source)
	}
}

// load reads a key, and the member behind it.
func (g *Gate) load(ctx context.Context, digest apikey.Digest) (*entry, error) {
	found, err := g.Keys.Lookup(ctx, digest)
	if err != nil {
		return nil, err
	}
	id := memberID{organizationID: found.Key.OrganizationID}
	if found.Key.Type != apikey.Service {
		id.accountID = found.Key.AccountID
	}
	var m *member
	if g.knows(joinable) {
		m = g.cache.member(id)
	}
	if m == nil {
		m = &member{memberID: id}
		if m.who, err = g.loadMember(ctx, id); err != nil {
			return nil, err
		}
	}
	e := &entry{digest: digest, member: m, key: check(found, m.who)}
	if e.key.limits != (access.Limits{}) {
		percent, err := g.Threshold(ctx, found.Key.ID)
		if err != nil {
			return nil, err
		}
		e.key.alert = uint8(percent) // 1 to 100
	}
	return e, nil
}

func (g *Gate) loadMember(ctx context.Context, id memberID) (who access.Caller, err error) {
	if id.accountID == "" {
		who, err = g.Accounts.ServiceCaller(ctx, id.organizationID)
	} else {
		who, err = g.Accounts.Member(ctx, id.accountID, id.organizationID)
	}
	if errors.Is(err, account.ErrNotMember) {
		// Its account is gone, or has left the organization.
		err = apikey.ErrInvalid
	}
	return who, err
}

// strangers remembers keys that do not exist, in a memory of one size: each
// digest has one place, which the next one takes.
type strangers struct {
	mu     sync.Mutex
	places []stranger
}

type stranger struct {
	digest apikey.Digest
	until  time.Time
}

func (s *strangers) place(d *apikey.Digest) *stranger {
	if s.places == nil {
		s.places = make([]stranger, strangersKept)
	}
	return &s.places[(int(d[0])<<8|int(d[1]))%strangersKept]
}

func (s *strangers) has(d *apikey.Digest, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.place(d)
	return p.digest == *d && now.Before(p.until)
}

func (s *strangers) add(d *apikey.Digest, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.place(d) = stranger{*d, now.Add(strangerFor)}
}
