package v1

import (
	"context"
	"net/http"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

type operatorSurface struct {
	accounts *account.Store
}

// RegisterOperator adds the operator's calls to a.
func RegisterOperator(a *api.API, accounts *account.Store) {
	s := &operatorSurface{accounts}
	const tag = "Operator"
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/accounts", Name: "listAccounts", Tag: tag, Security: api.AccessToken, Action: access.ListAccounts,
		Summary: "List the accounts of this server", Description: "For the operator alone. Newest first.",
		Errors: []*fault.Fault{fault.ErrNotAllowed},
	}, s.listAccounts)
	api.Register(a, api.Operation{
		Method: http.MethodPost, Path: "/v1/accounts", Name: "createAccount", Tag: tag, Security: api.AccessToken, Action: access.CreateAccount, Status: http.StatusCreated,
		Summary: "Make an account for somebody", Description: "For the operator alone; it works when sign-up is closed, too.",
		Errors: []*fault.Fault{fault.ErrNotAllowed, account.ErrEmailTaken},
	}, s.createAccount)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/organizations", Name: "listOrganizations", Tag: tag, Security: api.AccessToken, Action: access.ListOrganizations,
		Summary: "List the organizations of this server", Description: "For the operator alone. Newest first.",
		Errors: []*fault.Fault{fault.ErrNotAllowed},
	}, s.listOrganizations)
	api.Register(a, api.Operation{
		Method: http.MethodPatch, Path: "/v1/organizations/{id}", Name: "changeOrganization", Tag: tag, Security: api.AccessToken, Action: access.ChangeOrganization,
		Summary: "Change an organization's tier, limits or quotas",
		Description: "For the operator alone. What is left out stays. Limits of its own are above or below what the tier gives (free: 100 requests an hour and 10 in a second; " +
			"pro: 1,000 and 100; enterprise: unlimited), and stay when the tier changes.",
		Errors: []*fault.Fault{fault.ErrNotAllowed, account.ErrOrganizationNotFound},
	}, s.changeOrganization)
}

func accountJSON(a account.Account) client.Account {
	return client.Account{ID: a.ID, Name: a.Name, Email: a.Email, CreatedAt: client.NewTime(a.CreatedAt), UpdatedAt: client.NewTime(a.UpdatedAt)}
}

func organizationJSON(o account.Organization) client.Organization {
	return client.Organization{
		ID: o.ID, Name: o.Name, Operator: o.Operator, Tier: o.Tier,
		Limits:          client.OrganizationLimits{RequestsPerHour: o.Limits.PerHour, Burst: o.Limits.Burst, RequestsPerMonth: o.Limits.PerMonth},
		EffectiveLimits: effectiveJSON(o.EffectiveLimits()),
		Quotas:          client.Quotas{Agents: o.Quotas.Agents, AuthProfiles: o.Quotas.AuthProfiles, Keys: o.Quotas.Keys, QueuedRuns: o.Quotas.QueuedRuns},
		CreatedAt:       client.NewTime(o.CreatedAt), UpdatedAt: client.NewTime(o.UpdatedAt),
	}
}

func effectiveJSON(l access.Limits) client.OrganizationLimits {
	some := func(n int64) *int64 {
		if n == 0 {
			return nil
		}
		return &n
	}
	return client.OrganizationLimits{RequestsPerHour: some(l.PerHour), Burst: some(l.Burst), RequestsPerMonth: some(l.PerMonth)}
}

type listIn struct{ api.Cursored }

// afterID returns the id that the list goes on after; "" is the beginning.
func afterID(q api.Cursored) (string, error) {
	key, err := q.After(1)
	if err != nil || key == nil {
		return "", err
	}
	return key[0], nil
}

func (s *operatorSurface) listAccounts(ctx context.Context, who access.Caller, in *listIn) (client.List[client.Account], error) {
	after, err := afterID(in.Cursored)
	if err != nil {
		return client.List[client.Account]{}, err
	}
	found, err := s.accounts.Accounts(ctx, who, after, in.Limit+1)
	if err != nil {
		return client.List[client.Account]{}, err
	}
	return convert(api.NewList(in.Cursored, found, func(a account.Account) []string { return []string{a.ID} }), accountJSON), nil
}

type createAccountIn struct{ Body client.CreateAccount }

func (s *operatorSurface) createAccount(ctx context.Context, who access.Caller, in *createAccountIn) (client.Account, error) {
	a, err := s.accounts.Register(ctx, who, account.Registration{Name: in.Body.Name, Email: in.Body.Email, Password: seal.NewSecret(in.Body.Password)})
	if err != nil {
		return client.Account{}, err
	}
	return accountJSON(a), nil
}

func (s *operatorSurface) listOrganizations(ctx context.Context, who access.Caller, in *listIn) (client.List[client.Organization], error) {
	after, err := afterID(in.Cursored)
	if err != nil {
		return client.List[client.Organization]{}, err
	}
	found, err := s.accounts.Organizations(ctx, who, after, in.Limit+1)
	if err != nil {
		return client.List[client.Organization]{}, err
	}
	return convert(api.NewList(in.Cursored, found, func(o account.Organization) []string { return []string{o.ID} }), organizationJSON), nil
}

type changeOrganizationIn struct {
	ID   string `path:"id" maxLength:"64"`
	Body client.OrganizationChange
}

func (s *operatorSurface) changeOrganization(ctx context.Context, who access.Caller, in *changeOrganizationIn) (client.Organization, error) {
	change := account.Change{Tier: in.Body.Tier}
	if l := in.Body.Limits; l != nil {
		change.Limits = &account.Limits{PerHour: l.RequestsPerHour, Burst: l.Burst, PerMonth: l.RequestsPerMonth}
	}
	if q := in.Body.Quotas; q != nil {
		change.Quotas = &account.Quotas{Agents: q.Agents, AuthProfiles: q.AuthProfiles, Keys: q.Keys, QueuedRuns: q.QueuedRuns}
	}
	o, err := s.accounts.ChangeOrganization(ctx, who, in.ID, change)
	if err != nil {
		return client.Organization{}, err
	}
	return organizationJSON(o), nil
}
