package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNewer is what Migrate returns for a database that a newer Keyward has
// changed.
var ErrNewer = errors.New("the database was migrated by a newer keyward: run that version, or a newer one")

// Migrate brings the tables up to this program's version. Several servers may
// call it at once on PostgreSQL; on SQLite the caller holds the data folder's
// lock.
func (d *DB) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// Its own connection: the writer's is never shared.
	dialect, options := goose.DialectSQLite3, []goose.ProviderOption{goose.WithSlog(slog.New(slog.DiscardHandler))}
	var pool *sql.DB
	if d.kind == postgresKind {
		config, err := pgx.ParseConfig(d.url)
		if err != nil {
			return errors.New("the PostgreSQL address can't be read")
		}
		pool = stdlib.OpenDB(*config)
		// Tried every second, for five minutes; the default waits five seconds
		// between tries.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return err
		}
		dialect, options = goose.DialectPostgres, append(options, goose.WithSessionLocker(locker))
	} else if pool, err = sql.Open("sqlite", sqliteName(d.url[len("sqlite:"):])); err != nil {
		return err
	}
	defer pool.Close()

	provider, err := goose.NewProvider(dialect, pool, files, options...)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if have > want {
		return ErrNewer
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
