package vault

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Opened is a profile as a run has it. Its run uses it from one goroutine and
// closes it in the end.
type Opened struct {
	ID          string
	Name        string
	Values      []Value // in the order in which they were stored
	KeepSession bool
	Session     seal.Secret // what the agent left there; empty if nothing

	store   *Store
	profile *profile
	slot    slot
	at      int64
	forgets int64 // of the profile, when it was opened
}

// Open opens the profile of agent that token is for, for a run that who starts.
//
// It is refused with ErrAgentChanged if the agent takes what it is given
// somewhere else than when the values were stored: else whoever may edit an
// agent could collect what its customers trusted it with.
func (s *Store) Open(ctx context.Context, who access.Caller, agent Agent, token seal.Secret) (*Opened, error) {
	return s.openFor(ctx, who, agent, seal.SlotOwner, token)
}

// OpenRun is Open for the run that waited with a token of its own; who is its
// caller as he was when he started it. No other token is accepted.
func (s *Store) OpenRun(ctx context.Context, who access.Caller, agent Agent, token seal.Secret) (*Opened, error) {
	return s.openFor(ctx, who, agent, seal.SlotRun, token)
}

func (s *Store) openFor(ctx context.Context, who access.Caller, agent Agent, kind seal.SlotKind, token seal.Secret) (*Opened, error) {
	if err := who.May(access.StartRun); err != nil {
		return nil, err
	}
	p, slot, err := s.open(ctx, who, agent, kind, token)
	if err != nil {
		return nil, err
	}
	o := &Opened{ID: p.uid, Name: p.name, KeepSession: p.keepSession,
		store: s, profile: p, slot: slot, at: db.Micros(s.Now()), forgets: p.forgets}
	if p.destination != agent.Destination {
		o.Close()
		return nil, ErrAgentChanged.With(fault.Details{"stored_for": p.destination, "now": agent.Destination})
	}
	if err := o.unseal(); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

func (o *Opened) unseal() error {
	p := o.profile
	o.Values = make([]Value, 0, len(p.fields))
	for _, f := range p.fields {
		plaintext, err := p.openValue(f)
		if err != nil {
			return err
		}
		v, err := valueOf(f.name, plaintext)
		clear(plaintext)
		if err != nil {
			return p.broken(err)
		}
		o.Values = append(o.Values, v)
	}
	if p.session == nil {
		return nil
	}
	session, err := p.dek.Open(p.place(seal.SessionPlace, "", p.sessionRevision), p.session)
	if err != nil {
		return p.broken(err)
	}
	defer clear(session)
	o.Session = seal.NewSecret(session)
	return nil
}

// Close overwrites the profile's key, values and session in memory. It may be
// called twice.
func (o *Opened) Close() {
	for _, v := range o.Values {
		v.JSON.Clear()
	}
	o.Session.Clear()
	o.profile.dek.Clear()
}

// Touch records in tx, the run's own, when the profile and its token were used.
func (o *Opened) Touch(ctx context.Context, tx *db.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE profiles SET last_used_at = $1 WHERE uid = $2 AND last_used_at < $1`, o.at, o.ID)
	if err == nil {
		_, err = tx.Exec(ctx, `UPDATE profile_slots SET last_used_at = $1 WHERE locator = $2 AND last_used_at < $1`, o.at, o.slot.locator)
	}
	if err != nil {
		return fmt.Errorf("record the use of an auth profile: %w", err)
	}
	return nil
}

// SaveSession seals what the run's agent wants to find again. Of runs that end
// at the same time the last one's session stays.
//
// A session that holds nothing ("", null, {} or []) never takes the place of
// another, and where the profile keeps no session nothing is saved. It fails
// with ErrChanged if the profile was changed since it was opened, so that the
// session belongs to credentials or to a place that are no more, or if its
// session was deleted.
func (o *Opened) SaveSession(ctx context.Context, session []byte) error {
	if !o.KeepSession || holdsNothing(session) {
		return nil
	}
	if len(session) > seal.MaxSession {
		return ErrSessionTooLarge
	}
	for range tries {
		err := o.saveOnce(ctx, session)
		if !errors.Is(err, errMoved) {
			return err
		}
		if err := o.reload(ctx); err != nil {
			return err
		}
	}
	return errBusy
}

func holdsNothing(session []byte) bool {
	s := bytes.TrimSpace(session)
	if n := len(s); n >= 2 {
		switch string([]byte{s[0], s[n-1]}) {
		case "{}", "[]", `""`:
			return len(bytes.TrimSpace(s[1:n-1])) == 0
		}
	}
	return len(s) == 0 || string(s) == "null"
}

func (o *Opened) saveOnce(ctx context.Context, session []byte) (err error) {
	next := o.profile.next()
	next.sessionRevision, next.forgotten = next.revision, nil
	next.session, err = next.dek.Seal(next.place(seal.SessionPlace, "", next.sessionRevision), session)
	if err != nil {
		return err
	}
	next.sign()
	err = o.store.DB.Tx(ctx, func(tx *db.Tx) error {
		if err := advance(ctx, tx, next); err != nil {
			return err
		}
		var forgets int64
		if err := tx.QueryRow(ctx, `SELECT forgets FROM profiles WHERE uid = $1`, next.uid).Scan(&forgets); err != nil {
			return err
		}
		if forgets != o.forgets {
			return ErrChanged // it was deleted since, and what the run knew of it with it
		}
		if err := remember(ctx, tx, next.uid); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO profile_sessions (profile_uid, revision, box) VALUES ($1, $2, $3)
			ON CONFLICT (profile_uid) DO UPDATE SET revision = excluded.revision, box = excluded.box`,
			next.uid, int64(next.sessionRevision), next.session)
		return err
	})
	if err != nil {
		return fmt.Errorf("save a session: %w", err)
	}
	o.profile = next
	return nil
}

// reload reads the profile again, after another write came first. It goes by
// the profile and not by the token, which may have been rotated since.
func (o *Opened) reload(ctx context.Context) error {
	was := o.profile
	now := *was
	err := o.store.readRow(ctx, &now)
	if err == nil {
		if now.epoch != was.epoch {
			return ErrChanged
		}
		err = o.store.complete(ctx, &now)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrChanged
	case err != nil:
		return fmt.Errorf("save a session: %w", err)
	case !now.keepSession || now.destination != was.destination || !slices.EqualFunc(now.fields, was.fields, sameValue):
		return ErrChanged
	}
	o.profile = &now
	return nil
}

func sameValue(a, b field) bool { return a.name == b.name && a.revision == b.revision }
