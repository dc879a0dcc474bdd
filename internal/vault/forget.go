package vault

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// DeleteSession deletes the session of a profile of who's organization, which
// keeps its values and its tokens. A run that is under way leaves none in its
// place.
//
// The manifest is made with the profile's key, which nobody has here. So what the
// manifest says of the session is kept, in a box of the server's: by that the
// profile fits its manifest without a session, and a session that is merely gone
// from the database is noticed as before.
func (s *Store) DeleteSession(ctx context.Context, who access.Caller, id string) error {
	if err := who.May(access.DeleteSession); err != nil {
		return err
	}
	for range tries {
		err := s.deleteSessionOnce(ctx, who, id)
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return errBusy
}

func (s *Store) deleteSessionOnce(ctx context.Context, who access.Caller, id string) error {
	err := s.Acts.Do(ctx, who, access.DeleteSession, func(tx *db.Tx, act *access.Act) error {
		p := &profile{organization: who.OrganizationID, uid: id}
		var name string
		// The row is held: whoever saves a session writes it too, before or after.
		err := tx.QueryRow(ctx, `UPDATE profiles SET forgets = forgets + 1 WHERE uid = $1 AND organization_id = $2 RETURNING name, agent_uid`,
			id, who.OrganizationID).Scan(&name, &p.agent)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		}
		if who.AgentIDs != nil {
			if err := mayUse(ctx, tx, who, p.agent); err != nil {
				return err
			}
		}
		act.On(subject, id, name)
		act.Closes(access.ProfileClosed, id)
		var revision int64
		err = tx.QueryRow(ctx, `SELECT revision, box FROM profile_sessions WHERE profile_uid = $1`, id).Scan(&revision, &p.session)
		if errors.Is(err, sql.ErrNoRows) {
			act.Nothing()
			return nil
		} else if err != nil {
			return err
		}
		return s.forget(ctx, tx, p, uint64(revision))
	})
	if err == nil {
		s.DB.Scrub()
	}
	return err
}

// forget puts what the manifest of p says of its session in the session's place.
func (s *Store) forget(ctx context.Context, tx *db.Tx, p *profile, revision uint64) error {
	digest := sha256.Sum256(p.session)
	box, err := s.Root.Seal(seal.AtRest, digest[:], p.forgottenAt(revision)...)
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `DELETE FROM profile_sessions WHERE profile_uid = $1 AND revision = $2`, p.uid, int64(revision))
	if err != nil {
		return err
	}
	if n == 0 {
		return errMoved
	}
	_, err = tx.Exec(ctx, `INSERT INTO profile_forgotten (profile_uid, revision, box, root_version) VALUES ($1, $2, $3, $4)`,
		p.uid, int64(revision), box, seal.BoxVersion(box))
	return err
}

// forgottenAt is where the box belongs that is left of p's session.
func (p *profile) forgottenAt(revision uint64) [][]byte {
	return [][]byte{seal.Text("forgotten-session"), seal.Text(p.organization), seal.Text(p.agent), seal.Text(p.uid), seal.Uint(revision)}
}

// remember takes away what is left of a session that was deleted.
func remember(ctx context.Context, tx *db.Tx, uid string) error {
	_, err := tx.Exec(ctx, `DELETE FROM profile_forgotten WHERE profile_uid = $1`, uid)
	return err
}

// resealForgotten is the part of [Store.Reseal] for what is left of sessions.
func (s *Store) resealForgotten(ctx context.Context, limit int) (done int, err error) {
	type old struct {
		profile
		revision   int64
		box, fresh []byte
	}
	rows, err := s.DB.Query(ctx, `
		SELECT p.organization_id, p.agent_uid, p.uid, f.revision, f.box
		FROM profile_forgotten f JOIN profiles p ON p.uid = f.profile_uid
		WHERE f.root_version <> $1 LIMIT $2`, s.Root.Active(), limit)
	if err != nil {
		return 0, fmt.Errorf("re-seal what is left of sessions: %w", err)
	}
	defer rows.Close()
	var all []old
	var broken []error
	for rows.Next() {
		var o old
		if err := rows.Scan(&o.organization, &o.agent, &o.uid, &o.revision, &o.box); err != nil {
			return 0, fmt.Errorf("re-seal what is left of sessions: %w", err)
		}
		if o.fresh, err = s.Root.Reseal(seal.AtRest, o.box, o.forgottenAt(uint64(o.revision))...); err != nil {
			broken = append(broken, fmt.Errorf("what is left of the session of auth profile %s: %w", o.uid, err))
			continue
		}
		all = append(all, o)
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("re-seal what is left of sessions: %w", err)
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		done = 0
		for _, o := range all {
			n, err := tx.Exec(ctx, `UPDATE profile_forgotten SET box = $1, root_version = $2 WHERE profile_uid = $3 AND box = $4`,
				o.fresh, seal.BoxVersion(o.fresh), o.uid, o.box)
			if err != nil {
				return err
			}
			done += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("re-seal what is left of sessions: %w", err)
	}
	return done, errors.Join(broken...)
}
