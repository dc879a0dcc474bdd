package apikey_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func (h *house) rotate(t *testing.T, id int64, grace time.Duration) apikey.Issued {
	t.Helper()
	made, err := h.Rotate(t.Context(), h.jane, id, grace)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestARotatedValueWorksUntilItsGraceEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, err := h.Create(t.Context(), h.jane, apikey.Request{Name: "a", RequireSignature: true, ExternalID: "x", AllowedIPs: []string{"10.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		second := h.rotate(t, made.ID, time.Hour)
		if second.ID != made.ID || about(second.Key) != about(made.Key) || second.Hint == made.Hint {
			t.Errorf("rotated, the key is %s with the hint %s; it was %s, %s", about(second.Key), second.Hint, about(made.Key), made.Hint)
		}
		if got, err := h.Get(t.Context(), h.jane, made.ID); err != nil || got.Hint != second.Hint {
			t.Errorf("the hint is of the old value (%v)", err)
		}
		// Each value with its own secret to sign with.
		for _, issued := range []apikey.Issued{made, second} {
			if got := h.lookup(t, issued.Secret).Signing.Reveal(); got == "" || got != issued.Signing.Reveal() {
				t.Error("a value is signed with another's secret")
			}
		}
		if made.Signing.Reveal() == second.Signing.Reveal() {
			t.Error("both are signed with the same")
		}
		states := func(want ...error) {
			t.Helper()
			for i, secret := range []seal.Secret{made.Secret, second.Secret} {
				if err := h.state(t, secret); !errors.Is(err, want[i]) {
					t.Errorf("value %d: %v, want %v", i+1, err, want[i])
				}
			}
		}
		states(nil, nil)
		h.clock.pass(time.Hour - time.Microsecond)
		states(nil, nil)
		h.clock.pass(time.Microsecond)
		states(apikey.ErrRevoked, nil)
		h.clock.pass(90*24*time.Hour - time.Second)
		states(apikey.ErrRevoked, nil)
		if n, err := h.Purge(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("Purge = %d, %v", n, err)
		}
		h.clock.pass(time.Second)
		states(apikey.ErrInvalid, nil)
		if n, err := h.Purge(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("Purge = %d, %v", n, err)
		}
		states(apikey.ErrInvalid, nil)
	})
}

func TestWithoutGraceEveryOldValueEndsAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, first := h.make(t, h.jane, apikey.Request{Name: "a", Type: apikey.Temporary, ExpiresIn: time.Hour})
		second := h.rotate(t, made.ID, time.Minute).Secret
		third := h.rotate(t, made.ID, 0)
		if !third.ExpiresAt.Equal(made.ExpiresAt) || third.Secret.Reveal()[:8] != "ra_temp_" {
			t.Errorf("rotated, it expires at %v", third.ExpiresAt)
		}
		// Also for a server whose clock is behind.
		behind := h.Now().Add(-30 * time.Minute)
		for i, secret := range []seal.Secret{first, second} {
			if err := h.lookup(t, secret).Usable(behind); !errors.Is(err, apikey.ErrRevoked) {
				t.Errorf("value %d: %v", i+1, err)
			}
		}
		if err := h.state(t, third.Secret); err != nil {
			t.Errorf("the new value: %v", err)
		}
	})
}

func TestALaterGraceMakesNoEarlierOneLonger(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, first := h.make(t, h.jane, apikey.Request{Name: "a"})
		second := h.rotate(t, made.ID, time.Minute).Secret
		third := h.rotate(t, made.ID, time.Hour).Secret
		h.clock.pass(time.Minute)
		for i, want := range []error{apikey.ErrRevoked, nil, nil} {
			if err := h.state(t, []seal.Secret{first, second, third}[i]); !errors.Is(err, want) {
				t.Errorf("value %d after a minute: %v, want %v", i+1, err, want)
			}
		}
	})
}

func TestAKeyHasSoManyValuesAtATime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, _ := h.make(t, h.jane, apikey.Request{Name: "a"})
		for range 9 {
			h.rotate(t, k.ID, time.Hour)
		}
		if _, err := h.Rotate(t.Context(), h.jane, k.ID, time.Hour); !errors.Is(err, apikey.ErrTooManyValues) {
			t.Errorf("an eleventh value: %v", err)
		}
		h.rotate(t, k.ID, 0)
		h.rotate(t, k.ID, time.Hour)

		for name, grace := range map[string]time.Duration{"below zero": -time.Second, "over 30 days": apikey.MaxGrace + time.Second} {
			if _, err := h.Rotate(t.Context(), h.jane, k.ID, grace); fault.Of(err).Details["field"] != "grace_period" {
				t.Errorf("a grace %s: %v", name, err)
			}
		}
		if _, err := h.Rotate(t.Context(), h.bob, k.ID, 0); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("another organization: %v", err)
		}
	})
}

// Of keys that are rotated without grace by many at once, one value is left.
func TestRotatingAtOnceLeavesOneValue(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		k, first := h.make(t, h.jane, apikey.Request{Name: "a", RequireSignature: true})
		var mu sync.Mutex
		secrets := []seal.Secret{first}
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				made, err := h.Rotate(t.Context(), h.jane, k.ID, 0)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				secrets = append(secrets, made.Secret)
				mu.Unlock()
			})
		}
		wg.Wait()
		states := map[string]int{}
		for _, secret := range secrets {
			states[fmt.Sprint(h.state(t, secret))]++
		}
		if states["<nil>"] != 1 || len(states) != 2 {
			t.Errorf("%v", states)
		}
	})
}
