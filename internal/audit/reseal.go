package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/db"
)

// Reseal renews the tags of up to limit entries that were made under another
// root key than the active one, and the head's, and says how many. Zero means
// that none is left.
func (l *Log) Reseal(ctx context.Context, limit int) (done int, err error) {
	done, err = l.resealEntries(ctx, limit)
	if err == nil && done == 0 {
		done, err = l.resealHead(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("re-tag the audit log: %w", err)
	}
	return done, nil
}

func (l *Log) resealEntries(ctx context.Context, limit int) (int, error) {
	l.resealing.Lock()
	defer l.resealing.Unlock()
	entries, err := l.old(ctx, l.resealed, limit)
	if err == nil && len(entries) == 0 && l.resealed != "" {
		// Only a walk from the first entry on that finds nothing says that
		// nothing is left: some were written meanwhile.
		entries, err = l.old(ctx, "", limit)
	}
	l.resealed = ""
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	err = l.DB.Tx(ctx, func(tx *db.Tx) error {
		for _, e := range entries {
			version, tag := e.Tag(l.Root)
			if _, err := tx.Exec(ctx, `UPDATE audit_entries SET root_version = $1, tag = $2 WHERE id = $3 AND tag = $4`, version, tag, e.ID, e.tag); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	l.resealed = entries[len(entries)-1].ID
	return len(entries), nil
}

// old returns the next entries after one that are under another root key. The
// log is long: to begin at its start each time would read most of it each time.
func (l *Log) old(ctx context.Context, after string, limit int) ([]Entry, error) {
	entries, err := l.read(ctx, l.DB, `WHERE root_version <> $1 AND id > $2 ORDER BY id LIMIT $3`, l.Root.Active(), after, limit)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := l.checkTag(e); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func (l *Log) resealHead(ctx context.Context) (int, error) {
	h, err := l.readHead(ctx)
	if err != nil || h.tag == nil || h.version == l.Root.Active() {
		return 0, err
	}
	err = l.DB.Tx(ctx, func(tx *db.Tx) error { return l.move(ctx, tx, h, h) })
	if errors.Is(err, errMoved) {
		err = nil // the follower has made a new tag
	}
	return 1, err
}
