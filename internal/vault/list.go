package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/quota"
)

// Profile is what is told of a profile without its token. No value is in it.
// Nothing vouches for it but the database: the manifest is checked when a token
// opens the profile.
type Profile struct {
	ID          string
	Name        string
	AgentID     string // as the profile's organization addresses the agent
	Fields      []string
	KeepSession bool
	HasSession  bool
	Destination string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	LastUsedAt  time.Time // zero: never
}

// Get returns a profile of who's organization. To a key that is made for other
// agents than the profile's it is not there.
func (s *Store) Get(ctx context.Context, who access.Caller, id string) (Profile, error) {
	if err := who.May(access.ReadProfiles); err != nil {
		return Profile{}, err
	}
	found, err := s.list(ctx, `WHERE p.uid = $1 AND p.organization_id = $2`, id, who.OrganizationID)
	if err != nil {
		return Profile{}, err
	}
	if len(found) == 0 || who.MayUse(found[0].AgentID) != nil {
		return Profile{}, ErrNotFound
	}
	return found[0], nil
}

// List returns up to limit profiles that who's organization has for an agent,
// newest first, from after the one with the id after; "" is the beginning.
func (s *Store) List(ctx context.Context, who access.Caller, agentID, after string, limit int) ([]Profile, error) {
	if err := who.May(access.ReadProfiles); err != nil {
		return nil, err
	}
	agent, err := s.FindAgent(ctx, who, agentID)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, `
		WHERE p.organization_id = $1 AND p.agent_uid = $2 AND ($3 = '' OR p.uid < $3)
		ORDER BY p.uid DESC LIMIT $4`, who.OrganizationID, agent.UID, after, limit)
}

// list returns the profiles p that the rest of a query selects, newest first.
// It is one statement, so that each is shown as it was at one moment.
func (s *Store) list(ctx context.Context, rest string, args ...any) (found []Profile, err error) {
	rows, err := s.DB.Query(ctx, `
		SELECT p.uid, p.name, CASE WHEN a.organization_id = p.organization_id THEN a.id ELSE 'public/' || a.id END,
		       p.keep_session, CASE WHEN EXISTS (SELECT 1 FROM profile_sessions s WHERE s.profile_uid = p.uid) THEN 1 ELSE 0 END,
		       p.destination, p.created_at, p.updated_at, p.last_used_at, COALESCE(v.name, '')
		FROM profiles p JOIN agents a ON a.uid = p.agent_uid LEFT JOIN profile_values v ON v.profile_uid = p.uid
		WHERE p.uid IN (SELECT p.uid FROM profiles p `+rest+`)
		ORDER BY p.uid DESC, v.position, v.name`, args...)
	if err != nil {
		return nil, fmt.Errorf("list auth profiles: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Profile
		var field string
		var created, updated, used int64
		if err := rows.Scan(&p.ID, &p.Name, &p.AgentID, &p.KeepSession, &p.HasSession,
			&p.Destination, &created, &updated, &used, &field); err != nil {
			return nil, fmt.Errorf("list auth profiles: %w", err)
		}
		if n := len(found); n == 0 || found[n-1].ID != p.ID {
			p.CreatedAt, p.UpdatedAt, p.LastUsedAt = db.Time(created), db.Time(updated), db.Time(used)
			found = append(found, p)
		}
		if field != "" {
			last := &found[len(found)-1]
			last.Fields = append(last.Fields, field)
		}
	}
	return found, rows.Err()
}

// Delete removes a profile of who's organization. Its values can't be read from
// then on, with whatever token.
func (s *Store) Delete(ctx context.Context, who access.Caller, id string) error {
	err := s.Acts.Do(ctx, who, access.DeleteProfile, func(tx *db.Tx, act *access.Act) error {
		var name, agentUID string
		err := tx.QueryRow(ctx, `DELETE FROM profiles WHERE uid = $1 AND organization_id = $2 RETURNING name, agent_uid`,
			id, who.OrganizationID).Scan(&name, &agentUID)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		}
		if who.AgentIDs != nil {
			if err := mayUse(ctx, tx, who, agentUID); err != nil {
				return err // and nothing of the act happens
			}
		}
		act.On(subject, id, name)
		act.Closes(access.ProfileClosed, id)
		return quota.Give(ctx, tx, who.OrganizationID, quota.AuthProfiles, 1)
	})
	if err == nil {
		s.DB.Scrub()
	}
	return err
}

// mayUse returns ErrNotFound if who's key is made for other agents than the one
// with this uid.
func mayUse(ctx context.Context, tx *db.Tx, who access.Caller, agentUID string) error {
	var id string
	err := tx.QueryRow(ctx, `SELECT CASE WHEN organization_id = $1 THEN id ELSE 'public/' || id END FROM agents WHERE uid = $2`,
		who.OrganizationID, agentUID).Scan(&id)
	if err == nil && who.MayUse(id) != nil {
		err = ErrNotFound
	}
	return err
}
