package vault

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// RotateToken makes a new token for the profile that token opens. The old one
// works until grace has passed; without grace it is dead when RotateToken
// answers, and so is every earlier one that is still in its grace.
//
// A token in its grace can't be rotated: whoever was to lose the profile with
// it would keep it.
func (s *Store) RotateToken(ctx context.Context, who access.Caller, agentID string, token seal.Secret, grace time.Duration) (seal.AuthToken, error) {
	if err := who.May(access.RotateToken); err != nil {
		return seal.AuthToken{}, err
	}
	if grace < 0 || grace > MaxGrace {
		return seal.AuthToken{}, fault.Field("grace_period", "must be from 0 to "+seconds(MaxGrace)+" seconds")
	}
	agent, err := s.FindAgent(ctx, who, agentID)
	if err != nil {
		return seal.AuthToken{}, err
	}
	for range tries {
		tok, err := s.rotateOnce(ctx, who, agent, token, grace)
		if !errors.Is(err, errMoved) {
			return tok, err
		}
	}
	return seal.AuthToken{}, errBusy
}

var errInGrace = fault.Field("auth_token", "was rotated already and is in its grace; rotate the token that took its place")

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

func (s *Store) rotateOnce(ctx context.Context, who access.Caller, agent Agent, token seal.Secret, grace time.Duration) (seal.AuthToken, error) {
	p, old, err := s.open(ctx, who, agent, seal.SlotOwner, token)
	if err != nil {
		return seal.AuthToken{}, err
	}
	defer p.dek.Clear()
	if old.expiresAt != 0 {
		return seal.AuthToken{}, errInGrace
	}
	oldToken, err := seal.ParseAuthToken(string(token.Bytes()))
	if err != nil {
		return seal.AuthToken{}, err
	}
	tok, now := seal.NewAuthToken(), s.Now()
	fresh, err := s.Root.SealSlot(tok, p.slotPlace(seal.SlotOwner, p.epoch, 0), p.dek)
	if err != nil {
		return seal.AuthToken{}, err
	}
	old.expiresAt = db.Micros(now.Add(grace))
	ending, err := s.Root.SealSlot(oldToken, p.slotPlace(seal.SlotOwner, p.epoch, old.expiresAt), p.dek)
	if err != nil {
		return seal.AuthToken{}, err
	}
	// The revision moves though no box does: whoever is at work with the old
	// token has to show it again.
	next := p.next()
	next.sign()

	err = s.Acts.Do(ctx, who, access.RotateToken, func(tx *db.Tx, act *access.Act) error {
		act.On(subject, p.uid, p.name)
		act.Note("grace_seconds", seconds(grace))
		act.Closes(access.ProfileClosed, p.uid)
		if err := advance(ctx, tx, next); err != nil {
			return err
		}
		if grace == 0 {
			err = endTokens(ctx, tx, p)
		} else {
			err = endToken(ctx, tx, p, old, ending, now)
		}
		if err != nil {
			return err
		}
		return insertSlot(ctx, tx, p.uid, newSlot{seal.SlotOwner, p.epoch, tok.Locator(), fresh, 0, nil}, db.Micros(now))
	})
	if err != nil {
		return seal.AuthToken{}, err
	}
	s.DB.Scrub()
	return tok, nil
}

// endTokens ends every token of p, those of runs that wait too.
func endTokens(ctx context.Context, tx *db.Tx, p *profile) error {
	_, err := tx.Exec(ctx, `DELETE FROM profile_slots WHERE profile_uid = $1`, p.uid)
	return err
}

