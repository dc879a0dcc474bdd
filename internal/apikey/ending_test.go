package apikey_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

// as returns who as the caller that presents what was issued.
func (h *house) as(who access.Caller, issued apikey.Issued) access.Caller {
	k := issued.Key
	who.SignInID, who.KeyID, who.KeyType, who.KeyExpiresAt, who.Scopes, who.AgentIDs = "", k.ID, k.Type, k.ExpiresAt, k.Scopes, k.AgentIDs
	who.KeyValue = sha256.Sum256(issued.Secret.Bytes())
	return who
}

func (h *house) rotateAs(t *testing.T, who access.Caller, id int64, grace time.Duration) apikey.Issued {
	t.Helper()
	made, err := h.Rotate(t.Context(), who, id, grace)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (h *house) issue(t *testing.T, who access.Caller, in apikey.Request) apikey.Issued {
	t.Helper()
	made, err := h.Create(t.Context(), who, in)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Whoever held a stolen key does not stay in by what it gave to other keys.
func TestRevokingEndsTheValuesThatAKeyGaveToOthers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		stolen := h.issue(t, h.jane, apikey.Request{Name: "stolen"})
		other := h.issue(t, h.jane, apikey.Request{Name: "other", RequireSignature: true})
		first := h.rotate(t, other.ID, 20*24*time.Hour)
		given := h.rotateAs(t, h.as(h.jane, stolen), other.ID, 20*24*time.Hour)
		later := h.rotate(t, other.ID, 20*24*time.Hour)
		child := h.issue(t, h.as(h.jane, stolen), apikey.Request{Name: "child"})
		byChild := h.rotateAs(t, h.as(h.jane, child), other.ID, 20*24*time.Hour)
		h.clock.pass(time.Second)

		var closed []string
		h.Acts.Closed = func(_ context.Context, changes []access.Change) {
			for _, c := range changes {
				closed = append(closed, c.Subject)
			}
		}
		for range 2 { // the second time, the call that did it may not have answered yet
			closed = nil
			if err := h.Revoke(t.Context(), h.jane, stolen.ID); err != nil {
				t.Fatal(err)
			}
			slices.Sort(closed)
			want := []string{fmt.Sprint(stolen.ID), fmt.Sprint(child.ID), fmt.Sprint(other.ID)}
			if slices.Sort(want); !slices.Equal(slices.Compact(closed), want) {
				t.Errorf("closed %v, want %v", closed, want)
			}
		}
		behind := h.Now().Add(-30 * time.Minute) // another server's clock
		for name, secret := range map[string]seal.Secret{"given": given.Secret, "given by a child": byChild.Secret} {
			if err := h.lookup(t, secret).Usable(behind); !errors.Is(err, apikey.ErrRevoked) {
				t.Errorf("the value %s: %v", name, err)
			}
		}
		for name, v := range map[string]apikey.Issued{"first": other, "second": first, "third": later} {
			if f := h.lookup(t, v.Secret); f.Usable(h.Now()) != nil || f.Signing.Reveal() != v.Signing.Reveal() {
				t.Errorf("the owner's %s value: %v", name, f.Usable(h.Now()))
			}
		}
		var notes string
		if err := d.QueryRow(t.Context(), `SELECT notes FROM audit_entries WHERE action = 'key.revoke'`).Scan(&notes); err != nil ||
			!strings.Contains(notes, fmt.Sprintf(`"ended_values_of":"%d"`, other.ID)) {
			t.Errorf("the audit log says %s (%v)", notes, err)
		}
		// The owner goes on with a value of his own.
		if err := h.state(t, h.rotate(t, other.ID, 0).Secret); err != nil {
			t.Error(err)
		}
	})
}

