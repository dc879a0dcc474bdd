package rootkey_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/rootkey"
	"github.com/keyward/keyward/internal/seal"
)

// begun makes a database that a root key is in use on, and returns its file.
func begun(t *testing.T, d *db.DB) *file {
	t.Helper()
	makeLetters(t, d)
	f := newFile()
	h := build(t, d, "first", f)
	if err := h.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := h.letters.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestARootKeyBeginsAnEmptyDatabaseAndOpensItAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if err := rootkey.MayBegin(t.Context(), d); err != nil {
			t.Errorf("MayBegin on an empty database: %v", err)
		}
		f := newFile()
		if err := build(t, d, "host", f).Check(t.Context(), false); !errors.Is(err, rootkey.ErrEmpty) {
			t.Errorf("Check that may not begin: %v, want %v", err, rootkey.ErrEmpty)
		}
		for _, mayBegin := range []bool{true, true, false} {
			if err := build(t, d, "host", f).Check(t.Context(), mayBegin); err != nil {
				t.Errorf("Check: %v", err)
			}
		}
		if n := count(t, d, `SELECT count(*) FROM root_versions WHERE active = 1 AND id = $1`, f.ring(t).ID(1)); n != 1 {
			t.Errorf("%d versions are on record", n)
		}
	})
}

func TestOfTwoServersThatBeginAtOnceWithTwoKeysOneIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var errs [2]error
		var wg sync.WaitGroup
		for i := range errs {
			h := build(t, d, fmt.Sprint("host", i), newFile())
			wg.Go(func() { errs[i] = h.Check(t.Context(), true) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), rootkey.ErrWrong) {
			t.Errorf("the two answers: %v; %v", errs[0], errs[1])
		}
	})
}

func TestServersThatBeginAtOnceWithOneKeyAllStart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFile()
		for range 20 {
			var wg sync.WaitGroup
			for i := range 8 {
				h := build(t, d, fmt.Sprint("host", i), f)
				wg.Go(func() {
					if err := h.Check(t.Context(), true); err != nil {
						t.Errorf("Check: %v", err)
					}
				})
			}
			wg.Wait()
			err := d.Tx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.Exec(t.Context(), `DELETE FROM root_versions`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestARootKeyThatDoesNotBelongToTheDatabaseIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := begun(t, d)
		id := f.ring(t).ID(1)

		wrong := newFile()
		err := build(t, d, "host", wrong).Check(t.Context(), true)
		want := fmt.Sprintf("this is the wrong root key: its version 1 has the id %s, and this database needs the one with the id %s: put its line into root.key", wrong.ring(t).ID(1), id)
		if !errors.Is(err, rootkey.ErrWrong) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("a wrong key: %v\nwant: %s…", err, want)
		}

		err = rootkey.MayBegin(t.Context(), d)
		want = fmt.Sprintf("there is no root key, and this database needs version 1 with the id %s: put its line into root.key", id)
		if !errors.Is(err, rootkey.ErrNoKey) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("no key: %v\nwant: %s…", err, want)
		}

		later := newFile()
		ring := later.ring(t)
		_, line := ring.AddNew()
		later.set(string(line)) // version 2 alone
		err = build(t, d, "host", later).Check(t.Context(), true)
		want = fmt.Sprintf("the root key lacks a version: this database needs version 1 with the id %s: put its line into root.key", id)
		if !errors.Is(err, rootkey.ErrLacking) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("a missing version: %v\nwant: %s…", err, want)
		}

		if n := count(t, d, `SELECT count(*) FROM root_versions`); n != 1 {
			t.Errorf("%d versions are on record, want 1", n)
		}
		if err := build(t, d, "host", f).Check(t.Context(), false); err != nil {
			t.Errorf("the right key: %v", err)
		}
	})
}

