package client

import (
	"context"
	"iter"
	"net/url"
)

// AlertCalls are the calls for alerts: who is told when a part of a key's limit
// is used.
type AlertCalls struct{ c *Client }

// AlertFilter says which alerts that fired to list.
type AlertFilter struct {
	KeyID int64
	Page
}

func (f AlertFilter) query() url.Values {
	q := url.Values{}
	set(q, "key_id", f.KeyID)
	return q
}

// Set gives a key its alert, or changes the one it has.
func (a AlertCalls) Set(ctx context.Context, keyID int64, in SetAlert) (AlertSet, error) {
	return call[AlertSet](ctx, a.c, setAlert, request{path: number(keyID), body: in})
}

// Get returns the alert that a key has.
func (a AlertCalls) Get(ctx context.Context, keyID int64) (Alert, error) {
	return call[Alert](ctx, a.c, getAlert, request{path: number(keyID)})
}

// Remove removes the alert of a key.
func (a AlertCalls) Remove(ctx context.Context, keyID int64) error {
	return a.c.run(ctx, removeAlert, request{path: number(keyID)})
}

// List returns a page of the alerts that fired, newest first.
func (a AlertCalls) List(ctx context.Context, f AlertFilter) (List[FiredAlert], error) {
	return list[FiredAlert](ctx, a.c, listAlerts, nil, f.query(), f.Page)
}

// All walks through the alerts that fired, newest first.
func (a AlertCalls) All(ctx context.Context, f AlertFilter) iter.Seq2[FiredAlert, error] {
	return walkList[FiredAlert](ctx, a.c, listAlerts, nil, f.query(), f.Page)
}
