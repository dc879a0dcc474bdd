package client

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// UsageCalls are the calls for how much keys were used.
type UsageCalls struct{ c *Client }

// UsageQuery says which time to look at. The zero is the last 24 hours, by hour.
type UsageQuery struct {
	From, To time.Time
	Interval string // minute, hour or day
	Page            // of many keys
}

func (u UsageQuery) query() url.Values {
	q := url.Values{}
	setTime(q, "from", u.From)
	setTime(q, "to", u.To)
	set(q, "interval", u.Interval)
	return q
}

// OfKey returns how much a key was used.
func (u UsageCalls) OfKey(ctx context.Context, id int64, in UsageQuery) (Usage, error) {
	return call[Usage](ctx, u.c, getKeyUsage, request{path: number(id), query: in.query()})
}

// List returns a page of how much each of the organization's keys was used.
func (u UsageCalls) List(ctx context.Context, in UsageQuery) (UsageList, error) {
	q := in.Page.query()
	for name, values := range in.query() {
		q[name] = values
	}
	return call[UsageList](ctx, u.c, listKeyUsage, request{query: q})
}

// All walks through how much each of the organization's keys was used.
func (u UsageCalls) All(ctx context.Context, in UsageQuery) iter.Seq2[KeyUsage, error] {
	return walk(in.Page, func(p Page) ([]KeyUsage, Pagination, error) {
		in.Page = p
		l, err := u.List(ctx, in)
		return l.Keys, l.Pagination, err
	})
}
