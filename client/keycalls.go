package client

import (
	"context"
	"iter"
	"net/url"
)

// KeyCalls are the calls for API keys.
type KeyCalls struct{ c *Client }

// KeyFilter says which keys to list.
type KeyFilter struct {
	Status     string // active, disabled, expired or revoked; "" is all that are not revoked
	Type       string // personal, service or temporary
	ExternalID string
	Page
}

func (f KeyFilter) query() url.Values {
	q := url.Values{}
	set(q, "status", f.Status)
	set(q, "type", f.Type)
	set(q, "external_id", f.ExternalID)
	return q
}

// Create makes a key. What it returns is the only thing that ever has the key
// itself.
func (k KeyCalls) Create(ctx context.Context, in CreateKey) (IssuedKey, error) {
	return call[IssuedKey](ctx, k.c, createKey, request{body: in})
}

// List returns a page of the organization's keys, newest first.
func (k KeyCalls) List(ctx context.Context, f KeyFilter) (List[Key], error) {
	return list[Key](ctx, k.c, listKeys, nil, f.query(), f.Page)
}

// All walks through the organization's keys, newest first.
func (k KeyCalls) All(ctx context.Context, f KeyFilter) iter.Seq2[Key, error] {
	return walkList[Key](ctx, k.c, listKeys, nil, f.query(), f.Page)
}

// Get returns a key's settings and state.
func (k KeyCalls) Get(ctx context.Context, id int64) (Key, error) {
	return call[Key](ctx, k.c, getKey, request{path: number(id)})
}

// Change changes what of a key is in the change.
func (k KeyCalls) Change(ctx context.Context, id int64, in ChangeKey) (ChangedKey, error) {
	return call[ChangedKey](ctx, k.c, changeKey, request{path: number(id), body: in})
}

// Rotate gives a key a new value; the old one works until the grace ends.
func (k KeyCalls) Rotate(ctx context.Context, id int64, in RotateKey) (IssuedKey, error) {
	return call[IssuedKey](ctx, k.c, rotateKey, request{path: number(id), body: in})
}

// Revoke ends a key and what it has made. When it returns nil no request with the
// key is accepted any more.
func (k KeyCalls) Revoke(ctx context.Context, id int64) error {
	return k.c.run(ctx, revokeKey, request{path: number(id)})
}

// Self returns the key that the client itself calls with.
func (k KeyCalls) Self(ctx context.Context) (Key, error) {
	return call[Key](ctx, k.c, getOwnKey, request{})
}

// RevokeSelf ends the key that the client itself calls with.
func (k KeyCalls) RevokeSelf(ctx context.Context) error {
	return k.c.run(ctx, revokeOwnKey, request{})
}

// Verify asks whether a key of a caller of yours is good. That it is not is no
// error: the answer says so. [Protect] asks for each request to a service.
func (k KeyCalls) Verify(ctx context.Context, in VerifyKey) (Verification, error) {
	return call[Verification](ctx, k.c, verifyKey, request{body: in})
}
