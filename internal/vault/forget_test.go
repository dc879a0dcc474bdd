package vault_test

import (
	"testing"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/vault"
)

func TestASessionIsDeletedAloneAndWithoutAToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, `{"s":1}`, "username", `"a"`)
		wantErr(t, h.DeleteSession(t.Context(), h.bob, u.ID), vault.ErrNotFound)
		h.holds(t, u.Token, `username="a"`, `{"s":1}`)
		for range 2 { // the second time there is none
			wantErr(t, h.DeleteSession(t.Context(), h.jane, u.ID), nil)
			h.holds(t, u.Token, `username="a"`, "")
		}
		if n := column[int64](t, d, `SELECT count(*) FROM audit_entries WHERE action = 'profile.delete_session' AND subject_id = $1`, u.ID); n != 1 {
			t.Errorf("%d entries are in the audit log, want 1", n)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM changes WHERE kind = 'profile' AND subject = $1`, u.ID); n != 1 {
			t.Errorf("%d changes, want 1", n)
		}
		if p, err := h.Get(t.Context(), h.jane, u.ID); err != nil || p.HasSession {
			t.Errorf("%+v, %v", p, err)
		}

		// The next run leaves another, and that can be deleted as well.
		for _, session := range []string{`{"s":2}`, `{"s":3}`} {
			o := h.open(t, u.Token)
			wantErr(t, o.SaveSession(t.Context(), []byte(session)), nil)
			o.Close()
			h.holds(t, u.Token, `username="a"`, session)
			wantErr(t, h.DeleteSession(t.Context(), h.jane, u.ID), nil)
			h.holds(t, u.Token, `username="a"`, "")
		}

		// A rotation keeps it so, an update makes the manifest anew.
		next := h.rotate(t, u.Token, time.Hour)
		h.holds(t, next, `username="a"`, "")
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(next), KeepSession: true})
		h.holds(t, next, `username="a"`, "")
		if n := column[int64](t, d, `SELECT count(*) FROM profile_forgotten`); n != 0 {
			t.Errorf("%d are left of sessions", n)
		}
		wantErr(t, h.DeleteSession(t.Context(), h.jane, "no-such-profile"), vault.ErrNotFound)
	})
}

func TestARunUnderWayLeavesNoSessionInPlaceOfADeletedOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, before := range map[string]func(u vault.Upserted){
			"nothing else happens": func(vault.Upserted) {},
			"another run saved its own before": func(u vault.Upserted) {
				o := h.open(t, u.Token)
				defer o.Close()
				wantErr(t, o.SaveSession(t.Context(), []byte(`{"other":1}`)), nil)
			},
			"one was deleted before": func(u vault.Upserted) {
				wantErr(t, h.DeleteSession(t.Context(), h.jane, u.ID), nil)
				o := h.open(t, u.Token)
				defer o.Close()
				wantErr(t, o.SaveSession(t.Context(), []byte(`{"other":1}`)), nil)
			},
			"there was none": func(vault.Upserted) {},
		} {
			u := h.kept(t, `{"s":1}`, "username", `"a"`)
			if name == "there was none" {
				wantErr(t, h.DeleteSession(t.Context(), h.jane, u.ID), nil)
			}
			o := h.open(t, u.Token)
			before(u)
			wantErr(t, h.DeleteSession(t.Context(), h.jane, u.ID), nil)
			if err := o.SaveSession(t.Context(), []byte(`{"mine":1}`)); !errorIs(err, vault.ErrChanged) {
				t.Errorf("when %s: %v, want ErrChanged", name, err)
			}
			o.Close()
			h.holds(t, u.Token, `username="a"`, "")
			run(t, d, `DELETE FROM profiles WHERE uid = $1`, u.ID)
		}
	})
}

func TestWhatIsLeftOfASessionIsVouchedFor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, tamper := range map[string]func(u vault.Upserted, session []byte){
			"it is gone": func(u vault.Upserted, _ []byte) {
				run(t, d, `DELETE FROM profile_forgotten WHERE profile_uid = $1`, u.ID)
			},
			"it is another": func(u vault.Upserted, s []byte) { run(t, d, `UPDATE profile_forgotten SET box = $1`, s) },
			"its revision is another": func(vault.Upserted, []byte) {
				run(t, d, `UPDATE profile_forgotten SET revision = revision + 1`)
			},
			"the session is put back beside it": func(u vault.Upserted, s []byte) {
				run(t, d, `INSERT INTO profile_sessions (profile_uid, revision, box) SELECT profile_uid, revision, $1 FROM profile_forgotten`, s)
			},
		} {
			u := h.kept(t, `{"s":1}`, "username", `"a"`)
			session := column[[]byte](t, d, `SELECT box FROM profile_sessions WHERE profile_uid = $1`, u.ID)
			wantErr(t, h.DeleteSession(t.Context(), h.jane, u.ID), nil)
			tamper(u, session)
			wantInternal(t, h.try(t, u.Token), u.ID)
			if t.Failed() {
				t.Fatal("when " + name)
			}
			run(t, d, `DELETE FROM profiles WHERE uid = $1`, u.ID)
		}
	})
}
