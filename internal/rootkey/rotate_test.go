package rootkey_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/rootkey"
	"github.com/keyward/keyward/internal/seal"
)

// carry is the operator: when a rotation says that a host lacks a version, the
// lines of one file are taken over to another.
func carry(from, to *file, host string) func(step string) {
	return func(step string) {
		if strings.Contains(step, "is in the root key of") && strings.Contains(step, host) {
			text, _ := from.read()
			if err := to.write(text); err != nil {
				panic(err)
			}
		}
	}
}

func shared(t *testing.T) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	makeLetters(t, d)
	return d
}

func TestRotateLosesNothingWhileTwoServersWrite(t *testing.T) {
	t.Parallel()
	d := shared(t)
	key := newFile()
	fileA, fileB := &file{text: key.text}, &file{text: key.text}
	a, b := start(t, d, "host-a", fileA), start(t, d, "host-b", fileB)
	stopA, stopB := a.busy(4), b.busy(4)

	for version := uint32(2); version <= 3; version++ {
		operator := carry(fileA, fileB, "host-b")
		err := a.Rotate(t.Context(), console, func(step string) {
			t.Log(step)
			operator(step)
		})
		if err != nil {
			t.Fatal(err)
		}
		before := version - 1
		for _, h := range []*host{a, b} {
			until(t, fmt.Sprintf("version %d is given up", before), func() bool {
				return fmt.Sprint(h.Root.Versions()) == fmt.Sprint([]uint32{version}) && fmt.Sprint(h.file.ring(t).Versions()) == fmt.Sprint([]uint32{version})
			})
			if err := h.Ready(); err != nil {
				t.Error("Ready: ", err)
			}
		}
	}

	written := stopA() + stopB()
	a.stop()
	b.stop()
	if n := count(t, d, `SELECT count(*) FROM letters`); n < int64(written) || written < 50 {
		t.Errorf("of %d letters that were answered %d are there", written, n)
	}
	opens(t, d, fileA, 3)
	opens(t, d, fileB, 3)
	if n := count(t, d, `SELECT count(*) FROM audit_entries WHERE action = $1`, string(access.RotateRoot)); n != 4 {
		t.Errorf("%d acts of the rotations are on record, want 4", n)
	}
}

// A rotation is cut off at each of its steps, one after the other: each time the
// server dies with it, another is started on what is on the disk, and goes on.
func TestRotateGoesOnWhereverItWasCutOff(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		for at, more := 1, true; more; at++ {
			for _, table := range []string{"letters", "audit_entries", "audit_head", "changes", "change_head", "root_versions", "nodes"} {
				run(t, d, `DELETE FROM `+table)
			}
			more = t.Run(fmt.Sprintf("step %d", at), func(t *testing.T) { more = rotateCutOff(t, d, at) }) && more
			if at > 20 {
				t.Fatal("a rotation has more than 20 steps")
			}
		}
	})
}

// rotateCutOff cuts a rotation off at its nth step and resumes it. It reports
// whether there was such a step.
func rotateCutOff(t *testing.T, d *db.DB, nth int) bool {
	f := newFile()
	h := start(t, d, "host", f)
	stop := h.busy(2)
	until(t, "there are letters", func() bool { return count(t, d, `SELECT count(*) FROM letters`) > 20 })

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	step := 0
	err := h.Rotate(ctx, console, func(text string) {
		if step++; step == nth {
			t.Log("cut off at: ", text)
			cancel()
		}
	})
	cutOff := step >= nth
	if cutOff && err == nil && ctx.Err() == nil {
		t.Fatal("a rotation that was cut off ended well")
	}
	stop()
	h.stop()

	again := start(t, d, "host again", f)
	stop = again.busy(2)
	if !complete(t, again) {
		if err := again.Rotate(t.Context(), console, func(text string) { t.Log("again: ", text) }); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the old line is gone", func() bool { return fmt.Sprint(f.ring(t).Versions()) == "[2]" })
	stop()
	again.stop()
	opens(t, d, f, 2)
	return cutOff
}

// complete reports whether version 2 has taken the place of version 1.
func complete(t *testing.T, h *host) bool {
	s, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range s.Versions {
		if v.Number == 1 && v.State == rootkey.Retired {
			return true
		}
	}
	return false
}

func TestAVersionThatCouldNotBeKeptIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		f := newFile()
		h := start(t, d, "host", f)
		f.fail = errStop // the line is on the disk, and the server does not know
		if err := h.Rotate(t.Context(), console, func(string) {}); !errors.Is(err, errStop) {
			t.Fatalf("Rotate: %v, want %v", err, errStop)
		}
		until(t, "the line is found", func() bool { return len(h.Root.Versions()) == 2 })
		id := h.Root.ID(2)
		if err := h.Rotate(t.Context(), console, func(string) {}); err != nil {
			t.Fatal(err)
		}
		h.stop()
		opens(t, d, f, 2)
		if f.ring(t).ID(2) != id {
			t.Error("another version was made")
		}
	})
}