// What was made by presenting a value that a key gave ends with that key, and
// nothing else does that its key made.
func TestRevokingEndsWhatWasMadeWithAGivenValue(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		stolen := h.issue(t, h.jane, apikey.Request{Name: "stolen"})
		b := h.issue(t, h.jane, apikey.Request{Name: "b"})
		c := h.issue(t, h.jane, apikey.Request{Name: "c"})
		e := h.issue(t, h.jane, apikey.Request{Name: "e"})
		const grace = 20 * 24 * time.Hour
		toB := h.rotateAs(t, h.as(h.jane, stolen), b.ID, grace)
		toC := h.rotateAs(t, h.as(h.jane, toB), c.ID, grace)
		toE := h.rotateAs(t, h.as(h.jane, toC), e.ID, grace)
		lost := []apikey.Issued{
			stolen, toB, toC, toE,
			h.issue(t, h.as(h.jane, toB), apikey.Request{Name: "by b"}),
			h.issue(t, h.as(h.jane, toC), apikey.Request{Name: "by c", ExternalID: "x"}),
			h.issue(t, h.as(h.jane, toE), apikey.Request{Name: "by e", AllowedIPs: []string{"::1"}}),
		}
		kept := []apikey.Issued{
			b, c, e,
			h.issue(t, h.as(h.jane, b), apikey.Request{Name: "by b itself"}),
			h.issue(t, h.as(h.jane, c), apikey.Request{Name: "by c itself"}),
		}
		for _, v := range lost {
			if err := h.state(t, v.Secret); err != nil {
				t.Fatalf("%s, before: %v", v.Name, err)
			}
		}
		if err := h.Revoke(t.Context(), h.jane, stolen.ID); err != nil {
			t.Fatal(err)
		}
		for _, v := range lost {
			if err := h.state(t, v.Secret); !errors.Is(err, apikey.ErrRevoked) {
				t.Errorf("a value of %s: %v", v.Name, err)
			}
		}
		for _, v := range kept {
			if err := h.state(t, v.Secret); err != nil {
				t.Errorf("the value of %s: %v", v.Name, err)
			}
		}
	})
}

// A value that has ended long ago stays for as long as something lives that was
// made with it.
func TestAGivenValueIsRememberedForWhatItMade(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		stolen := h.issue(t, h.jane, apikey.Request{Name: "stolen"})
		b := h.issue(t, h.jane, apikey.Request{Name: "b"})
		c := h.issue(t, h.jane, apikey.Request{Name: "c"})
		toB := h.rotateAs(t, h.as(h.jane, stolen), b.ID, 0)
		made := h.issue(t, h.as(h.jane, toB), apikey.Request{Name: "made"})
		toC := h.rotateAs(t, h.as(h.jane, toB), c.ID, 0)
		h.rotate(t, b.ID, 0)
		h.clock.pass(100 * 24 * time.Hour)
		purge := func(want int) {
			t.Helper()
			if n, err := h.Purge(t.Context(), 10); n != want || err != nil {
				t.Errorf("Purge = %d, %v, want %d", n, err, want)
			}
		}
		purge(2) // the first values of b and c
		if err := h.Revoke(t.Context(), h.jane, stolen.ID); err != nil {
			t.Fatal(err)
		}
		for _, v := range []apikey.Issued{made, toC} {
			if err := h.state(t, v.Secret); !errors.Is(err, apikey.ErrRevoked) {
				t.Errorf("a value of %s: %v", v.Name, err)
			}
		}
		h.clock.pass(100 * 24 * time.Hour)
		purge(3) // two keys, and what was made with the value
		purge(1) // which nothing remembers now
		purge(0)
	})
}

