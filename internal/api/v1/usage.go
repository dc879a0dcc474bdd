package v1

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/usage"
)

// KeyLimit is how much is left of a key's limit an hour, or a month where it has
// none an hour.
type KeyLimit struct {
	Limit, Remaining int64
	Reset            time.Time // zero: no window is open, and all of the limit is there
}

// LimitsOf tells how much is left of the limits of keys, which are of who's
// organization. A key without a limit has no entry.
type LimitsOf func(ctx context.Context, who access.Caller, keys []apikey.Key) (map[int64]KeyLimit, error)

type usageSurface struct {
	keys   *apikey.Store
	usage  *usage.Counter
	limits LimitsOf
}

// RegisterUsage adds the calls for the usage of API keys to a.
func RegisterUsage(a *api.API, keys *apikey.Store, counter *usage.Counter, limits LimitsOf) {
	s := &usageSurface{keys, counter, limits}
	const tag = "API keys"
	const periods = "By default the last 24 hours up to now, by hour. A period is widened to whole minutes, hours or days in UTC. " +
		"What was counted until a second ago is in it. How long minutes, hours and days are kept is a setting of the server."
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys/usage", Name: "listKeyUsage", Tag: tag, Security: api.KeyOrToken, Action: access.ReadUsage,
		Summary: "Show how much the organization's API keys are used", Description: "Of all keys that are not revoked, the newest first. " + periods,
	}, s.list)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys/{id}/usage", Name: "getKeyUsage", Tag: tag, Security: api.KeyOrToken, Action: access.ReadUsage,
		Summary: "Show how much an API key is used", Description: periods,
		Errors: []*fault.Fault{apikey.ErrNotFound},
	}, s.get)
}

// UsagePeriod is the query that names a period. An input embeds it.
type UsagePeriod struct {
	From     client.Time `query:"from" doc:"At this time or later; left out: 24 hours before the end"`
	To       client.Time `query:"to" doc:"Before this time; left out: now"`
	Interval string      `query:"interval" enum:"minute,hour,day" doc:"The length of a point; left out: hour"`
}

func (q UsagePeriod) read(now time.Time) (usage.Period, error) {
	return usage.NewPeriod(q.From.Time, q.To.Time, usage.Interval(q.Interval), now)
}

type getUsageIn struct {
	ID int64 `path:"id" minimum:"1" maximum:"9007199254740991"`
	UsagePeriod
}

func (s *usageSurface) get(ctx context.Context, who access.Caller, in *getUsageIn) (client.Usage, error) {
	reader, err := mayReadUsage(who)
	if err != nil {
		return client.Usage{}, err
	}
	period, err := in.read(s.usage.Now())
	if err != nil {
		return client.Usage{}, err
	}
	k, err := s.keys.Get(ctx, reader, in.ID)
	if err != nil {
		return client.Usage{}, err
	}
	return s.of(ctx, who, []apikey.Key{k}, period)
}

type listUsageIn struct {
	api.Cursored
	UsagePeriod
}

// maxListed bounds an answer to some megabytes: so many points in all.
const maxListed = 40_000

func (s *usageSurface) list(ctx context.Context, who access.Caller, in *listUsageIn) (client.UsageList, error) {
	none := client.UsageList{}
	reader, err := mayReadUsage(who)
	if err != nil {
		return none, err
	}
	period, err := in.read(s.usage.Now())
	if err != nil {
		return none, err
	}
	if period.Points()*in.Limit > maxListed {
		return none, fault.Field("limit", fmt.Sprintf("is too large for so many points a key: at most %d points are listed in all", maxListed))
	}
	after, err := readMark(in.Cursored)
	if err != nil {
		return none, err
	}
	found, _, err := s.keys.List(ctx, reader, apikey.Filter{
		Limit: int64(in.Limit) + 1, After: apikey.Mark{CreatedAt: after.at, ID: after.id},
	})
	if err != nil {
		return none, err
	}
	page := api.NewList(in.Cursored, found, func(k apikey.Key) []string {
		return []string{strconv.FormatInt(k.CreatedAt.UnixMicro(), 10), strconv.FormatInt(k.ID, 10)}
	})
	of, err := s.of(ctx, who, page.Data, period)
	return client.UsageList{Usage: of, Pagination: page.Pagination}, err
}

// mayReadUsage returns who as one that may also read the names of keys, which
// are a part of their usage.
func mayReadUsage(who access.Caller) (access.Caller, error) {
	if err := who.May(access.ReadUsage); err != nil {
		return access.Caller{}, err
	}
	who.Scopes |= access.KeysRead
	return who, nil
}

// of returns the usage of keys of who's organization.
func (s *usageSurface) of(ctx context.Context, who access.Caller, keys []apikey.Key, period usage.Period) (client.Usage, error) {
	ids := make([]int64, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	series, err := s.usage.Series(ctx, who, ids, period)
	if err != nil {
		return client.Usage{}, err
	}
	uses, err := s.usage.LastUses(ctx, ids)
	if err != nil {
		return client.Usage{}, err
	}
	var limits map[int64]KeyLimit
	if s.limits != nil {
		if limits, err = s.limits(ctx, who, keys); err != nil {
			return client.Usage{}, err
		}
	}
	out := client.Usage{
		Period: client.UsagePeriod{From: client.NewTime(period.From), To: client.NewTime(period.To), Interval: string(period.Interval)},
		Keys:   make([]client.KeyUsage, len(keys)),
	}
	for i, k := range keys {
		u := keyUsage(k, series[k.ID], period)
		u.LastUsedAt = client.NewTime(uses[k.ID].At)
		if l, limited := limits[k.ID]; limited {
			u.Limit, u.Remaining, u.Reset, u.PercentUsed = &l.Limit, &l.Remaining, client.NewTime(l.Reset), percentUsed(l)
		}
		out.Keys[i] = u
	}
	return out, nil
}

func keyUsage(k apikey.Key, series []usage.Counts, period usage.Period) client.KeyUsage {
	u := client.KeyUsage{ID: k.ID, Name: k.Name, Series: make([]client.UsagePoint, len(series))}
	for i, c := range series {
		u.Requests += c.Total()
		u.Allowed += c.Allowed
		u.Denied += c.Denied
		u.RateLimited += c.RateLimited
		u.Series[i] = client.UsagePoint{Time: client.NewTime(period.Time(i)), Allowed: c.Allowed, Denied: c.Denied, RateLimited: c.RateLimited}
	}
	return u
}

// percentUsed returns how much of l is used, to a tenth of a percent.
func percentUsed(l KeyLimit) *float64 {
	percent := 0.0
	if l.Limit > 0 {
		percent = math.Round(1000*float64(l.Limit-l.Remaining)/float64(l.Limit)) / 10
	}
	return &percent
}