func TestDataWithoutARecordOfItsRootKeyIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := begun(t, d)
		run(t, d, `DELETE FROM root_versions`)
		for name, err := range map[string]error{
			"MayBegin": rootkey.MayBegin(t.Context(), d),
			"Check":    build(t, d, "host", f).Check(t.Context(), true),
		} {
			if !errors.Is(err, rootkey.ErrNoTrace) {
				t.Errorf("%s beside an audit log: %v, want %v", name, err, rootkey.ErrNoTrace)
			}
		}
		run(t, d, `DELETE FROM audit_entries`)
		run(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ('o', 'o', 0, 'free', '{}', '{}', 1, 1, 1, $1)`, []byte{})
		if err := rootkey.MayBegin(t.Context(), d); !errors.Is(err, rootkey.ErrNoTrace) {
			t.Errorf("MayBegin beside an organization: %v, want %v", err, rootkey.ErrNoTrace)
		}
	})
}

// What somebody who writes to the database does to the record of the root key.
func TestAChangedRecordIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := begun(t, d)
		other := build(t, d, "other", newFile())
		foreign, err := other.Root.Seal(seal.ServerState, nil, seal.Text("sentinel"), seal.Text(f.ring(t).ID(1)))
		if err != nil {
			t.Fatal(err)
		}
		var sentinel []byte
		if err := d.QueryRow(t.Context(), `SELECT sentinel FROM root_versions`).Scan(&sentinel); err != nil {
			t.Fatal(err)
		}
		for _, change := range []struct {
			query string
			args  []any
			want  error
		}{
			{`UPDATE root_versions SET sentinel = $1`, []any{[]byte{}}, rootkey.ErrChanged},
			{`UPDATE root_versions SET sentinel = $1`, []any{foreign}, rootkey.ErrChanged},
			{`UPDATE root_versions SET id = $1`, []any{other.Root.ID(1)}, rootkey.ErrWrong},
			{`UPDATE root_versions SET version = 2`, nil, rootkey.ErrLacking},
			{`UPDATE root_versions SET active = 0`, nil, rootkey.ErrChanged},
			{`UPDATE root_versions SET active = 0, retired_at = 1`, nil, rootkey.ErrChanged},
			{`INSERT INTO root_versions (version, id, sentinel, active, created_at, retired_at) SELECT 2, id, sentinel, 1, 1, 0 FROM root_versions`, nil, rootkey.ErrChanged},
			{`INSERT INTO root_versions (version, id, sentinel, active, created_at, retired_at) SELECT 2, id, sentinel, 0, 1, 0 FROM root_versions`, nil, rootkey.ErrLacking},
		} {
			run(t, d, change.query, change.args...)
			if err := build(t, d, "host", f).Check(t.Context(), true); !errors.Is(err, change.want) {
				t.Errorf("%s: Check: %v, want %v", change.query, err, change.want)
			}
			run(t, d, `DELETE FROM root_versions`)
			run(t, d, `INSERT INTO root_versions (version, id, sentinel, active, created_at, retired_at) VALUES (1, $1, $2, 1, 1, 0)`, f.ring(t).ID(1), sentinel)
			if err := build(t, d, "host", f).Check(t.Context(), true); err != nil {
				t.Fatalf("after it was set right: %v", err)
			}
		}
	})
}

// inTheMiddle stops a rotation when both versions are in use.
func inTheMiddle(t *testing.T, d *db.DB, h *host) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := h.Rotate(ctx, console, func(step string) {
		if strings.HasSuffix(step, "is active") {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Rotate: %v", err)
	}
	h.stop()
}

func TestTheDatabaseAloneMakesNoServerGiveUpAKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		f := newFile()
		h := start(t, d, "host", f)
		inTheMiddle(t, d, h)
		before := f.text
		for _, forged := range []string{
			`UPDATE root_versions SET retired_at = 1 WHERE version = 1`,
			`UPDATE root_versions SET retired_at = 1, sentinel = (SELECT r.sentinel FROM root_versions r WHERE r.version = 2) WHERE version = 1`,
		} {
			run(t, d, forged)
			if err := h.Sync(t.Context()); !errors.Is(err, rootkey.ErrChanged) {
				t.Errorf("Sync: %v, want %v", err, rootkey.ErrChanged)
			}
			if got := fmt.Sprint(h.Root.Versions()); got != "[1 2]" {
				t.Errorf("the server holds the versions %s, want both", got)
			}
			if f.text != before {
				t.Error("the server has changed the root key")
			}
			if err := build(t, d, "again", f).Check(t.Context(), false); !errors.Is(err, rootkey.ErrChanged) {
				t.Errorf("Check: %v, want %v", err, rootkey.ErrChanged)
			}
		}
	})
}

func TestTheActiveVersionOnlyRises(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		makeLetters(t, d)
		h := start(t, d, "host", newFile())
		inTheMiddle(t, d, h)
		if err := h.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		run(t, d, `UPDATE root_versions SET active = 2 - version`)
		if err := h.Sync(t.Context()); !errors.Is(err, rootkey.ErrChanged) {
			t.Errorf("Sync: %v, want %v", err, rootkey.ErrChanged)
		}
		if got := h.Root.Active(); got != 2 {
			t.Errorf("the server writes with version %d, want 2", got)
		}
	})
}

// A server that was started without a version that then becomes active says so
// until it has it.
func TestAServerThatLacksTheActiveVersionIsNotReady(t *testing.T) {
	d := shared(t)
	key := newFile()
	fileA, fileB := &file{text: key.text}, &file{text: key.text}
	a := start(t, d, "host-a", fileA)
	b := build(t, d, "host-b", fileB) // not registered, so that nobody waits for it
	if err := b.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := b.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
	inTheMiddle(t, d, a)

	for _, ask := range []struct {
		name string
		of   func() error
	}{
		{"Sync", func() error { return b.Sync(t.Context()) }},
		{"Ready", b.Ready},
		{"Check", func() error { return b.Check(t.Context(), false) }},
	} {
		name, err := ask.name, ask.of()
		if !errors.Is(err, rootkey.ErrLacking) || !strings.Contains(err.Error(), fileA.ring(t).ID(2)) {
			t.Errorf("%s: %v, want one that names the version", name, err)
		}
	}
	if b.Root.Active() != 1 {
		t.Errorf("it writes with version %d", b.Root.Active())
	}
	carry(fileA, fileB, "")("waiting until version 2 is in the root key of")
	if err := b.Sync(t.Context()); err != nil {
		t.Errorf("with the line, Sync: %v", err)
	}
	if err := b.Ready(); err != nil || b.Root.Active() != 2 {
		t.Errorf("with the line, Ready: %v, active %d", err, b.Root.Active())
	}
}

func TestFollowTakesOverWhatTheOperatorAdds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := begun(t, d)
		h := build(t, d, "host", f)
		if err := h.Check(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() {
			if err := h.Follow(ctx); err != nil {
				t.Error("Follow: ", err)
			}
		})
		next := f.ring(t)
		_, line := next.AddNew()
		if err := f.write(append([]byte(f.text), line...)); err != nil {
			t.Fatal(err)
		}
		until(t, "the version is held", func() bool { return h.Root.ID(2) == next.ID(2) })
		cancel()
		loop.Wait()
		if h.Root.Active() != 1 {
			t.Errorf("version %d is active, want 1", h.Root.Active())
		}
	})
}
