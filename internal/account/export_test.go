package account

import (
	"context"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// What the tests need to see and to set up that no caller does.

const (
	SignInIdle = signInIdle
	SignInLife = signInLife
	MaxSignIns = maxSignIns

	BrowserLife = browserLife
)

var (
	SignInPace       = signInPace
	RegistrationPace = registrationPace
	FailurePace      = failurePace
	ParseEmail       = parseEmail
	NewCookie        = newCookie
)

func (s *Store) Purge(ctx context.Context) error { return s.purge(ctx) }

// ReadRefreshToken returns what a token names, if it has the form of one.
func ReadRefreshToken(text string) (family string, number uint32, mac []byte, err error) {
	t, err := parseRefreshToken(text)
	return t.family, t.number, t.mac, err
}

// NewRefreshToken makes a token as the server does.
func NewRefreshToken(family string, number uint32, key []byte) string {
	return newRefreshToken(family, number, key).Reveal()
}

// Hash returns the hash of an account's password.
func (s *Store) Hash(ctx context.Context, email string) (string, error) {
	a, err := s.accountByEmail(ctx, s.DB, email)
	if err != nil {
		return "", err
	}
	return s.openPassword(a)
}

// KeepHash gives an account another hash, as an older server would have made it.
func (s *Store) KeepHash(ctx context.Context, email, text string) error {
	return s.DB.Tx(ctx, func(tx *db.Tx) error {
		a, err := s.accountByEmail(ctx, tx, email)
		if err != nil {
			return err
		}
		return s.improve(ctx, tx, &a, proof{better: text})
	})
}

// RegisterHashed is Register with a password that is hashed already: a hash takes
// long, and few tests are about one.
func (s *Store) RegisterHashed(ctx context.Context, who access.Caller, in Registration, hash string) (Account, error) {
	return s.create(ctx, who, access.Register, in, in.Email, hash)
}

// Enter is SignIn without the password.
func (s *Store) Enter(ctx context.Context, who access.Caller, email string) (Tokens, error) {
	a, p, err := s.proofOf(ctx, email)
	if err != nil {
		return Tokens{}, err
	}
	return s.begin(ctx, who, a.ID, p)
}

// EnterBrowser is SignInBrowser without the password.
func (s *Store) EnterBrowser(ctx context.Context, who access.Caller, email string) (seal.Secret, error) {
	a, p, err := s.proofOf(ctx, email)
	if err != nil {
		return seal.Secret{}, err
	}
	return s.beginInBrowser(ctx, who, a.ID, p)
}

func (s *Store) proofOf(ctx context.Context, email string) (Account, proof, error) {
	a, err := s.accountByEmail(ctx, s.DB, email)
	if err != nil {
		return a, proof{}, err
	}
	text, err := s.openPassword(a)
	return a, proof{hash: text}, err
}

// Leave is Delete without the password.
func (s *Store) Leave(ctx context.Context, who access.Caller) error {
	a, err := s.accountByID(ctx, s.DB, who.AccountID)
	if err != nil {
		return err
	}
	text, err := s.openPassword(a)
	if err != nil {
		return err
	}
	return s.leave(ctx, who, proof{hash: text})
}

// AddOwner makes an account an owner of the operator's organization.
func (s *Store) AddOwner(ctx context.Context, accountID, organizationID string) error {
	return s.DB.Tx(ctx, func(tx *db.Tx) error {
		return s.insertMembership(ctx, tx, &Membership{AccountID: accountID, organizationID: organizationID, Role: access.Owner, CreatedAt: s.now()})
	})
}

// NewSetupCode makes another code for the operator's organization, as one more
// server would.
func (s *Store) NewSetupCode(ctx context.Context, code string) error {
	return s.DB.Tx(ctx, func(tx *db.Tx) error {
		o, err := s.holdOperator(ctx, tx)
		if err != nil {
			return err
		}
		return s.insertSetupCode(ctx, tx, setupCode{digest: digest(code), organizationID: o.ID, createdAt: s.now()})
	})
}