func TestRotateTakesLinesAwayThatALastStepHasLeft(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		f := newFile()
		before := f.text
		h := start(t, d, "host", f)
		if err := h.Rotate(t.Context(), console, func(string) {}); err != nil {
			t.Fatal(err)
		}
		h.stop()
		f.text = before + f.text // as if it had stopped before its last step
		again := build(t, d, "again", f)
		if err := again.Check(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(again.Root.Versions()); got != "[2]" {
			t.Errorf("the server holds the versions %s, want 2 alone", got)
		}
		steps := ""
		if err := again.Rotate(t.Context(), console, func(step string) { steps += step + "\n" }); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(steps, "is complete") {
			t.Errorf("the steps: %s", steps)
		}
		opens(t, d, f, 2)
	})
}

func TestAServerThatDiesIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	d := shared(t)
	key := newFile()
	fileA, fileB := &file{text: key.text}, &file{text: key.text}
	a, b := start(t, d, "host-a", fileA), start(t, d, "host-b", fileB)
	waited := false
	err := a.Rotate(t.Context(), console, func(step string) {
		if strings.Contains(step, "host-b") {
			waited = true
			b.stop() // and never leaves
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !waited {
		t.Error("the rotation did not wait for host-b")
	}
	a.stop()
	opens(t, d, fileA, 2)

	// When it comes back it is told what it lacks.
	err = build(t, d, "host-b", fileB).Check(t.Context(), false)
	if !errors.Is(err, rootkey.ErrLacking) || !strings.Contains(err.Error(), fileA.ring(t).ID(2)) {
		t.Errorf("Check of host-b: %v", err)
	}
}

func TestTwoServersThatRotateAtOnceMakeOneVersion(t *testing.T) {
	t.Parallel()
	d := shared(t)
	key := newFile()
	fileA, fileB := &file{text: key.text}, &file{text: key.text}
	a, b := start(t, d, "host-a", fileA), start(t, d, "host-b", fileB)

	// The new version is on both hosts already.
	two := fileA.ring(t)
	_, line := two.AddNew()
	fileA.add(line)
	fileB.add(line)

	var wg sync.WaitGroup
	for _, h := range []*host{a, b} {
		wg.Go(func() {
			for {
				err := h.Rotate(t.Context(), console, func(string) {})
				if err == nil || !errors.Is(err, rootkey.ErrAhead) {
					if err != nil {
						t.Error(err)
					}
					return
				}
				// Start again, as the error says, if there is something left.
				if complete(t, h) {
					return
				}
			}
		})
	}
	wg.Wait()
	until(t, "both have given version 1 up", func() bool {
		return fmt.Sprint(fileA.ring(t).Versions(), fileB.ring(t).Versions()) == "[2] [2]"
	})
	a.stop()
	b.stop()
	opens(t, d, fileA, 2)
	opens(t, d, fileB, 2)
}

func TestRotateDoesNotActivateWhatAnotherHostHasOtherwise(t *testing.T) {
	t.Parallel()
	d := shared(t)
	key := newFile()
	fileA, fileB := &file{text: key.text}, &file{text: key.text}
	a := start(t, d, "host-a", fileA)
	start(t, d, "host-b", fileB)
	other := fileB.ring(t)
	other.AddNew()
	fileB.set(string(other.Text())) // a version 2 of its own

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := a.Rotate(ctx, console, func(step string) {
		if strings.Contains(step, "host-b") {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Rotate: %v, want it to wait for host-b", err)
	}
	if n := count(t, d, `SELECT count(*) FROM root_versions`); n != 1 {
		t.Errorf("%d versions are on record, want 1", n)
	}
}

func TestRotateWithoutAPlaceToWriteUsesTheOperatorsLine(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		f := newFile()
		h := start(t, d, "host", f)
		h.stop()
		h.Write = nil
		if err := h.Rotate(t.Context(), console, func(string) {}); !errors.Is(err, rootkey.ErrKept) {
			t.Fatalf("Rotate: %v, want %v", err, rootkey.ErrKept)
		}
		next := f.ring(t)
		_, line := next.AddNew()
		f.add(line)

		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { h.fleet.Follow(ctx) })
		if err := h.Rotate(t.Context(), console, func(string) {}); err != nil {
			t.Fatal(err)
		}
		cancel()
		loop.Wait()
		if got := fmt.Sprint(f.ring(t).Versions()); got != "[1 2]" {
			t.Errorf("the operator's key has the versions %s, want both", got)
		}
		if got := fmt.Sprint(h.Root.Versions()); got != "[2]" {
			t.Errorf("the server holds the versions %s, want 2 alone", got)
		}
		f.set(string(line)) // as the operator is told to
		opens(t, d, f, 2)
	})
}

func TestOnlyTheOperatorRotates(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		h := start(t, d, "host", newFile())
		for _, who := range []access.Caller{{}, clerk, access.NewServer()} {
			if err := h.Rotate(t.Context(), who, func(string) {}); !errors.Is(err, fault.ErrNotAllowed) {
				t.Errorf("Rotate by %q: %v, want ErrNotAllowed", who.Role, err)
			}
		}
		if got := fmt.Sprint(h.file.ring(t).Versions()); got != "[1]" {
			t.Errorf("the root key has the versions %s", got)
		}
	})
}

