package serve

import (
	"context"
	"time"

	"github.com/keyward/keyward/internal/access"
	v1 "github.com/keyward/keyward/internal/api/v1"
	"github.com/keyward/keyward/internal/apikey"
)

// keyLimits returns what is left of the limits of keys of who's organization.
func (s *server) keyLimits(ctx context.Context, who access.Caller, keys []apikey.Key) (map[int64]v1.KeyLimit, error) {
	ids := make([]int64, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	uses, err := s.limits.Look(ctx, ids)
	if err != nil {
		return nil, err
	}
	left := map[int64]v1.KeyLimit{}
	for _, k := range keys {
		u := uses[k.ID]
		switch l := who.Limits.Lowered(k.Limits); {
		case l.PerHour > 0:
			hour := v1.KeyLimit{Limit: l.PerHour, Remaining: max(0, l.PerHour-u.HourUsed)}
			if !u.HourOpened.IsZero() {
				hour.Reset = u.HourOpened.Add(time.Hour)
			}
			left[k.ID] = hour
		case l.PerMonth > 0:
			left[k.ID] = v1.KeyLimit{Limit: l.PerMonth, Remaining: max(0, l.PerMonth-u.MonthUsed), Reset: u.Month.AddDate(0, 1, 0)}
		}
	}
	return left, nil
}
