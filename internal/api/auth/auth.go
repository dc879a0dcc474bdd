// Package auth is the surface /auth: accounts, signing in, and an account's own
// keys, as seed document 003 has them. Its JSON is in camelCase.
package auth

import (
	"context"
	"net/http"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

const tag = "Accounts"

type surface struct {
	accounts *account.Store
}

// Register adds the calls for accounts and signing in to a. The account's keys
// are added by [RegisterKeys].
func Register(a *api.API, accounts *account.Store) {
	s := &surface{accounts}
	guessing := []*fault.Fault{account.ErrInvalidCredentials, account.ErrTooManyTries}

	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/auth/register", Name: "register", Tag: tag, Security: api.Password, Status: http.StatusCreated,
		Summary:     "Sign up",
		Description: "E-mail and password stand in the Authorization header (Basic) or in the body, not in both. With the server's setup code, in the header X-Setup-Code or the body, the account owns the operator's organization.",
		Errors:      []*fault.Fault{account.ErrEmailTaken, account.ErrSignupClosed, account.ErrTooManyTries},
	}, s.register)
	signIn := api.Operation{
		Method: http.MethodPost, Path: "/auth/token", Also: []string{"/auth/login"}, Name: "signIn", Tag: tag, Security: api.Password,
		Summary:     "Sign in",
		Description: "E-mail and password stand in the Authorization header (Basic) or in the body, not in both.",
		Errors:      guessing,
	}
	api.Register(a, signIn, s.signIn)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/auth/token/refresh", Name: "refresh", Tag: tag, Security: api.Public,
		Summary:     "Get a new pair of tokens",
		Description: "The refresh token that is sent is spent. Sent again within 10 seconds, while its successor is unused, it gives the same successor; later it ends the sign-in.",
		Errors:      []*fault.Fault{account.ErrInvalidRefreshToken, account.ErrRefreshTokenReused},
	}, s.refresh)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/auth/logout", Name: "signOut", Tag: tag, Security: api.Public, Status: http.StatusNoContent,
		Summary:     "Sign out",
		Description: "Ends the sign-in of the refresh token: its access tokens are refused from now on.",
		Errors:      []*fault.Fault{account.ErrInvalidRefreshToken},
	}, s.signOut)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/auth/me", Name: "me", Tag: tag, Security: api.AccessToken, Action: access.ReadAccount,
		Summary: "Show the account that is signed in",
	}, s.me)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/auth/me", Name: "deleteAccount", Tag: tag, Security: api.AccessToken, Action: access.DeleteAccount, Status: http.StatusNoContent,
		Summary:     "Delete the account that is signed in",
		Description: "Its keys die with it. An organization that it alone owns goes too, with all its agents, auth profiles and runs. It can't be undone.",
		Errors:      append(guessing, account.ErrLastOwner),
	}, s.remove)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/auth/password", Name: "changePassword", Tag: tag, Security: api.AccessToken, Action: access.ChangePassword, Status: http.StatusNoContent,
		Summary:     "Change the password",
		Description: "Ends every other sign-in of the account.",
		Errors:      guessing,
	}, s.changePassword)
}

// AccountJSON is an account as /auth writes it.
type AccountJSON struct {
	ID        string      `json:"id" doc:"A UUID"`
	Name      string      `json:"name"`
	Email     string      `json:"email"`
	CreatedAt client.Time `json:"createdAt"`
	UpdatedAt client.Time `json:"updatedAt"`
}

func accountJSON(a account.Account) AccountJSON {
	return AccountJSON{a.ID, a.Name, a.Email, client.NewTime(a.CreatedAt), client.NewTime(a.UpdatedAt)}
}

// TokensJSON is what signing in gives.
type TokensJSON struct {
	AccessToken  string `json:"accessToken"`
	RefreshToken string `json:"refreshToken"`
	TokenType    string `json:"tokenType" enum:"Bearer"`
	ExpiresIn    int64  `json:"expiresIn" doc:"Seconds for which the access token is good" example:"900"`
}

func tokensJSON(t account.Tokens) TokensJSON {
	return TokensJSON{t.Access.Reveal(), t.Refresh.Reveal(), "Bearer", int64(t.ExpiresIn / time.Second)}
}

// credentials returns the e-mail and password of a request, which has them in
// one of two places.
func credentials(basic api.BasicAuth, email, password string) (string, seal.Secret, error) {
	if basic.Given {
		if email != "" || password != "" {
			return "", seal.Secret{}, fault.ErrInvalidRequest.Say("E-mail and password stand in the Authorization header and in the body. Send them once.")
		}
		return basic.User, basic.Password, nil
	}
	for field, value := range map[string]string{"email": email, "password": password} {
		if value == "" {
			return "", seal.Secret{}, fault.ErrMissingField.Say("%s is missing. Send it in the body, or send Authorization: Basic.", field).With(fault.Details{"field": field})
		}
	}
	return email, seal.NewSecret(password), nil
}

