package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// DeviceLogin is a program that asks for a key, and waits for the owner of an
// account to approve that in his browser.
type DeviceLogin struct {
	UserCode        string // what he types in, by hand
	VerificationURI string // the page where he does
	ExpiresAt       time.Time

	c            *Client
	interval     time.Duration
	device, poll secret
}

// How a [DeviceLogin] ends without a key.
var (
	ErrLoginDenied  = errors.New("keyward: the login was denied")
	ErrLoginExpired = errors.New("keyward: nobody approved the login in time")
)

type deviceBegun struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	ExpiresIn       int64  `json:"expires_in"`
	Interval        int64  `json:"interval"`
}

// BeginDeviceLogin asks for a key with these scopes, or all of them without any.
// Show its UserCode and VerificationURI, and call [DeviceLogin.Key]. It needs no
// credentials.
func (a AuthCalls) BeginDeviceLogin(ctx context.Context, scopes ...string) (*DeviceLogin, error) {
	session := rand.Text()
	begun, err := call[deviceBegun](ctx, a.c, runAgentDeviceInitiate, request{body: struct {
		SessionSecret string   `json:"session_secret"`
		Scopes        []string `json:"scopes,omitzero"`
	}{session, scopes}})
	if err != nil {
		return nil, err
	}
	return &DeviceLogin{
		UserCode: begun.UserCode, VerificationURI: begun.VerificationURI, ExpiresAt: time.Now().Add(time.Duration(begun.ExpiresIn) * time.Second),
		c: a.c, interval: max(1, time.Duration(begun.Interval)) * time.Second, device: newSecret(begun.DeviceCode), poll: newSecret(session),
	}, nil
}

type devicePoll struct {
	Status string `json:"status"`
	APIKey string `json:"api_key"`
}

// Key waits for the login to be approved, and returns the key: a temporary one for
// 30 days. It is told this once. If nobody approves it the error is
// [ErrLoginDenied] or [ErrLoginExpired].
func (d *DeviceLogin) Key(ctx context.Context) (string, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, d.ExpiresAt.Add(d.interval), ErrLoginExpired)
	defer cancel()
	q := request{query: url.Values{"device_code": {d.device.reveal()}}, header: http.Header{"X-Session-Secret": {d.poll.reveal()}}}
	for {
		p, err := call[devicePoll](ctx, d.c, runAgentDevicePoll, q)
		switch {
		case err != nil:
			return "", err
		case p.Status == "completed" && p.APIKey != "":
			return p.APIKey, nil
		case p.Status == "access_denied":
			return "", ErrLoginDenied
		case p.Status != "pending":
			return "", ErrLoginExpired
		}
		select {
		case <-time.After(d.interval):
		case <-ctx.Done():
			return "", fmt.Errorf("keyward: log in: %w", context.Cause(ctx))
		}
	}
}