func TestARowThatDoesNotOpenKeepsItsVersionFromBeingRetired(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		f := newFile()
		h := start(t, d, "host", f)
		id, err := h.letters.write(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		run(t, d, `UPDATE letters SET edition = 7 WHERE id = $1`, id)
		if err := h.Rotate(t.Context(), console, func(string) {}); !errors.Is(err, seal.ErrTag) || !strings.Contains(err.Error(), id) {
			t.Errorf("Rotate: %v, want one that names the letter", err)
		}
		if got := fmt.Sprint(f.ring(t).Versions()); got != "[1 2]" {
			t.Errorf("the root key has the versions %s, want both", got)
		}
		// A noun that says it has nothing left is not believed either.
		run(t, d, `UPDATE letters SET edition = 1 WHERE id = $1`, id)
		h.Rows[0].Reseal = func(context.Context, int) (int, error) { return 0, nil }
		if err := h.Rotate(t.Context(), console, func(string) {}); err == nil || !strings.Contains(err.Error(), "1 rows are still under version 1") {
			t.Errorf("Rotate: %v, want one that counts what is left", err)
		}
		h.Rows[0].Reseal = h.letters.reseal
		if err := h.Rotate(t.Context(), console, func(string) {}); err != nil {
			t.Fatal(err)
		}
		h.stop()
		opens(t, d, f, 2)
	})
}

func TestStatusTellsVersionsRowsAndServers(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		f := newFile()
		h := start(t, d, "host", f)
		for range 3 {
			if _, err := h.letters.write(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := h.Rotate(ctx, console, func(step string) {
			if strings.HasSuffix(step, "is active") {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		tell := func() string {
			s, err := h.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, v := range s.Versions {
				if id := h.Root.ID(v.Number); v.Held != (id != "") || v.Held && v.ID != id {
					t.Errorf("version %d has the id %s, held %v", v.Number, v.ID, v.Held)
				}
				line := fmt.Sprint(v.Number, " ", v.State)
				for _, c := range v.Rows {
					if c.Name == "letters" {
						line += fmt.Sprint(" ", c.Rows)
					}
				}
				lines = append(lines, line)
			}
			for _, n := range s.Nodes {
				lines = append(lines, n.Host)
			}
			return strings.Join(lines, "; ")
		}
		if got := tell(); got != "1 old 3; 2 active; host" {
			t.Errorf("in a rotation: %s", got)
		}
		if err := h.Rotate(t.Context(), console, func(string) {}); err != nil {
			t.Fatal(err)
		}
		if got := tell(); got != "1 retired; 2 active 3; host" {
			t.Errorf("after it: %s", got)
		}
		h.Root.AddNew()
		if got := tell(); got != "1 retired; 2 active 3; 3 added; host" {
			t.Errorf("with one more: %s", got)
		}
	})
}
