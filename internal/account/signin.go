package account

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/password"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// How long a sign-in lasts. An account that is used stays signed in for a
// season; one that is not, for a month.
const (
	signInLife = 90 * 24 * time.Hour
	signInIdle = 30 * 24 * time.Hour

	// maxSignIns bounds how many an account has at once: programs sign in and
	// never out. The one whose token was renewed least lately makes room.
	maxSignIns = 100
)

// How often a network may try. The first two count whatever it tries, since that
// takes a place in the queue of passwords, and the third what it tries with one
// account.
var (
	signInPace       = throttle.Pace{Burst: 60, Every: time.Second} // a company behind one address signs in at nine
	registrationPace = throttle.Pace{Burst: 30, Every: time.Minute}
	failurePace      = throttle.Pace{Burst: 5, Every: time.Minute} // typing errors; then 1,440 guesses a day
)

func tooMany(wait time.Duration) error {
	if wait > 0 {
		return ErrTooManyTries.Retry(wait)
	}
	return nil
}

// Tokens are what signing in gives.
type Tokens struct {
	Access    seal.Secret
	Refresh   seal.Secret
	ExpiresIn time.Duration // of Access
}

// signIn is a family of refresh tokens, each of which is made from the one
// before; its id is the sid of its access tokens. Or it is the sign-in of a
// browser, which has a cookie (browser.go).
type signIn struct {
	id             string
	accountID      string
	organizationID string
	familyKey      []byte // a box
	number         int64  // of the refresh token that is good now; 0: it has none
	network        string // that it was made from
	createdAt      time.Time
	rotatedAt      time.Time
	expiresAt      time.Time
	endedAt        time.Time // zero: not ended
	vouched
}

const signInColumns = `s.id, s.account_id, s.organization_id, s.family_key, s.number, s.network,
	s.created_at, s.rotated_at, s.expires_at, s.ended_at, s.root_version, s.tag`

func (f *signIn) into() []any {
	return []any{&f.id, &f.accountID, &f.organizationID, &f.familyKey, &f.number, &f.network,
		stamp{&f.createdAt}, stamp{&f.rotatedAt}, stamp{&f.expiresAt}, stamp{&f.endedAt}, &f.version, &f.tag}
}

func (f *signIn) vouch() (seal.Use, [][]byte) {
	return seal.SignInRow, [][]byte{
		seal.Text(f.id), seal.Text(f.accountID), seal.Text(f.organizationID), f.familyKey, seal.Int(f.number), seal.Text(f.network),
		seal.Int(db.Micros(f.createdAt)), seal.Int(db.Micros(f.rotatedAt)), seal.Int(db.Micros(f.expiresAt)), seal.Int(db.Micros(f.endedAt)),
	}
}

func (f *signIn) box() (seal.Use, *[]byte, [][]byte) {
	kind := "refresh-family"
	if f.inBrowser() {
		kind = "browser-cookie"
	}
	return seal.AtRest, &f.familyKey, [][]byte{seal.Text(kind), seal.Text(f.id)}
}

func (f *signIn) isOpen(now time.Time) bool { return f.endedAt.IsZero() && now.Before(f.expiresAt) }

// renew sets when f expires, from its last use.
func (f *signIn) renew(now time.Time) {
	idle, life := signInIdle, signInLife
	if f.inBrowser() {
		idle, life = browserIdle, browserLife
	}
	f.rotatedAt, f.expiresAt = now, now.Add(idle)
	if last := f.createdAt.Add(life); f.expiresAt.After(last) {
		f.expiresAt = last
	}
}

// SignIn gives tokens for an e-mail and a password, for the organization that
// the account has belonged to the longest.
func (s *Store) SignIn(ctx context.Context, who access.Caller, email string, shown seal.Secret) (Tokens, error) {
	a, p, err := s.admit(ctx, who, email, shown)
	if err != nil {
		return Tokens{}, err
	}
	return s.begin(ctx, who, a.ID, p)
}

