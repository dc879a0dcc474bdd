package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// bare is the program that creating profiles is compared with: one goroutine,
// one connection, prepared statements, one durable transaction a profile, and
// nothing else. It writes the rows that Keyward wrote for a profile, over and
// over, each time under new ids: no key is looked up, nothing is sealed.
type bare struct {
	pool *sql.DB
	conn *sql.Conn

	begin, commit, count *sql.Stmt
	rows                 []*copied // in the order of their references
}

// copied is what Keyward wrote into one table for one profile.
type copied struct {
	table   string
	columns []string
	values  []any                 // of all the rows, one after the other
	fresh   map[int]func(ids) any // what differs from profile to profile, by column
	insert  *sql.Stmt
}

// ids are what tells one profile from another.
type ids struct {
	profile, name, entry string
	locator              []byte
}

// tablesOfProfile are the tables that get rows for a profile, and which of
// their columns are its own. Of the audit entry the columns seq and chain are
// as they are when it is written: the follower numbers it later.
var tablesOfProfile = []struct {
	name, where string
	fresh       map[string]func(ids) any
}{
	{"profiles", "uid = $1", map[string]func(ids) any{
		"uid":  func(i ids) any { return i.profile },
		"name": func(i ids) any { return i.name },
	}},
	{"profile_slots", "profile_uid = $1", map[string]func(ids) any{
		"locator":     func(i ids) any { return i.locator },
		"profile_uid": func(i ids) any { return i.profile },
	}},
	{"profile_values", "profile_uid = $1", map[string]func(ids) any{
		"profile_uid": func(i ids) any { return i.profile },
	}},
	{"audit_entries", "subject_id = $1", map[string]func(ids) any{
		"id":           func(i ids) any { return i.entry },
		"subject_id":   func(i ids) any { return i.profile },
		"subject_name": func(i ids) any { return i.name },
		"seq":          func(ids) any { return int64(0) },
		"chain":        func(ids) any { return []byte{} },
	}},
}

