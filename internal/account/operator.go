package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// errSetupCode is for a code that never was one and for one that was used.
var errSetupCode = fault.Field("setupCode", "is not this server's setup code, or was used already. The server prints it when it starts, as long as it has no operator")

// setupCode is the row of a code that makes whoever registers with it the owner
// of the operator's organization. The code has 130 random bits: nobody finds
// another text with its digest, so a look-up by digest tells nothing by its time.
type setupCode struct {
	digest         []byte
	organizationID string
	createdAt      time.Time
	vouched
}

const setupCodeColumns = `c.digest, c.organization_id, c.created_at, c.root_version, c.tag`

func (c *setupCode) into() []any {
	return []any{&c.digest, &c.organizationID, stamp{&c.createdAt}, &c.version, &c.tag}
}

func (c *setupCode) vouch() (seal.Use, [][]byte) {
	return seal.SetupCodeRow, [][]byte{seal.Text(c.organizationID), c.digest, seal.Int(db.Micros(c.createdAt))}
}

// EnsureOperator makes the operator's organization if there is none, and returns
// its id. While nobody owns it, it also returns the setup code that its owner
// registers with: have, the one that this server has kept, if it is good, else a
// new one; of that only the digest is in the database. Once it has an owner the
// code is "". Several servers may call it at once, and each has a code of its
// own; the first that is used ends them all.
func (s *Store) EnsureOperator(ctx context.Context, have string) (organizationID, code string, err error) {
	fresh := rand.Text()
	err = s.Acts.Do(ctx, access.NewServer(), access.MakeSetupCode, func(tx *db.Tx, act *access.Act) error {
		code = ""
		o, err := s.holdOperator(ctx, tx)
		if errors.Is(err, sql.ErrNoRows) {
			o, err = s.makeOperator(ctx, tx)
		}
		if err != nil {
			return err
		}
		organizationID = o.ID
		owned, err := s.hasOwner(ctx, tx, o.ID, "")
		if err != nil {
			return err
		}
		if owned {
			act.Nothing()
			return nil
		}
		if have != "" {
			switch _, err := s.setupCode(ctx, tx, have); {
			case err == nil:
				code = have
				act.Nothing()
				return nil
			case !errors.Is(err, errSetupCode):
				return err
			}
		}
		code = fresh
		act.On("organization", o.ID, o.Name)
		return s.insertSetupCode(ctx, tx, setupCode{digest: digest(fresh), organizationID: o.ID, createdAt: s.now()})
	})
	if err != nil {
		return "", "", err
	}
	return organizationID, code, nil
}

// holdOperator returns the operator's organization and keeps it to tx: who owns
// it, and with which code, is changed by one server at a time.
func (s *Store) holdOperator(ctx context.Context, tx *db.Tx) (Organization, error) {
	var o Organization
	if _, err := tx.Exec(ctx, `UPDATE organizations SET updated_at = updated_at WHERE operator = 1`); err != nil {
		return o, err
	}
	err := s.scan(tx.QueryRow(ctx, `SELECT `+organizationColumns+` FROM organizations o WHERE o.operator = 1`), &o)
	return o, err
}

func (s *Store) makeOperator(ctx context.Context, tx *db.Tx) (Organization, error) {
	o := s.newOrganization("Operator", "enterprise", true)
	none := int64(access.Unlimited)
	if err := o.setQuotas(Quotas{Agents: &none, AuthProfiles: &none, Keys: &none, QueuedRuns: &none}); err != nil {
		return o, err
	}
	written, err := s.insertOrganization(ctx, tx, &o)
	if err == nil && !written {
		err = db.ErrConflict // another server has made it since
	}
	return o, err
}

func (s *Store) insertSetupCode(ctx context.Context, tx *db.Tx, c setupCode) error {
	if err := s.tag(&c); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO setup_codes (digest, organization_id, created_at, root_version, tag) VALUES ($1, $2, $3, $4, $5)`,
		c.digest, c.organizationID, db.Micros(c.createdAt), c.version, c.vouched.tag)
	return err
}

// setupCode returns the row of code, or errSetupCode.
func (s *Store) setupCode(ctx context.Context, q db.Querier, code string) (setupCode, error) {
	var c setupCode
	err := s.scan(q.QueryRow(ctx, `SELECT `+setupCodeColumns+` FROM setup_codes c WHERE c.digest = $1`, digest(code)), &c)
	if errors.Is(err, sql.ErrNoRows) {
		return c, errSetupCode
	}
	return c, err
}

// spendSetupCode returns the organization that code is for, and ends all codes
// for it.
func (s *Store) spendSetupCode(ctx context.Context, tx *db.Tx, code string) (Organization, error) {
	o, err := s.holdOperator(ctx, tx)
	if err != nil {
		return o, fmt.Errorf("the operator's organization: %w", err)
	}
	c, err := s.setupCode(ctx, tx, code)
	if err != nil {
		return o, err
	}
	if c.organizationID != o.ID {
		return o, errSetupCode
	}
	_, err = tx.Exec(ctx, `DELETE FROM setup_codes WHERE organization_id = $1`, o.ID)
	return o, err
}

func digest(code string) []byte {
	sum := sha256.Sum256([]byte(code))
	return sum[:]
}
