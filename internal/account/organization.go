package account

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// ErrOrganizationNotFound says that the operator named no organization.
var ErrOrganizationNotFound = fault.New(fault.NotFound, "ORGANIZATION_NOT_FOUND", "There is no organization with this id.")

// Organization owns everything but accounts.
type Organization struct {
	ID        string
	Name      string
	Operator  bool // it owns the server; there is one
	Tier      string
	Limits    Limits
	Quotas    Quotas
	CreatedAt time.Time
	UpdatedAt time.Time

	limits, quotas string // as they are kept
	vouched
}

// Quotas are the quotas that an organization has of its own. Nil is what the
// settings say; access.Unlimited is no quota.
type Quotas struct {
	Agents       *int64 `json:"agents,omitempty"`
	AuthProfiles *int64 `json:"auth_profiles,omitempty"`
	Keys         *int64 `json:"keys,omitempty"`
	QueuedRuns   *int64 `json:"queued_runs,omitempty"`
}

func (q Quotas) check() error {
	for field, n := range map[string]*int64{"quotas.agents": q.Agents, "quotas.auth_profiles": q.AuthProfiles, "quotas.keys": q.Keys, "quotas.queued_runs": q.QueuedRuns} {
		if n != nil && *n < access.Unlimited {
			return fault.Field(field, "must be 0 or more, or -1 for unlimited")
		}
	}
	return nil
}

// over returns q, with others where it leaves something open.
func (q Quotas) over(others access.Quotas) access.Quotas {
	for _, own := range []struct{ from, to *int64 }{
		{q.Agents, &others.Agents}, {q.AuthProfiles, &others.AuthProfiles}, {q.Keys, &others.Keys}, {q.QueuedRuns, &others.QueuedRuns},
	} {
		if own.from != nil {
			*own.to = *own.from
		}
	}
	return others
}

const organizationColumns = `o.id, o.name, o.operator, o.tier, o.limits, o.quotas, o.created_at, o.updated_at, o.root_version, o.tag`

func (o *Organization) into() []any {
	return []any{&o.ID, &o.Name, &o.Operator, &o.Tier, jsonText{&o.limits, &o.Limits}, jsonText{&o.quotas, &o.Quotas}, stamp{&o.CreatedAt}, stamp{&o.UpdatedAt}, &o.version, &o.tag}
}

func (o *Organization) vouch() (seal.Use, [][]byte) {
	return seal.OrganizationRow, [][]byte{
		seal.Text(o.ID), seal.Text(o.Name), seal.Flag(o.Operator), seal.Text(o.Tier),
		seal.Text(o.limits), seal.Text(o.quotas), seal.Int(db.Micros(o.CreatedAt)),
	}
}

// jsonText reads a column of JSON: as it is kept, which is what is tagged, and
// what it says.
type jsonText struct {
	kept *string
	says any
}

// Scan implements sql.Scanner.
func (j jsonText) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return errors.New("account: JSON in the database is not a text")
	}
	*j.kept = text
	return json.Unmarshal([]byte(text), j.says)
}

// setQuotas is the one way to give o other quotas: the text is what is tagged.
func (o *Organization) setQuotas(q Quotas) error {
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	o.Quotas, o.quotas = q, string(text)
	return nil
}

// setLimits is the same for limits.
func (o *Organization) setLimits(l Limits) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	o.Limits, o.limits = l, string(text)
	return nil
}

func (s *Store) newOrganization(name, tier string, operator bool) Organization {
	now := s.now()
	return Organization{
		ID: db.NewID(), Name: name, Operator: operator, Tier: tier, CreatedAt: now, UpdatedAt: now, limits: "{}", quotas: "{}",
	}
}

