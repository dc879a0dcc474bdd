package client

import (
	"context"
	"fmt"
	"sync"
)

// signIn has the tokens of somebody who has signed in. Clients that came from one
// [WithSignIn] share it.
type signIn struct {
	turn chan struct{} // has room for one, who renews them
	get  Renewal

	mu  sync.Mutex
	now func() Tokens // which is not printed, as secret says
}

// Renewal returns new tokens for old ones whose access token has expired. Refresh
// gets them from the server, which spends old's refresh token.
type Renewal func(ctx context.Context, old Tokens, refresh func(context.Context, Tokens) (Tokens, error)) (Tokens, error)

// keeping renews, and has keep store what is new.
func keeping(keep func(Tokens) error) Renewal {
	return func(ctx context.Context, old Tokens, refresh func(context.Context, Tokens) (Tokens, error)) (Tokens, error) {
		t, err := refresh(ctx, old)
		if err != nil || keep == nil {
			return t, err
		}
		if err := keep(t); err != nil {
			// They are good all the same.
			return t, fmt.Errorf("keyward: keep the new tokens of the sign-in: %w", err)
		}
		return t, nil
	}
}

func newSignIn(t Tokens, get Renewal) *signIn {
	return &signIn{turn: make(chan struct{}, 1), get: get, now: func() Tokens { return t }}
}

func (s *signIn) tokens() Tokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// renew gets new tokens, unless somebody has since stale was the access token. A
// refresh token is spent at once, so one does it and the others wait for him.
func (s *signIn) renew(ctx context.Context, c *Client, stale string) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("keyward: %w", context.Cause(ctx))
	}
	old := s.tokens()
	if old.AccessToken != stale {
		return nil
	}
	t, err := s.get(ctx, old, func(ctx context.Context, old Tokens) (Tokens, error) {
		t, err := c.Auth.Refresh(ctx, old.RefreshToken)
		if err != nil {
			return Tokens{}, fmt.Errorf("keyward: the sign-in can't go on: %w", err)
		}
		return t, nil
	})
	if t.RefreshToken != "" {
		s.mu.Lock()
		s.now = func() Tokens { return t }
		s.mu.Unlock()
	}
	return err
}
