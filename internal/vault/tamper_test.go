package vault_test

import (
	"testing"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/vault"
)

// TestWhatIsChangedInTheDatabaseIsNoticed plays somebody who can write to the
// database and has no root key and no token.
func TestWhatIsChangedInTheDatabaseIsNoticed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		fresh := func() (u, twin, bobs vault.Upserted) {
			u = h.kept(t, `{"session":1}`, "username", `"a"`, "password", `"b"`, "note", `1`)
			twin = h.create(t, h.jane, "shop", "twin", "username", `"c"`, "password", `"d"`, "otp", `1`)
			bobs = h.create(t, h.bob, "public/shop", "bob's", "username", `"e"`, "password", `"f"`, "note", `1`)
			return u, twin, bobs
		}
		box := func(uid, name string) []byte {
			return column[[]byte](t, d, `SELECT box FROM profile_values WHERE profile_uid = $1 AND name = $2`, uid, name)
		}
		putBox := func(uid, name string, box []byte) {
			t.Helper()
			run(t, d, `UPDATE profile_values SET box = $1 WHERE profile_uid = $2 AND name = $3`, box, uid, name)
		}
		session := func(uid string) []byte {
			return column[[]byte](t, d, `SELECT box FROM profile_sessions WHERE profile_uid = $1`, uid)
		}

		for name, tamper := range map[string]func(u, twin, bobs vault.Upserted){
			"two values are swapped": func(u, _, _ vault.Upserted) {
				a, b := box(u.ID, "username"), box(u.ID, "password")
				putBox(u.ID, "username", b)
				putBox(u.ID, "password", a)
			},
			"two names are swapped": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profile_values SET name = 'tmp' WHERE profile_uid = $1 AND name = 'username'`, u.ID)
				run(t, d, `UPDATE profile_values SET name = 'username' WHERE profile_uid = $1 AND name = 'password'`, u.ID)
				run(t, d, `UPDATE profile_values SET name = 'password' WHERE profile_uid = $1 AND name = 'tmp'`, u.ID)
			},
			"a value comes from another profile": func(u, twin, _ vault.Upserted) {
				putBox(u.ID, "username", box(twin.ID, "username"))
			},
			"a value comes from another organization": func(u, _, bobs vault.Upserted) {
				putBox(u.ID, "password", box(bobs.ID, "password"))
			},
			"all of another profile's boxes and its manifest": func(u, twin, _ vault.Upserted) {
				run(t, d, `DELETE FROM profile_values WHERE profile_uid = $1`, u.ID)
				run(t, d, `UPDATE profile_values SET profile_uid = $1 WHERE profile_uid = $2`, u.ID, twin.ID)
				run(t, d, `UPDATE profiles SET manifest = (SELECT manifest FROM profiles WHERE uid = $1) WHERE uid = $2`, twin.ID, u.ID)
			},
			"a bit of a value is flipped": func(u, _, _ vault.Upserted) {
				b := box(u.ID, "username")
				b[len(b)-1] ^= 1
				putBox(u.ID, "username", b)
			},
			"a value is missing": func(u, _, _ vault.Upserted) {
				run(t, d, `DELETE FROM profile_values WHERE profile_uid = $1 AND name = 'note'`, u.ID)
			},
			"a value is there twice": func(u, _, _ vault.Upserted) {
				run(t, d, `INSERT INTO profile_values SELECT profile_uid, 'otp', 9, revision, box FROM profile_values WHERE profile_uid = $1 AND name = 'note'`, u.ID)
			},
			"a value says it is of another revision": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profile_values SET revision = revision + 1 WHERE profile_uid = $1 AND name = 'note'`, u.ID)
			},
			"an old value is back": func(u, _, _ vault.Upserted) {
				old := box(u.ID, "password")
				h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("password", `"new"`)})
				putBox(u.ID, "password", old)
				run(t, d, `UPDATE profile_values SET revision = 1 WHERE profile_uid = $1 AND name = 'password'`, u.ID)
			},
			"an old session is back": func(u, _, _ vault.Upserted) {
				old, revision := session(u.ID), column[int64](t, d, `SELECT revision FROM profile_sessions WHERE profile_uid = $1`, u.ID)
				o := h.open(t, u.Token)
				if err := o.SaveSession(t.Context(), []byte(`{"session":2}`)); err != nil {
					t.Fatal(err)
				}
				o.Close()
				run(t, d, `UPDATE profile_sessions SET box = $1, revision = $2 WHERE profile_uid = $3`, old, revision, u.ID)
			},
			"a session that was dropped is back": func(u, _, _ vault.Upserted) {
				old := session(u.ID)
				h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("password", `"new"`), KeepSession: true})
				run(t, d, `INSERT INTO profile_sessions (profile_uid, revision, box) VALUES ($1, 2, $2)`, u.ID, old)
			},
			"the session is missing": func(u, _, _ vault.Upserted) {
				run(t, d, `DELETE FROM profile_sessions WHERE profile_uid = $1`, u.ID)
			},
			"a value stands in for the session": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profile_values SET position = -1 WHERE profile_uid = $1 AND name = 'note'`, u.ID)
			},
			"the destination is another": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profiles SET destination = 'http https evil.example 443' WHERE uid = $1`, u.ID)
			},
			"keep_session is switched": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profiles SET keep_session = 0 WHERE uid = $1`, u.ID)
			},
			"the revision is another": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profiles SET revision = revision + 1 WHERE uid = $1`, u.ID)
			},
			"the epoch is another": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profiles SET epoch = 2 WHERE uid = $1`, u.ID)
			},
			"the manifest is empty": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profiles SET manifest = $1 WHERE uid = $2`, []byte{}, u.ID)
			},
			"the profile is moved to another agent": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profiles SET agent_uid = 'uid-mail' WHERE uid = $1`, u.ID)
			},
			"the profile is moved to another organization": func(u, _, _ vault.Upserted) {
				run(t, d, `UPDATE profiles SET organization_id = 'org-bob' WHERE uid = $1`, u.ID)
			},
		} {
			u, twin, bobs := fresh()
			held := h.open(t, u.Token)
			tamper(u, twin, bobs)

			wantInternal(t, h.try(t, u.Token), u.ID)
			_, err := h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("password", `"x"`)})
			wantInternal(t, err, u.ID)
			_, err = h.RotateToken(t.Context(), h.jane, "shop", secret(u.Token), 0)
			wantInternal(t, err, u.ID)
			if t.Failed() {
				t.Fatalf("when %s", name)
			}
			held.Close()
			// Bob's token has no part in it, whoever's organization a row names.
			_, err = h.Open(t.Context(), h.bob, h.agent("uid-shop"), secret(u.Token))
			wantErr(t, err, vault.ErrNotFound)
			run(t, d, `DELETE FROM profiles`)
		}
	})
}

// TestASlotThatIsChangedOpensNothing is about the rows that tokens find: no
// token fits one that was changed, so the answer is the same as for a token of
// nothing.
func TestASlotThatIsChangedOpensNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, tamper := range map[string]func(u, twin vault.Upserted){
			"its end is later": func(u, _ vault.Upserted) {
				if _, err := h.RotateToken(t.Context(), h.jane, "shop", secret(u.Token), time.Hour); err != nil {
					t.Fatal(err)
				}
				run(t, d, `UPDATE profile_slots SET expires_at = expires_at + 1 WHERE locator = $1`, u.Token.Locator())
			},
			"its end is gone": func(u, _ vault.Upserted) {
				if _, err := h.RotateToken(t.Context(), h.jane, "shop", secret(u.Token), time.Hour); err != nil {
					t.Fatal(err)
				}
				run(t, d, `UPDATE profile_slots SET expires_at = 0 WHERE locator = $1`, u.Token.Locator())
			},
			"it is of another profile": func(u, twin vault.Upserted) {
				run(t, d, `UPDATE profile_slots SET profile_uid = $1 WHERE locator = $2`, twin.ID, u.Token.Locator())
			},
			"it is of another epoch": func(u, _ vault.Upserted) {
				run(t, d, `UPDATE profile_slots SET epoch = 2 WHERE locator = $1`, u.Token.Locator())
			},
			"it is another token's": func(u, twin vault.Upserted) {
				run(t, d, `DELETE FROM profile_slots WHERE locator = $1`, u.Token.Locator())
				run(t, d, `UPDATE profile_slots SET locator = $1 WHERE locator = $2`, u.Token.Locator(), twin.Token.Locator())
			},
			"its salt is another": func(u, twin vault.Upserted) {
				run(t, d, `UPDATE profile_slots SET salt = (SELECT salt FROM profile_slots WHERE locator = $1) WHERE locator = $2`,
					twin.Token.Locator(), u.Token.Locator())
			},
		} {
			u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
			twin := h.create(t, h.jane, "shop", "twin", "username", `"b"`)
			tamper(u, twin)
			if err := h.try(t, u.Token); err == nil || err.Error() != vault.ErrToken.Error() {
				t.Errorf("when %s: %v", name, err)
			}
		}
	})
}
