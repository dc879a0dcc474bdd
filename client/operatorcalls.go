package client

import (
	"context"
	"iter"
)

// AccountCalls are the operator's calls for accounts.
type AccountCalls struct{ c *Client }

// Create makes an account on somebody's behalf.
func (a AccountCalls) Create(ctx context.Context, in CreateAccount) (Account, error) {
	return call[Account](ctx, a.c, createAccount, request{body: in})
}

// List returns a page of the accounts.
func (a AccountCalls) List(ctx context.Context, p Page) (List[Account], error) {
	return list[Account](ctx, a.c, listAccounts, nil, nil, p)
}

// All walks through the accounts.
func (a AccountCalls) All(ctx context.Context, p Page) iter.Seq2[Account, error] {
	return walkList[Account](ctx, a.c, listAccounts, nil, nil, p)
}

// OrganizationCalls are the operator's calls for organizations.
type OrganizationCalls struct{ c *Client }

// List returns a page of the organizations.
func (o OrganizationCalls) List(ctx context.Context, p Page) (List[Organization], error) {
	return list[Organization](ctx, o.c, listOrganizations, nil, nil, p)
}

// All walks through the organizations.
func (o OrganizationCalls) All(ctx context.Context, p Page) iter.Seq2[Organization, error] {
	return walkList[Organization](ctx, o.c, listOrganizations, nil, nil, p)
}

// Change changes what of an organization is in the change.
func (o OrganizationCalls) Change(ctx context.Context, id string, in OrganizationChange) (Organization, error) {
	return call[Organization](ctx, o.c, changeOrganization, request{path: []string{id}, body: in})
}