// insertOrganization reports whether it was written: a second organization of
// the operator is not.
func (s *Store) insertOrganization(ctx context.Context, tx *db.Tx, o *Organization) (bool, error) {
	if err := s.tag(o); err != nil {
		return false, err
	}
	n, err := tx.Exec(ctx, `
		INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
		o.ID, o.Name, o.Operator, o.Tier, o.limits, o.quotas, db.Micros(o.CreatedAt), db.Micros(o.UpdatedAt), o.version, o.tag)
	return n > 0, err
}

// saveOrganization writes what of o can change, if its row still has the tag that
// o was read with.
func (s *Store) saveOrganization(ctx context.Context, tx *db.Tx, o *Organization) error {
	old := o.vouched.tag
	if err := s.tag(o); err != nil {
		return err
	}
	return changed(tx.Exec(ctx, `
		UPDATE organizations SET tier = $1, limits = $2, quotas = $3, updated_at = $4, root_version = $5, tag = $6 WHERE id = $7 AND tag = $8`,
		o.Tier, o.limits, o.quotas, db.Micros(o.UpdatedAt), o.version, o.vouched.tag, o.ID, old))
}

// Membership is what an account is in an organization.
type Membership struct {
	AccountID    string
	Organization Organization
	Role         access.Role
	CreatedAt    time.Time

	organizationID string
	vouched
}

const membershipColumns = `m.account_id, m.organization_id, m.role, m.created_at, m.root_version, m.tag`

func (m *Membership) into() []any {
	return []any{&m.AccountID, &m.organizationID, &m.Role, stamp{&m.CreatedAt}, &m.version, &m.tag}
}

func (m *Membership) vouch() (seal.Use, [][]byte) {
	return seal.MembershipRow, [][]byte{
		seal.Text(m.AccountID), seal.Text(m.organizationID), seal.Text(string(m.Role)), seal.Int(db.Micros(m.CreatedAt)),
	}
}

func (s *Store) insertMembership(ctx context.Context, tx *db.Tx, m *Membership) error {
	if err := s.tag(m); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO memberships (account_id, organization_id, role, created_at, root_version, tag) VALUES ($1, $2, $3, $4, $5, $6)`,
		m.AccountID, m.organizationID, string(m.Role), db.Micros(m.CreatedAt), m.version, m.tag)
	return err
}

// memberships returns what an account belongs to, the oldest first.
func (s *Store) memberships(ctx context.Context, q db.Querier, accountID string) ([]Membership, error) {
	rows, err := q.Query(ctx, `
		SELECT `+membershipColumns+`, `+organizationColumns+`
		FROM memberships m JOIN organizations o ON o.id = m.organization_id
		WHERE m.account_id = $1 ORDER BY m.created_at, m.organization_id`, accountID)
	return collect(s, rows, err, func(m *Membership) []row { return []row{m, &m.Organization} })
}

// caller returns what m lets its account do.
func (s *Store) caller(m Membership) access.Caller {
	return access.Caller{
		AccountID: m.AccountID, OrganizationID: m.Organization.ID, Operator: m.Organization.Operator, Role: m.Role,
		Tier: m.Organization.Tier, Limits: m.Organization.EffectiveLimits(), Quotas: m.Organization.Quotas.over(s.DefaultQuotas),
	}
}

// ServiceCaller returns the caller that a service key of an organization is: it
// acts for the organization, and no account is behind it. It is ErrNotMember if
// the organization is gone.
func (s *Store) ServiceCaller(ctx context.Context, organizationID string) (access.Caller, error) {
	var o Organization
	err := s.scan(s.DB.QueryRow(ctx, `SELECT `+organizationColumns+` FROM organizations o WHERE o.id = $1`, organizationID), &o)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return access.Caller{}, ErrNotMember
	case err != nil:
		return access.Caller{}, fmt.Errorf("find the organization of a service key: %w", err)
	}
	return s.caller(Membership{Organization: o, Role: access.Owner}), nil
}

// Member returns the caller that an account is in an organization, without the
// credential that it shows. It is ErrNotMember if it does not belong to it.
func (s *Store) Member(ctx context.Context, accountID, organizationID string) (access.Caller, error) {
	var a Account
	var m Membership
	err := s.scan(s.DB.QueryRow(ctx, `
		SELECT `+accountColumns+`, `+membershipColumns+`, `+organizationColumns+`
		FROM memberships m JOIN accounts a ON a.id = m.account_id JOIN organizations o ON o.id = m.organization_id
		WHERE m.account_id = $1 AND m.organization_id = $2`, accountID, organizationID), &a, &m, &m.Organization)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return access.Caller{}, ErrNotMember
	case err != nil:
		return access.Caller{}, fmt.Errorf("find a member: %w", err)
	}
	return s.caller(m), nil
}

