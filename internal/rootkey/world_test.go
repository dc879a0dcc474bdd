package rootkey_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/audit"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/node"
	"github.com/keyward/keyward/internal/rootkey"
	"github.com/keyward/keyward/internal/seal"
)

// file is where the root key of one host is kept.
type file struct {
	mu   sync.Mutex
	text string
	fail error // what the next Write returns, after it has written
}

// newFile returns a file with a new root key.
func newFile() *file {
	_, line := seal.NewRoot()
	return &file{text: string(line)}
}

func (f *file) read() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []byte(f.text), nil
}

// set puts text in the place of what is kept, as an operator does by hand.
func (f *file) set(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = text
}

// add adds a line, as an operator does by hand.
func (f *file) add(line []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text += string(line)
}

func (f *file) write(text []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = string(text)
	err := f.fail
	f.fail = nil
	return err
}

func (f *file) ring(t *testing.T) *seal.Root {
	t.Helper()
	text, _ := f.read()
	root, err := seal.ParseRoot(text)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// host is one server, as far as a rotation knows it.
type host struct {
	*rootkey.Keys
	file    *file
	fleet   *node.Fleet
	log     *audit.Log
	letters *letters
	t       *testing.T
	stop    func() // ends its loops
}

// faster is how much faster the servers' clocks go for liveness.
const faster = 8

var began = time.Now()

func fastNow() time.Time { return began.Add(faster * time.Since(began)) }

// build makes a host of what is in its file, and starts nothing.
func build(t *testing.T, d *db.DB, name string, f *file) *host {
	t.Helper()
	root := f.ring(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil)).With("host", name)
	h := &host{
		file: f, t: t, stop: func() {},
		fleet:   &node.Fleet{DB: d, Root: root, Host: name, Now: fastNow, Log: log},
		log:     &audit.Log{DB: d, Root: root, Now: time.Now, Log: log},
		letters: &letters{db: d, root: root, acts: &access.Acts{DB: d, Root: root, Now: time.Now}},
	}
	h.Keys = &rootkey.Keys{
		DB: d, Root: root, Acts: h.letters.acts, Now: time.Now, Log: log,
		Read: f.read, Write: f.write,
		Nodes: func(ctx context.Context) ([]rootkey.Node, error) {
			live, err := h.fleet.Live(ctx)
			var nodes []rootkey.Node
			for _, n := range live {
				nodes = append(nodes, rootkey.Node{ID: n.ID, Host: n.Host, Versions: n.RootVersions, Active: n.RootActive})
			}
			return nodes, err
		},
		Rows: []rootkey.Rows{
			{Name: "letters", Tables: []string{"letters"}, Reseal: h.letters.reseal},
			{Name: "the audit log", Tables: []string{"audit_entries", "audit_head"}, Reseal: h.log.Reseal},
			{Name: "servers", Tables: []string{"nodes"}, Reseal: h.fleet.Reseal},
		},
		Settle: 400 * time.Millisecond,
	}
	return h
}

