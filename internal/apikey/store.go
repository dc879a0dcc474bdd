package apikey

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/quota"
	"github.com/keyward/keyward/internal/seal"
)

// Store keeps the keys.
type Store struct {
	Acts   *access.Acts
	DB     *db.DB
	Root   *seal.Root
	Now    func() time.Time
	Prefix string // what new keys begin with

	// HoldMember returns an error if the account is not a member of the
	// organization, and keeps it one until tx ends.
	HoldMember func(ctx context.Context, tx *db.Tx, accountID, organizationID string) error

	// HasAgent returns nil if who can name an agent so.
	HasAgent func(ctx context.Context, who access.Caller, id string) error
}

const columns = `k.id, k.organization_id, k.account_id, k.name, k.type, k.made_by_key, k.created_at, k.updated_at,
	k.expires_at, k.revoked_at, k.external_id, k.disabled, k.settings, k.made_with, k.root_version, k.tag`

// scan reads a row of columns, and what else is selected into more, and checks
// the row's tag.
func (s *Store) scan(row interface{ Scan(...any) error }, more ...any) (Key, error) {
	var k Key
	var created, updated, expires, revoked, disabled int64
	err := row.Scan(append([]any{&k.ID, &k.OrganizationID, &k.AccountID, &k.Name, &k.Type, &k.MadeByKey, &created, &updated,
		&expires, &revoked, &k.ExternalID, &disabled, &k.settings, &k.madeWith, &k.version, &k.tag}, more...)...)
	if err != nil {
		return Key{}, err
	}
	k.CreatedAt, k.UpdatedAt, k.ExpiresAt, k.RevokedAt = db.Time(created), db.Time(updated), db.Time(expires), db.Time(revoked)
	if k.Disabled = disabled == 1; disabled != 0 && disabled != 1 {
		return Key{}, fmt.Errorf("api key %d: %w", k.ID, seal.ErrTag)
	}
	if err := s.Root.CheckTag(seal.APIKeyRow, k.version, k.tag, k.fields()...); err != nil {
		return Key{}, fmt.Errorf("api key %d: %w", k.ID, err)
	}
	if err := k.unkeep(); err != nil {
		return Key{}, fmt.Errorf("the settings of api key %d: %w", k.ID, err)
	}
	return k, nil
}

// now is the time, as exact as it is kept.
func (s *Store) now() time.Time { return db.Time(db.Micros(s.Now())) }

// Create makes a key in who's organization. Its secrets can't be had again.
func (s *Store) Create(ctx context.Context, who access.Caller, in Request) (Issued, error) {
	return s.create(ctx, who, access.CreateKey, "name", ErrDuplicateName, in)
}

// CreateOwn makes a personal key without expiry for a signed-in account.
func (s *Store) CreateOwn(ctx context.Context, who access.Caller, nickname string) (Issued, error) {
	return s.create(ctx, who, access.CreateOwnKey, "nickname", ErrDuplicateNickname, Request{Name: nickname})
}

func (s *Store) create(ctx context.Context, who access.Caller, action access.Action, field string, duplicate error, in Request) (Issued, error) {
	if err := who.May(action); err != nil {
		return Issued{}, err
	}
	k, err := in.settle(who, field, s.now())
	if err != nil {
		return Issued{}, err
	}
	if err := s.checkAgents(ctx, who, k.AgentIDs); err != nil {
		return Issued{}, err
	}
	k.ID = newID()
	var out Issued
	err = s.Acts.Do(ctx, who, action, func(tx *db.Tx, act *access.Act) error {
		if err := s.HoldMember(ctx, tx, who.AccountID, who.OrganizationID); err != nil {
			return err
		}
		asking, err := s.asking(ctx, tx, who, action)
		if err != nil {
			return err
		}
		if asking != nil {
			if err := k.notStronger(asking.Key); err != nil {
				return err
			}
			k.madeWith = asking.given
		}
		out, err = s.make(ctx, tx, act, who, k)
		return err
	})
	if db.IsDuplicate(err) {
		// A public id met twice is one in 2^53; the name it is.
		return Issued{}, duplicate
	}
	if err != nil {
		return Issued{}, err
	}
	return out, nil
}

