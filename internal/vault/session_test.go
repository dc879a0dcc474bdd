package vault_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

func TestASessionIsFoundAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, "", "username", `"a"`)
		h.holds(t, u.Token, `username="a"`, "")
		for _, session := range []string{`{"cookie":"1"}`, `"text"`, `{"cookie":"2"}`, `{"big":"` + strings.Repeat("x", seal.MaxSession-10) + `"}`} {
			o := h.open(t, u.Token)
			if err := o.SaveSession(t.Context(), []byte(session)); err != nil {
				t.Fatal(err)
			}
			if err := o.SaveSession(t.Context(), []byte(session)); err != nil { // a run may save more than once
				t.Fatal(err)
			}
			o.Close()
			o.Close()
			h.holds(t, u.Token, `username="a"`, session)
		}
		o := h.open(t, u.Token)
		defer o.Close()
		before := o.Session.Reveal()
		for _, empty := range []string{"", " \n", "null", `""`, "{}", "{ }", "[]", " [\n] "} {
			if err := o.SaveSession(t.Context(), []byte(empty)); err != nil {
				t.Errorf("%q: %v", empty, err)
			}
		}
		err := o.SaveSession(t.Context(), make([]byte, seal.MaxSession+1))
		wantErr(t, err, vault.ErrSessionTooLarge)
		h.holds(t, u.Token, `username="a"`, before)
	})
}

func TestAProfileThatKeepsNoSessionGetsNone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		o := h.open(t, u.Token)
		defer o.Close()
		if err := o.SaveSession(t.Context(), []byte(`{"a":1}`)); err != nil {
			t.Error(err)
		}
		h.holds(t, u.Token, `username="a"`, "")
		if n := column[int64](t, d, `SELECT count(*) FROM profile_sessions`); n != 0 {
			t.Errorf("%d sessions are stored", n)
		}
	})
}

func TestAnUpdateDropsTheSessionOfWhatItChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		const session = `{"s":1}`
		for name, try := range map[string]struct {
			in   vault.UpsertRequest
			want string // the session afterwards
		}{
			"nothing":          {vault.UpsertRequest{KeepSession: true}, session},
			"the same value":   {vault.UpsertRequest{KeepSession: true, Values: values("password", `"b"`)}, session},
			"a new name":       {vault.UpsertRequest{KeepSession: true, Name: new("q")}, session},
			"nothing to null":  {vault.UpsertRequest{KeepSession: true, Values: values("otp", `null`)}, session},
			"a changed value":  {vault.UpsertRequest{KeepSession: true, Values: values("password", `"c"`)}, ""},
			"another value":    {vault.UpsertRequest{KeepSession: true, Values: values("otp", `"c"`)}, ""},
			"a removed value":  {vault.UpsertRequest{KeepSession: true, Values: values("password", `null`)}, ""},
			"keep_session off": {vault.UpsertRequest{}, ""},
		} {
			u := h.kept(t, session, "username", `"a"`, "password", `"b"`)
			try.in.AgentID, try.in.Token = "shop", secret(u.Token)
			h.upsert(t, h.jane, try.in)
			o := h.open(t, u.Token)
			if got := o.Session.Reveal(); got != try.want || o.KeepSession != try.in.KeepSession {
				t.Errorf("after an update with %s the session is %q, want %q", name, got, try.want)
			}
			o.Close()
			p, err := h.Get(t.Context(), h.jane, u.ID)
			if err != nil || p.HasSession != (try.want != "") {
				t.Errorf("after an update with %s: %+v, %v", name, p, err)
			}
		}
	})
}

