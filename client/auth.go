package client

import (
	"context"
)

// AuthCalls are the calls of people: to sign up and in, and for the account that
// has signed in.
type AuthCalls struct{ c *Client }

// Registration asks for an account.
type Registration struct {
	Name      string `json:"name"`
	Email     string `json:"email"`
	Password  string `json:"password"`           // 8 to 256 characters
	SetupCode string `json:"setupCode,omitzero"` // the server's, which makes this the operator's account
}

// RegisteredAccount is an account as it sees itself.
type RegisteredAccount struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Email     string `json:"email"`
	CreatedAt Time   `json:"createdAt"`
	UpdatedAt Time   `json:"updatedAt"`
}

// Tokens are what signing in gives.
type Tokens struct {
	AccessToken  string `json:"accessToken"`
	RefreshToken string `json:"refreshToken"`
	TokenType    string `json:"tokenType"` // Bearer
	ExpiresIn    int64  `json:"expiresIn"` // seconds for which the access token is good
}

// Me is the account that has signed in, with what it belongs to.
type Me struct {
	RegisteredAccount
	Organizations []Membership `json:"organizations"`
}

// Membership is an organization that an account belongs to, and as what.
type Membership struct {
	ID     string           `json:"id"`
	Name   string           `json:"name"`
	Role   string           `json:"role"` // owner
	Tier   string           `json:"tier"` // free, pro or enterprise
	Limits MembershipLimits `json:"limits"`
}

// MembershipLimits say how often each key of the organization may be used, if it
// has no lower limits. 0 is unlimited.
type MembershipLimits struct {
	RequestsPerHour  int64 `json:"requestsPerHour,omitzero"`
	Burst            int64 `json:"burst,omitzero"`
	RequestsPerMonth int64 `json:"requestsPerMonth,omitzero"`
}

// Register makes an account. It needs no credentials.
func (a AuthCalls) Register(ctx context.Context, in Registration) (RegisteredAccount, error) {
	return call[RegisteredAccount](ctx, a.c, register, request{body: in})
}

// SignIn signs in. It needs no credentials; [Client.With] and [WithSignIn] make a
// client of what it returns.
func (a AuthCalls) SignIn(ctx context.Context, email, password string) (Tokens, error) {
	return call[Tokens](ctx, a.c, signInOp, request{body: struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}{email, password}})
}

type refreshBody struct {
	RefreshToken string `json:"refreshToken"`
}

// Refresh gives new tokens for a refresh token, which is spent then. A client
// [WithSignIn] does it by itself.
func (a AuthCalls) Refresh(ctx context.Context, refreshToken string) (Tokens, error) {
	return call[Tokens](ctx, a.c, refresh, request{body: refreshBody{refreshToken}})
}

// SignOut ends the sign-in of a refresh token, with its access tokens.
func (a AuthCalls) SignOut(ctx context.Context, refreshToken string) error {
	return a.c.run(ctx, signOut, request{body: refreshBody{refreshToken}})
}

// Me returns the account that has signed in. It needs an access token, as the
// calls below.
func (a AuthCalls) Me(ctx context.Context) (Me, error) {
	return call[Me](ctx, a.c, me, request{})
}

// ChangePassword changes the password, and ends every other sign-in of the
// account.
func (a AuthCalls) ChangePassword(ctx context.Context, current, replacement string) error {
	return a.c.run(ctx, changePassword, request{body: struct {
		Current string `json:"currentPassword"`
		New     string `json:"newPassword"`
	}{current, replacement}})
}

// DeleteAccount deletes the account that has signed in, and an organization that
// it alone owns, with all that is in it. It can't be undone.
func (a AuthCalls) DeleteAccount(ctx context.Context, password string) error {
	return a.c.run(ctx, deleteAccount, request{body: struct {
		Password string `json:"password"`
	}{password}})
}

// Status is how a server is.
type Status struct {
	Status string `json:"status"` // ok
}

// Health returns nil if there is a Keyward server that lives.
func (c *Client) Health(ctx context.Context) error {
	_, err := call[Status](ctx, c, health, request{})
	return err
}

// Ready returns nil if the server can serve: it has its database, in the form it
// needs.
func (c *Client) Ready(ctx context.Context) error {
	_, err := call[Status](ctx, c, ready, request{})
	return err
}
