// Package gate makes callers: it is where a credential that a request shows
// becomes somebody who may do something.
//
// An API key is found by its digest (package apikey), and the account and
// organization behind it by package account; an access token is checked by
// package account, its sign-in included, so that signing out holds at once.
// Nothing is remembered between two requests: what was revoked is refused from
// the moment the revocation answered.
package gate

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Gate checks credentials.
type Gate struct {
	Keys     *apikey.Store
	Accounts *account.Store
}

// Refusals are the failures that a credential can meet here.
var Refusals = []*fault.Fault{
	apikey.ErrInvalid, apikey.ErrExpired, apikey.ErrRevoked,
	account.ErrInvalidAccessToken, account.ErrExpiredAccessToken,
}

// Key returns the caller that presents an API key.
func (g *Gate) Key(ctx context.Context, presented seal.Secret, address netip.Addr, requestID string) (access.Caller, error) {
	k, err := g.Keys.Find(ctx, presented)
	if err != nil {
		return access.Caller{}, err
	}
	who, err := g.Accounts.Member(ctx, k.AccountID, k.OrganizationID)
	if errors.Is(err, account.ErrNotMember) {
		// Its account is gone, or has left the organization.
		return access.Caller{}, apikey.ErrInvalid
	} else if err != nil {
		return access.Caller{}, err
	}
	who.KeyID, who.KeyType, who.KeyExpiresAt, who.Scopes = k.ID, k.Type, k.ExpiresAt, access.AllScopes
	who.Address, who.RequestID = address, requestID
	return who, nil
}

// Token returns the caller that presents an access token.
func (g *Gate) Token(ctx context.Context, presented seal.Secret, address netip.Addr, requestID string) (access.Caller, error) {
	return g.Accounts.CheckAccessToken(ctx, presented.Reveal(), address, requestID)
}

// KeyOrToken returns the caller that presents one or the other.
func (g *Gate) KeyOrToken(ctx context.Context, presented seal.Secret, address netip.Addr, requestID string) (access.Caller, error) {
	if looksLikeToken(string(presented.Bytes())) {
		return g.Token(ctx, presented, address, requestID)
	}
	return g.Key(ctx, presented, address, requestID)
}

// IsOurs reports whether text has the form of a credential of ours: an API key
// with a right checksum, or an access token.
func IsOurs(text string) bool { return apikey.WellFormed(text) || looksLikeToken(text) }

// looksLikeToken reports whether text has the three parts of a JWT and begins as
// the JSON of its header does. No API key has a dot.
func looksLikeToken(text string) bool {
	return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2
}