// admit finds out whose e-mail and password these are, if who may try.
func (s *Store) admit(ctx context.Context, who access.Caller, email string, shown seal.Secret) (Account, proof, error) {
	if err := who.May(access.SignIn); err != nil {
		return Account{}, proof{}, err
	}
	if err := tooMany(s.signIns.Take(signInPace, s.Now(), throttle.Network(who.Address))); err != nil {
		return Account{}, proof{}, err
	}
	email, err := parseEmail(email)
	if err != nil {
		return Account{}, proof{}, ErrInvalidCredentials // such an e-mail nobody has
	}
	text, err := password.Parse("password", shown)
	if err != nil {
		return Account{}, proof{}, ErrInvalidCredentials
	}
	defer clear(text)
	a, p, err := s.identify(ctx, who, email, text)
	if err != nil {
		return Account{}, proof{}, fmt.Errorf("sign in: %w", err)
	}
	return a, p, nil
}

// identify finds out whose e-mail and password these are.
func (s *Store) identify(ctx context.Context, who access.Caller, email string, text []byte) (Account, proof, error) {
	var account *Account
	a, err := s.accountByEmail(ctx, s.DB, email)
	switch {
	case err == nil:
		account = &a
	case !errors.Is(err, sql.ErrNoRows):
		return a, proof{}, err
	}
	known, err := s.knows(ctx, a.ID, throttle.Network(who.Address))
	if err != nil {
		return a, proof{}, err
	}
	// Counted before it is known whether it fails, or a hundred guesses at once
	// would all be the first. Whose network is known is not held up by strangers
	// who guess from other ones, nor by those who guess beside him.
	if !known {
		if err := tooMany(s.failures.Take(failurePace, s.Now(), "sign in", email, throttle.Network(who.Address))); err != nil {
			return a, proof{}, err
		}
	}
	p, err := s.prove(ctx, account, text, nil)
	return a, p, err
}

// knows reports whether an account has signed in from a network before, as far
// as that is remembered.
func (s *Store) knows(ctx context.Context, accountID, network string) (bool, error) {
	var f signIn
	err := s.scan(s.DB.QueryRow(ctx, `
		SELECT `+signInColumns+` FROM sign_ins s WHERE s.account_id = $1 AND s.network = $2 LIMIT 1`, accountID, network), &f)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// begin signs in the account that p was given for.
func (s *Store) begin(ctx context.Context, who access.Caller, accountID string, p proof) (Tokens, error) {
	key := make([]byte, familyKeySize)
	rand.Read(key)
	defer clear(key)
	f, err := s.insertNew(ctx, who, accountID, p, 1, key)
	if err != nil {
		return Tokens{}, err
	}
	return s.tokens(ctx, f, key)
}

// insertNew makes a sign-in of the account that p was given for. Number is its
// first; boxed goes into its box.
func (s *Store) insertNew(ctx context.Context, who access.Caller, accountID string, p proof, number int64, boxed []byte) (signIn, error) {
	id, now := db.NewID(), s.now()
	var f signIn
	err := s.Acts.Do(ctx, who, access.SignIn, func(tx *db.Tx, act *access.Act) error {
		a, err := s.hold(ctx, tx, accountID, p)
		if err != nil {
			return err
		}
		if err := s.improve(ctx, tx, &a, p); err != nil {
			return err
		}
		memberships, err := s.memberships(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		if len(memberships) == 0 {
			return ErrNotMember
		}
		f = signIn{id: id, accountID: a.ID, organizationID: memberships[0].Organization.ID, number: number, network: throttle.Network(who.Address), createdAt: now}
		f.renew(now)
		act.By(f.accountID, f.organizationID)
		act.On("sign_in", f.id, "")
		if err := s.makeRoom(ctx, tx, act, f); err != nil {
			return err
		}
		return s.insertSignIn(ctx, tx, &f, boxed)
	})
	return f, err
}

func (s *Store) signInByID(ctx context.Context, q db.Querier, id string) (signIn, error) {
	var f signIn
	err := s.scan(q.QueryRow(ctx, `SELECT `+signInColumns+` FROM sign_ins s WHERE s.id = $1`, id), &f)
	return f, err
}

// openSignIn returns a sign-in, whose it is, and for what organization.
func (s *Store) openSignIn(ctx context.Context, id string) (f signIn, a Account, m Membership, err error) {
	err = s.scan(s.DB.QueryRow(ctx, `
		SELECT `+signInColumns+`, `+accountColumns+`, `+membershipColumns+`, `+organizationColumns+`
		FROM sign_ins s
		JOIN accounts a ON a.id = s.account_id
		JOIN memberships m ON m.account_id = s.account_id AND m.organization_id = s.organization_id
		JOIN organizations o ON o.id = s.organization_id
		WHERE s.id = $1`, id), &f, &a, &m, &m.Organization)
	return f, a, m, err
}

func (s *Store) insertSignIn(ctx context.Context, tx *db.Tx, f *signIn, boxed []byte) error {
	var err error
	use, at, context := f.box()
	if *at, err = s.Root.Seal(use, boxed, context...); err != nil {
		return err
	}
	if err := s.tag(f); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO sign_ins (id, account_id, organization_id, family_key, number, network, created_at, rotated_at, expires_at, ended_at, root_version, tag)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		f.id, f.accountID, f.organizationID, f.familyKey, f.number, f.network, db.Micros(f.createdAt), db.Micros(f.rotatedAt),
		db.Micros(f.expiresAt), db.Micros(f.endedAt), f.version, f.vouched.tag)
	return err
}

// makeRoom forgets the sign-ins whose network f is remembered for from now on,
// and ends those that are too many with f.
func (s *Store) makeRoom(ctx context.Context, tx *db.Tx, act *access.Act, f signIn) error {
	if _, err := tx.Exec(ctx, `DELETE FROM sign_ins WHERE account_id = $1 AND network = $2 AND (ended_at <> 0 OR expires_at <= $3)`,
		f.accountID, f.network, db.Micros(f.createdAt)); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `
		SELECT `+signInColumns+` FROM sign_ins s WHERE s.account_id = $1 AND s.ended_at = 0
		ORDER BY s.rotated_at DESC, s.id DESC LIMIT $2 OFFSET $3`, f.accountID, maxSignIns, maxSignIns-1)
	_, err = s.endEach(ctx, tx, act, rows, err)
	return err
}

