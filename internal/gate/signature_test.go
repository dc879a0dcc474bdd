package gate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func sumOf(n int) (sum [sha256.Size]byte) {
	binary.LittleEndian.PutUint64(sum[:], uint64(n))
	return sum
}

func TestASignatureIsTakenOnceAndNoneIsForgottenBeforeItExpires(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	r := newReplays(start)
	remember := func(key int64, n int, stamp, now time.Time) error {
		return r.remember(key, sumOf(n), stamp.Unix(), stamp.Add(signatureLife), now)
	}
	if err := remember(1, 1, start, start.Add(time.Second)); !errors.Is(err, ErrSignatureExpired) {
		t.Errorf("signed in the second of the start: %v", err)
	}
	stamp := start.Add(100 * time.Second)
	for second := range 600 {
		now := start.Add(time.Duration(second+1) * time.Second)
		if now.Sub(stamp) > signatureLife || stamp.Sub(now) > signatureLife {
			continue // the timestamp refuses it by itself
		}
		err := remember(1, 7, stamp, now)
		if first := stamp.Sub(now) == stamp.Sub(start)-time.Second; first && err != nil || !first && !errors.Is(err, ErrSignatureReplayed) {
			t.Fatalf("after %d s: %v", second+1, err)
		}
		if err := remember(2, second+10, now, now); err != nil { // others come and go
			t.Fatal(err)
		}
	}
	if err := remember(2, 7, stamp.Add(time.Second), stamp); err != nil {
		t.Errorf("the same bytes of another key: %v", err)
	}
	// What has expired is forgotten; the clock going back does not bring it back.
	late := start.Add(2000 * time.Second)
	if err := remember(3, 1, late, late); err != nil {
		t.Fatal(err)
	}
	if r.count != 1 || len(r.parts) != 1 || len(r.ofKey) != 1 {
		t.Errorf("%d signatures of %d keys in %d parts are remembered, want 1", r.count, len(r.ofKey), len(r.parts))
	}
	if err := remember(1, 7, stamp, stamp); !errors.Is(err, ErrSignatureExpired) {
		t.Errorf("a forgotten one, with the clock set back: %v", err)
	}
}

func TestAFullMemoryOfSignaturesRefusesAndForgetsNothing(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	r := newReplays(start)
	now := start.Add(time.Minute)
	remember := func(key int64, n int) error {
		return r.remember(key, sumOf(n), now.Unix(), now.Add(signatureLife), now)
	}
	for n := range replaysOfAKey {
		if err := remember(1, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := remember(1, replaysOfAKey); fault.Of(err).Kind != fault.RateLimited {
		t.Errorf("one more of the key: %v", err)
	}
	for key := int64(2); key <= 4; key++ {
		for n := range replaysOfAKey {
			if err := remember(key, n); err != nil {
				t.Fatalf("another key: %v", err)
			}
		}
	}
	if err := remember(9, 0); fault.Of(err).Kind != fault.RateLimited || fault.Of(err).RetryAfter == 0 {
		t.Errorf("with a full memory: %v", err)
	}
	if err := remember(1, 0); !errors.Is(err, ErrSignatureReplayed) {
		t.Errorf("the first of all: %v", err)
	}
}

// FuzzSignature asks that a signature which is found good is that of the request,
// in the one way to write it.
func FuzzSignature(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	f.Add("POST", "/x", "1800000000", []byte("body"), "")
	f.Add("GET", "/x\n1", "+1800000000", []byte(nil), "00")
	f.Add("0", "\r", "1800000000", []byte("0"), "0")
	f.Add("", "", "-9223372036854775808", []byte("\n"), "zz")
	f.Fuzz(func(t *testing.T, method, target, stamp string, body []byte, value string) {
		secret := []byte("a secret of thirty-two characters")
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s\n%s\n%s\n%s", method, target, stamp, body)
		right := hex.EncodeToString(mac.Sum(nil))
		k := &checked{settings: settings{signed: true}, rare: &rare{signing: seal.NewSecret(string(secret))}}
		seconds, err := strconv.ParseInt(stamp, 10, 64)
		lines := strings.ContainsAny(method+target, "\r\n") // it would have more than four
		fresh := err == nil && strconv.FormatInt(seconds, 10) == stamp && seconds >= now.Unix()-300 && seconds <= now.Unix()+300
		for _, sent := range []string{value, right, strings.ToUpper(right), right + value} {
			s := &Signature{Value: sent, Timestamp: stamp, Method: method, Target: target, Body: body}
			if err := checkSignature(k, s, now); (err == nil) != (sent == right && fresh && !lines) {
				t.Errorf("%q at %q: %v", sent, stamp, err)
			}
		}
	})
}