// A rotation by a key that races with its revocation is before it, and its value
// ends; or it is refused. So is what is made with such a value.
func TestNoValueOutlivesTheKeyThatWasGivingIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for round := range 6 {
			stolen := h.issue(t, h.jane, apikey.Request{Name: fmt.Sprint("stolen ", round)})
			b := h.issue(t, h.jane, apikey.Request{Name: fmt.Sprint("b ", round)})
			c := h.issue(t, h.jane, apikey.Request{Name: fmt.Sprint("c ", round)})
			given := h.rotateAs(t, h.as(h.jane, stolen), b.ID, time.Hour)
			values := make(chan seal.Secret, 16)
			made := func(v apikey.Issued, err error) {
				if err == nil {
					values <- v.Secret
				} else if !errors.Is(err, apikey.ErrRevoked) {
					t.Error(err)
				}
			}
			var wg sync.WaitGroup
			for i := range 2 {
				wg.Go(func() { made(h.Rotate(t.Context(), h.as(h.jane, stolen), c.ID, time.Hour)) })
				wg.Go(func() { made(h.Rotate(t.Context(), h.as(h.jane, given), c.ID, time.Hour)) })
				wg.Go(func() {
					made(h.Create(t.Context(), h.as(h.jane, given), apikey.Request{Name: fmt.Sprint("late ", round, " ", i)}))
				})
			}
			wg.Go(func() {
				if err := h.Revoke(t.Context(), h.jane, stolen.ID); err != nil {
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
			if err := h.state(t, b.Secret); err != nil {
				t.Errorf("the owner's own value: %v", err)
			}
		}
	})
}

// An act of a key that ended before the act's transaction is refused, whatever
// it was let in as: of a key that was revoked, and by a value that was rotated
// away.
func TestAKeyThatHasEndedDoesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, end := range map[string]func(k apikey.Issued) error{
			"revoked":      func(k apikey.Issued) error { return h.Revoke(t.Context(), h.jane, k.ID) },
			"rotated away": func(k apikey.Issued) error { _, err := h.Rotate(t.Context(), h.jane, k.ID, 0); return err },
		} {
			k := h.issue(t, h.jane, apikey.Request{Name: "asks, " + name})
			other := h.issue(t, h.jane, apikey.Request{Name: "other, " + name})
			who := h.as(h.jane, k)
			if err := end(k); err != nil {
				t.Fatal(err)
			}
			_, created := h.Create(t.Context(), who, apikey.Request{Name: "late, " + name})
			_, changed := h.Change(t.Context(), who, other.ID, apikey.Change{Disabled: ptr(true)})
			_, rotated := h.Rotate(t.Context(), who, other.ID, 0)
			for act, err := range map[string]error{
				"create": created, "change": changed, "rotate": rotated,
				"revoke": h.Revoke(t.Context(), who, other.ID), "revoke self": h.RevokeSelf(t.Context(), who),
			} {
				if !errors.Is(err, apikey.ErrRevoked) {
					t.Errorf("%s, %s: %v", name, act, err)
				}
			}
			if err := h.state(t, other.Secret); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		// A caller that does not say as what it presents a key presents none.
		k := h.issue(t, h.jane, apikey.Request{Name: "k"})
		who := h.as(h.jane, k)
		who.KeyValue = [32]byte{}
		if err := h.RevokeSelf(t.Context(), who); !errors.Is(err, apikey.ErrInvalid) {
			t.Errorf("without a value: %v", err)
		}
	})
}

// Of two keys that revoke each other at once, one is first, and the other ends
// before it does anything.
func TestOfTwoKeysThatRevokeEachOtherOneIsFirst(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for round := range 2 {
			a := h.issue(t, h.jane, apikey.Request{Name: fmt.Sprint("a ", round)})
			b := h.issue(t, h.jane, apikey.Request{Name: fmt.Sprint("b ", round)})
			errs := make([]error, 2)
			var wg sync.WaitGroup
			wg.Go(func() { errs[0] = h.Revoke(t.Context(), h.as(h.jane, a), b.ID) })
			wg.Go(func() { errs[1] = h.Revoke(t.Context(), h.as(h.jane, b), a.ID) })
			wg.Wait()
			first := slices.Index(errs, nil)
			if first < 0 || !errors.Is(errs[1-first], apikey.ErrRevoked) {
				t.Fatalf("%v", errs)
			}
			for i, v := range []apikey.Issued{a, b} {
				if err := h.state(t, v.Secret); (err == nil) != (i == first) {
					t.Errorf("%s: %v, and %d was first", v.Name, err, first)
				}
			}
		}
	})
}
