package apikey

import (
	"context"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// MaxGrace is how long a value that is rotated away can go on working.
const MaxGrace = 30 * 24 * time.Hour

// maxValues is how many values of a key may work at the same time.
const maxValues = 10

// clockSkew is how far the clocks of two servers may be apart without one of
// them taking a value that has ended at once.
const clockSkew = time.Hour

// Rotate gives a key of who's organization a new value, under the same id and
// settings. Those it had work until grace has passed, or until the grace that
// they were given before; without grace no value but the new one is accepted
// any more when it returns.
func (s *Store) Rotate(ctx context.Context, who access.Caller, id int64, grace time.Duration) (Issued, error) {
	if err := who.May(access.RotateKey); err != nil {
		return Issued{}, err
	}
	if grace < 0 || grace > MaxGrace {
		return Issued{}, fault.Field("grace_period", "must be from 0 to "+seconds(MaxGrace)+" seconds")
	}
	var out Issued
	err := s.Acts.Do(ctx, who, access.RotateKey, func(tx *db.Tx, act *access.Act) error {
		asking, err := s.asking(ctx, tx, who, access.RotateKey)
		if err != nil {
			return err
		}
		k, err := s.living(ctx, tx, who, id)
		if err != nil {
			return err
		}
		if err := mayRotate(asking, k); err != nil {
			return err
		}
		// The row of the key is written first, and only as it was read: whoever
		// else changes the key or its secrets waits, or has this begin again.
		next := k
		next.UpdatedAt = s.now()
		if err := s.replace(ctx, tx, k, next); err != nil {
			return err
		}
		if err := s.endSecrets(ctx, tx, k.ID, next.UpdatedAt, grace); err != nil {
			return err
		}
		out, err = s.issue(ctx, tx, next, asking)
		if err != nil {
			return err
		}
		act.On("key", strconv.FormatInt(k.ID, 10), k.Name)
		act.Note("grace_period", seconds(grace))
		act.Closes(access.KeyClosed, strconv.FormatInt(k.ID, 10))
		return nil
	})
	if err != nil {
		return Issued{}, err
	}
	return out, nil
}

func mayRotate(asking *asker, k Key) error {
	switch {
	case asking == nil:
		return nil
	case asking.ID == k.ID:
		return tooWeak("id", "a key can't rotate itself: of itself it may only narrow what it may do, or end it")
	}
	return k.notStronger(asking.Key)
}

// endSecrets lets the secrets of a key that work end when grace has passed.
func (s *Store) endSecrets(ctx context.Context, tx *db.Tx, keyID int64, now time.Time, grace time.Duration) error {
	rows, err := s.workingSecrets(ctx, tx, keyID)
	if err != nil {
		return err
	}
	if grace > 0 && len(rows) >= maxValues {
		return ErrTooManyValues
	}
	end := db.Micros(now.Add(grace))
	if grace == 0 {
		end = db.Micros(now.Add(-clockSkew))
	}
	for i := range rows {
		if at := rows[i].expiresAt; at != 0 && at <= end {
			continue
		}
		next := rows[i]
		next.expiresAt = end
		if err := s.update(ctx, tx, &rows[i], next); err != nil {
			return err
		}
	}
	return nil
}