func TestARunThatEndsLateSavesNoSessionOfOldCredentials(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		update := func(in vault.UpsertRequest) func(vault.Upserted) {
			return func(u vault.Upserted) {
				in.AgentID, in.Token = "shop", secret(u.Token)
				h.upsert(t, h.jane, in)
			}
		}
		for name, meanwhile := range map[string]struct {
			happens func(u vault.Upserted)
			want    error
		}{
			"another run saves its session": {func(u vault.Upserted) {
				o := h.open(t, u.Token)
				defer o.Close()
				if err := o.SaveSession(t.Context(), []byte(`{"other":1}`)); err != nil {
					t.Fatal(err)
				}
			}, nil},
			"the token is rotated": {func(u vault.Upserted) {
				if _, err := h.RotateToken(t.Context(), h.jane, "shop", secret(u.Token), 0); err != nil {
					t.Fatal(err)
				}
			}, nil},
			"an update brings the same values": {update(vault.UpsertRequest{KeepSession: true, Values: values("password", `"b"`)}), nil},
			"the profile is renamed":           {update(vault.UpsertRequest{KeepSession: true, Name: new("q")}), nil},
			"a value is changed":               {update(vault.UpsertRequest{KeepSession: true, Values: values("password", `"c"`)}), vault.ErrChanged},
			"a value is removed":               {update(vault.UpsertRequest{KeepSession: true, Values: values("password", `null`)}), vault.ErrChanged},
			"a value is added":                 {update(vault.UpsertRequest{KeepSession: true, Values: values("otp", `1`)}), vault.ErrChanged},
			"keep_session goes off":            {update(vault.UpsertRequest{}), vault.ErrChanged},
			"another destination is accepted": {func(u vault.Upserted) {
				h.point("uid-shop", "http https other.example 443")
				update(vault.UpsertRequest{KeepSession: true})(u)
				h.point("uid-shop", "http https shop.example 443")
			}, vault.ErrChanged},
			"a value is changed and changed back": {func(u vault.Upserted) {
				update(vault.UpsertRequest{KeepSession: true, Values: values("password", `"c"`)})(u)
				update(vault.UpsertRequest{KeepSession: true, Values: values("password", `"b"`)})(u)
			}, vault.ErrChanged},
			"the profile is deleted": {func(u vault.Upserted) {
				if err := h.Delete(t.Context(), h.jane, u.ID); err != nil {
					t.Fatal(err)
				}
			}, vault.ErrChanged},
			"the profile is replaced": {func(vault.Upserted) { h.kept(t, "", "username", `"z"`) }, vault.ErrChanged},
		} {
			u := h.kept(t, "", "username", `"a"`, "password", `"b"`)
			o := h.open(t, u.Token)
			meanwhile.happens(u)
			err := o.SaveSession(t.Context(), []byte(`{"mine":1}`))
			if meanwhile.want == nil && err != nil || meanwhile.want != nil && !errorIs(err, meanwhile.want) {
				t.Errorf("when %s: %v, want %v", name, err, meanwhile.want)
			}
			stored := column[int64](t, d, `SELECT count(*) FROM profile_sessions`)
			if want := map[bool]int64{true: 1, false: 0}[meanwhile.want == nil]; stored != want {
				t.Errorf("when %s: %d sessions are stored, want %d", name, stored, want)
			}
			if err == nil && name != "the token is rotated" {
				again := h.open(t, u.Token)
				if got := again.Session.Reveal(); got != `{"mine":1}` {
					t.Errorf("when %s: the session is %s", name, got)
				}
				again.Close()
			}
			o.Close()
			if name != "the profile is deleted" {
				run(t, d, `DELETE FROM profiles`)
			}
		}
	})
}

func TestALateSessionDoesNotCoverWhatWasTamperedWith(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, `{"s":1}`, "username", `"a"`)
		o := h.open(t, u.Token)
		defer o.Close()
		run(t, d, `UPDATE profiles SET revision = revision + 5, destination = 'elsewhere' WHERE uid = $1`, u.ID)
		wantInternal(t, o.SaveSession(t.Context(), []byte(`{"s":2}`)), u.ID)
	})
}

func TestOfRunsThatEndAtOnceOneSessionStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, "", "username", `"a"`)
		var wg sync.WaitGroup
		for i := range 10 {
			o := h.open(t, u.Token)
			wg.Go(func() {
				defer o.Close()
				if err := o.SaveSession(t.Context(), fmt.Appendf(nil, `{"run":%d}`, i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		o := h.open(t, u.Token)
		defer o.Close()
		if !strings.HasPrefix(o.Session.Reveal(), `{"run":`) {
			t.Errorf("the session is %q", o.Session.Reveal())
		}
	})
}

func errorIs(err, want error) bool { return err != nil && fault.Of(err).Is(want) }