// start builds a host and starts it as a server starts.
func start(t *testing.T, d *db.DB, name string, f *file) *host {
	t.Helper()
	h := build(t, d, name, f)
	for _, step := range []func() error{
		func() error { return h.Check(t.Context(), true) },
		func() error { return h.fleet.Register(t.Context()) },
		func() error { return h.Check(t.Context(), false) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	loop := func(work func(context.Context) error) {
		loops.Go(func() {
			for ctx.Err() == nil {
				if err := work(ctx); err != nil && ctx.Err() == nil {
					t.Logf("%s: %v", name, err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	loop(h.Sync)
	loop(h.fleet.Beat)
	loops.Go(func() { h.log.Follow(ctx) })
	h.stop = sync.OnceFunc(func() { cancel(); loops.Wait() })
	t.Cleanup(h.stop)
	return h
}

// until waits for what it is told.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is not so that %s", what)
		}
	}
}

func count(t *testing.T, d *db.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := d.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// run changes the database behind everybody's back.
func run(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// letters is a noun with rows that are both sealed and tagged.
type letters struct {
	db   *db.DB
	root *seal.Root
	acts *access.Acts
}

func makeLetters(t *testing.T, d *db.DB) {
	t.Helper()
	run(t, d, `CREATE TABLE letters (id TEXT PRIMARY KEY, edition BIGINT NOT NULL, box BYTEA NOT NULL, root_version BIGINT NOT NULL, tag BYTEA NOT NULL)`)
}

type letter struct {
	id       string
	edition  int64
	box, tag []byte
	version  uint32
}

func (l letter) fields() [][]byte { return [][]byte{seal.Text(l.id), seal.Int(l.edition), l.box} }

// text is what the letter says.
func (l letter) text() string { return fmt.Sprintf("letter %s, edition %d", l.id, l.edition) }

var clerk = access.Caller{AccountID: "clerk", OrganizationID: "post", Role: access.Owner, SignInID: "s"}

// sealed fills in the box and the tag. Both are under one version, or the
// version that the row names would be that of the tag alone.
func (l letter) sealed(root *seal.Root) (letter, error) {
	for {
		box, err := root.Seal(seal.AtRest, []byte(l.text()), seal.Text(l.id), seal.Int(l.edition))
		if err != nil {
			return l, err
		}
		l.box = box
		if l.version, l.tag = root.Tag(seal.AccountRow, l.fields()...); l.version == seal.BoxVersion(box) {
			return l, nil
		}
	}
}

// write puts a new letter in. It is slow between the sealing and the writing, as
// a request can be.
func (n *letters) write(ctx context.Context) (string, error) {
	l, err := letter{id: db.NewID(), edition: 1}.sealed(n.root)
	if err != nil {
		return "", err
	}
	time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	return l.id, n.acts.Do(ctx, clerk, access.CreateAgent, func(tx *db.Tx, act *access.Act) error {
		act.On("letter", l.id, "")
		_, err := tx.Exec(ctx, `INSERT INTO letters (id, edition, box, root_version, tag) VALUES ($1, $2, $3, $4, $5)`, l.id, l.edition, l.box, l.version, l.tag)
		return err
	})
}

// revise changes a letter, if it is still as it was read.
func (n *letters) revise(ctx context.Context, id string) error {
	was, err := n.get(ctx, n.root, id)
	if err != nil {
		return err
	}
	now, err := letter{id: id, edition: was.edition + 1}.sealed(n.root)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	return n.db.Tx(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE letters SET edition = $1, box = $2, root_version = $3, tag = $4 WHERE id = $5 AND tag = $6`,
			now.edition, now.box, now.version, now.tag, id, was.tag)
		return err
	})
}

const letterColumns = `SELECT id, edition, box, root_version, tag FROM letters `

func (n *letters) get(ctx context.Context, root *seal.Root, id string) (letter, error) {
	var l letter
	err := n.db.QueryRow(ctx, letterColumns+`WHERE id = $1`, id).Scan(&l.id, &l.edition, &l.box, &l.version, &l.tag)
	if err == nil {
		err = l.check(root)
	}
	return l, err
}

func (l letter) check(root *seal.Root) error {
	if err := root.CheckTag(seal.AccountRow, l.version, l.tag, l.fields()...); err != nil {
		return fmt.Errorf("letter %s: %w", l.id, err)
	}
	text, err := root.Open(seal.AtRest, l.box, seal.Text(l.id), seal.Int(l.edition))
	if err != nil {
		return fmt.Errorf("letter %s: %w", l.id, err)
	}
	if string(text) != l.text() {
		return fmt.Errorf("letter %s reads %q", l.id, text)
	}
	return nil
}

func (n *letters) all(ctx context.Context, rest string, args ...any) ([]letter, error) {
	rows, err := n.db.Query(ctx, letterColumns+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []letter
	for rows.Next() {
		var l letter
		if err := rows.Scan(&l.id, &l.edition, &l.box, &l.version, &l.tag); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

func (n *letters) reseal(ctx context.Context, limit int) (int, error) {
	old, err := n.all(ctx, `WHERE root_version <> $1 LIMIT $2`, n.root.Active(), limit)
	if err != nil {
		return 0, err
	}
	err = n.db.Tx(ctx, func(tx *db.Tx) error {
		for _, l := range old {
			if err := l.check(n.root); err != nil {
				return err
			}
			now, err := letter{id: l.id, edition: l.edition}.sealed(n.root)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE letters SET box = $1, root_version = $2, tag = $3 WHERE id = $4 AND tag = $5`, now.box, now.version, now.tag, l.id, l.tag); err != nil {
				return err
			}
		}
		return nil
	})
	return len(old), err
}

// busy has n clerks write, revise and read letters of h until the returned
// function is called, which says how many letters there are.
func (h *host) busy(n int) (stop func() int) {
	ctx, cancel := context.WithCancel(h.t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []string
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				id, err := h.letters.write(ctx)
				if err == nil {
					mu.Lock()
					ids = append(ids, id)
					some := ids[rand.IntN(len(ids))]
					mu.Unlock()
					err = h.letters.revise(ctx, some)
				}
				if err != nil && ctx.Err() == nil {
					h.t.Error("a clerk can't work: ", err)
					return
				}
			}
		})
	}
	return func() int { cancel(); wg.Wait(); return len(ids) }
}

// opens checks that everything in the database fits the root key in f alone,
// that it is one version, and that nothing names another.
func opens(t *testing.T, d *db.DB, f *file, version uint32) {
	t.Helper()
	root := f.ring(t)
	if got := fmt.Sprint(root.Versions()); got != fmt.Sprintf("[%d]", version) {
		t.Errorf("the root key has the versions %s, want %d alone", got, version)
	}
	all, err := (&letters{db: d}).all(t.Context(), ``)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if err := l.check(root); err != nil {
			t.Error(err)
		}
	}
	for _, table := range []string{"letters", "audit_entries", "audit_head"} {
		if n := count(t, d, `SELECT count(*) FROM `+table+` WHERE root_version <> $1`, version); n != 0 {
			t.Errorf("%d rows of %s are under another version", n, table)
		}
	}
	log := &audit.Log{DB: d, Root: root, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if _, err := log.Verify(t.Context()); err != nil {
		t.Error("Verify: ", err)
	}
	if n := count(t, d, `SELECT count(*) FROM root_versions WHERE retired_at = 0`); n != 1 {
		t.Errorf("%d versions are not retired, want 1", n)
	}
	if n := count(t, d, `SELECT version FROM root_versions WHERE active = 1`); n != int64(version) {
		t.Errorf("version %d is active, want %d", n, version)
	}
	fresh := build(t, d, "fresh", f)
	if err := fresh.Check(t.Context(), false); err != nil {
		t.Error("a server that starts now: ", err)
	}
}

var console = access.NewConsole("r-1")

var errStop = errors.New("stopped by the test")
