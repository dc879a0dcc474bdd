package runkey_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/runkey"
	"github.com/keyward/keyward/internal/seal"
)

// fleet is what servers share: a clock, their rows, and the runs that wait.
type fleet struct {
	mu      sync.Mutex
	t       time.Time
	rows    []runkey.Node
	waiting [][]byte
	looks   int
	down    error // what the database fails with
}

// server is one of them, with a file of its own.
type server struct {
	*runkey.Keys
	id     string
	file   []byte // nil: none
	full   error  // what its disk fails with
	writes int
}

func newFleet() *fleet { return &fleet{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (f *fleet) now() time.Time       { f.mu.Lock(); defer f.mu.Unlock(); return f.t }
func (f *fleet) pass(d time.Duration) { f.mu.Lock(); defer f.mu.Unlock(); f.t = f.t.Add(d) }

func (f *fleet) wait(tokens ...[]byte) { f.mu.Lock(); defer f.mu.Unlock(); f.waiting = tokens }

// join starts a server with what is in its file.
func (f *fleet) join(t *testing.T, id string, file []byte) *server {
	t.Helper()
	s := &server{id: id, file: file}
	s.Keys = &runkey.Keys{
		Now: f.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Self: func() string { return id },
		Read: func() ([]byte, error) {
			if s.file == nil {
				return nil, fs.ErrNotExist
			}
			return bytes.Clone(s.file), nil
		},
		Write: func(text []byte) error {
			if s.full == nil {
				s.file = bytes.Clone(text)
				s.writes++
			}
			return s.full
		},
		Announce: func(_ context.Context, public []byte) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.down != nil {
				return f.down
			}
			f.leave(id)
			f.rows = append(f.rows, runkey.Node{ID: id, RunKey: public})
			return nil
		},
		Nodes: func(context.Context) ([]runkey.Node, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return append([]runkey.Node(nil), f.rows...), f.down
		},
		EachWaiting: func(_ context.Context, see func([]byte) bool) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.looks++
			for _, tokens := range f.waiting {
				if !see(tokens) {
					break
				}
			}
			return f.down
		},
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// leave is called with f.mu held.
func (f *fleet) leave(id string) {
	for i, n := range f.rows {
		if n.ID == id {
			f.rows = append(f.rows[:i:i], f.rows[i+1:]...)
			return
		}
	}
}

func (s *server) tend(t *testing.T) {
	t.Helper()
	if err := s.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var place = runkey.Place{Run: "run", Organization: "organization", Agent: "agent", Profile: "profile"}

// seal seals a new token, and returns its text too.
func (s *server) seal(t *testing.T) (tokens []byte, token string) {
	t.Helper()
	token = seal.NewAuthToken().Reveal()
	tokens, err := s.Seal(t.Context(), seal.NewSecret(token), place)
	if err != nil {
		t.Fatal(err)
	}
	return tokens, token
}

func (s *server) opens(t *testing.T, tokens []byte, want string) {
	t.Helper()
	if got, err := s.Open(tokens, place); err != nil || got.Reveal() != want {
		t.Errorf("server %s opens another token, or none: %v", s.id, err)
	}
}

func (s *server) isGone(t *testing.T, tokens []byte) {
	t.Helper()
	if _, err := s.Open(tokens, place); !errors.Is(err, runkey.ErrGone) {
		t.Errorf("server %s: %v, want ErrGone", s.id, err)
	}
}

// lines returns how many keys are in the file.
func (s *server) lines() int { return strings.Count(string(s.file), "\n") }

func TestEveryLiveServerOpensWhatOneHasSealed(t *testing.T) {
	f := newFleet()
	a, b := f.join(t, "a", nil), f.join(t, "b", nil)
	tokens, token := a.seal(t)
	for _, s := range []*server{a, b} {
		s.opens(t, tokens, token)
		if got, err := s.Open(tokens, runkey.Place{Run: "another", Organization: "organization", Agent: "agent", Profile: "profile"}); !errors.Is(err, runkey.ErrGone) {
			t.Errorf("it opens for another run: %v, %v", got, err)
		}
	}
	late := f.join(t, "c", nil)
	late.isGone(t, tokens)
	a.tend(t) // hears of it
	tokens, token = a.seal(t)
	late.opens(t, tokens, token)

	// What it heard holds for a minute, and is asked again then.
	f.join(t, "d", nil)
	f.pass(time.Minute)
	tokens, _ = a.seal(t)
	if sealed, err := seal.SplitRunTokens(tokens); err != nil || len(sealed) != 4 {
		t.Errorf("it is sealed to %d servers, %v, want 4", len(sealed), err)
	}
}

func TestAServerWithoutARunKeyIsNotSealedTo(t *testing.T) {
	f := newFleet()
	f.rows = []runkey.Node{{ID: "older"}}
	a := f.join(t, "a", nil)
	tokens, token := a.seal(t)
	a.opens(t, tokens, token)
	f.rows = append(f.rows, runkey.Node{ID: "broken", RunKey: []byte("no key")})
	if err := a.Tend(t.Context()); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a public half that is none: %v, want an error that names its server", err)
	}
}

func TestAfterARestartWhatWaitedOpens(t *testing.T) {
	f := newFleet()
	before := f.join(t, "a", nil)
	tokens, token := before.seal(t)
	f.pass(30 * time.Minute)
	after := f.join(t, "a-again", before.file)
	after.opens(t, tokens, token)
	if after.writes != 0 || after.lines() != 1 {
		t.Errorf("a key that is half an hour old was replaced: %d writes, %d keys", after.writes, after.lines())
	}
	f.pass(5 * time.Hour)
	f.wait(tokens)
	later := f.join(t, "a-once-more", before.file)
	if later.lines() != 2 {
		t.Errorf("%d keys, want the one that is needed and a new one", later.lines())
	}
	later.opens(t, tokens, token)

	// Without the file they are gone.
	f.join(t, "a-without", nil).isGone(t, tokens)
	f.join(t, "other", f.join(t, "x", nil).file).isGone(t, tokens)
}

func TestAFileThatCannotBeReadStopsTheStart(t *testing.T) {
	f := newFleet()
	s := f.join(t, "a", nil)
	for _, text := range []string{"", "kwrun1\n", string(s.file) + string(s.file)} {
		s.file = []byte(text)
		if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "runs that wait") {
			t.Errorf("%q: %v", text, err)
		}
		if string(s.file) != text {
			t.Errorf("%q was written over", text)
		}
	}
	s.Read = func() ([]byte, error) { return nil, fs.ErrPermission }
	if err := s.Start(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v, want that it may not be read", err)
	}
}

func TestAKeyIsReplacedEveryHourAndDestroyedWhenNoRunNeedsIt(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	tokens, token := a.seal(t)
	first := bytes.Clone(a.file)
	f.wait(tokens)

	f.pass(time.Hour - time.Second)
	a.tend(t)
	if !bytes.Equal(a.file, first) {
		t.Error("the key was replaced before its hour was over")
	}
	f.pass(time.Second)
	a.tend(t)
	if a.lines() != 2 || !bytes.HasPrefix(a.file, first) {
		t.Errorf("after an hour there are %d keys", a.lines())
	}
	a.opens(t, tokens, token)
	newer, other := a.seal(t)

	f.pass(10 * time.Hour) // it is needed for so long
	a.tend(t)
	f.wait(newer, tokens)
	f.pass(3 * time.Minute)
	a.tend(t)
	a.opens(t, tokens, token)
	a.opens(t, newer, other)

	f.wait(newer)
	f.pass(time.Minute)
	a.tend(t)
	a.isGone(t, tokens)
	a.opens(t, newer, other)
	seed := bytes.Fields(first)[3]
	if bytes.Contains(a.file, seed) || a.lines() != 2 {
		t.Errorf("%d keys are left in the file, that one among them: %v", a.lines(), bytes.Contains(a.file, seed))
	}
}

// A server that has not heard of the new key yet may still be writing what it
// sealed to the old one.
func TestAKeyIsNotDestroyedWhileOthersMaySealToIt(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	tokens, token := a.seal(t)
	f.pass(time.Hour)
	a.tend(t)
	f.pass(2*time.Minute - time.Second)
	a.tend(t)
	a.opens(t, tokens, token)
	f.pass(time.Second)
	a.tend(t)
	a.isGone(t, tokens)
	if a.lines() != 1 {
		t.Errorf("%d keys, want 1", a.lines())
	}

	// The time counts from when they could hear of it.
	tokens, token = a.seal(t)
	f.pass(time.Hour)
	f.down = errors.New("no database")
	if err := a.Tend(t.Context()); !errors.Is(err, f.down) {
		t.Errorf("%v, want what the database says", err)
	}
	f.pass(time.Hour / 2)
	f.down = nil
	a.tend(t)
	a.opens(t, tokens, token)
	f.pass(2 * time.Minute)
	a.tend(t)
	a.isGone(t, tokens)
}

func TestNoKeyIsOlderThanADay(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	tokens, token := a.seal(t)
	f.wait(tokens)
	f.pass(24*time.Hour - time.Second)
	a.tend(t)
	a.opens(t, tokens, token)
	f.pass(time.Second)
	a.isGone(t, tokens) // whether it was destroyed already or not

	f.down = errors.New("no database")
	if err := a.Tend(t.Context()); !errors.Is(err, f.down) {
		t.Errorf("%v, want what the database says", err)
	}
	if a.lines() != 1 {
		t.Errorf("%d keys, want that the old one is gone though nobody can be asked", a.lines())
	}

	// Nor after a start.
	f.down = nil
	old := f.join(t, "b", nil)
	f.pass(24 * time.Hour)
	old = f.join(t, "b", old.file)
	if old.lines() != 1 || old.writes != 1 {
		t.Errorf("%d keys after %d writes, want a new one alone", old.lines(), old.writes)
	}
}

func TestNothingIsSealedToAKeyThatIsNotOnTheDisk(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	_, _ = a.seal(t)
	file := bytes.Clone(a.file)
	f.pass(2 * time.Hour)
	a.full = errors.New("the disk is full")
	if err := a.Tend(t.Context()); !errors.Is(err, a.full) {
		t.Errorf("%v, want that the disk is full", err)
	}
	tokens, token := a.seal(t)
	f.join(t, "a-again", file).opens(t, tokens, token)

	f.pass(23 * time.Hour)
	if _, err := a.Seal(t.Context(), seal.NewSecret(token), place); err == nil {
		t.Error("a run was sealed to a key that is a day old")
	}
	a.full = nil
	a.tend(t)
	tokens, token = a.seal(t)
	a.opens(t, tokens, token)
}

func TestAClockThatWasSetBackMakesANewKey(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	tokens, token := a.seal(t)
	f.wait(tokens)
	f.pass(-5 * time.Hour)
	a.tend(t)
	if a.lines() != 2 {
		t.Errorf("%d keys, want 2", a.lines())
	}
	a.opens(t, tokens, token)
	newer, other := a.seal(t)
	a.opens(t, newer, other)
}

func TestWhatWaitsIsLookedAtRarely(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	tokens, _ := a.seal(t)
	f.wait(tokens)
	for range 100 {
		f.pass(5 * time.Second)
		a.tend(t)
	}
	if f.looks != 0 {
		t.Errorf("what waits was looked at %d times for one key", f.looks)
	}
	f.pass(time.Hour)
	for range 60 {
		a.tend(t)
		f.pass(5 * time.Second)
	}
	if f.looks > 4 {
		t.Errorf("what waits was looked at %d times in five minutes", f.looks)
	}
}

func TestGarbageIsGone(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	tokens, _ := a.seal(t)
	flipped := bytes.Clone(tokens)
	flipped[len(flipped)-1] ^= 1
	for _, b := range [][]byte{nil, {}, []byte("garbage"), tokens[:len(tokens)-1], append(bytes.Clone(tokens), 0), flipped, seal.JoinRunTokens(nil)} {
		a.isGone(t, b)
	}
	if _, err := a.Seal(t.Context(), seal.NewSecret("no token"), place); err == nil {
		t.Error("what is no token was sealed")
	}
}

func TestKeysAreUsedWhileTheyChange(t *testing.T) {
	f := newFleet()
	a := f.join(t, "a", nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				token := seal.NewAuthToken().Reveal()
				tokens, err := a.Seal(t.Context(), seal.NewSecret(token), place)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := a.Open(tokens, place); err == nil && got.Reveal() != token || err != nil && !errors.Is(err, runkey.ErrGone) {
					t.Errorf("another token, or %v", err)
				}
			}
		})
	}
	for range 50 {
		f.pass(20 * time.Minute)
		a.tend(t)
	}
	wg.Wait()
}