// endToken gives the slot old an end, and leaves room for one more. Whoever
// holds the profile's row counts alone.
func endToken(ctx context.Context, tx *db.Tx, p *profile, old slot, ending seal.Slot, now time.Time) error {
	var live int64
	if err := tx.QueryRow(ctx, `
		SELECT count(*) FROM profile_slots WHERE profile_uid = $1 AND kind = $2 AND (expires_at = 0 OR expires_at > $3)`,
		p.uid, string(seal.SlotOwner), db.Micros(now)).Scan(&live); err != nil {
		return err
	}
	if live >= MaxTokens {
		return ErrTooManyTokens
	}
	n, err := tx.Exec(ctx, `
		UPDATE profile_slots SET salt = $1, sealed = $2, expires_at = $3, root_version = $4 WHERE locator = $5 AND expires_at = 0`,
		ending.Salt, ending.Sealed, old.expiresAt, seal.BoxVersion(ending.Sealed), old.locator)
	if err == nil && n == 0 {
		err = errMoved
	}
	return err
}

// Purge removes up to limit slots whose time is over, and says how many. Their
// tokens open nothing already.
func (s *Store) Purge(ctx context.Context, limit int) (removed int, err error) {
	// With a slot go those of the runs that its token has started.
	const expired = `SELECT locator FROM profile_slots WHERE expires_at <> 0 AND expires_at <= $1 ORDER BY expires_at, locator LIMIT $2`
	now := db.Micros(s.Now())
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM profile_slots WHERE kind = 'run' AND made_by IN (`+expired+`)`, now, limit); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM profile_slots WHERE locator IN (`+expired+`)`, now, limit)
		removed = int(n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge slots of auth profiles: %w", err)
	}
	if removed > 0 {
		s.DB.Scrub()
	}
	return removed, nil
}

// Reseal renews the server's layer of up to limit slots that are under another
// root key than the active one, and of what is left of sessions, and says of how
// many. Zero without an error means that none is left. No token is needed for it.
func (s *Store) Reseal(ctx context.Context, limit int) (done int, err error) {
	done, err = s.resealSlots(ctx, limit)
	if done < limit {
		n, more := s.resealForgotten(ctx, limit-done)
		done, err = done+n, errors.Join(err, more)
	}
	if done > 0 {
		s.DB.Scrub()
	}
	return done, err
}

func (s *Store) resealSlots(ctx context.Context, limit int) (done int, err error) {
	slots, err := s.oldSlots(ctx, limit)
	if err != nil {
		return 0, fmt.Errorf("re-seal slots of auth profiles: %w", err)
	}
	var broken []error
	for i := range slots {
		o := &slots[i]
		if o.fresh, err = s.Root.ResealSlot(o.place, o.slot); err != nil {
			broken = append(broken, fmt.Errorf("a slot of auth profile %s: %w", o.place.Profile, err))
		}
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		done = 0
		for _, o := range slots {
			if o.fresh.Sealed == nil {
				continue
			}
			n, err := tx.Exec(ctx, `UPDATE profile_slots SET sealed = $1, root_version = $2 WHERE locator = $3 AND sealed = $4`,
				o.fresh.Sealed, seal.BoxVersion(o.fresh.Sealed), o.locator, o.slot.Sealed)
			if err != nil {
				return err
			}
			done += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("re-seal slots of auth profiles: %w", err)
	}
	return done, errors.Join(broken...)
}

// oldSlot is a slot under another root key than the active one. Its place is
// what the rows say, for there is nobody who asks: where they do not tell the
// truth it does not open.
type oldSlot struct {
	locator     []byte
	place       seal.SlotPlace
	slot, fresh seal.Slot
}

func (s *Store) oldSlots(ctx context.Context, limit int) ([]oldSlot, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT s.locator, s.kind, p.organization_id, p.agent_uid, p.uid, s.epoch, s.expires_at, s.salt, s.sealed
		FROM profile_slots s JOIN profiles p ON p.uid = s.profile_uid
		WHERE s.root_version <> $1 LIMIT $2`, s.Root.Active(), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var slots []oldSlot
	for rows.Next() {
		var o oldSlot
		var epoch int64
		if err := rows.Scan(&o.locator, &o.place.Kind, &o.place.Organization, &o.place.Agent, &o.place.Profile,
			&epoch, &o.place.ExpiresAt, &o.slot.Salt, &o.slot.Sealed); err != nil {
			return nil, err
		}
		o.place.Epoch = uint64(epoch)
		slots = append(slots, o)
	}
	return slots, rows.Err()
}
