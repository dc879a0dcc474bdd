// Package db opens the two databases that Keyward runs on, SQLite and
// PostgreSQL, and is the only package that knows there are two.
//
// Its laws:
//
//   - One SQL text, with $1…$N, runs unchanged on both. Times are BIGINT
//     microseconds, flags BIGINT 0 or 1, bytes BYTEA, and no column is NULL.
//   - Every write, a single statement too, goes through [DB.Tx]. When Tx returns
//     nil, what it wrote is on stable storage.
//   - A body given to Tx may be run more than once and touches nothing but tx.
//
// The SQL of a noun lives with the noun; the tables are in migrations.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// ErrConflict is what a body given to [DB.Tx] returns to be run again, when a
// guarded change took nothing because somebody else's came between.
var ErrConflict = errors.New("db: the row changed in between")

// attempts is how often a body is tried when the database or the body itself
// reports a conflict. Contention that outlasts it is an error for the caller.
const attempts = 12

// Querier reads. A *DB reads from the pool, a *Tx within its transaction.
type Querier interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) *sql.Row
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	kind  kind
	url   string
	read  *sql.DB
	stmts statements // of read

	write *sql.DB // PostgreSQL: the pool for transactions
	group *group  // SQLite: the one writer
}

type kind int

const (
	sqliteKind kind = iota
	postgresKind
)

// Open opens the database that url names: "sqlite:" and a file's path, or a
// postgres:// address. It makes an SQLite file that is not there.
//
// An error does not repeat url, which may hold a password.
func Open(ctx context.Context, url string) (*DB, error) {
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case "sqlite":
		return openSQLite(ctx, rest)
	case "postgres", "postgresql":
		return openPostgres(ctx, url)
	}
	return nil, errors.New(`the database is "sqlite:PATH" or "postgres://USER@HOST/NAME"`)
}

// Close waits for the transactions that are under way and closes the database.
func (d *DB) Close() error {
	var err error
	if d.group != nil {
		err = d.group.close()
	}
	if d.write != nil {
		err = errors.Join(err, d.write.Close())
	}
	return errors.Join(err, d.read.Close())
}

// Name says which database this is, for people: "SQLite" or "PostgreSQL".
func (d *DB) Name() string {
	if d.kind == sqliteKind {
		return "SQLite"
	}
	return "PostgreSQL"
}

// Shared reports whether other servers may be using the same database.
func (d *DB) Shared() bool { return d.kind == postgresKind }

// Ping returns nil if the database answers a query.
func (d *DB) Ping(ctx context.Context) error {
	var one int64
	return d.QueryRow(ctx, `SELECT 1`).Scan(&one)
}

// Query reads rows from the pool, which can't write.
func (d *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := d.stmts.get(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(d.reading(ctx), bind(args)...)
}

// QueryRow reads one row from the pool.
func (d *DB) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := d.stmts.get(ctx, query)
	if err != nil {
		// Only database/sql can make a *sql.Row that carries an error; running
		// the text unprepared fails the same way.
		return d.read.QueryRowContext(ctx, query, bind(args)...)
	}
	return stmt.QueryRowContext(d.reading(ctx), bind(args)...)
}

// reading is the context of a query. A query to a server ends with its caller.
// One in SQLite takes microseconds, and to be able to end it would cost two
// goroutines, which is more than to let it go on.
func (d *DB) reading(ctx context.Context) context.Context {
	if d.kind == sqliteKind {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// Tx runs body in one transaction and returns its error, or nil when what it
// wrote is on stable storage. After an error nothing of it is kept.
//
// On a conflict the body is run again, so it touches nothing but tx and sets
// only what it would set again. It must be quick: on SQLite every writer waits
// for it. On PostgreSQL the isolation is READ COMMITTED, so a body guards what
// it changes in the statement that changes it. A body that has begun is not
// stopped when ctx ends.
func (d *DB) Tx(ctx context.Context, body func(tx *Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := d.txOnce(ctx, body)
		if err == nil || attempt == attempts || !(errors.Is(err, ErrConflict) || mayRetry(err)) {
			return err
		}
		// Full jitter: callers that collided once must not collide again.
		pause := time.Duration(rand.Int64N(int64(time.Millisecond) << min(attempt, 6)))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

func (d *DB) txOnce(ctx context.Context, body func(tx *Tx) error) error {
	if d.group != nil {
		return d.group.do(ctx, body)
	}
	return d.postgresTx(ctx, body)
}

// Scrub asks that the bytes of deleted rows leave the database's files soon:
// within about a second SQLite's write-ahead log is emptied and truncated. On
// PostgreSQL that is the work of its own vacuum, and Scrub does nothing.
func (d *DB) Scrub() {
	if d.group != nil {
		d.group.scrub()
	}
}

// Tx is a transaction that is under way. It is used by one goroutine.
type Tx struct {
	ctx  context.Context
	conn interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}
	stmts *statements // nil where the driver prepares by itself
}

// Exec changes rows and says how many.
func (tx *Tx) Exec(_ context.Context, query string, args ...any) (int64, error) {
	var res sql.Result
	stmt, err := tx.prepared(query)
	if err != nil {
		return 0, err
	}
	if stmt != nil {
		res, err = stmt.ExecContext(tx.ctx, bind(args)...)
	} else {
		res, err = tx.conn.ExecContext(tx.ctx, query, bind(args)...)
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Query reads rows inside the transaction; the body closes them.
//
// The context is there for [Querier] and is not used: a statement that is
// interrupted would undo the other bodies of the same commit on SQLite.
func (tx *Tx) Query(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := tx.prepared(query)
	if err != nil {
		return nil, err
	}
	if stmt != nil {
		return stmt.QueryContext(tx.ctx, bind(args)...)
	}
	return tx.conn.QueryContext(tx.ctx, query, bind(args)...)
}

// QueryRow reads one row inside the transaction.
func (tx *Tx) QueryRow(_ context.Context, query string, args ...any) *sql.Row {
	if stmt, err := tx.prepared(query); err == nil && stmt != nil {
		return stmt.QueryRowContext(tx.ctx, bind(args)...)
	}
	return tx.conn.QueryRowContext(tx.ctx, query, bind(args)...)
}

func (tx *Tx) prepared(query string) (*sql.Stmt, error) {
	if tx.stmts == nil {
		return nil, nil
	}
	return tx.stmts.get(tx.ctx, query)
}

// statements keeps each SQL text prepared. Texts are constants of the program,
// so there is a bounded number of them.
type statements struct {
	prepare func(ctx context.Context, query string) (*sql.Stmt, error)
	mu      sync.RWMutex
	byText  map[string]*sql.Stmt
}

func (s *statements) get(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt := s.byText[query]
	s.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}

	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.byText[query]; known != nil {
		stmt.Close()
		return known, nil
	}
	if s.byText == nil {
		s.byText = map[string]*sql.Stmt{}
	}
	s.byText[query] = stmt
	return stmt, nil
}

// bind makes args into what both drivers store alike.
func bind(args []any) []any {
	for i, arg := range args {
		switch v := arg.(type) {
		case []byte:
			if v == nil {
				args[i] = []byte{} // nil would be NULL
			}
		case bool:
			args[i] = int64(0)
			if v {
				args[i] = int64(1)
			}
		case string, int64, int, uint32, int32:
		default:
			panic(fmt.Sprintf("db: a %T can't be bound: SQLite and PostgreSQL would keep it differently", arg))
		}
	}
	return args
}

// Micros returns t as the database keeps it: microseconds since 1970. The zero
// time is 0.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time returns the UTC time that [Micros] made n of.
func Time(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