// CreateIn makes a key of who inside tx, as what act does: who is not asking now,
// but has agreed to it. It is kept a member until tx ends.
func (s *Store) CreateIn(ctx context.Context, tx *db.Tx, act *access.Act, who access.Caller, in Request) (Issued, error) {
	k, err := in.settle(who, "name", s.now())
	if err != nil {
		return Issued{}, err
	}
	if err := s.HoldMember(ctx, tx, who.AccountID, who.OrganizationID); err != nil {
		return Issued{}, err
	}
	k.ID = newID()
	return s.make(ctx, tx, act, who, k)
}

// make writes the rows of k and says so in act.
func (s *Store) make(ctx context.Context, tx *db.Tx, act *access.Act, who access.Caller, k Key) (Issued, error) {
	if err := quota.Take(ctx, tx, k.OrganizationID, quota.Keys, who.Quotas.Keys); err != nil {
		return Issued{}, err
	}
	if err := s.insert(ctx, tx, k); err != nil {
		return Issued{}, err
	}
	act.On("key", strconv.FormatInt(k.ID, 10), k.Name)
	act.Note("type", k.Type)
	return s.issue(ctx, tx, k, nil) // it ends with the key, so that it needs no maker
}

func (s *Store) insert(ctx context.Context, tx *db.Tx, k Key) error {
	version, tag := s.Root.Tag(seal.APIKeyRow, k.fields()...)
	_, err := tx.Exec(ctx, `
		INSERT INTO api_keys (id, organization_id, account_id, name, type, made_by_key, created_at, updated_at, expires_at, revoked_at,
		                      external_id, disabled, settings, made_with, root_version, tag)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13, $14, $15)`,
		k.ID, k.OrganizationID, k.AccountID, k.Name, k.Type, k.MadeByKey, db.Micros(k.CreatedAt), db.Micros(k.UpdatedAt), db.Micros(k.ExpiresAt),
		k.ExternalID, k.Disabled, k.settings, blob(k.madeWith), version, tag)
	return err
}

// checkAgents says which of the agents that a key is to be for there is not.
func (s *Store) checkAgents(ctx context.Context, who access.Caller, ids []string) error {
	for i, id := range ids {
		if who.MayUse(id) != nil {
			continue // it is more than who's key has, whether there is one or not
		}
		err := s.HasAgent(ctx, who, id)
		if err == nil {
			continue
		}
		if kind := fault.Of(err).Kind; kind == fault.NotFound || kind == fault.Invalid {
			return entry("agent_ids", i, "names no agent that there is")
		}
		return err
	}
	return nil
}

// asker is a key that asks for an act.
type asker struct {
	Key
	given []byte // the digest of the value that it is presented as, if another key gave it that
}

// asking returns the key that who presents as it is now, and keeps it and the
// value that it is presented as so until tx ends: what the request was let in
// with may be out of date. It is nil if who presents none.
func (s *Store) asking(ctx context.Context, tx *db.Tx, who access.Caller, action access.Action) (*asker, error) {
	if who.KeyID == 0 {
		return nil, nil
	}
	if err := hold(ctx, tx, who.KeyID); err != nil {
		return nil, err
	}
	k, err := s.get(ctx, tx, who, who.KeyID)
	if err != nil {
		return nil, err
	}
	r, err := s.holdSecret(ctx, tx, who)
	if err != nil {
		return nil, err
	}
	a := &asker{Key: k}
	if r.madeByKey != 0 {
		a.given = r.digest
	}
	if err := (Found{Key: k, SecretExpiresAt: db.Time(r.expiresAt)}).Usable(s.Now()); err != nil {
		return nil, err
	}
	return a, k.Scopes.Lacks(access.ScopesFor(action))
}

// hold refuses if the key that acts is revoked, and makes its revocation wait
// for tx: so a revocation finds all that it made.
func hold(ctx context.Context, tx *db.Tx, keyID int64) error {
	n, err := tx.Exec(ctx, `UPDATE api_keys SET updated_at = updated_at WHERE id = $1 AND revoked_at = 0`, keyID)
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrRevoked
	}
	return nil
}

// newID makes a public key id: JSON numbers are exact below 2^53.
func newID() int64 {
	var b [8]byte
	for {
		rand.Read(b[:])
		if id := int64(binary.BigEndian.Uint64(b[:]) >> 11); id != 0 {
			return id
		}
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func seconds(d time.Duration) string { return number(int64(d / time.Second)) }
