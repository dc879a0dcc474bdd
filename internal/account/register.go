package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/password"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// Registration asks for an account.
type Registration struct {
	Name      string
	Email     string
	Password  seal.Secret
	SetupCode string // "": none
}

// Register makes an account, and an organization that it owns. With the setup
// code that is the operator's organization, which is there already.
//
// A visitor registers himself, if sign-up is open or he has the setup code; the
// operator makes accounts for others.
func (s *Store) Register(ctx context.Context, who access.Caller, in Registration) (Account, error) {
	action := access.Register
	if who.Role != access.Visitor {
		action = access.CreateAccount
	}
	if err := who.May(action); err != nil {
		return Account{}, err
	}
	visits := action == access.Register
	if visits && !s.SignupOpen && in.SetupCode == "" {
		return Account{}, ErrSignupClosed
	}
	if err := checkName(in.Name); err != nil {
		return Account{}, err
	}
	email, err := parseEmail(in.Email)
	if err != nil {
		return Account{}, err
	}
	text, err := password.Parse("password", in.Password)
	if err != nil {
		return Account{}, err
	}
	defer clear(text)
	if visits {
		if err := tooMany(s.registrations.Take(registrationPace, s.Now(), throttle.Network(who.Address))); err != nil {
			return Account{}, err
		}
	}
	if err := s.beforeHash(ctx, email, in.SetupCode); err != nil {
		return Account{}, fmt.Errorf("register: %w", err)
	}
	purpose := password.Checking
	if visits {
		purpose = password.Registering
	}
	var h string
	if err := s.hashes.Do(ctx, purpose, func() { h = password.New(text).Text() }); err != nil {
		return Account{}, fmt.Errorf("register: %w", err)
	}
	return s.create(ctx, who, action, in, email, h)
}

// beforeHash refuses what will be refused in the end, before it costs a hash.
func (s *Store) beforeHash(ctx context.Context, email, setupCode string) error {
	if setupCode != "" {
		if _, err := s.setupCode(ctx, s.DB, setupCode); err != nil {
			return err
		}
	}
	_, err := s.accountByEmail(ctx, s.DB, email)
	switch {
	case err == nil:
		return ErrEmailTaken
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	return nil
}

// create makes the account that in asks for, with its e-mail and the hash of its
// password as they are kept.
func (s *Store) create(ctx context.Context, who access.Caller, action access.Action, in Registration, email, h string) (Account, error) {
	now := s.now()
	a := Account{ID: db.NewID(), Name: in.Name, Email: email, CreatedAt: now, UpdatedAt: now}
	if err := s.setPassword(&a, h); err != nil {
		return Account{}, fmt.Errorf("register: %w", err)
	}
	err := s.Acts.Do(ctx, who, action, func(tx *db.Tx, act *access.Act) error {
		o, err := s.organizationFor(ctx, tx, a, in.SetupCode)
		if err != nil {
			return err
		}
		if err := s.insert(ctx, tx, &a); err != nil {
			return err
		}
		m := Membership{AccountID: a.ID, organizationID: o.ID, Role: access.Owner, CreatedAt: now}
		if err := s.insertMembership(ctx, tx, &m); err != nil {
			return err
		}
		if who.Role == access.Visitor {
			act.By(a.ID, o.ID)
		}
		act.On("account", a.ID, a.Email)
		act.Note("organization", o.ID)
		return nil
	})
	switch {
	case db.IsDuplicate(err): // ids are never met twice; the e-mail it is
		return Account{}, ErrEmailTaken
	case err != nil:
		return Account{}, err
	}
	if in.SetupCode != "" && s.SetupCodeSpent != nil {
		s.SetupCodeSpent()
	}
	return a, nil
}

// organizationFor returns the organization that a new account owns: one of its
// own, or the operator's for the setup code, which is spent by it.
func (s *Store) organizationFor(ctx context.Context, tx *db.Tx, a Account, setupCode string) (Organization, error) {
	if setupCode != "" {
		return s.spendSetupCode(ctx, tx, setupCode)
	}
	o := s.newOrganization(a.Name+"'s organization", s.DefaultTier, false)
	_, err := s.insertOrganization(ctx, tx, &o)
	return o, err
}