type registration struct {
	Name      string `json:"name" minLength:"1" maxLength:"200"`
	Email     string `json:"email,omitzero" maxLength:"254"`
	Password  string `json:"password,omitzero" maxLength:"2048" doc:"8 to 256 characters"`
	SetupCode string `json:"setupCode,omitzero" maxLength:"128" doc:"As X-Setup-Code"`
}

type registerIn struct {
	api.BasicAuth
	SetupCode string `header:"X-Setup-Code" maxLength:"128" doc:"The server's setup code, which makes this the operator's account"`
	Body      registration
}

func (s *surface) register(ctx context.Context, who access.Caller, in *registerIn) (AccountJSON, error) {
	email, password, err := credentials(in.BasicAuth, in.Body.Email, in.Body.Password)
	if err != nil {
		return AccountJSON{}, err
	}
	code := in.SetupCode
	if code == "" {
		code = in.Body.SetupCode
	} else if in.Body.SetupCode != "" && in.Body.SetupCode != code {
		return AccountJSON{}, fault.Field("setupCode", "differs from the header X-Setup-Code; send it once")
	}
	made, err := s.accounts.Register(ctx, who, account.Registration{Name: in.Body.Name, Email: email, Password: password, SetupCode: code})
	if err != nil {
		return AccountJSON{}, err
	}
	return accountJSON(made), nil
}

type signInCredentials struct {
	Email    string `json:"email,omitzero" maxLength:"254"`
	Password string `json:"password,omitzero" maxLength:"2048"`
}

type signInIn struct {
	api.BasicAuth
	Body *signInCredentials
}

func (s *surface) signIn(ctx context.Context, who access.Caller, in *signInIn) (TokensJSON, error) {
	var email, password string
	if in.Body != nil {
		email, password = in.Body.Email, in.Body.Password
	}
	user, secret, err := credentials(in.BasicAuth, email, password)
	if err != nil {
		return TokensJSON{}, err
	}
	tokens, err := s.accounts.SignIn(ctx, who, user, secret)
	if err != nil {
		return TokensJSON{}, err
	}
	return tokensJSON(tokens), nil
}

type refreshToken struct {
	RefreshToken string `json:"refreshToken" minLength:"1" maxLength:"512"`
}

type refreshIn struct {
	Body refreshToken
}

func (s *surface) refresh(ctx context.Context, who access.Caller, in *refreshIn) (TokensJSON, error) {
	tokens, err := s.accounts.Refresh(ctx, who, in.Body.RefreshToken)
	if err != nil {
		return TokensJSON{}, err
	}
	return tokensJSON(tokens), nil
}

func (s *surface) signOut(ctx context.Context, who access.Caller, in *refreshIn) (api.Nothing, error) {
	return api.Nothing{}, s.accounts.SignOut(ctx, who, in.Body.RefreshToken)
}

// Me is an account with what it belongs to.
type Me struct {
	AccountJSON
	Organizations []MembershipJSON `json:"organizations"`
}

// MembershipJSON is an organization that an account belongs to, and as what.
type MembershipJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role" enum:"owner"`
	Tier string `json:"tier" enum:"free,pro,enterprise"`

	Limits LimitsJSON `json:"limits" doc:"What each of its API keys has, if the key has no lower ones"`
}

// LimitsJSON says how often an API key may be used. What is left out is
// unlimited.
type LimitsJSON struct {
	RequestsPerHour  int64 `json:"requestsPerHour,omitzero"`
	Burst            int64 `json:"burst,omitzero" doc:"Requests in any one second"`
	RequestsPerMonth int64 `json:"requestsPerMonth,omitzero"`
}

func (s *surface) me(ctx context.Context, who access.Caller, _ *struct{}) (Me, error) {
	a, memberships, err := s.accounts.Me(ctx, who)
	if err != nil {
		return Me{}, err
	}
	me := Me{AccountJSON: accountJSON(a), Organizations: []MembershipJSON{}}
	for _, m := range memberships {
		o, gives := m.Organization, m.Organization.EffectiveLimits()
		me.Organizations = append(me.Organizations, MembershipJSON{o.ID, o.Name, string(m.Role), o.Tier, LimitsJSON{gives.PerHour, gives.Burst, gives.PerMonth}})
	}
	return me, nil
}

type passwordProof struct {
	Password string `json:"password" minLength:"1" maxLength:"2048"`
}

type removeIn struct {
	Body passwordProof
}

func (s *surface) remove(ctx context.Context, who access.Caller, in *removeIn) (api.Nothing, error) {
	return api.Nothing{}, s.accounts.Delete(ctx, who, seal.NewSecret(in.Body.Password))
}

type passwordChange struct {
	CurrentPassword string `json:"currentPassword" minLength:"1" maxLength:"2048"`
	NewPassword     string `json:"newPassword" minLength:"1" maxLength:"2048" doc:"8 to 256 characters"`
}

type changePasswordIn struct {
	Body passwordChange
}

func (s *surface) changePassword(ctx context.Context, who access.Caller, in *changePasswordIn) (api.Nothing, error) {
	return api.Nothing{}, s.accounts.ChangePassword(ctx, who, seal.NewSecret(in.Body.CurrentPassword), seal.NewSecret(in.Body.NewPassword))
}
