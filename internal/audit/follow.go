package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
)

const (
	// pause is how long the follower rests when it has caught up: an entry has
	// its number within a second.
	pause = 400 * time.Millisecond
	// batch bounds how long the other writers wait for the follower on SQLite.
	batch = 100
	// changesKept is how long a numbered change is kept. A cache that has read
	// nothing for so long must forget all that it has.
	changesKept = 24 * time.Hour
	// changesKnown is how long a server must have known a numbered change before
	// it drops it: the times in the change log are by other servers' clocks, and
	// one that is wrong by a day must not have its changes dropped unread.
	changesKnown = 2 * time.Hour
)

// known is up to which number changes were there, and when that was.
type known struct {
	before, last int64 // before: for changesKnown at least
	at           time.Time
}

// Follow numbers what is new, in the audit log and in the change log, until ctx
// ends. What it fails with is reported, and it is tried again.
func (l *Log) Follow(ctx context.Context) error {
	reported := ""
	for {
		more, err := l.advance(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			l.Log.Error("the audit log can't be followed", "err", err)
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// advance does one batch of each kind, and reports whether there may be more.
// One that fails does not keep the others from being done.
func (l *Log) advance(ctx context.Context) (more bool, err error) {
	for _, work := range []func(context.Context) (int, error){l.numberEntries, l.numberChanges, l.dropChanges} {
		n, failed := work(ctx)
		if failed == nil {
			more = more || n == batch
		} else if !errors.Is(failed, errMoved) {
			err = errors.Join(err, failed)
		}
	}
	return more, err
}

// numberEntries chains the next entries. It reads and computes before it writes;
// if another server moves the head or numbers one of the entries meanwhile,
// nothing is written.
//
// Tags are not checked here. An entry that was forged gets its number too, and
// is found by its tag; to stop at it would let it hide all that come after.
func (l *Log) numberEntries(ctx context.Context) (n int, err error) {
	entries, err := l.read(ctx, l.DB, `WHERE seq = 0 ORDER BY id LIMIT $1`, batch)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	from, err := l.readHead(ctx)
	if err != nil {
		return 0, fmt.Errorf("chain the audit log: %w", err)
	}
	to := from
	for i, e := range entries {
		to.seq++
		to.chain = e.follows(to.chain)
		entries[i].Seq, entries[i].chain = to.seq, to.chain
	}
	err = l.DB.Tx(ctx, func(tx *db.Tx) error {
		if err := l.move(ctx, tx, from, to); err != nil {
			return err
		}
		for _, e := range entries {
			n, err := tx.Exec(ctx, `UPDATE audit_entries SET seq = $1, chain = $2 WHERE id = $3 AND seq = 0`, e.Seq, e.chain, e.ID)
			if err != nil {
				return err
			}
			if n == 0 {
				return errMoved
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("chain the audit log: %w", err)
	}
	return len(entries), nil
}

// numberChanges numbers the next changes. Numbers are given and become visible
// in one order, without gaps: who has read up to one has read all before it.
func (l *Log) numberChanges(ctx context.Context) (n int, err error) {
	ids, err := l.newChanges(ctx)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	err = l.DB.Tx(ctx, func(tx *db.Tx) error {
		// The head is taken first, so that two followers can't number one change.
		var seq int64
		err := tx.QueryRow(ctx, `UPDATE change_head SET seq = seq + $1 WHERE one = 1 RETURNING seq`, len(ids)).Scan(&seq)
		if errors.Is(err, sql.ErrNoRows) {
			err = tx.QueryRow(ctx, `
				INSERT INTO change_head (one, seq) SELECT 1, COALESCE(max(seq), 0) + $1 FROM changes WHERE true
				ON CONFLICT (one) DO NOTHING RETURNING seq`, len(ids)).Scan(&seq)
			if errors.Is(err, sql.ErrNoRows) {
				err = errMoved
			}
		}
		if err != nil {
			return err
		}
		for i, id := range ids {
			n, err := tx.Exec(ctx, `UPDATE changes SET seq = $1 WHERE id = $2 AND seq = 0`, seq-int64(len(ids)-1-i), id)
			if err != nil {
				return err
			}
			if n == 0 {
				return errMoved
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("number the change log: %w", err)
	}
	return len(ids), nil
}

func (l *Log) newChanges(ctx context.Context) (ids []string, err error) {
	rows, err := l.DB.Query(ctx, `SELECT id FROM changes WHERE seq = 0 ORDER BY id LIMIT $1`, batch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// dropChanges removes the oldest changes if they are old enough.
func (l *Log) dropChanges(ctx context.Context) (n int, err error) {
	now, k := l.Now(), &l.known
	if k.at.IsZero() || now.Sub(k.at) >= changesKnown {
		var last int64
		if err := l.DB.QueryRow(ctx, `SELECT COALESCE(max(seq), 0) FROM changes`).Scan(&last); err != nil {
			return 0, fmt.Errorf("drop old changes: %w", err)
		}
		*k = known{before: k.last, last: last, at: now}
	}
	before := db.Micros(now.Add(-changesKept))
	var oldest int64
	err = l.DB.QueryRow(ctx, `SELECT at FROM changes WHERE seq > 0 AND seq <= $1 ORDER BY seq LIMIT 1`, k.before).Scan(&oldest)
	if errors.Is(err, sql.ErrNoRows) || err == nil && oldest >= before {
		return 0, nil
	}
	if err == nil {
		err = l.DB.Tx(ctx, func(tx *db.Tx) error {
			dropped, err := tx.Exec(ctx, `
				DELETE FROM changes WHERE at < $1 AND id IN (SELECT id FROM changes WHERE seq > 0 AND seq <= $2 ORDER BY seq LIMIT $3)`, before, k.before, batch)
			n = int(dropped)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("drop old changes: %w", err)
	}
	return n, nil
}
