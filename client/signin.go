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
	keep func(Tokens) error

	mu  sync.Mutex
	now func() Tokens // which is not printed, as secret says
}

func newSignIn(t Tokens, keep func(Tokens) error) *signIn {
	return &signIn{turn: make(chan struct{}, 1), keep: keep, now: func() Tokens { return t }}
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
	t, err := c.Auth.Refresh(ctx, old.RefreshToken)
	if err != nil {
		return fmt.Errorf("keyward: the sign-in can't go on: %w", err)
	}
	s.mu.Lock()
	s.now = func() Tokens { return t }
	s.mu.Unlock()
	if s.keep == nil {
		return nil
	}
	if err := s.keep(t); err != nil {
		return fmt.Errorf("keyward: keep the new tokens of the sign-in: %w", err)
	}
	return nil
}
