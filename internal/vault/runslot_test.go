package vault_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

// wait makes a token by which a run opens the profile of tok for an hour.
func (h *house) wait(t testing.TB, tok seal.AuthToken) vault.RunSlot {
	t.Helper()
	o := h.open(t, tok)
	defer o.Close()
	slot, err := o.RunSlot(h.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	h.keep(t, slot)
	return slot
}

func (h *house) keep(t testing.TB, slot vault.RunSlot) {
	t.Helper()
	if err := h.DB.Tx(t.Context(), func(tx *db.Tx) error { return slot.Keep(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// takeUp opens a profile of Jane's shop as the run that waited does, and returns
// what is in it.
func (h *house) takeUp(t testing.TB, slot vault.RunSlot) (string, error) {
	o, err := h.OpenRun(t.Context(), h.jane, h.agent("uid-shop"), slot.Token)
	if err != nil {
		return "", err
	}
	defer o.Close()
	return show(o), nil
}

func (h *house) opens(t testing.TB, slot vault.RunSlot, want string) {
	t.Helper()
	if got, err := h.takeUp(t, slot); err != nil || got != want {
		t.Errorf("the run's token opens %q, %v, want %q", got, err, want)
	}
}

func (h *house) opensNothing(t testing.TB, when string, slot vault.RunSlot) {
	t.Helper()
	if _, err := h.takeUp(t, slot); err == nil || err.Error() != vault.ErrToken.Error() {
		t.Errorf("%s: the run's token gets %v, want %v", when, err, vault.ErrToken)
	}
}

func TestARunThatWaitedOpensItsProfile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, `{"s":1}`, "username", `"a"`)
		slot := h.wait(t, u.Token)
		h.opens(t, slot, `username="a"`)

		// An update keeps it, and it saves sessions like any other.
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("username", `"b"`), KeepSession: true})
		o, err := h.OpenRun(t.Context(), h.jane, h.agent("uid-shop"), slot.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if err := o.SaveSession(t.Context(), []byte(`{"s":2}`)); err != nil {
			t.Error(err)
		}
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return o.Touch(t.Context(), tx) }); err != nil {
			t.Error(err)
		}
		h.holds(t, u.Token, `username="b"`, `{"s":2}`)

		h.point("uid-shop", "http https other.example 443")
		if _, err := h.takeUp(t, slot); fault.Of(err).Code != vault.ErrAgentChanged.Code {
			t.Errorf("an agent that was pointed elsewhere gets %v", err)
		}
		h.point("uid-shop", "http https shop.example 443")

		drop := func(tx *db.Tx) error { return h.DropRunSlot(t.Context(), tx, slot.Locator) }
		if err := d.Tx(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
		h.opensNothing(t, "when it was dropped", slot)
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return h.DropRunSlot(t.Context(), tx, u.Token.Locator()) }); err != nil {
			t.Fatal(err)
		}
		h.holds(t, u.Token, `username="b"`, `{"s":2}`) // no owner's token is dropped so
	})
}

func TestARunsTokenIsForItsRunAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		slot := h.wait(t, u.Token)
		shop := h.agent("uid-shop")
		o, err := h.OpenRun(t.Context(), h.jane, shop, slot.Token)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if _, err := o.RunSlot(h.now().Add(time.Minute)); err == nil {
			t.Error("it makes another")
		}
		for name, refused := range map[string]func() error{
			"it starts a run": func() error {
				_, err := h.Open(t.Context(), h.jane, shop, slot.Token)
				return err
			},
			"it updates": func() error {
				_, err := h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Token: slot.Token, Values: values("username", `"b"`)})
				return err
			},
			"it is rotated": func() error {
				_, err := h.RotateToken(t.Context(), h.jane, "shop", slot.Token, 0)
				return err
			},
			"another organization shows it": func() error {
				_, err := h.OpenRun(t.Context(), h.bob, shop, slot.Token)
				return err
			},
			"it is shown for another agent": func() error {
				_, err := h.OpenRun(t.Context(), h.jane, h.agent("uid-mail"), slot.Token)
				return err
			},
			"an owner's token is shown in its place": func() error {
				_, err := h.OpenRun(t.Context(), h.jane, shop, secret(u.Token))
				return err
			},
			"its row says that it is an owner's": func() error {
				run(t, d, `UPDATE profile_slots SET kind = 'owner' WHERE locator = $1`, slot.Locator)
				_, err := h.Open(t.Context(), h.jane, shop, slot.Token)
				return err
			},
			"an owner's row says that it is a run's": func() error {
				run(t, d, `UPDATE profile_slots SET kind = 'run', made_by = locator WHERE locator = $1`, u.Token.Locator())
				_, err := h.OpenRun(t.Context(), h.jane, shop, secret(u.Token))
				run(t, d, `UPDATE profile_slots SET kind = 'owner' WHERE locator = $1`, u.Token.Locator())
				return err
			},
		} {
			if err := refused(); fault.Of(err).Code != vault.ErrNotFound.Code {
				t.Errorf("when %s: %v", name, err)
			}
		}
		h.holds(t, u.Token, `username="a"`, "")
	})
}

func TestARunsTokenEndsWithWhatMadeIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, end := range map[string]func(u vault.Upserted){
			"its hour is over":                func(vault.Upserted) { h.pass(time.Hour) },
			"the token is rotated":            func(u vault.Upserted) { h.rotate(t, u.Token, 0) },
			"the grace of the token is over":  func(u vault.Upserted) { h.rotate(t, u.Token, time.Minute); h.pass(time.Minute) },
			"the profile is deleted":          func(u vault.Upserted) { wantErr(t, h.Delete(t.Context(), h.jane, u.ID), nil) },
			"the profile is replaced":         func(vault.Upserted) { h.create(t, h.jane, "shop", "p", "username", `"z"`) },
			"its row says that it has no end": func(u vault.Upserted) { run(t, d, `UPDATE profile_slots SET expires_at = 0 WHERE kind = 'run'`) },
			"its row says that it ends later": func(u vault.Upserted) {
				run(t, d, `UPDATE profile_slots SET expires_at = expires_at + 1 WHERE kind = 'run'`)
			},
			"its row says that none has made it": func(u vault.Upserted) { run(t, d, `UPDATE profile_slots SET made_by = '' WHERE kind = 'run'`) },
		} {
			u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
			slot := h.wait(t, u.Token)
			h.opens(t, slot, `username="a"`)
			end(u)
			h.opensNothing(t, "when "+name, slot)
			_ = d.Tx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `DELETE FROM profiles`)
				return err
			})
		}
	})
}

func TestInItsGraceATokensRunsGoOn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		slot := h.wait(t, u.Token)
		next := h.rotate(t, u.Token, 10*time.Minute)
		late, other := h.wait(t, u.Token), h.wait(t, next)
		h.pass(10*time.Minute - time.Microsecond)
		for _, s := range []vault.RunSlot{slot, late, other} {
			h.opens(t, s, `username="a"`)
		}
		h.pass(time.Microsecond)
		h.opensNothing(t, "when the grace is over", slot)
		h.opensNothing(t, "when the grace is over", late)
		h.opens(t, other, `username="a"`)

		if n, err := h.Purge(t.Context(), 10); n == 0 || err != nil {
			t.Errorf("Purge removed %d, %v", n, err)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM profile_slots WHERE kind = 'run'`); n != 1 {
			t.Errorf("%d slots of runs are left after the purge, want the one that opens", n)
		}
		h.opens(t, other, `username="a"`)
	})
}

// A rotation or a deletion that comes between the opening of a profile and the
// keeping of its run's slot ends the slot, too.
func TestASlotThatIsKeptTooLateOpensNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		o := h.open(t, u.Token)
		defer o.Close()
		slot, err := o.RunSlot(h.now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		h.opensNothing(t, "before it is kept", slot)
		h.rotate(t, u.Token, 0)
		h.keep(t, slot)
		h.opensNothing(t, "when it was kept after a rotation", slot)

		if slot, err = o.RunSlot(h.now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		wantErr(t, h.Delete(t.Context(), h.jane, u.ID), nil)
		err = d.Tx(t.Context(), func(tx *db.Tx) error { return slot.Keep(context.Background(), tx) })
		if !errorIs(err, vault.ErrToken) {
			t.Errorf("kept after the profile was deleted: %v", err)
		}
	})
}

func TestSlotsOfRunsAreSealedAgainWithoutTokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, `{"s":1}`, "username", `"a"`)
		slot := h.wait(t, u.Token)
		wantErr(t, h.DeleteSession(t.Context(), h.jane, u.ID), nil)
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{2, 1, 0} {
			if n, err := h.Reseal(t.Context(), 2); n != want || err != nil {
				t.Fatalf("%d were sealed again, %v, want %d", n, err, want)
			}
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		h.opens(t, slot, `username="a"`)
		h.holds(t, u.Token, `username="a"`, "")
	})
}
