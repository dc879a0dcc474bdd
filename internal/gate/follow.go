package gate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
)

const (
	// lease is how long after a look at the change log its reader may still
	// trust what it remembers. An act that closed something returns no sooner
	// than this after its commit, if there are other servers.
	lease = 600 * time.Millisecond

	// glance is how often a server looks.
	glance = 150 * time.Millisecond

	// lookTime is how long a look may take: a connection that was cut without a
	// word is given up, and the next look takes another.
	lookTime = 5 * time.Second

	// patience is how long a server that could not look may still catch up. The
	// change log keeps its entries far longer.
	patience = time.Hour
)

// Closed makes sure that no server remembers what was true before changes, which
// are on disk: this one forgets at once, the others within their lease.
func (g *Gate) Closed(ctx context.Context, changes []access.Change) {
	g.apply(changes)
	if !g.Shared || !remembered(changes) {
		return
	}
	committed := time.Now()
	// A server that is not among them yet has read nothing before it was. A
	// database that does not say so in time is waited for no longer than the others.
	ctx, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	if others, err := g.Others(ctx); err == nil && others == 0 {
		return
	}
	time.Sleep(time.Until(committed.Add(lease)))
}

// remembered reports whether changes has any of a kind that is remembered here.
func remembered(changes []access.Change) bool {
	for _, c := range changes {
		switch c.Kind {
		case access.KeyClosed, access.AccountClosed, access.OrganizationClosed:
			return true
		}
	}
	return false
}

// apply forgets what changes say.
func (g *Gate) apply(changes []access.Change) {
	for _, c := range changes {
		switch c.Kind {
		case access.KeyClosed:
			if id, err := strconv.ParseInt(c.Subject, 10, 64); err == nil {
				g.cache.close(id)
			}
		case access.AccountClosed:
			g.cache.closeMembers(func(m memberID) bool { return m.accountID == c.Subject })
		case access.OrganizationClosed:
			g.cache.closeMembers(func(m memberID) bool { return m.organizationID == c.Subject })
		}
	}
}

// moment is a time on both clocks: the one that runs, and the one on the wall,
// which goes on while the machine is suspended.
type moment struct{ at time.Time }

// within reports whether less than d has gone by since m on either clock.
func (m moment) within(d time.Duration, now time.Time) bool {
	return !m.at.IsZero() && now.Sub(m.at) < d && now.Round(0).Sub(m.at.Round(0)) < d
}

// mayTrust reports whether what was remembered may be used: what other servers
// closed until a lease ago is known.
func (g *Gate) mayTrust() bool { return g.knows(lease) }

// knows reports whether what other servers closed until so long ago is known.
func (g *Gate) knows(ago time.Duration) bool {
	if !g.Shared {
		return true
	}
	looked := g.looked.Load()
	return looked != nil && looked.within(ago, time.Now())
}

// Follow reads what other servers close, until ctx ends. What it fails with is
// reported once, and it is tried again; meanwhile every key is read from the
// database.
func (g *Gate) Follow(ctx context.Context) error {
	f := follower{gate: g, unnumbered: map[string]bool{}}
	reported := ""
	for {
		looking, cancel := context.WithTimeout(ctx, lookTime)
		err := f.look(looking)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			g.Log.Error("the change log can't be followed, so that every key is read from the database", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(glance):
		}
	}
}

// follower is how far the change log was read.
type follower struct {
	gate       *Gate
	begun      bool
	last       int64           // all changes up to this number are known
	unnumbered map[string]bool // known changes that had no number yet
}

// look applies what is new in the change log.
//
// Numbers are given in order and become visible in order (package audit), and a
// change without one is visible as soon as it is committed. So one statement
// that reads both sees every change that is committed.
func (f *follower) look(ctx context.Context) error {
	now := time.Now()
	if f.begun {
		if looked := f.gate.looked.Load(); looked == nil || !looked.within(patience, now) {
			f.gate.cache.closeMembers(func(memberID) bool { return true })
			f.begun = false
		}
	}
	if !f.begun {
		// Whatever is remembered was read after the changes that are there now,
		// or is forgotten here.
		err := f.gate.DB.QueryRow(ctx, `SELECT COALESCE(max(seq), 0) FROM changes`).Scan(&f.last)
		if err != nil {
			return fmt.Errorf("begin to read the change log: %w", err)
		}
		f.gate.cache.closeMembers(func(memberID) bool { return true })
		clear(f.unnumbered)
		f.begun = true
	}
	rows, err := f.gate.DB.Query(ctx, `SELECT id, kind, subject, seq FROM changes WHERE seq = 0 OR seq > $1`, f.last)
	if err != nil {
		return fmt.Errorf("read the change log: %w", err)
	}
	defer rows.Close()
	var changes []access.Change
	still := map[string]bool{}
	last := f.last
	for rows.Next() {
		var id string
		var seq int64
		var c access.Change
		if err := rows.Scan(&id, (*string)(&c.Kind), &c.Subject, &seq); err != nil {
			return fmt.Errorf("read the change log: %w", err)
		}
		if !f.unnumbered[id] {
			changes = append(changes, c)
		}
		if seq == 0 {
			still[id] = true
		}
		last = max(last, seq)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the change log: %w", err)
	}
	f.gate.apply(changes)
	f.unnumbered, f.last = still, last
	// Nobody waits for the lease of a server that he does not know of. One that
	// stood still for long enough to be forgotten trusts nothing until it has told
	// the others that it is back.
	if (moment{f.gate.Beaten()}).within(f.gate.Counted, now) {
		f.gate.looked.Store(&moment{now})
	}
	return nil
}
