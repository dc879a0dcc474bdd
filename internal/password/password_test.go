package password

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestAHashFitsItsPasswordAlone(t *testing.T) {
	h := New([]byte("correct horse"))
	read, err := ParseHash(h.Text())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(h.Text(), "$argon2id$v=19$m=47104,t=1,p=1$") {
		t.Errorf("the hash begins with %.40s", h.Text())
	}
	if !read.Fits([]byte("correct horse")) || read.Fits([]byte("correct horsE")) {
		t.Error("the hash does not tell its password from another")
	}
	if !read.IsCurrent() {
		t.Error("a new hash is not current")
	}
	if New([]byte("correct horse")).Text() == h.Text() {
		t.Error("one password has one hash")
	}
	if None().Fits([]byte("correct horse")) || !None().IsCurrent() {
		t.Error("None is somebody's")
	}
}

// The vector is the reference implementation's: it holds for other costs than
// today's.
func TestOtherCostsAreRead(t *testing.T) {
	h, err := ParseHash("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil || !h.Fits([]byte("password")) || h.IsCurrent() {
		t.Errorf("ParseHash: %v, fits %v, current %v", err, h.Fits([]byte("password")), h.IsCurrent())
	}
}

var notHashes = []string{
	"", "$", "$$$$$",
	"$argon2i$v=19$m=47104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=16$m=47104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=4194304,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=47104,t=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=47104,t=1,p=0$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=47104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$",
	"$argon2id$v=19$m=47104,t=1,p=1 $AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=047104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=47104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
}

func TestWhatIsNoHashIsNotRead(t *testing.T) {
	for _, text := range notHashes {
		if _, err := ParseHash(text); err == nil {
			t.Errorf("ParseHash(%q) took it", text)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	for _, text := range notHashes {
		f.Add(text)
	}
	f.Add(None().Text())
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := ParseHash(text); err == nil && h.Text() != text {
			t.Errorf("%q is read and written as %q", text, h.Text())
		}
	})
}

func TestPasswordsHave8To256CharactersInNFC(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want string // "": refused
	}{
		"7":                  {"1234567", ""},
		"8":                  {"12345678", "12345678"},
		"256":                {strings.Repeat("é", 256), strings.Repeat("é", 256)},
		"257":                {strings.Repeat("é", 257), ""},
		"composed":           {strings.Repeat("e\u0301", 8), strings.Repeat("\u00e9", 8)},
		"7 when composed":    {strings.Repeat("e\u0301", 7), ""},
		"256 when composed":  {strings.Repeat("e\u0301", 256), strings.Repeat("\u00e9", 256)},
		"spaces":             {" pass word ", " pass word "},
		"a U+0000":           {"1234567\x008", ""},
		"not UTF-8":          {"1234567\xff8", ""},
		"far too long":       {strings.Repeat("x", 1<<20), ""},
		"empty":              {"", ""},
		"no letters at all":  {"\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600", "\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600"},
		"a control, allowed": {"1234567\t8", "1234567\t8"},
	} {
		got, err := Parse("password", seal.NewSecret(test.text))
		if test.want == "" {
			if !errors.Is(err, fault.ErrInvalidRequest) || fault.Of(err).Details["field"] != "password" {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil || string(got) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseLeavesTheSecretAlone(t *testing.T) {
	secret := seal.NewSecret("correct horse")
	text, err := Parse("password", secret)
	if err != nil {
		t.Fatal(err)
	}
	clear(text)
	if secret.Reveal() != "correct horse" {
		t.Error("clearing the parsed password cleared the secret")
	}
}

// crowd sends n callers into q who all stay inside until release is called.
func crowd(t *testing.T, q *Queue, purpose Purpose, n int) (release func()) {
	t.Helper()
	leave := make(chan struct{})
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := q.Do(t.Context(), purpose, func() { <-leave }); err != nil {
				t.Error(err)
			}
		})
	}
	settled := func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.inside >= n && len(q.running) == q.Cores
	}
	for !settled() {
		runtime.Gosched()
	}
	return func() { close(leave); wg.Wait() }
}

func TestOneHashACoreRunsAtATime(t *testing.T) {
	q := &Queue{Cores: 2}
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			err := q.Do(t.Context(), Checking, func() {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				runtime.Gosched()
				running.Add(-1)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 {
		t.Errorf("%d ran at once on 2 cores", most.Load())
	}
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	q := &Queue{Cores: 1}
	release := crowd(t, q, Checking, placesPerCore)
	err := q.Do(t.Context(), Checking, func() { t.Error("it ran") })
	if !errors.Is(err, ErrBusy) || fault.Of(err).RetryAfter == 0 || fault.Of(err).Kind != fault.Unavailable {
		t.Errorf("one too many: %v", err)
	}
	release()
	if err := q.Do(t.Context(), Checking, func() {}); err != nil {
		t.Errorf("when it is empty again: %v", err)
	}
}

func TestRegistrationsFillAQuarterOfTheQueue(t *testing.T) {
	q := &Queue{Cores: 1}
	release := crowd(t, q, Registering, placesPerCore/4)
	if err := q.Do(t.Context(), Registering, func() { t.Error("it ran") }); !errors.Is(err, ErrBusy) {
		t.Errorf("one registration too many: %v", err)
	}
	var wg sync.WaitGroup
	for range placesPerCore - placesPerCore/4 {
		wg.Go(func() {
			if err := q.Do(t.Context(), Checking, func() {}); err != nil {
				t.Errorf("somebody who has an account: %v", err)
			}
		})
	}
	release()
	wg.Wait()
}

func TestWhoStopsWaitingLeavesTheQueue(t *testing.T) {
	q := &Queue{Cores: 1}
	release := crowd(t, q, Checking, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Do(ctx, Checking, func() { t.Error("it ran") }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if q.inside != 1 {
		t.Errorf("%d inside, want the one that runs", q.inside)
	}
	release()
}
