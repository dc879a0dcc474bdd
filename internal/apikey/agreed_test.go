package apikey_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
)

// A key that somebody has agreed to is made, and ended, as a part of what
// somebody else does.
func TestAKeyIsMadeAndEndedAsAPartOfAnotherAct(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		visitor := access.NewVisitor(netip.MustParseAddr("192.0.2.1"), "r1")
		var closed []access.Change
		h.Acts.Closed = func(_ context.Context, changes []access.Change) { closed = append(closed, changes...) }
		agreed := h.jane
		agreed.SignInID = "" // she is not asking now
		var made apikey.Issued
		create := func(who access.Caller, in apikey.Request) error {
			return h.Acts.Do(t.Context(), visitor, access.PollDevice, func(tx *db.Tx, act *access.Act) (err error) {
				made, err = h.CreateIn(t.Context(), tx, act, who, in)
				return err
			})
		}
		in := apikey.Request{Name: "agreed", Type: apikey.Temporary, ExpiresIn: time.Hour, Scopes: []string{"agents:run"}}
		if err := create(agreed, in); err != nil {
			t.Fatal(err)
		}
		secret := made.Secret
		k := h.lookup(t, secret).Key
		if k.AccountID != "jane" || k.OrganizationID != "org-jane" || k.Scopes != access.AgentsRun || k.ExpiresAt.Sub(k.CreatedAt) != time.Hour || k.MadeByKey != 0 || k.Usable(h.Now()) != nil {
			t.Errorf("%+v", k)
		}
		in.Type = "nonsense"
		if err := create(agreed, in); !errors.Is(err, fault.ErrInvalidRequest) {
			t.Errorf("a key of no type: %v", err)
		}
		gone := errors.New("she is gone")
		h.HoldMember = func(context.Context, *db.Tx, string, string) error { return gone }
		if err := create(agreed, apikey.Request{Name: "late"}); !errors.Is(err, gone) {
			t.Errorf("of somebody who is gone: %v", err)
		}

		end := func(id int64) error {
			return h.Acts.Do(t.Context(), access.NewServer(), access.AbandonDevice, func(tx *db.Tx, act *access.Act) error {
				return h.EndIn(t.Context(), tx, act, id)
			})
		}
		for _, id := range []int64{k.ID, k.ID, 12345} {
			if err := end(id); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.state(t, secret); !errors.Is(err, apikey.ErrRevoked) {
			t.Errorf("after its end: %v", err)
		}
		if len(closed) == 0 || closed[0].Kind != access.KeyClosed {
			t.Errorf("closed: %v", closed)
		}
	})
}
