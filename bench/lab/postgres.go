package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the administrator's connection
)

// Postgres is a PostgreSQL server of this program's own, with the settings that
// it comes with: what it answers is durable.
type Postgres struct {
	process   *exec.Cmd
	end       io.Closer
	dir       string
	databases int
}

// StartPostgres starts a server with its data in a folder in dir. The error wraps
// [exec.ErrNotFound] where its programs are not installed.
func StartPostgres(dir string) (_ *Postgres, err error) {
	initdb, err := findPostgres("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := findPostgres("postgres")
	if err != nil {
		return nil, err
	}
	p := &Postgres{}
	if p.dir, err = os.MkdirTemp(dir, "keyward-bench-postgres-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(p.dir)
		}
	}()
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to run as root.
		if attr.Credential, err = postgresUser(); err != nil {
			return nil, err
		}
		if err := os.Chown(p.dir, int(attr.Credential.Uid), int(attr.Credential.Gid)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(p.dir, "data")
	init := exec.Command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	init.Dir, init.SysProcAttr = p.dir, attr
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// It ends when this program's end of the pipe closes, however that comes about.
	const script = `"$1" -D "$2" -k "$3" -c listen_addresses= >"$3/log" 2>&1 &
cat >/dev/null
kill -INT $!
wait $!`
	p.process = exec.Command("/bin/sh", "-c", script, "sh", postgres, data, p.dir)
	p.process.Dir, p.process.SysProcAttr = "/", attr
	if p.end, err = p.process.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.process.Start(); err != nil {
		return nil, err
	}
	return p, p.await()
}

func (p *Postgres) await() error {
	var err error
	for began := time.Now(); time.Since(began) < Patience; time.Sleep(20 * time.Millisecond) {
		var d *sql.DB
		if d, err = sql.Open("pgx", p.address("postgres")); err != nil {
			return err
		}
		err = d.Ping()
		d.Close()
		if err == nil {
			return nil
		}
	}
	return errors.Join(err, p.Stop())
}

func (p *Postgres) address(database string) string {
	return "postgres://postgres@/" + database + "?host=" + p.dir
}

// NewDatabase makes an empty database and returns its address.
func (p *Postgres) NewDatabase(ctx context.Context) (string, error) {
	d, err := sql.Open("pgx", p.address("postgres"))
	if err != nil {
		return "", err
	}
	defer d.Close()
	p.databases++
	name := fmt.Sprintf("bench_%d", p.databases)
	_, err = d.ExecContext(ctx, `CREATE DATABASE `+name)
	return p.address(name), err
}

// Stop ends the server and removes its data.
func (p *Postgres) Stop() error {
	return errors.Join(p.end.Close(), p.process.Wait(), os.RemoveAll(p.dir))
}

// findPostgres looks for a program of PostgreSQL's server: Debian keeps them off
// PATH.
func findPostgres(program string) (string, error) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program); len(found) > 0 {
		return slices.Max(found), nil
	}
	path, err := exec.LookPath(program)
	if err != nil {
		err = fmt.Errorf("PostgreSQL is not installed here (Debian: apt-get install postgresql): %w", err)
	}
	return path, err
}

func postgresUser() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}
