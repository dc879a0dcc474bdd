package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
)

// Both kinds of connection: an answered write survives a power cut
// (synchronous=FULL in WAL mode), deleted content is overwritten
// (secure_delete), and references hold. What a savepoint may have to put back
// is kept in memory (temp_store): in a temporary file it would be half of all
// that is written, and pages of the database would lie outside of its folder.
const sqlitePragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
	"&_pragma=secure_delete(1)&_pragma=foreign_keys(1)&_pragma=cache_size(-4096)&_pragma=temp_store(MEMORY)"

func sqliteName(path string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + sqlitePragmas
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	if path == "" {
		return nil, errors.New("sqlite: the file's path is empty")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// SQLite would make the file readable to others; its journal and its
	// write-ahead log take the mode of the file.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}

	write, err := sql.Open("sqlite", sqliteName(path))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	conn, err := write.Conn(ctx)
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	read, err := sql.Open("sqlite", sqliteName(path)+"&_pragma=query_only(1)")
	if err != nil {
		conn.Close()
		write.Close()
		return nil, err
	}
	readers := max(4, 2*runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)

	d := &DB{kind: sqliteKind, url: "sqlite:" + path, read: read, group: newGroup(write, conn)}
	d.stmts.prepare = read.PrepareContext
	if err := d.Ping(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return d, nil
}

// maxGroup bounds how many bodies share one commit, and so how long the first
// of them waits for the last.
const maxGroup = 64

// group is SQLite's one writer. Bodies that wait while a commit is under way
// share the next one: a durable commit costs a disk flush, and one flush serves
// them all.
type group struct {
	db     *sql.DB
	conn   *sql.Conn
	stmts  statements
	jobs   chan *job
	done   chan struct{}
	closed chan struct{}
	dirty  atomic.Bool // there are deleted bytes to scrub

	careful int // groups to come that have savepoints; the loop's own
}

type job struct {
	ctx      context.Context
	body     func(*Tx) error
	err      error
	panicked any
	done     chan struct{}
}

func newGroup(db *sql.DB, conn *sql.Conn) *group {
	g := &group{db: db, conn: conn, jobs: make(chan *job, maxGroup), done: make(chan struct{}), closed: make(chan struct{})}
	g.stmts.prepare = conn.PrepareContext
	go g.loop()
	return g
}

func (g *group) do(ctx context.Context, body func(*Tx) error) error {
	j := &job{ctx: ctx, body: body, done: make(chan struct{})}
	select {
	case <-g.done:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	case g.jobs <- j:
	}
	select {
	case <-j.done:
	case <-g.closed:
		// The loop has ended. It either finished j before or never saw it.
		select {
		case <-j.done:
		default:
			return errClosed
		}
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

var errClosed = errors.New("db: the database is closed")

func (g *group) close() error {
	close(g.done)
	<-g.closed
	return errors.Join(g.conn.Close(), g.db.Close())
}

func (g *group) loop() {
	defer close(g.closed)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case first := <-g.jobs:
			g.commit(g.gather(first))
		case <-tick.C:
			g.scrubNow()
		case <-g.done:
			for { // what was handed over before the close is still done
				select {
				case first := <-g.jobs:
					g.commit(g.gather(first))
				default:
					g.scrubNow()
					return
				}
			}
		}
	}
}

// gather returns the bodies that share a commit: those that are there, and those
// of goroutines that have only to be let run. Nobody waits for one who may come.
func (g *group) gather(first *job) []*job {
	batch := append(make([]*job, 0, 8), first)
	for yielded := false; len(batch) < maxGroup; {
		select {
		case j := <-g.jobs:
			batch, yielded = append(batch, j), false
			continue
		default:
		}
		if yielded {
			break
		}
		runtime.Gosched()
		yielded = true
	}
	return batch
}

// carefulFor is for how many groups bodies have savepoints after one had to be
// undone without.
const carefulFor = 16

// commit runs the bodies of batch in one transaction and tells each how it
// went. A body that fails is undone alone; a commit that fails fails them all.
//
// Few bodies fail, and a savepoint copies every page that its body touches. So
// they are run without savepoints first. If one of them fails, nothing of the
// group is kept, and all are run again with a savepoint each.
func (g *group) commit(batch []*job) {
	singly := g.careful > 0 && len(batch) > 1
	if singly {
		g.careful--
	}
	undone, err := g.try(batch, singly)
	if undone && len(batch) > 1 {
		g.careful = carefulFor
		_, err = g.try(batch, true)
	}
	for _, j := range batch {
		if err != nil && j.err == nil {
			j.err = fmt.Errorf("commit: %w", err)
		}
		close(j.done)
	}
}

// try runs the bodies of batch in one transaction. With savepoints, each that
// fails is undone alone. Without, the first that fails has all of them undone.
func (g *group) try(batch []*job, savepoints bool) (undone bool, err error) {
	tx := &Tx{ctx: context.Background(), conn: g.conn, stmts: &g.stmts}
	if err := g.exec("BEGIN IMMEDIATE"); err != nil {
		return false, err
	}
	wrote := false
	for _, j := range batch {
		j.panicked = nil
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		if savepoints {
			if err = g.exec("SAVEPOINT body"); err != nil {
				break
			}
		}
		run(j, tx)
		failed := j.err != nil || j.panicked != nil
		if failed && !savepoints {
			_ = g.exec("ROLLBACK") // a full disk, say, has undone it already
			return true, nil
		}
		if failed {
			if err = g.exec("ROLLBACK TO body"); err != nil {
				break
			}
		}
		if savepoints {
			if err = g.exec("RELEASE body"); err != nil {
				break
			}
		}
		wrote = wrote || !failed
	}
	switch {
	case err != nil: // a full disk, say, undoes the transaction by itself
		_ = g.exec("ROLLBACK")
	case wrote:
		if err = g.exec("COMMIT"); err != nil {
			_ = g.exec("ROLLBACK")
		}
	default:
		err = g.exec("ROLLBACK")
	}
	return false, err
}

func (g *group) exec(text string) error {
	stmt, err := g.stmts.get(context.Background(), text)
	if err != nil {
		return err
	}
	_, err = stmt.Exec()
	return err
}

func run(j *job, tx *Tx) {
	defer func() { j.panicked = recover() }()
	j.err = j.body(tx)
}

func (g *group) scrub() { g.dirty.Store(true) }

// scrubNow moves the write-ahead log into the database file, where
// secure_delete has overwritten what was deleted, and truncates it. A reader
// that is still inside the log makes it wait for the next tick.
func (g *group) scrubNow() {
	if !g.dirty.Swap(false) {
		return
	}
	ctx := context.Background()
	_ = g.exec("PRAGMA busy_timeout = 0") // do not hold the writers up for a reader
	var busy, log, moved int64
	err := g.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved)
	_ = g.exec("PRAGMA busy_timeout = 10000")
	if err != nil || busy != 0 {
		g.dirty.Store(true)
	}
}

func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
