package vault_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

func (h *house) rotate(t testing.TB, tok seal.AuthToken, grace time.Duration) seal.AuthToken {
	t.Helper()
	next, err := h.RotateToken(t.Context(), h.jane, "shop", secret(tok), grace)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestRotatingWithoutGraceEndsTheOldTokenAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, `{"s":1}`, "username", `"a"`)
		next := h.rotate(t, u.Token, 0)
		wantErr(t, h.try(t, u.Token), vault.ErrNotFound)
		h.holds(t, next, `username="a"`, `{"s":1}`)
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(next), Values: values("username", `"b"`)})
		h.holds(t, next, `username="b"`, "")
		if n := column[int64](t, d, `SELECT count(*) FROM changes WHERE kind = 'profile' AND subject = $1`, u.ID); n != 1 {
			t.Errorf("%d changes say that a token has ended", n)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM audit_entries WHERE action = 'profile.rotate_token' AND subject_id = $1`, u.ID); n != 1 {
			t.Errorf("%d rotations are in the audit log", n)
		}
	})
}

func TestAnOldTokenWorksUntilItsGraceEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		next := h.rotate(t, u.Token, time.Hour)
		h.pass(time.Hour - time.Microsecond)
		h.holds(t, u.Token, `username="a"`, "")
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("username", `"b"`)})
		if _, err := h.RotateToken(t.Context(), h.jane, "shop", secret(u.Token), 0); fault.Of(err).Details["field"] != "auth_token" {
			t.Errorf("a token in its grace makes another: %v", err)
		}
		h.pass(time.Microsecond)
		wantErr(t, h.try(t, u.Token), vault.ErrNotFound)
		h.holds(t, next, `username="b"`, "")

		if n, err := h.Purge(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("Purge removed %d, %v", n, err)
		}
		if n, err := h.Purge(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("Purge removed %d more, %v", n, err)
		}
		h.holds(t, next, `username="b"`, "")
	})
}

func TestAProfileHasFewTokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		tok := h.create(t, h.jane, "shop", "p", "username", `"a"`).Token
		old := []seal.AuthToken{tok}
		for range vault.MaxTokens - 1 {
			tok = h.rotate(t, tok, vault.MaxGrace)
			old = append(old, tok)
		}
		_, err := h.RotateToken(t.Context(), h.jane, "shop", secret(tok), time.Hour)
		wantErr(t, err, vault.ErrTooManyTokens)
		for _, tok := range old {
			h.holds(t, tok, `username="a"`, "")
		}
		last := h.rotate(t, tok, 0) // ends them all
		for _, tok := range old {
			wantErr(t, h.try(t, tok), vault.ErrNotFound)
		}
		h.holds(t, last, `username="a"`, "")

		h.rotate(t, last, vault.MaxGrace)
		for _, grace := range []time.Duration{-1, vault.MaxGrace + 1} {
			if _, err := h.RotateToken(t.Context(), h.jane, "shop", secret(last), grace); fault.Of(err).Details["field"] != "grace_period" {
				t.Errorf("a grace of %v: %v", grace, err)
			}
		}
	})
}

func TestOfRotationsAtOnceOneGoesThrough(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		var went atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				grace := time.Duration(i%2) * time.Hour
				next, err := h.RotateToken(t.Context(), h.jane, "shop", secret(u.Token), grace)
				switch {
				case err == nil:
					went.Add(1)
					h.holds(t, next, `username="a"`, "")
				case !errors.Is(err, vault.ErrNotFound) && fault.Of(err).Details["field"] != "auth_token":
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if went.Load() != 1 {
			t.Errorf("%d rotations of one token went through, want 1", went.Load())
		}
	})
}

func TestTheRootKeyRotatesWithoutTokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var all []vault.Upserted
		for _, name := range []string{"a", "b", "c"} {
			all = append(all, h.create(t, h.jane, "shop", name, "username", `"`+name+`"`))
		}
		rotated := all[2].Token
		h.rotate(t, rotated, time.Hour) // a slot with an end
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{3, 1, 0} {
			if n, err := h.Reseal(t.Context(), 3); n != want || err != nil {
				t.Errorf("Reseal renewed %d, %v; want %d", n, err, want)
			}
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		for _, u := range all {
			if err := h.try(t, u.Token); err != nil {
				t.Errorf("%s: %v", u.Name, err)
			}
		}

		// A slot that is not what it says is told, and holds up no other.
		version, _ = h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		run(t, d, `UPDATE profile_slots SET expires_at = 1 WHERE profile_uid = $1`, all[0].ID)
		n, err := h.Reseal(t.Context(), 10)
		if n != 3 {
			t.Errorf("Reseal renewed %d, want the 3 that are whole", n)
		}
		wantInternal(t, err, all[0].ID)

		// A slot under a root key that is not here is no fault of the token.
		if err := h.Root.Remove(version - 1); err != nil {
			t.Fatal(err)
		}
		run(t, d, `UPDATE profile_slots SET expires_at = 0 WHERE profile_uid = $1`, all[0].ID)
		wantInternal(t, h.try(t, all[0].Token), all[0].ID)
	})
}
