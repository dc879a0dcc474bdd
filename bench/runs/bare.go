package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the server's drivers
	_ "modernc.org/sqlite"

	"github.com/keyward/keyward/internal/db"
)

// bare is the program that runs are compared with.
type bare struct {
	pool           *sql.DB
	conn           *sql.Conn
	insert, update *sql.Stmt

	columns []string
	begun   []any // the row of a run when it has begun
	ended   []any // what is changed in it when it ends; its id comes last
	id      int   // the column
}

// atBegin are the columns that a run gets only at its end, with what is in them
// before.
var atBegin = map[string]any{"status": "running", "output": []byte{}, "ended_at": int64(0)}

// newBare makes a database of its own, in folder or at address, with the row of a
// run that the server wrote into from.
func newBare(ctx context.Context, from *sql.DB, folder, address string) (_ *bare, err error) {
	b := &bare{}
	if address == "" {
		path := filepath.Join(folder, "bare.db")
		pragmas, err := migrate(ctx, path)
		if err != nil {
			return nil, err
		}
		b.pool, err = sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
		if err != nil {
			return nil, err
		}
	} else {
		d, err := db.Open(ctx, address)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(d.Migrate(ctx), d.Close()); err != nil {
			return nil, err
		}
		if b.pool, err = sql.Open("pgx", address); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	b.pool.SetMaxOpenConns(1)
	if b.conn, err = b.pool.Conn(ctx); err != nil {
		return nil, err
	}
	return b, b.prepare(ctx, from)
}

// migrate makes an SQLite database as the server does, and returns the pragmas of
// the server's connections to it.
func migrate(ctx context.Context, path string) (url.Values, error) {
	d, err := db.Open(ctx, "sqlite:"+path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		return nil, err
	}
	pragmas := url.Values{}
	for _, p := range []string{"busy_timeout", "journal_mode", "synchronous", "secure_delete", "foreign_keys", "cache_size", "wal_autocheckpoint", "temp_store", "mmap_size"} {
		var value string
		if err := d.QueryRow(ctx, "PRAGMA "+p).Scan(&value); err != nil {
			return nil, fmt.Errorf("pragma %s: %w", p, err)
		}
		pragmas.Add("_pragma", p+"("+value+")")
	}
	return pragmas, nil
}

// prepare copies what a run refers to, and prepares the two statements.
func (b *bare) prepare(ctx context.Context, from *sql.DB) error {
	columns, rows, err := read(ctx, from, `SELECT * FROM organizations`)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := b.conn.ExecContext(ctx, insertInto("organizations", columns), row...); err != nil {
			return fmt.Errorf("copy organizations: %w", err)
		}
	}
	columns, rows, err = read(ctx, from, `SELECT * FROM runs WHERE status = 'succeeded' ORDER BY id DESC LIMIT 1`)
	if err != nil {
		return err
	}
	b.columns, b.begun, b.id = columns, rows[0], slices.Index(columns, "id")
	var set []string
	for i, name := range columns {
		before, changes := atBegin[name]
		if !changes {
			continue
		}
		b.ended = append(b.ended, b.begun[i])
		b.begun[i] = before
		set = append(set, fmt.Sprintf("%s = $%d", name, len(b.ended)))
	}
	if b.id < 0 || len(b.ended) != len(atBegin) {
		return errors.New("the table of runs is not what this program thinks")
	}
	b.ended = append(b.ended, "")
	if b.insert, err = b.conn.PrepareContext(ctx, insertInto("runs", columns)); err != nil {
		return err
	}
	b.update, err = b.conn.PrepareContext(ctx, fmt.Sprintf("UPDATE runs SET %s WHERE id = $%d AND status = 'running'", strings.Join(set, ", "), len(b.ended)))
	return err
}

func insertInto(table string, columns []string) string {
	var places []string
	for i := range columns {
		places = append(places, fmt.Sprintf("$%d", i+1))
	}
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")"
}

// read returns all that a query selects, of which there has to be something.
func read(ctx context.Context, from *sql.DB, query string) (columns []string, all [][]any, err error) {
	rows, err := from.QueryContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	if columns, err = rows.Columns(); err != nil {
		return nil, nil, err
	}
	for rows.Next() {
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, nil, err
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok && len(b) == 0 {
				row[i] = []byte{} // nil would be written as NULL
			}
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("nothing is found by %s", query)
	}
	return columns, all, nil
}

// do is one run. Each statement is a transaction by itself.
func (b *bare) do(ctx context.Context, call func() error) error {
	id := db.NewID()
	b.begun[b.id], b.ended[len(b.ended)-1] = id, id
	if _, err := b.insert.ExecContext(ctx, b.begun...); err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	done, err := b.update.ExecContext(ctx, b.ended...)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, errors.New("the bare program has not ended its run"))
	}
	return nil
}

// run does count runs, and says how many in a second.
func (b *bare) run(ctx context.Context, count int, call func() error) (perSecond float64, err error) {
	began := time.Now()
	for range count {
		if err := b.do(ctx, call); err != nil {
			return 0, err
		}
	}
	return float64(count) / time.Since(began).Seconds(), nil
}

func (b *bare) close() error {
	var err error
	if b.conn != nil {
		err = b.conn.Close()
	}
	return errors.Join(err, b.pool.Close())
}
