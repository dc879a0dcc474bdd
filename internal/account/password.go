package account

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/password"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// setPassword boxes a hash as a's password.
func (s *Store) setPassword(a *Account, h string) (err error) {
	a.password, err = s.Root.Seal(seal.Password, []byte(h), seal.Text(a.ID))
	return err
}

func (s *Store) openPassword(a Account) (string, error) {
	text, err := s.Root.Open(seal.Password, a.password, seal.Text(a.ID))
	if err != nil {
		return "", fmt.Errorf("the password of account %s: %w", a.ID, err)
	}
	return string(text), nil
}

// proof says that somebody knew the password of an account.
type proof struct {
	hash   string // that it fitted
	better string // a hash to keep instead; "": none
}

// prove waits in the queue to find out whether a password is a's; a is nil for an
// e-mail that nobody has, which costs the same and is answered alike. If next is
// given, the better hash is of it, else one is made if a's costs too little.
func (s *Store) prove(ctx context.Context, a *Account, text, next []byte) (proof, error) {
	var p proof
	kept := password.None()
	if a != nil {
		var err error
		if p.hash, err = s.openPassword(*a); err != nil {
			return proof{}, err
		}
		if kept, err = password.ParseHash(p.hash); err != nil {
			return proof{}, fmt.Errorf("account %s: %w", a.ID, err)
		}
	}
	fits := false
	err := s.hashes.Do(ctx, password.Checking, func() {
		fits = kept.Fits(text) && a != nil
		switch {
		case fits && next != nil:
			p.better = password.New(next).Text()
		case fits && !kept.IsCurrent():
			p.better = password.New(text).Text()
		}
	})
	if err != nil {
		return proof{}, err
	}
	if !fits {
		return proof{}, ErrInvalidCredentials
	}
	return p, nil
}

// hold returns the account that p was given for, and makes every other change of
// it wait for tx. If it has another password by now, or is gone, p is worth
// nothing.
func (s *Store) hold(ctx context.Context, tx *db.Tx, accountID string, p proof) (Account, error) {
	if _, err := tx.Exec(ctx, `UPDATE accounts SET updated_at = updated_at WHERE id = $1`, accountID); err != nil {
		return Account{}, err
	}
	a, err := s.accountByID(ctx, tx, accountID)
	if errors.Is(err, sql.ErrNoRows) {
		return Account{}, ErrInvalidCredentials
	} else if err != nil {
		return Account{}, err
	}
	text, err := s.openPassword(a)
	if err != nil {
		return Account{}, err
	}
	if subtle.ConstantTimeCompare([]byte(text), []byte(p.hash)) != 1 {
		return Account{}, ErrInvalidCredentials
	}
	return a, nil
}

// improve keeps the better hash of p, if there is one.
func (s *Store) improve(ctx context.Context, tx *db.Tx, a *Account, p proof) error {
	if p.better == "" {
		return nil
	}
	if err := s.setPassword(a, p.better); err != nil {
		return err
	}
	return s.save(ctx, tx, a)
}

// confirm is prove for an account that is signed in and gives its password again.
// An access token that was stolen guesses no faster than a stranger.
func (s *Store) confirm(ctx context.Context, who access.Caller, shown seal.Secret, next []byte) (proof, error) {
	if err := tooMany(s.failures.Take(failurePace, s.Now(), "confirm", who.AccountID, throttle.Network(who.Address))); err != nil {
		return proof{}, err
	}
	text, err := password.Parse("password", shown)
	if err != nil {
		return proof{}, ErrInvalidCredentials // such a password nobody has
	}
	defer clear(text)
	a, err := s.accountByID(ctx, s.DB, who.AccountID)
	if errors.Is(err, sql.ErrNoRows) {
		return proof{}, ErrInvalidCredentials
	} else if err != nil {
		return proof{}, err
	}
	return s.prove(ctx, &a, text, next)
}

// ChangePassword gives who's account another password and ends its other
// sign-ins.
func (s *Store) ChangePassword(ctx context.Context, who access.Caller, old, new seal.Secret) error {
	if err := who.May(access.ChangePassword); err != nil {
		return err
	}
	next, err := password.Parse("newPassword", new)
	if err != nil {
		return err
	}
	defer clear(next)
	p, err := s.confirm(ctx, who, old, next)
	if err != nil {
		return fmt.Errorf("change a password: %w", err)
	}
	return s.Acts.Do(ctx, who, access.ChangePassword, func(tx *db.Tx, act *access.Act) error {
		a, err := s.hold(ctx, tx, who.AccountID, p)
		if err != nil {
			return err
		}
		a.UpdatedAt = s.now()
		if err := s.improve(ctx, tx, &a, p); err != nil {
			return err
		}
		ended, err := s.endAll(ctx, tx, act, a.ID, who.SignInID)
		if err != nil {
			return err
		}
		act.On("account", a.ID, a.Email)
		act.Note("sign_ins_ended", strconv.Itoa(ended))
		return nil
	})
}
