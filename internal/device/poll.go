package device

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
)

// How often may be polled: with one code, which leaves room for clocks and for
// impatience at the beginning, and from one network.
var (
	codePace = throttle.Pace{Burst: 6, Every: Interval - time.Second}
	pollPace = throttle.Pace{Burst: 200, Every: 50 * time.Millisecond}
)

// Status is what a program that polls is told.
type Status string

// What there is to be told.
const (
	IsPending   Status = "pending"
	IsCompleted Status = "completed"
	IsExpired   Status = "expired" // or never was, or is not this program's
	IsDenied    Status = "access_denied"
)

// Polled is the answer to a poll.
type Polled struct {
	Status Status
	Key    seal.Secret // if it is completed
}

// Poll tells a program how its login is, and gives it its key: once. Codes that
// there are not, and those of others, are expired.
func (s *Store) Poll(ctx context.Context, who access.Caller, code, session seal.Secret) (Polled, error) {
	if err := who.May(access.PollDevice); err != nil {
		return Polled{}, err
	}
	now, digest := s.Now(), deviceDigest(code, session)
	if wait := s.polls.Take(pollPace, now, throttle.Network(who.Address)); wait > 0 {
		return Polled{}, ErrSlowDown.Retry(wait)
	}
	if wait := s.paced.Take(codePace, now, string(digest)); wait > 0 {
		return Polled{}, ErrSlowDown.Retry(wait)
	}
	l, err := s.scan(s.DB.QueryRow(ctx, `SELECT `+columns+` FROM device_logins WHERE device_code = $1`, digest))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Polled{Status: IsExpired}, nil
	case err != nil:
		return Polled{}, fmt.Errorf("poll a device login: %w", err)
	case l.State == Completed:
		return s.again(ctx, who, l)
	case l.State == Abandoned || l.over(now):
		return Polled{Status: IsExpired}, nil
	case l.State == Denied:
		return Polled{Status: IsDenied}, nil
	case l.State == Approved:
		return s.pickUp(ctx, who, l)
	}
	return Polled{Status: IsPending}, nil
}

// pickUp makes the key of a login that was approved, unless another poll is
// quicker, or who approved is no member any more.
func (s *Store) pickUp(ctx context.Context, who access.Caller, l Login) (Polled, error) {
	owner, err := s.Member(ctx, l.AccountID, l.OrganizationID)
	if errors.Is(err, ErrNoMember) {
		return Polled{Status: IsDenied}, nil
	} else if err != nil {
		return Polled{}, fmt.Errorf("pick up a key: %w", err)
	}
	var key Key
	id := l.ID
	err = s.Acts.Do(ctx, who, access.PollDevice, func(tx *db.Tx, act *access.Act) error {
		key = Key{}
		l, err := s.hold(ctx, tx, id)
		now := s.now()
		if errors.Is(err, sql.ErrNoRows) || err == nil && (l.over(now) || !l.move(Completed)) {
			act.Nothing()
			return nil
		} else if err != nil {
			return err
		}
		if key, err = s.MakeKey(ctx, tx, act, owner, l); err != nil {
			return err
		}
		l.KeyID, l.PickedUpAt, l.ExpiresAt = key.ID, now, now.Add(unusedForNow)
		act.As(access.CreateKey)
		act.By(l.AccountID, l.OrganizationID)
		act.Note("device_login", l.ID)
		return s.save(ctx, tx, l)
	})
	switch {
	case errors.Is(err, ErrNoMember):
		return Polled{Status: IsDenied}, nil
	case err != nil:
		return Polled{}, err
	case key.ID == 0:
		return Polled{Status: IsPending}, nil // the other poll has it, or the next one will tell
	}
	return Polled{Status: IsCompleted, Key: key.Secret}, nil
}

// again answers a poll after the key was picked up. Who has it does not poll: the
// answer that it was in has got lost. So nobody is to have it, unless it was
// used.
func (s *Store) again(ctx context.Context, who access.Caller, l Login) (Polled, error) {
	if s.Now().Sub(l.PickedUpAt) < pickUpGrace {
		return Polled{Status: IsPending}, nil
	}
	used, err := s.Used(ctx, []int64{l.KeyID})
	if err != nil {
		return Polled{}, fmt.Errorf("poll a device login: %w", err)
	}
	if !used[l.KeyID] {
		err = s.abandon(ctx, who, access.PollDevice, l)
	}
	return Polled{Status: IsExpired}, err
}

// abandon ends the key that a login made.
func (s *Store) abandon(ctx context.Context, who access.Caller, action access.Action, l Login) error {
	return s.Acts.Do(ctx, who, action, func(tx *db.Tx, act *access.Act) error {
		now, err := s.hold(ctx, tx, l.ID)
		if errors.Is(err, sql.ErrNoRows) || err == nil && !now.move(Abandoned) {
			act.Nothing()
			return nil
		} else if err != nil {
			return err
		}
		act.As(access.AbandonDevice)
		act.On("key", strconv.FormatInt(now.KeyID, 10), now.KeyName())
		act.By(now.AccountID, now.OrganizationID)
		act.Note("device_login", now.ID)
		if err := s.EndKey(ctx, tx, act, now.KeyID); err != nil {
			return err
		}
		return s.save(ctx, tx, now)
	})
}
