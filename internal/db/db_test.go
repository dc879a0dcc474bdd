package db_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
)

func exec(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, d *db.DB) (n int64) {
	t.Helper()
	if err := d.QueryRow(t.Context(), `SELECT count(*) FROM notes`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const notes = `CREATE TABLE notes (id BIGINT PRIMARY KEY, body BYTEA NOT NULL, flag BIGINT NOT NULL)`
const insert = `INSERT INTO notes (id, body, flag) VALUES ($1, $2, $3)`

func TestAFailedBodyLeavesTheOthersOfItsCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, notes)
		refuse := errors.New("refused")
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				err := d.Tx(t.Context(), func(tx *db.Tx) error {
					if _, err := tx.Exec(t.Context(), insert, i, []byte("x"), true); err != nil {
						return err
					}
					if i%2 == 1 {
						return refuse
					}
					return nil
				})
				if want := i%2 == 1; errors.Is(err, refuse) != want || (err != nil) != want {
					t.Errorf("body %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := count(t, d); n != 100 {
			t.Errorf("%d rows are kept, want the 100 whose bodies returned nil", n)
		}
	})
}

func TestAPanickingBodyPanicsItsCallerAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, notes)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the caller")
				}
			}()
			_ = d.Tx(t.Context(), func(tx *db.Tx) error {
				_, _ = tx.Exec(t.Context(), insert, 1, []byte("x"), false)
				panic("oops")
			})
		}()
		exec(t, d, insert, 2, []byte("y"), false)
		if n := count(t, d); n != 1 {
			t.Errorf("%d rows, want the one whose body returned", n)
		}
	})
}

func TestAConflictIsTriedAgainAndGivenUpInTheEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		tries := 0
		if err := d.Tx(t.Context(), func(tx *db.Tx) error {
			if tries++; tries < 4 {
				return db.ErrConflict
			}
			return nil
		}); err != nil || tries != 4 {
			t.Errorf("err %v after %d tries, want success at the 4th", err, tries)
		}
		if err := d.Tx(t.Context(), func(*db.Tx) error { return db.ErrConflict }); !errors.Is(err, db.ErrConflict) {
			t.Errorf("endless conflict: %v", err)
		}
	})
}

func TestGuardedUpdatesGiveEachUseOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, notes)
		exec(t, d, insert, 1, []byte{}, false)
		exec(t, d, `UPDATE notes SET flag = 10 WHERE id = 1`)
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 25 {
			wg.Go(func() {
				err := d.Tx(t.Context(), func(tx *db.Tx) error {
					var left int64
					return tx.QueryRow(t.Context(), `UPDATE notes SET flag = flag - 1 WHERE id = $1 AND flag > 0 RETURNING flag`, 1).Scan(&left)
				})
				if err == nil {
					taken.Add(1)
				} else if !errors.Is(err, sql.ErrNoRows) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if taken.Load() != 10 {
			t.Errorf("%d callers took a use, want 10", taken.Load())
		}
	})
}

func TestBothDatabasesKeepTheSameValues(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, notes)
		exec(t, d, insert, int64(1)<<53, []byte(nil), true)
		var id int64
		var body []byte
		var flag bool
		if err := d.QueryRow(t.Context(), `SELECT id, body, flag FROM notes`).Scan(&id, &body, &flag); err != nil {
			t.Fatal(err)
		}
		if id != 1<<53 || len(body) != 0 || !flag {
			t.Errorf("read back %d %q %v", id, body, flag)
		}
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), insert, int64(1)<<53, []byte{}, false)
			return err
		})
		if !db.IsDuplicate(err) {
			t.Errorf("a second row of one id: %v, want a duplicate", err)
		}
	})
}

func TestThePoolCannotWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, notes)
		rows, err := d.Query(t.Context(), `DELETE FROM notes RETURNING id`)
		if err == nil {
			rows.Next()
			err = rows.Err()
			rows.Close()
		}
		if err == nil {
			t.Error("a write through the pool went through")
		}
	})
}

func TestACallerThatHasLeftIsNotWrittenFor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, notes)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := d.Tx(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, insert, 1, []byte{}, false)
			return err
		})
		if !errors.Is(err, context.Canceled) || count(t, d) != 0 {
			t.Errorf("err %v, %d rows", err, count(t, d))
		}
	})
}

func TestTwoServersMayMigrateAtOnce(t *testing.T) {
	url := dbtest.Postgres(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			d, err := db.Open(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			if err := d.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestADatabaseOfANewerVersionIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, `+map[string]string{"SQLite": "1", "PostgreSQL": "TRUE"}[d.Name()]+`)`)
		if err := d.Migrate(t.Context()); !errors.Is(err, db.ErrNewer) {
			t.Errorf("Migrate = %v, want ErrNewer", err)
		}
	})
}

func TestDeletedBytesLeaveTheFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?#%41.db")
	d, err := db.Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	exec(t, d, notes)
	const marked = "MARKED-SECRET-BYTES"
	exec(t, d, insert, 1, []byte(strings.Repeat(marked, 500)), false)
	if !inFiles(t, path, marked) {
		t.Fatal("what was written is in no file: the test looks in the wrong place")
	}
	exec(t, d, `DELETE FROM notes`)
	d.Scrub()
	for deadline := time.Now().Add(10 * time.Second); inFiles(t, path, marked); {
		if time.Now().After(deadline) {
			t.Fatal("deleted bytes are still in the files")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func inFiles(t *testing.T, path, text string) bool {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), e.Name()))
		if err == nil && strings.Contains(string(b), text) {
			return true
		}
		if info, err := e.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", e.Name(), info.Mode())
		}
	}
	return false
}

func TestAnAddressInAnErrorHidesItsPassword(t *testing.T) {
	for _, url := range []string{"postgres://u:hunter2@127.0.0.1:1/x", "postgres://u:hunter2@127.0.0.1:port/x", "mysql://u:hunter2@h/x"} {
		_, err := db.Open(t.Context(), url)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open: %v", err)
		}
	}
}
