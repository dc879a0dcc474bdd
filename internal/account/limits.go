package account

import (
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// tiers are what an organization can be on, and what each gives its keys.
var tiers = map[string]access.Limits{
	"free":       {PerHour: 100, Burst: 10},
	"pro":        {PerHour: 1000, Burst: 100},
	"enterprise": {}, // what is agreed with it: the organization's own
}

// Limits are the limits that an organization has of its own, for each of its
// keys. Nil is what the tier says; access.Unlimited is no limit.
//
// They go either way, since the operator sets them: a free organization may be
// given more, or less.
type Limits struct {
	PerHour  *int64 `json:"requests_per_hour,omitempty"`
	Burst    *int64 `json:"burst,omitempty"`
	PerMonth *int64 `json:"requests_per_month,omitempty"`
}

// The highest limits. What is more is a slip of the hand.
const (
	maxPerHour  = 1e9
	maxBurst    = 1e9
	maxPerMonth = 1e12
)

func (l Limits) check() error {
	for _, own := range []struct {
		field string
		n     *int64
		most  int64
	}{
		{"limits.requests_per_hour", l.PerHour, maxPerHour},
		{"limits.burst", l.Burst, maxBurst},
		{"limits.requests_per_month", l.PerMonth, maxPerMonth},
	} {
		if own.n != nil && *own.n != access.Unlimited && (*own.n < 1 || *own.n > own.most) {
			return fault.Field(own.field, fmt.Sprintf("must be from 1 to %d, or -1 for unlimited", own.most))
		}
	}
	return nil
}

// over returns l, with others where it leaves something open.
func (l Limits) over(others access.Limits) access.Limits {
	for _, own := range []struct{ from, to *int64 }{
		{l.PerHour, &others.PerHour}, {l.Burst, &others.Burst}, {l.PerMonth, &others.PerMonth},
	} {
		if own.from != nil {
			*own.to = max(0, *own.from) // unlimited is 0 there
		}
	}
	return others
}

// EffectiveLimits are what o gives each of its keys: its own limits, and for
// the rest its tier's.
func (o Organization) EffectiveLimits() access.Limits { return o.Limits.over(tiers[o.Tier]) }
