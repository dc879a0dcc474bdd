// Package dbtest runs a test on both databases: SQLite in a temporary folder,
// and a PostgreSQL server that is started for the test's process and ends with
// it.
package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the administrator's connection

	"github.com/keyward/keyward/internal/db"
)

// Each runs f as two subtests, each with a database that has all tables and no
// rows. Without PostgreSQL's programs on this machine its subtest is skipped,
// or fails where KEYWARD_TEST_REQUIRE is "all".
func Each(t *testing.T, f func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, open(t, create(t, "migrated"))) })
}

// SQLite returns such a database on SQLite, for what does not depend on which of
// the two it is.
func SQLite(t testing.TB) *db.DB {
	t.Helper()
	file, err := migrated()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyward.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, "sqlite:"+path)
}

// migrated returns a file that has all tables. Migrating takes far longer than a
// copy, so it is done once.
var migrated = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "keyward-sqlite-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keyward.db")
	if err := migrate("sqlite:" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func migrate(url string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(d.Migrate(ctx), d.Close())
}

func open(t testing.TB, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// EachURL runs f as two subtests, each with the address of an empty database
// of its own.
func EachURL(t *testing.T, f func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, "sqlite:"+filepath.Join(t.TempDir(), "keyward.db")) })
	t.Run("postgres", func(t *testing.T) { f(t, Postgres(t)) })
}

// Required reports whether a program that is missing on this machine fails the
// tests that need it.
func Required() bool { return os.Getenv("KEYWARD_TEST_REQUIRE") == "all" }

var (
	server    = sync.OnceValues(start)
	databases atomic.Int64
)

// Postgres returns the address of an empty PostgreSQL database that is the
// caller's own.
func Postgres(t testing.TB) string {
	t.Helper()
	return create(t, "template1")
}

// template makes the database that others are copies of, once.
var template = sync.OnceValue(func() error {
	address, err := server()
	if err != nil {
		return err
	}
	admin, err := sql.Open("pgx", address("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close()
	if _, err := admin.Exec(`CREATE DATABASE migrated`); err != nil {
		return err
	}
	return migrate(address("migrated"))
})

// create makes a database as a copy of another.
func create(t testing.TB, of string) string {
	t.Helper()
	address, err := server()
	if err == nil && of == "migrated" {
		err = template()
	}
	if errors.Is(err, exec.ErrNotFound) && !Required() {
		t.Skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
	}
	if err != nil {
		t.Fatal("start PostgreSQL: ", err)
	}
	admin, err := sql.Open("pgx", address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if _, err := admin.Exec(`CREATE DATABASE ` + name + ` TEMPLATE ` + of); err != nil {
		t.Fatal(err)
	}
	return address(name)
}

// start makes a cluster and runs it under a shell that ends it when this
// process's end of a pipe closes, so that a test that is killed leaves nothing
// running.
func start() (address func(database string) string, err error) {
	initdb, err := find("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := find("postgres")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keyward-postgres-")
	if err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{Setpgid: true} // out of reach of a Ctrl-C, which the pipe answers
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to run as root.
		uid, gid, err := postgresUser()
		if err != nil {
			return nil, err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	data := filepath.Join(dir, "data")
	init := exec.Command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	init.Dir, init.SysProcAttr = dir, attr
	if out, err := init.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}

	script := `"$1" -D "$2" -k "$3" -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=300 >"$3/log" 2>&1 &
pid=$!
cat >/dev/null
kill -QUIT $pid
wait $pid
rm -rf "$3"`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", postgres, data, dir)
	cmd.Dir, cmd.SysProcAttr = "/", attr
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	address = func(database string) string {
		runtime.KeepAlive(pipe) // a finalizer would close it, and end the server
		return "postgres://postgres@/" + database + "?host=" + dir
	}
	return address, waitFor(address("postgres"), filepath.Join(dir, "log"))
}

func waitFor(address, log string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for {
		d, err := db.Open(ctx, address)
		if err == nil {
			return d.Close()
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log)
			return fmt.Errorf("%w\n%s", err, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// find looks for a program of PostgreSQL's server: Debian keeps them off PATH.
func find(program string) (string, error) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program); len(found) > 0 {
		return slices.Max(found), nil
	}
	return exec.LookPath(program)
}

func postgresUser() (uid, gid int, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}
