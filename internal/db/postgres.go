package db

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

func openPostgres(ctx context.Context, url string) (*DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the PostgreSQL address can't be read; it looks like postgres://USER:PASSWORD@HOST:5432/NAME")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "keyward"
	}
	// An answered write survives a power cut, whatever the role's own default.
	config.RuntimeParams["synchronous_commit"] = "on"
	write := stdlib.OpenDB(*config)

	readonly := config.Copy()
	readonly.RuntimeParams["default_transaction_read_only"] = "on"
	read := stdlib.OpenDB(*readonly)

	for _, pool := range []*sql.DB{write, read} {
		pool.SetMaxOpenConns(max(8, 4*runtime.GOMAXPROCS(0)))
		pool.SetMaxIdleConns(max(4, 2*runtime.GOMAXPROCS(0)))
		pool.SetConnMaxIdleTime(5 * time.Minute)
	}
	d := &DB{kind: postgresKind, url: url, read: read, write: write}
	d.stmts.prepare = read.PrepareContext
	if err := d.Ping(ctx); err != nil {
		d.Close()
		return nil, connectError(err)
	}
	return d, nil
}

// connectError says why PostgreSQL can't be reached; pgx's own text repeats the
// address.
func connectError(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return errors.New("PostgreSQL refuses: " + pg.Message)
	}
	return errors.New("PostgreSQL can't be reached at the address in --database (is it running, and are host, port and TLS right?)")
}

func (d *DB) postgresTx(ctx context.Context, body func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A caller that goes away must not leave it open whether the commit took.
	ctx = context.WithoutCancel(ctx)
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // also when body panics; nothing after a commit
	if err := body(&Tx{ctx: ctx, conn: tx}); err != nil {
		return err
	}
	return tx.Commit()
}

func pgCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// IsDuplicate reports whether err is a broken UNIQUE or PRIMARY KEY rule.
func IsDuplicate(err error) bool {
	const unique, primaryKey = 2067, 1555 // SQLITE_CONSTRAINT_…
	return pgCode(err) == "23505" || sqliteCode(err) == unique || sqliteCode(err) == primaryKey
}

// IsMissingReference reports whether err is a broken FOREIGN KEY rule: what a
// row belongs to is gone.
func IsMissingReference(err error) bool {
	const foreignKey = 787 // SQLITE_CONSTRAINT_FOREIGNKEY
	return pgCode(err) == "23503" || sqliteCode(err) == foreignKey
}

func mayRetry(err error) bool {
	const busy = 5
	return pgCode(err) == "40001" || pgCode(err) == "40P01" || sqliteCode(err)&0xff == busy
}