func newBare(ctx context.Context, from *sql.DB, folder string) (_ *bare, err error) {
	path := filepath.Join(folder, "bare.db")
	pragmas, err := migrate(ctx, path)
	if err != nil {
		return nil, err
	}
	name := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode()
	b := &bare{}
	if b.pool, err = sql.Open("sqlite", name); err != nil {
		return nil, err
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
	if err := b.prepare(ctx, from); err != nil {
		return nil, err
	}
	return b, nil
}

// migrate makes a database as the server does, and returns the pragmas of the
// server's connections to it.
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

// prepare reads the rows of one profile in from, copies what they refer to, and
// prepares the statements that write them.
func (b *bare) prepare(ctx context.Context, from *sql.DB) error {
	for _, table := range []string{"organizations", "agents", "quota_uses"} {
		// All of them: a few rows.
		c, err := read(ctx, from, table, "1 = 1 OR '' = $1", "")
		if err != nil {
			return err
		}
		if _, err := b.conn.ExecContext(ctx, c.text(), c.values...); err != nil {
			return fmt.Errorf("copy %s: %w", table, err)
		}
	}
	var uid, organization string
	if err := from.QueryRowContext(ctx, `SELECT uid, organization_id FROM profiles LIMIT 1`).Scan(&uid, &organization); err != nil {
		return err
	}
	for _, table := range tablesOfProfile {
		c, err := read(ctx, from, table.name, table.where, uid)
		if err != nil {
			return err
		}
		c.fresh = map[int]func(ids) any{}
		for column, make := range table.fresh {
			at := slices.Index(c.columns, column)
			if at < 0 {
				return fmt.Errorf("table %s has no column %s any more", table.name, column)
			}
			c.fresh[at] = make
		}
		if c.insert, err = b.conn.PrepareContext(ctx, c.text()); err != nil {
			return err
		}
		b.rows = append(b.rows, c)
	}
	for text, stmt := range map[string]**sql.Stmt{
		`BEGIN IMMEDIATE`: &b.begin,
		`COMMIT`:          &b.commit,
		`UPDATE quota_uses SET used = used + 1 WHERE organization_id = '` + organization + `' AND kind = 'auth_profiles'`: &b.count,
	} {
		var err error
		if *stmt, err = b.conn.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// read reads the rows of a table that belong to uid.
func read(ctx context.Context, from *sql.DB, name, where, uid string) (*copied, error) {
	rows, err := from.QueryContext(ctx, `SELECT * FROM `+name+` WHERE `+where, uid)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	c := &copied{table: name}
	if c.columns, err = rows.Columns(); err != nil {
		return nil, err
	}
	for rows.Next() {
		row, into := make([]any, len(c.columns)), make([]any, len(c.columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok && len(b) == 0 {
				row[i] = []byte{} // nil would be written as NULL
			}
		}
		c.values = append(c.values, row...)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(c.values) == 0 {
		return nil, fmt.Errorf("table %s has no row to copy", name)
	}
	return c, nil
}

// text is one statement for all the rows, as Keyward writes the values of a
// profile.
func (c *copied) text() string {
	row := "(" + strings.Repeat("?, ", len(c.columns)-1) + "?)"
	return "INSERT INTO " + c.table + " VALUES " + strings.Repeat(row+", ", len(c.values)/len(c.columns)-1) + row
}

// create writes one profile durably.
func (b *bare) create(ctx context.Context, n int64) error {
	i := ids{profile: db.NewID(), entry: db.NewID(), name: fmt.Sprintf("customer-%08d", n), locator: make([]byte, 8)}
	rand.Read(i.locator)
	if _, err := b.begin.ExecContext(ctx); err != nil {
		return err
	}
	for _, c := range b.rows {
		for at := range c.values {
			if make := c.fresh[at%len(c.columns)]; make != nil {
				c.values[at] = make(i)
			}
		}
		if _, err := c.insert.ExecContext(ctx, c.values...); err != nil {
			return fmt.Errorf("insert into %s: %w", c.table, err)
		}
	}
	if _, err := b.count.ExecContext(ctx); err != nil {
		return err
	}
	_, err := b.commit.ExecContext(ctx)
	return err
}

func (b *bare) close() error {
	var err error
	if b.conn != nil {
		err = b.conn.Close()
	}
	return errors.Join(err, b.pool.Close())
}

// run creates profiles in a new database, and says how many in a second.
func (b *bare) run(ctx context.Context, count int) (perSecond float64, err error) {
	for n := range int64(warm) {
		if err := b.create(ctx, n); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	for n := range int64(count) {
		if err := b.create(ctx, warm+n); err != nil {
			return 0, err
		}
	}
	return float64(count) / time.Since(began).Seconds(), nil
}

// compare returns an error if b has not written what the server has for a
// profile, byte for byte as many: then the two say nothing about each other.
func (b *bare) compare(ctx context.Context, original *sql.DB) error {
	for _, c := range b.rows {
		size := `SELECT CAST(count(*) AS REAL), CAST(sum(` + c.length() + `) AS REAL) FROM ` + c.table
		if c.table == "audit_entries" {
			size += ` WHERE subject_kind = 'auth_profile'`
		}
		var ours, theirs struct{ rows, bytes, profiles float64 }
		for _, side := range []struct {
			from interface {
				QueryRowContext(context.Context, string, ...any) *sql.Row
			}
			to *struct{ rows, bytes, profiles float64 }
		}{{b.conn, &ours}, {original, &theirs}} {
			if err := side.from.QueryRowContext(ctx, size).Scan(&side.to.rows, &side.to.bytes); err != nil {
				return err
			}
			if err := side.from.QueryRowContext(ctx, `SELECT count(*) FROM profiles`).Scan(&side.to.profiles); err != nil {
				return err
			}
		}
		if ours.rows/ours.profiles != theirs.rows/theirs.profiles || math.Abs(ours.bytes/ours.profiles*theirs.profiles/theirs.bytes-1) > 0.01 {
			return fmt.Errorf("%s: the bare program wrote %+v, the server %+v", c.table, ours, theirs)
		}
	}
	return nil
}

// length is the SQL that adds up the bytes of a row. What the follower writes
// later does not count.
func (c *copied) length() string {
	var parts []string
	for _, column := range c.columns {
		if column != "seq" && column != "chain" {
			parts = append(parts, "length(CAST("+column+" AS BLOB))")
		}
	}
	return strings.Join(parts, " + ")
}
