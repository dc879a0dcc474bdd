package db

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// newGroupOfNotes returns a database whose groups the test makes by itself.
func newGroupOfNotes(t *testing.T) *DB {
	t.Helper()
	d, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Tx(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(t.Context(), `CREATE TABLE notes (id BIGINT PRIMARY KEY)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

func jobOf(t *testing.T, body func(tx *Tx) error) *job {
	return &job{ctx: t.Context(), body: body, done: make(chan struct{})}
}

// adding is a body that adds a note and then ends with err.
func adding(t *testing.T, id int, err error) *job {
	return jobOf(t, func(tx *Tx) error {
		_, failed := tx.Exec(t.Context(), `INSERT INTO notes (id) VALUES ($1)`, id)
		return errors.Join(failed, err)
	})
}

func notesOf(t *testing.T, q Querier) (n int64) {
	t.Helper()
	if err := q.QueryRow(t.Context(), `SELECT count(*) FROM notes`).Scan(&n); err != nil {
		t.Error(err)
	}
	return n
}

var errRefused = errors.New("refused")

func TestAGroupIsRunAgainWithoutTheBodyThatFailed(t *testing.T) {
	for name, bad := range map[string]func(t *testing.T) *job{
		"an error":    func(t *testing.T) *job { return adding(t, 2, errRefused) },
		"a duplicate": func(t *testing.T) *job { return adding(t, 1, nil) },
		"a panic":     func(t *testing.T) *job { return jobOf(t, func(*Tx) error { panic("oops") }) },
		"a conflict":  func(t *testing.T) *job { return adding(t, 2, ErrConflict) },
		"a bad SELECT": func(t *testing.T) *job {
			return jobOf(t, func(tx *Tx) error { _, err := tx.Query(t.Context(), `SELECT nothing`); return err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newGroupOfNotes(t)
			seen := int64(-1)
			look := jobOf(t, func(tx *Tx) error { seen = notesOf(t, tx); return nil })
			failing := bad(t)
			good := []*job{adding(t, 1, nil), look, adding(t, 3, nil)}
			d.group.commit([]*job{good[0], failing, good[1], good[2]})

			if failing.err == nil && failing.panicked == nil {
				t.Error("the body that failed is told that it did not")
			}
			for i, j := range good {
				if j.err != nil || j.panicked != nil {
					t.Errorf("body %d: %v, %v", i, j.err, j.panicked)
				}
			}
			if n := notesOf(t, d); n != 2 || seen != 1 {
				t.Errorf("%d notes are kept and %d were seen after the failure, want 2 and 1", n, seen)
			}
		})
	}
}

func TestAGroupOfFailuresKeepsNothing(t *testing.T) {
	d := newGroupOfNotes(t)
	batch := []*job{adding(t, 1, errRefused), adding(t, 2, errRefused)}
	d.group.commit(batch)
	for i, j := range batch {
		if !errors.Is(j.err, errRefused) {
			t.Errorf("body %d: %v", i, j.err)
		}
	}
	one := adding(t, 3, errRefused)
	d.group.commit([]*job{one})
	if n := notesOf(t, d); n != 0 || !errors.Is(one.err, errRefused) {
		t.Errorf("%d notes, and %v", n, one.err)
	}
}

func TestAGroupSkipsWhoHasLeft(t *testing.T) {
	d := newGroupOfNotes(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := adding(t, 1, nil)
	gone.ctx = ctx
	failing, good := adding(t, 2, errRefused), adding(t, 3, nil)
	d.group.commit([]*job{gone, failing, good})
	if n := notesOf(t, d); n != 1 || !errors.Is(gone.err, context.Canceled) || good.err != nil {
		t.Errorf("%d notes, %v and %v", n, gone.err, good.err)
	}
}

func TestAfterAFailureGroupsAreCarefulForAWhile(t *testing.T) {
	d := newGroupOfNotes(t)
	g := d.group
	runs := 0
	counting := func() *job { return jobOf(t, func(*Tx) error { runs++; return nil }) }
	g.commit([]*job{counting(), adding(t, 1, errRefused)})
	if runs != 2 {
		t.Errorf("the body beside a failure was run %d times, want 2", runs)
	}
	runs = 0
	for range carefulFor {
		g.commit([]*job{counting(), adding(t, 1, errRefused)})
	}
	if runs != carefulFor {
		t.Errorf("%d bodies were run in %d careful groups", runs, carefulFor)
	}
	if g.careful != 0 {
		t.Errorf("%d groups more would be careful", g.careful)
	}
}