// endAll ends the open sign-ins of an account but the one called besides, and
// says how many.
func (s *Store) endAll(ctx context.Context, tx *db.Tx, act *access.Act, accountID, besides string) (int, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+signInColumns+` FROM sign_ins s WHERE s.account_id = $1 AND s.id <> $2 AND s.ended_at = 0`, accountID, besides)
	return s.endEach(ctx, tx, act, rows, err)
}

func (s *Store) endEach(ctx context.Context, tx *db.Tx, act *access.Act, rows *sql.Rows, err error) (int, error) {
	open, err := collect(s, rows, err, func(f *signIn) []row { return []row{f} })
	if err != nil {
		return 0, err
	}
	for i := range open {
		if err := s.end(ctx, tx, act, &open[i]); err != nil {
			return 0, err
		}
	}
	return len(open), nil
}

// end ends a sign-in: its tokens are refused from then on.
func (s *Store) end(ctx context.Context, tx *db.Tx, act *access.Act, f *signIn) error {
	act.Closes(access.SignInClosed, f.id)
	f.endedAt = s.now()
	return s.saveSignIn(ctx, tx, f)
}

// saveSignIn writes what of f can change, if its row still has the tag that f
// was read with.
func (s *Store) saveSignIn(ctx context.Context, tx *db.Tx, f *signIn) error {
	old := f.vouched.tag
	if err := s.tag(f); err != nil {
		return err
	}
	return changed(tx.Exec(ctx, `
		UPDATE sign_ins SET family_key = $1, number = $2, rotated_at = $3, expires_at = $4, ended_at = $5, root_version = $6, tag = $7
		WHERE id = $8 AND tag = $9`,
		f.familyKey, f.number, db.Micros(f.rotatedAt), db.Micros(f.expiresAt), db.Micros(f.endedAt), f.version, f.vouched.tag, f.id, old))
}
