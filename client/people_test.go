package client_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

func TestTheOperatorHasCallsOfHisOwn(t *testing.T) {
	s := keywardtest.Start(t)
	operator, ctx := s.SignUpOperator(t).Client, t.Context()
	jane, err := operator.Accounts.Create(ctx, client.CreateAccount{Name: "Jane", Email: "jane@example.com", Password: "correct horse"})
	if err != nil || jane.Email != "jane@example.com" {
		t.Fatalf("%+v, %v", jane, err)
	}
	var people, companies []string
	for a, err := range operator.Accounts.All(ctx, client.Page{Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		people = append(people, a.Email)
	}
	var janes client.Organization
	for o, err := range operator.Organizations.All(ctx, client.Page{Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if companies = append(companies, o.Name); !o.Operator {
			janes = o
		}
	}
	if len(people) != 2 || len(companies) != 2 {
		t.Errorf("accounts %v, organizations %v", people, companies)
	}
	tier, most := "pro", int64(7)
	changed, err := operator.Organizations.Change(ctx, janes.ID, client.OrganizationChange{Tier: &tier, Limits: &client.OrganizationLimits{RequestsPerHour: &most}})
	if err != nil || changed.Tier != tier || *changed.EffectiveLimits.RequestsPerHour != most {
		t.Errorf("%+v, %v", changed, err)
	}
	if page, err := operator.Accounts.List(ctx, client.Page{Limit: 1}); err != nil || len(page.Data) != 1 || page.Pagination.NextCursor == nil {
		t.Errorf("%+v, %v", page, err)
	}
	if page, err := operator.Organizations.List(ctx, client.Page{}); err != nil || len(page.Data) != 2 {
		t.Errorf("%+v, %v", page, err)
	}
	if _, err := s.Client(t).Accounts.List(ctx, client.Page{}); !errors.Is(err, client.ErrInvalidAccessToken) && !errors.Is(err, client.ErrNotAllowed) {
		t.Errorf("somebody else: %v", err)
	}
}

// Somebody who has signed in goes on after his access token has expired, on a real
// server.
func TestWhoHasSignedInGoesOn(t *testing.T) {
	s := keywardtest.Start(t)
	who := s.SignUp(t)
	nobody := connect(t, s.URL, client.WithoutCredentials())
	tokens, err := nobody.Auth.SignIn(t.Context(), who.Email, who.Password)
	if err != nil {
		t.Fatal(err)
	}
	var kept client.Tokens
	c, err := nobody.With(client.WithSignIn(client.Tokens{RefreshToken: tokens.RefreshToken}, func(t client.Tokens) error { kept = t; return nil }))
	if err != nil {
		t.Fatal(err)
	}
	if me, err := c.Auth.Me(t.Context()); err != nil || me.Email != who.Email || kept.AccessToken == "" || kept.RefreshToken == tokens.RefreshToken {
		t.Errorf("%+v, %v", me, err)
	}
	if err := c.Auth.SignOut(t.Context(), kept.RefreshToken); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Auth.Me(t.Context()); !errors.Is(err, client.ErrInvalidAccessToken) {
		t.Errorf("signed out: %v", err)
	}
}

func TestADeviceLoginWaitsForItsOwner(t *testing.T) {
	s := keywardtest.Start(t)
	begun, err := connect(t, s.URL, client.WithoutCredentials()).Auth.BeginDeviceLogin(t.Context(), "read")
	if err != nil || len(begun.UserCode) < 8 || !strings.HasPrefix(begun.VerificationURI, "http") || time.Until(begun.ExpiresAt) < 9*time.Minute {
		t.Fatalf("%+v, %v", begun, err)
	}

	for last, want := range map[string]error{
		`{"status":"completed","api_key":"ra_live_x"}`: nil, `{"status":"access_denied"}`: client.ErrLoginDenied, `{"status":"expired"}`: client.ErrLoginExpired,
		`{"status":"pending"}`: client.ErrLoginExpired,
	} {
		synctest.Test(t, func(t *testing.T) {
			o, sent := through(func(n int, r *http.Request) (*http.Response, error) {
				switch {
				case n == 1:
					return answer(200, `{"device_code":"hidden","user_code":"WDJBMJHT","verification_uri":"https://keys.example.com/device","expires_in":600,"interval":5}`), nil
				case r.URL.Query().Get("device_code") != "hidden" || len(r.Header.Get("X-Session-Secret")) < 16 || r.Header.Get("Authorization") != "":
					return refuse(400, "INVALID_REQUEST"), nil
				case n == 2:
					return refuse(429, "RATE_LIMITED", "Retry-After: 5"), nil
				case n < 5:
					return answer(200, `{"status":"pending"}`), nil
				}
				return answer(200, last), nil
			})
			login, err := connect(t, "https://keys.example.com", o).Auth.BeginDeviceLogin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			key, err := login.Key(t.Context())
			if !errors.Is(err, want) || (err == nil) != (want == nil) || (key == "ra_live_x") != (want == nil) || err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s: %q, %v", last, key, err)
			}
			if gap := sent.at[4].Sub(sent.at[3]); gap != 5*time.Second {
				t.Errorf("it polled again after %v", gap)
			}
		})
	}
}