// HoldMember returns ErrNotMember if an account does not belong to an
// organization, and keeps it in it until tx ends.
func (s *Store) HoldMember(ctx context.Context, tx *db.Tx, accountID, organizationID string) error {
	n, err := tx.Exec(ctx, `UPDATE memberships SET created_at = created_at WHERE account_id = $1 AND organization_id = $2`,
		accountID, organizationID)
	if err == nil && n == 0 {
		err = ErrNotMember
	}
	return err
}

// hasOwner reports whether an organization has an owner other than the account
// besides, which may be "".
func (s *Store) hasOwner(ctx context.Context, q db.Querier, organizationID, besides string) (bool, error) {
	var m Membership
	err := s.scan(q.QueryRow(ctx, `
		SELECT `+membershipColumns+` FROM memberships m
		WHERE m.organization_id = $1 AND m.role = $2 AND m.account_id <> $3 LIMIT 1`, organizationID, string(access.Owner), besides), &m)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Organizations returns up to limit organizations, newest first, from the one
// after the organization with the id after; "" is the beginning.
func (s *Store) Organizations(ctx context.Context, who access.Caller, after string, limit int) ([]Organization, error) {
	if err := who.May(access.ListOrganizations); err != nil {
		return nil, err
	}
	rows, err := s.DB.Query(ctx, `
		SELECT `+organizationColumns+` FROM organizations o WHERE $1 = '' OR o.id < $1 ORDER BY o.id DESC LIMIT $2`, after, limit)
	list, err := collect(s, rows, err, func(o *Organization) []row { return []row{o} })
	if err != nil {
		return nil, fmt.Errorf("list organizations: %w", err)
	}
	return list, nil
}

// Change is what the operator changes of an organization; nil is left as it is.
type Change struct {
	Tier   *string
	Limits *Limits // all of them: what is nil in it goes back to the tier's
	Quotas *Quotas // all of them: what is nil in it goes back to the settings
}

// ChangeOrganization changes an organization, for the operator.
func (s *Store) ChangeOrganization(ctx context.Context, who access.Caller, id string, change Change) (Organization, error) {
	var o Organization
	if err := who.May(access.ChangeOrganization); err != nil {
		return o, err
	}
	if change.Tier != nil {
		if _, known := tiers[*change.Tier]; !known {
			return o, fault.Field("tier", "must be free, pro or enterprise")
		}
	}
	if change.Limits != nil {
		if err := change.Limits.check(); err != nil {
			return o, err
		}
	}
	if change.Quotas != nil {
		if err := change.Quotas.check(); err != nil {
			return o, err
		}
	}
	err := s.Acts.Do(ctx, who, access.ChangeOrganization, func(tx *db.Tx, act *access.Act) error {
		o = Organization{}
		err := s.scan(tx.QueryRow(ctx, `SELECT `+organizationColumns+` FROM organizations o WHERE o.id = $1`, id), &o)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrOrganizationNotFound
		} else if err != nil {
			return err
		}
		act.On("organization", o.ID, o.Name)
		if change.Tier != nil {
			o.Tier = *change.Tier
			act.Note("tier", o.Tier)
		}
		if change.Limits != nil {
			if err := o.setLimits(*change.Limits); err != nil {
				return err
			}
			act.Note("limits", o.limits)
		}
		if change.Quotas != nil {
			if err := o.setQuotas(*change.Quotas); err != nil {
				return err
			}
			act.Note("quotas", o.quotas)
		}
		// Whoever remembers a caller of it remembers its tier, limits and quotas.
		act.Closes(access.OrganizationClosed, o.ID)
		o.UpdatedAt = s.now()
		return s.saveOrganization(ctx, tx, &o)
	})
	if err != nil {
		return Organization{}, err
	}
	return o, nil
}
