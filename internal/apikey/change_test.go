package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// about writes what of a key can be changed.
func about(k apikey.Key) string {
	var ips []string
	for _, p := range k.AllowedIPs {
		ips = append(ips, apikey.IPText(p))
	}
	scopes := strings.Join(k.Scopes.Names(), " ")
	if k.Scopes == access.AllScopes {
		scopes = "all"
	}
	life := time.Duration(0)
	if !k.ExpiresAt.IsZero() {
		life = k.ExpiresAt.Sub(k.CreatedAt)
	}
	return fmt.Sprintf("%s|%s|%s|%s|%v|%v|%v|%v|%s|%s", k.Name, scopes, strings.Join(k.AgentIDs, " "), strings.Join(ips, " "), life, k.Limits, k.RequireSignature, k.Disabled, k.ExternalID, k.Metadata)
}

func TestAChangeChangesWhatIsInIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, secret := h.make(t, h.jane, apikey.Request{Name: "a", Type: apikey.Personal})
		var none []string
		for _, step := range []struct {
			c    apikey.Change
			want string
		}{
			{apikey.Change{}, "a|all|||0s|{0 0 0}|false|false||"},
			{apikey.Change{Name: ptr("b"), ExternalID: ptr("x"), Metadata: ptr([]byte(`{"a": 1}`))}, `b|all|||0s|{0 0 0}|false|false|x|{"a":1}`},
			{apikey.Change{PerHour: ptr(int64(5)), PerMonth: ptr(int64(9))}, `b|all|||0s|{5 0 9}|false|false|x|{"a":1}`},
			{apikey.Change{PerHour: ptr(int64(0)), Burst: ptr(int64(2))}, `b|all|||0s|{0 2 9}|false|false|x|{"a":1}`},
			{apikey.Change{AddIPs: []string{"10.0.0.0/8", "::1"}}, `b|all||10.0.0.0/8 ::1|0s|{0 2 9}|false|false|x|{"a":1}`},
			{apikey.Change{AddIPs: []string{"::1", "192.0.2.1"}, RemoveIPs: []string{"10.0.0.0/8"}}, `b|all||::1 192.0.2.1|0s|{0 2 9}|false|false|x|{"a":1}`},
			{apikey.Change{AllowedIPs: ptr([]string{"10.1.0.0/16"})}, `b|all||10.1.0.0/16|0s|{0 2 9}|false|false|x|{"a":1}`},
			{apikey.Change{AgentIDs: ptr([]string{"portal"})}, `b|agents:read agents:run profiles:read profiles:write|portal|10.1.0.0/16|0s|{0 2 9}|false|false|x|{"a":1}`},
			{apikey.Change{AgentIDs: &none, Scopes: &none, AllowedIPs: &none}, `b|all|||0s|{0 2 9}|false|false|x|{"a":1}`},
			{apikey.Change{ExpiresIn: ptr(time.Hour), Scopes: ptr([]string{"keys:verify"})}, `b|keys:verify|||1h0m0s|{0 2 9}|false|false|x|{"a":1}`},
			{apikey.Change{ExpiresIn: ptr(time.Duration(0)), ExternalID: ptr(""), Metadata: ptr([]byte(nil))}, `b|keys:verify|||0s|{0 2 9}|false|false||`},
			{apikey.Change{RequireSignature: ptr(true), Disabled: ptr(true)}, `b|keys:verify|||0s|{0 2 9}|true|true||`},
			{apikey.Change{RequireSignature: ptr(false), Disabled: ptr(false), Scopes: &none, Burst: ptr(int64(0)), PerMonth: ptr(int64(0)), Name: ptr("a")}, "a|all|||0s|{0 0 0}|false|false||"},
		} {
			changed := h.change(t, h.jane, made.ID, step.c)
			if got := about(changed.Key); got != step.want {
				t.Errorf("answered %s\nwant     %s", got, step.want)
			}
			if got := about(h.lookup(t, secret).Key); got != step.want {
				t.Errorf("found    %s\nwant     %s", got, step.want)
			}
			if changed.Hint != made.Hint || len(changed.Secret.Bytes()) != 0 {
				t.Error("a change shows another hint, or a value")
			}
		}
	})
}

func TestChangesThatMayNotBeAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.jane.Limits = access.Limits{PerHour: 100}
		k, _ := h.make(t, h.jane, apikey.Request{Name: "a", AllowedIPs: []string{"10.0.0.1"}})
		service, _ := h.make(t, h.jane, apikey.Request{Name: "service", Scopes: []string{"read"}})
		temporary, _ := h.make(t, h.jane, apikey.Request{Name: "temporary", Type: apikey.Temporary})
		many := make([]string, 100)
		for i := range many {
			many[i] = fmt.Sprint("10.1.0.", i)
		}
		var none []string
		for name, test := range map[string]struct {
			id    int64
			c     apikey.Change
			field string
		}{
			"a list and an edit":              {k.ID, apikey.Change{AllowedIPs: ptr([]string{"::1"}), AddIPs: []string{"::2"}}, "allowed_ips"},
			"no list and an edit":             {k.ID, apikey.Change{AllowedIPs: &none, RemoveIPs: []string{"10.0.0.1"}}, "allowed_ips"},
			"an empty list":                   {k.ID, apikey.Change{AllowedIPs: ptr([]string{})}, "allowed_ips"},
			"bits beyond the length":          {k.ID, apikey.Change{AddIPs: []string{"10.0.0.1/8"}}, "add_ips"},
			"too many":                        {k.ID, apikey.Change{AddIPs: many}, "add_ips"},
			"one that is not there":           {k.ID, apikey.Change{RemoveIPs: []string{"10.0.0.2"}}, "remove_ips"},
			"a part of one":                   {k.ID, apikey.Change{RemoveIPs: []string{"10.0.0.0/8"}}, "remove_ips"},
			"the last one":                    {k.ID, apikey.Change{RemoveIPs: []string{"10.0.0.1"}}, "remove_ips"},
			"added and removed":               {k.ID, apikey.Change{AddIPs: []string{"::1"}, RemoveIPs: []string{"::1"}}, "remove_ips"},
			"a service key without scopes":    {service.ID, apikey.Change{Scopes: &none}, "scopes"},
			"a service key that makes keys":   {service.ID, apikey.Change{Scopes: ptr([]string{"keys:write"})}, "scopes"},
			"no scope":                        {k.ID, apikey.Change{Scopes: ptr([]string{})}, "scopes"},
			"an agent that is not there":      {k.ID, apikey.Change{AgentIDs: ptr([]string{"MARK"})}, "agent_ids"},
			"a temporary key for ever":        {temporary.ID, apikey.Change{ExpiresIn: ptr(time.Duration(0))}, "expires_in"},
			"a temporary key for a long time": {temporary.ID, apikey.Change{ExpiresIn: ptr(31 * 24 * time.Hour)}, "expires_in"},
			"more than the tier gives":        {k.ID, apikey.Change{PerHour: ptr(int64(101))}, "limits.requests_per_hour"},
			"no name":                         {k.ID, apikey.Change{Name: ptr("")}, "name"},
			"metadata that is no object":      {k.ID, apikey.Change{Metadata: ptr([]byte(`"MARK"`))}, "metadata"},
		} {
			_, err := h.Change(t.Context(), h.jane, test.id, test.c)
			refused(t, name, err, test.field)
		}
		if got, err := h.Get(t.Context(), h.jane, k.ID); err != nil || about(got) != about(k) {
			t.Errorf("it is now %s (%v), was %s", about(got), err, about(k))
		}

		if _, err := h.Change(t.Context(), h.jane, k.ID, apikey.Change{Name: ptr("service")}); !errors.Is(err, apikey.ErrDuplicateName) {
			t.Errorf("a name that is taken: %v", err)
		}
		if _, err := h.Change(t.Context(), h.bob, k.ID, apikey.Change{Name: ptr("mine")}); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("another organization: %v", err)
		}
		if _, err := h.Change(t.Context(), access.Caller{}, k.ID, apikey.Change{Name: ptr("mine")}); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("the zero caller: %v", err)
		}
		if err := h.Revoke(t.Context(), h.jane, k.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Change(t.Context(), h.jane, k.ID, apikey.Change{Name: ptr("late")}); !errors.Is(err, apikey.ErrIsRevoked) {
			t.Errorf("a revoked key: %v", err)
		}
		if _, err := h.Rotate(t.Context(), h.jane, k.ID, 0); !errors.Is(err, apikey.ErrIsRevoked) {
			t.Errorf("a revoked key is rotated: %v", err)
		}
	})
}

func TestRequiringSignaturesGivesASecretOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, old := h.make(t, h.jane, apikey.Request{Name: "a"})
		rotated, err := h.Rotate(t.Context(), h.jane, k.ID, time.Hour)
		if err != nil || len(rotated.Signing.Bytes()) != 0 {
			t.Fatalf("a signing secret of %d bytes, %v", len(rotated.Signing.Bytes()), err)
		}
		first := h.change(t, h.jane, k.ID, apikey.Change{RequireSignature: ptr(true)}).Signing.Reveal()
		for _, secret := range []seal.Secret{old, rotated.Secret} { // both work
			if got := h.lookup(t, secret).Signing.Reveal(); first == "" || got != first {
				t.Error("a value is not signed with the secret that was shown")
			}
		}
		if again := h.change(t, h.jane, k.ID, apikey.Change{RequireSignature: ptr(true), Name: ptr("b")}); len(again.Signing.Bytes()) != 0 {
			t.Error("what was required already gives another secret")
		}
		if h.lookup(t, old).Signing.Reveal() != first {
			t.Error("the secret changed")
		}
		h.change(t, h.jane, k.ID, apikey.Change{RequireSignature: ptr(false)})
		var kept int64
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM api_key_secrets WHERE signing <> $1`, []byte{}).Scan(&kept); err != nil || kept != 0 {
			t.Errorf("%d signing secrets are kept that nothing needs (%v)", kept, err)
		}
		if second := h.change(t, h.jane, k.ID, apikey.Change{RequireSignature: ptr(true)}).Signing.Reveal(); second == first || second == "" {
			t.Error("required again, there is no new secret")
		}
	})
}

func TestAKeyChangesAndRotatesNothingStronger(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		mother, _ := h.make(t, h.jane, apikey.Request{Name: "mother", Type: apikey.Personal, Scopes: []string{"keys:write", "agents:read"}, AllowedIPs: []string{"10.0.0.0/8"}})
		child, _ := h.make(t, h.jane, apikey.Request{Name: "child", Type: apikey.Personal, Scopes: []string{"agents:read"}, AllowedIPs: []string{"10.1.0.0/16"}})
		strong, _ := h.make(t, h.jane, apikey.Request{Name: "strong"})
		service, _ := h.make(t, h.jane, apikey.Request{Name: "service", Scopes: []string{"agents:read"}, AllowedIPs: []string{"10.0.0.1"}})
		other, _ := h.make(t, access.Caller{AccountID: "eve", OrganizationID: "org-jane", Role: access.Owner, SignInID: "s", Quotas: h.jane.Quotas},
			apikey.Request{Name: "other", Type: apikey.Personal, Scopes: []string{"agents:read"}, AllowedIPs: []string{"10.0.0.1"}})
		who := h.with(t, h.jane, mother)
		var none []string
		for name, test := range map[string]struct {
			id    int64
			c     apikey.Change
			field string // "": allowed
		}{
			"a weaker one":              {child.ID, apikey.Change{Name: ptr("renamed")}, ""},
			"a weaker one, up to it":    {child.ID, apikey.Change{AllowedIPs: ptr([]string{"10.0.0.0/8"}), Scopes: ptr([]string{"keys:write"})}, ""},
			"a service key":             {service.ID, apikey.Change{Disabled: ptr(true)}, ""},
			"a weaker one, more scopes": {child.ID, apikey.Change{Scopes: ptr([]string{"agents:run"})}, "scopes"},
			"a weaker one, all scopes":  {child.ID, apikey.Change{Scopes: &none}, "scopes"},
			"a weaker one, anywhere":    {child.ID, apikey.Change{AllowedIPs: &none}, "allowed_ips"},
			"a weaker one, elsewhere":   {child.ID, apikey.Change{AddIPs: []string{"192.0.2.1"}}, "allowed_ips"},
			"a stronger one":            {strong.ID, apikey.Change{Name: ptr("x")}, "scopes"},
			"a stronger one, to less":   {strong.ID, apikey.Change{Scopes: ptr([]string{"agents:read"}), AllowedIPs: ptr([]string{"10.0.0.1"})}, "scopes"},
			"one of another account":    {other.ID, apikey.Change{Name: ptr("x")}, "account"},
			"itself, narrower":          {mother.ID, apikey.Change{Burst: ptr(int64(5))}, ""},
			"itself, no narrower":       {mother.ID, apikey.Change{Burst: ptr(int64(0)), AddIPs: []string{"192.0.2.1"}}, "allowed_ips"},
			"its own name":              {mother.ID, apikey.Change{Name: ptr("x")}, "name"},
			"its own external id":       {mother.ID, apikey.Change{ExternalID: ptr("customer-2")}, "external_id"},
			"its own metadata":          {mother.ID, apikey.Change{Metadata: ptr([]byte(`{}`))}, "metadata"},
		} {
			_, err := h.Change(t.Context(), who, test.id, test.c)
			weak(t, name, err, test.field)
			for _, k := range []apikey.Key{mother, child, service} { // as they were
				var ips []string
				for _, p := range k.AllowedIPs {
					ips = append(ips, apikey.IPText(p))
				}
				names := k.Scopes.Names()
				h.change(t, h.jane, k.ID, apikey.Change{Name: &k.Name, Scopes: &names, AllowedIPs: &ips, Disabled: ptr(false), Burst: ptr(int64(0))})
			}
		}
		for name, test := range map[string]struct {
			id    int64
			field string
		}{
			"a weaker one": {child.ID, ""}, "a service key": {service.ID, ""},
			"itself": {mother.ID, "id"}, "a stronger one": {strong.ID, "scopes"}, "one of another account": {other.ID, "account"},
		} {
			_, err := h.Rotate(t.Context(), who, test.id, 0)
			weak(t, "rotate "+name, err, test.field)
		}
	})
}

// weak checks that err is KEY_TOO_WEAK about field, or nil if that is "".
func weak(t *testing.T, name string, err error, field string) {
	t.Helper()
	switch {
	case field == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case field != "" && (!errors.Is(err, apikey.ErrTooWeak) || fault.Of(err).Details["field"] != field):
		t.Errorf("%s: %v, want KEY_TOO_WEAK for %s", name, err, field)
	}
}

// What the request was let in with is out of date: the key has been narrowed,
// disabled, or has expired since.
func TestTheKeyThatAsksIsReadAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, test := range map[string]struct {
			c    apikey.Change
			want error
		}{
			"narrowed to an agent":   {apikey.Change{AgentIDs: ptr([]string{"invoices"}), Scopes: ptr([]string{"keys:write"})}, apikey.ErrTooWeak},
			"narrowed to an address": {apikey.Change{AllowedIPs: ptr([]string{"10.0.0.1"})}, apikey.ErrTooWeak},
			"without keys:write":     {apikey.Change{Scopes: ptr([]string{"agents:read"})}, access.ErrInsufficientScope},
			"disabled":               {apikey.Change{Disabled: ptr(true)}, apikey.ErrDisabled},
			"bound to sign":          {apikey.Change{RequireSignature: ptr(true)}, apikey.ErrTooWeak},
		} {
			mother, _ := h.make(t, h.jane, apikey.Request{Name: "mother " + name})
			child, _ := h.make(t, h.jane, apikey.Request{Name: "child " + name})
			who := h.with(t, h.jane, mother)
			h.change(t, h.jane, mother.ID, test.c)
			if _, err := h.Create(t.Context(), who, apikey.Request{Name: "late " + name}); !errors.Is(err, test.want) {
				t.Errorf("%s, it makes a key: %v", name, err)
			}
			if _, err := h.Change(t.Context(), who, child.ID, apikey.Change{Disabled: ptr(true)}); !errors.Is(err, test.want) {
				t.Errorf("%s, it changes a key: %v", name, err)
			}
			if _, err := h.Rotate(t.Context(), who, child.ID, 0); !errors.Is(err, test.want) {
				t.Errorf("%s, it rotates a key: %v", name, err)
			}
		}
	})
}

// Everybody who remembers a key hears of what is done to it, before the call
// answers.
func TestWhatChangesAKeyClosesItsDoor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var closed []string
		h.Acts.Closed = func(_ context.Context, changes []access.Change) {
			for _, c := range changes {
				closed = append(closed, string(c.Kind)+" "+c.Subject)
			}
		}
		mother, _ := h.make(t, h.jane, apikey.Request{Name: "mother"})
		child, _ := h.make(t, h.with(t, h.jane, mother), apikey.Request{Name: "child"})
		if len(closed) != 0 {
			t.Errorf("making a key closes %v", closed)
		}
		m, c := fmt.Sprint("key ", mother.ID), fmt.Sprint("key ", child.ID)
		if _, err := h.Rotate(t.Context(), h.jane, mother.ID, time.Hour); err != nil {
			t.Fatal(err)
		}
		h.change(t, h.jane, child.ID, apikey.Change{Burst: ptr(int64(5))})
		if !slices.Equal(closed, []string{m, c}) {
			t.Errorf("rotating one and changing the other closes %v", closed)
		}
		// The second time it is revoked already: the call that did it may not
		// have answered yet.
		for range 2 {
			closed = nil
			if err := h.Revoke(t.Context(), h.jane, mother.ID); err != nil || !slices.Equal(closed, []string{m, c}) {
				t.Errorf("revoke: closed %v (%v)", closed, err)
			}
		}
	})
}

func TestOfManyChangesAtOnceNoneIsLost(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, secret := h.make(t, h.jane, apikey.Request{Name: "a", AllowedIPs: []string{"10.0.0.0"}})
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				if _, err := h.Change(t.Context(), h.jane, k.ID, apikey.Change{AddIPs: []string{fmt.Sprint("10.0.0.", i+1)}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := h.lookup(t, secret).AllowedIPs; len(got) != 7 {
			t.Errorf("%v are left of 7 addresses", got)
		}
	})
}

// A change or a rotation that races with the revocation is before it or is
// refused; afterwards no value of the key works.
func TestNothingRevivesAKeyThatIsBeingRevoked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for round := range 8 {
			k, old := h.make(t, h.jane, apikey.Request{Name: fmt.Sprint("key ", round), RequireSignature: round%2 == 0})
			values := make(chan seal.Secret, 8)
			values <- old
			var wg sync.WaitGroup
			var refused atomic.Int64
			check := func(err error) {
				switch {
				case errors.Is(err, apikey.ErrIsRevoked):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				}
			}
			for i := range 3 {
				wg.Go(func() {
					made, err := h.Rotate(t.Context(), h.jane, k.ID, time.Hour)
					if check(err); err == nil {
						values <- made.Secret
					}
				})
				wg.Go(func() {
					_, err := h.Change(t.Context(), h.jane, k.ID, apikey.Change{RequireSignature: ptr(i%2 == 0), Disabled: ptr(false), ExpiresIn: ptr(time.Hour)})
					check(err)
				})
			}
			wg.Go(func() {
				if err := h.Revoke(t.Context(), h.jane, k.ID); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			close(values)
			for secret := range values {
				if err := h.state(t, secret); !errors.Is(err, apikey.ErrRevoked) {
					t.Errorf("after the revocation: %v", err)
				}
			}
		}
	})
}
