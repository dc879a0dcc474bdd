package apikey

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/quota"
	"github.com/keyward/keyward/internal/seal"
)

// maxNoted is how many keys one record of the audit log names.
const maxNoted = 50

// end revokes keys and all that they made, each once, and says how many keys
// and values had not ended before.
func (s *Store) end(ctx context.Context, tx *db.Tx, act *access.Act, keys ...Key) (ended int, err error) {
	e := ending{Store: s, tx: tx, act: act, now: s.now(), found: map[int64]bool{}, bereft: map[int64]bool{}}
	for e.add(keys); len(e.queue) > 0 && err == nil; {
		k := e.queue[0]
		e.queue = e.queue[1:]
		err = e.key(ctx, k)
	}
	e.note()
	return e.ended, err
}

// ending is a revocation that is under way.
type ending struct {
	*Store
	tx     *db.Tx
	act    *access.Act
	now    time.Time
	queue  []Key
	found  map[int64]bool // the keys that are or were in queue
	bereft map[int64]bool // the keys of which values end; true of those that worked
	ended  int
}

func (e *ending) add(keys []Key) {
	for _, k := range keys {
		if !e.found[k.ID] {
			e.found[k.ID] = true
			e.queue = append(e.queue, k)
		}
	}
}

// key ends k, and finds what it made.
func (e *ending) key(ctx context.Context, k Key) error {
	if k.RevokedAt.IsZero() {
		old := k.tag
		k.RevokedAt, k.UpdatedAt = e.now, e.now
		version, tag := e.Root.Tag(seal.APIKeyRow, k.fields()...)
		n, err := e.tx.Exec(ctx, `UPDATE api_keys SET revoked_at = $1, updated_at = $2, root_version = $3, tag = $4 WHERE id = $5 AND tag = $6`,
			db.Micros(k.RevokedAt), db.Micros(k.UpdatedAt), version, tag, k.ID, old)
		if err != nil {
			return err
		}
		if n == 0 {
			return db.ErrConflict
		}
		if err := quota.Give(ctx, e.tx, k.OrganizationID, quota.Keys, 1); err != nil {
			return err
		}
		e.ended++
	}
	// Of a key that was revoked before as well: the call that did it may not
	// have answered yet, and when this one answers nobody takes the key.
	e.act.Closes(access.KeyClosed, number(k.ID))
	if err := e.keys(ctx, `k.made_by_key = $1 AND k.made_by_key <> 0`, k.ID); err != nil {
		return fmt.Errorf("find the keys that key %d made: %w", k.ID, err)
	}
	if err := e.values(ctx, `s.made_by_key = $1 AND s.made_by_key <> 0`, k.ID); err != nil {
		return fmt.Errorf("end the values that key %d gave to others: %w", k.ID, err)
	}
	return nil
}

func (e *ending) keys(ctx context.Context, made string, by any) error {
	keys, err := e.collect(e.tx.Query(ctx, `SELECT `+columns+` FROM api_keys k WHERE `+made, by))
	e.add(keys)
	return err
}

// values ends values that were given to keys, and finds what was made with
// them. It comes to an end, since a value was made after the one it was made
// with.
func (e *ending) values(ctx context.Context, made string, by any) error {
	// Lock first, read after, as with a key: something may just be made with one
	// of them, also with one whose grace is ending.
	if _, err := e.tx.Exec(ctx, `UPDATE api_key_secrets AS s SET expires_at = expires_at WHERE `+made, by); err != nil {
		return err
	}
	rows, err := e.collectSecrets(e.tx.Query(ctx, `SELECT `+secretColumns+` FROM api_key_secrets s WHERE `+made, by))
	if err != nil || len(rows) == 0 {
		return err
	}
	for i := range rows {
		if err := e.value(ctx, &rows[i]); err != nil {
			return err
		}
	}
	these := `IN (SELECT s.digest FROM api_key_secrets s WHERE ` + made + `)`
	if err := e.keys(ctx, `length(k.made_with) > 0 AND k.made_with `+these, by); err != nil {
		return err
	}
	more, err := digests(e.tx.Query(ctx, `SELECT DISTINCT m.made_with FROM api_key_secrets m WHERE length(m.made_with) > 0 AND m.made_with `+these, by))
	for _, digest := range more {
		if err := e.values(ctx, `length(s.made_with) > 0 AND s.made_with = $1`, digest); err != nil {
			return err
		}
	}
	return err
}

// value ends r, as a rotation without grace does.
func (e *ending) value(ctx context.Context, r *secretRow) error {
	if _, ok := e.bereft[r.keyID]; !ok {
		e.bereft[r.keyID] = false
		e.act.Closes(access.KeyClosed, number(r.keyID))
	}
	at := db.Micros(e.now.Add(-clockSkew))
	if r.expiresAt != 0 && r.expiresAt <= at {
		return nil
	}
	e.bereft[r.keyID] = true
	e.ended++
	next := *r
	next.expiresAt = at
	return e.update(ctx, e.tx, r, next)
}

// note names in the audit log the keys that live on, of which values ended.
func (e *ending) note() {
	var ids []int64
	for id, worked := range e.bereft {
		if worked && !e.found[id] {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	var names []string
	for _, id := range ids[:min(len(ids), maxNoted)] {
		names = append(names, number(id))
	}
	if more := len(ids) - maxNoted; more > 0 {
		names = append(names, "and "+number(int64(more))+" more")
	}
	e.act.Note("ended_values_of", strings.Join(names, " "))
}
