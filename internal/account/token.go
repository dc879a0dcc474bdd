package account

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/seal"
)

const (
	accessLife = 15 * time.Minute

	// clockLeeway is how far the clock of a server that made a token may be ahead
	// of one that checks it. An expired token has none: its client was told how
	// long it is good.
	clockLeeway = 30 * time.Second

	clientID = "keyward"
)

// claims are what an access token says. Issuer and audience are this server.
type claims struct {
	Issuer       string `json:"iss"`
	Audience     string `json:"aud"`
	Account      string `json:"sub"`
	Organization string `json:"org"`
	ClientID     string `json:"client_id"`
	ID           string `json:"jti"`
	SignIn       string `json:"sid"`
	IssuedAt     int64  `json:"iat"`
	ExpiresAt    int64  `json:"exp"`
}

// tokens makes the tokens of a sign-in as it is now.
func (s *Store) tokens(ctx context.Context, f signIn, key []byte) (Tokens, error) {
	now := s.Now()
	text, err := json.Marshal(claims{
		Issuer: s.Issuer(), Audience: s.Issuer(), Account: f.accountID, Organization: f.organizationID, ClientID: clientID,
		ID: rand.Text(), SignIn: f.id, IssuedAt: now.Unix(), ExpiresAt: now.Add(accessLife).Unix(),
	})
	if err != nil {
		return Tokens{}, err
	}
	token, err := s.Sign(ctx, text)
	if err != nil {
		return Tokens{}, fmt.Errorf("make an access token: %w", err)
	}
	return Tokens{
		Access: seal.NewSecret(token), Refresh: newRefreshToken(f.id, uint32(f.number), key), ExpiresIn: accessLife,
	}, nil
}

// readToken returns what a token says, if the server signed it, for itself, and
// it is good at this time. Its sign-in may have ended.
func (s *Store) readToken(ctx context.Context, token string) (claims, error) {
	var c claims
	text, ours, err := s.Verify(ctx, token)
	if err != nil {
		return c, fmt.Errorf("verify an access token: %w", err)
	}
	if !ours || json.Unmarshal(text, &c) != nil {
		return c, ErrInvalidAccessToken
	}
	now := s.Now()
	switch {
	case c.Issuer != s.Issuer() || c.Audience != s.Issuer() || c.ClientID != clientID || c.ID == "":
		return c, ErrInvalidAccessToken
	case time.Unix(c.IssuedAt, 0).After(now.Add(clockLeeway)) || c.ExpiresAt <= c.IssuedAt:
		return c, ErrInvalidAccessToken
	case !now.Before(time.Unix(c.ExpiresAt, 0)):
		return c, ErrExpiredAccessToken
	}
	return c, nil
}

// CheckAccessToken returns the caller that presents an access token. Its sign-in
// and its account's place in the organization are read each time, so a token is
// refused from the moment in which one of them ended.
func (s *Store) CheckAccessToken(ctx context.Context, token string, address netip.Addr, requestID string) (access.Caller, error) {
	c, err := s.readToken(ctx, token)
	if err != nil {
		return access.Caller{}, err
	}
	f, _, m, err := s.openSignIn(ctx, c.SignIn)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return access.Caller{}, ErrInvalidAccessToken
	case err != nil:
		return access.Caller{}, fmt.Errorf("check an access token: %w", err)
	case f.accountID != c.Account || f.organizationID != c.Organization || f.inBrowser() || !f.isOpen(s.Now()):
		return access.Caller{}, ErrInvalidAccessToken
	}
	who := s.caller(m)
	who.SignInID, who.Address, who.RequestID = f.id, address, requestID
	return who, nil
}
