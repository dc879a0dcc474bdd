package device

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// wrongPace is how often a network, and an account, may type a code that there
// is not.
var wrongPace = throttle.Pace{Burst: 5, Every: CodeLife / 5}

// Find returns the login that waits with a code, for who to answer. He has signed
// in at signedInAt.
func (s *Store) Find(ctx context.Context, who access.Caller, signedInAt time.Time, typed string) (Login, error) {
	l, err := s.find(ctx, who, access.FindDevice, signedInAt, typed)
	if err == nil && l.State != Pending {
		err = ErrWrongCode
	}
	return l, err
}

// Approve lets the program that waits with a code have a key of who. Once more is
// no error.
func (s *Store) Approve(ctx context.Context, who access.Caller, signedInAt time.Time, typed string) (Login, error) {
	return s.answer(ctx, who, access.ApproveDevice, signedInAt, typed, Approved)
}

// Deny refuses the program that waits with a code. Once more is no error.
func (s *Store) Deny(ctx context.Context, who access.Caller, signedInAt time.Time, typed string) (Login, error) {
	return s.answer(ctx, who, access.DenyDevice, signedInAt, typed, Denied)
}

func (s *Store) answer(ctx context.Context, who access.Caller, action access.Action, signedInAt time.Time, typed string, to State) (Login, error) {
	l, err := s.find(ctx, who, action, signedInAt, typed)
	if err != nil {
		return Login{}, err
	}
	id := l.ID
	err = s.Acts.Do(ctx, who, action, func(tx *db.Tx, act *access.Act) error {
		if l, err = s.hold(ctx, tx, id); errors.Is(err, sql.ErrNoRows) {
			return ErrWrongCode
		} else if err != nil {
			return err
		}
		if l.over(s.Now()) {
			return ErrWrongCode
		}
		if l.AccountID == who.AccountID && l.OrganizationID == who.OrganizationID && (l.State == to || l.State == Completed && to == Approved) {
			act.Nothing()
			return nil
		}
		if !l.move(to) {
			return ErrWrongCode // somebody else was quicker, or he himself has said otherwise
		}
		l.AccountID, l.OrganizationID = who.AccountID, who.OrganizationID
		act.On("device_login", l.ID, l.Program)
		act.Note("program_address", l.Address)
		act.Note("scopes", l.Scopes.Text())
		return s.save(ctx, tx, l)
	})
	if err != nil {
		return Login{}, err
	}
	return l, nil
}

// find returns the login that a code names, whatever its state. Only codes that
// nobody waits with count as tries.
func (s *Store) find(ctx context.Context, who access.Caller, action access.Action, signedInAt time.Time, typed string) (Login, error) {
	if err := who.May(action); err != nil {
		return Login{}, err
	}
	now := s.Now()
	if now.Sub(signedInAt) >= FreshSignIn {
		return Login{}, ErrSignInAgain
	}
	s.tries.Lock()
	defer s.tries.Unlock()
	tried := [][]string{{"network", throttle.Network(who.Address)}, {"account", who.AccountID}}
	for _, key := range tried {
		if wait := s.wrong.Full(wrongPace, now, key...); wait > 0 {
			return Login{}, ErrTooManyTries.Retry(wait)
		}
	}
	l, err := s.byUserCode(ctx, parseUserCode(typed))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		for _, key := range tried {
			s.wrong.Take(wrongPace, now, key...)
		}
		return Login{}, ErrWrongCode
	case err != nil:
		return Login{}, fmt.Errorf("find a device login: %w", err)
	case l.over(now):
		return Login{}, ErrWrongCode
	}
	return l, nil
}

// byUserCode looks for a code under each root key: one may have become active
// since it was made. A code that waits when its root key retires is lost.
func (s *Store) byUserCode(ctx context.Context, code string) (l Login, err error) {
	if code == "" {
		return Login{}, sql.ErrNoRows
	}
	for _, digest := range s.Root.EveryTag(seal.DeviceRow, userFields(code)...) {
		l, err = s.scan(s.DB.QueryRow(ctx, `SELECT `+columns+` FROM device_logins WHERE user_code = $1`, digest))
		if !errors.Is(err, sql.ErrNoRows) {
			return l, err
		}
	}
	return Login{}, err
}
