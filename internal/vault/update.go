package vault

import (
	"context"
	"errors"
	"slices"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

func (s *Store) update(ctx context.Context, who access.Caller, agent Agent, in UpsertRequest, plain plaintexts) (Upserted, error) {
	for range tries {
		done, err := s.updateOnce(ctx, who, agent, in, plain)
		if !errors.Is(err, errMoved) {
			return done, err
		}
	}
	return Upserted{}, errBusy
}

func (s *Store) updateOnce(ctx context.Context, who access.Caller, agent Agent, in UpsertRequest, plain plaintexts) (Upserted, error) {
	p, _, err := s.open(ctx, who, agent, seal.SlotOwner, in.Token)
	if err != nil {
		return Upserted{}, err
	}
	defer p.dek.Clear()
	tok, err := seal.ParseAuthToken(string(in.Token.Bytes()))
	if err != nil {
		return Upserted{}, err
	}
	c, err := p.merge(agent, in, plain)
	if err != nil {
		return Upserted{}, err
	}
	c.updatedAt = db.Micros(s.Now())
	c.sign()

	err = s.Acts.Do(ctx, who, access.UpdateProfile, func(tx *db.Tx, act *access.Act) error {
		act.On(subject, c.uid, c.name)
		if c.name != p.name {
			act.Note("renamed_from", p.name)
		}
		if c.destination != p.destination {
			act.Note("destination", c.destination)
		}
		err := advance(ctx, tx, c.profile)
		if db.IsDuplicate(err) {
			return ErrDuplicateName
		} else if err != nil {
			return err
		}
		return c.write(ctx, tx)
	})
	if err != nil {
		return Upserted{}, err
	}
	s.DB.Scrub()
	return Upserted{ID: c.uid, Token: tok, Name: c.name, Kind: Updated, KeepSession: c.keepSession}, nil
}

// change is a profile as an update leaves it, and what has to be written for
// that beside its own row.
type change struct {
	*profile
	written     []field
	removed     []string
	dropSession bool
}

// merge works out what the request makes of p.
func (p *profile) merge(agent Agent, in UpsertRequest, plain plaintexts) (change, error) {
	c := change{profile: p.next()}
	for i, v := range in.Values {
		var err error
		if plain[i] == nil {
			err = c.remove(agent, v.Name)
		} else {
			err = c.set(v.Name, plain[i])
		}
		if err != nil {
			return change{}, err
		}
	}
	if len(c.fields) > MaxFields {
		return change{}, errManyFields
	}
	if in.Name != nil {
		c.name = *in.Name
	}
	c.keepSession = in.KeepSession
	c.destination = agent.Destination

	// A session belongs to the values it was made with, and to the place that
	// made it.
	if !c.keepSession || len(c.written) > 0 || len(c.removed) > 0 || c.destination != p.destination || p.forgotten != nil {
		c.dropSession = p.session != nil || p.forgotten != nil
		c.session, c.forgotten, c.sessionRevision = nil, nil, 0
	}
	return c, nil
}

// remove takes the value of name away. A name that the agent has no more can
// still be removed where it is stored.
func (c *change) remove(agent Agent, name string) error {
	at := c.find(name)
	if at < 0 {
		return agent.Check(name, nil)
	}
	c.fields = slices.Delete(c.fields, at, at+1)
	c.removed = append(c.removed, name)
	return nil
}

// set gives name a value. If it is the stored one, its box stays as it is: a
// run that is under way may still save its session.
func (c *change) set(name string, plaintext []byte) error {
	at := c.find(name)
	if at < 0 {
		position := int64(0)
		if n := len(c.fields); n > 0 {
			position = c.fields[n-1].position + 1
		}
		f, err := c.sealValue(name, position, plaintext)
		c.fields, c.written = append(c.fields, f), append(c.written, f)
		return err
	}

	old, err := c.openValue(c.fields[at])
	if err != nil {
		return err
	}
	defer clear(old)
	if same(old, plaintext) {
		return nil
	}
	f, err := c.sealValue(name, c.fields[at].position, plaintext)
	c.fields[at], c.written = f, append(c.written, f)
	return err
}

func (c *change) write(ctx context.Context, tx *db.Tx) error {
	for _, name := range c.removed {
		if _, err := tx.Exec(ctx, `DELETE FROM profile_values WHERE profile_uid = $1 AND name = $2`, c.uid, name); err != nil {
			return err
		}
	}
	if err := writeValues(ctx, tx, c.uid, c.written); err != nil {
		return err
	}
	if !c.dropSession {
		return nil
	}
	if err := remember(ctx, tx, c.uid); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM profile_sessions WHERE profile_uid = $1`, c.uid)
	return err
}
