package signing

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Store keeps the signing keys.
type Store struct {
	Acts *access.Acts
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time
	Log  *slog.Logger

	keys    atomic.Pointer[[]key] // as last read; the one that becomes active last is the first
	loading sync.Mutex
	loaded  time.Time // guarded by loading
}

// Start loads the keys, and makes the first.
func (s *Store) Start(ctx context.Context) error { return s.rotate(ctx) }

// Loop makes each next key when its time has come, follows what other servers
// make, and removes what has retired, until ctx ends.
func (s *Store) Loop(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if err := s.tend(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("tending the signing keys failed and is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tend is one round of Loop.
func (s *Store) tend(ctx context.Context) error {
	if err := s.rotate(ctx); err != nil {
		return err
	}
	return s.purge(ctx)
}

// rotate reads the keys and makes the next one if it is due.
func (s *Store) rotate(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	if err := s.load(ctx); err != nil {
		return err
	}
	now := db.Time(db.Micros(s.Now()))
	if next(s.all(), now) == nil {
		return nil
	}
	err := s.Acts.Do(ctx, access.NewServer(), access.RotateSigningKey, func(tx *db.Tx, act *access.Act) error {
		keys, err := s.read(ctx, tx)
		if err != nil {
			return err
		}
		k := next(keys, now)
		if k == nil {
			act.Nothing()
			return nil
		}
		act.On("server", "", "")
		act.Note("signing_key", strconv.FormatInt(k.number, 10))
		return s.insert(ctx, tx, k)
	})
	if err != nil && !db.IsDuplicate(err) { // else another server has made it at the same time
		return err
	}
	return s.load(ctx)
}

func (s *Store) insert(ctx context.Context, tx *db.Tx, k *key) error {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	defer clear(seed)
	box, err := s.Root.Seal(seal.AtRest, seed, k.context()...)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO signing_keys (id, private, created_at, active_at, retires_at, root_version) VALUES ($1, $2, $3, $4, $5, $6)`,
		strconv.FormatInt(k.number, 10), box, db.Micros(k.createdAt), db.Micros(k.activeAt), db.Micros(k.retiresAt), seal.BoxVersion(box))
	return err
}

// load is called with s.loading held.
func (s *Store) load(ctx context.Context) error {
	keys, err := s.read(ctx, s.DB)
	if err != nil {
		return fmt.Errorf("load the signing keys: %w", err)
	}
	s.keys.Store(&keys)
	s.loaded = s.Now()
	return nil
}

func (s *Store) all() []key {
	if keys := s.keys.Load(); keys != nil {
		return *keys
	}
	return nil
}

func (s *Store) read(ctx context.Context, q db.Querier) ([]key, error) {
	rows, err := q.Query(ctx, `SELECT id, private, created_at, active_at, retires_at FROM signing_keys`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []key
	for rows.Next() {
		k, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(b.activeAt.Compare(a.activeAt), cmp.Compare(b.number, a.number))
	})
	return keys, rows.Err()
}

func (s *Store) scan(row interface{ Scan(...any) error }) (key, error) {
	var k key
	var id string
	var box []byte
	var created, active, retires int64
	if err := row.Scan(&id, &box, &created, &active, &retires); err != nil {
		return k, err
	}
	k.number, _ = strconv.ParseInt(id, 10, 64) // what is no number opens no box
	k.createdAt, k.activeAt, k.retiresAt = db.Time(created), db.Time(active), db.Time(retires)
	seed, err := s.Root.Open(seal.AtRest, box, k.context()...)
	if err != nil {
		return k, fmt.Errorf("signing key %d: %w", k.number, err)
	}
	defer clear(seed)
	if err := k.prepare(seed); err != nil {
		return k, fmt.Errorf("signing key %d: %w", k.number, err)
	}
	return k, nil
}

// purge removes the keys that have retired, but the newest, which the next is
// counted from.
func (s *Store) purge(ctx context.Context) error {
	keys := s.all()
	for i := range keys {
		k := &keys[i]
		if k.published(s.Now()) || !slices.ContainsFunc(keys, func(other key) bool { return other.number > k.number }) {
			continue
		}
		err := s.DB.Tx(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM signing_keys WHERE id = $1`, strconv.FormatInt(k.number, 10))
			return err
		})
		if err != nil {
			return fmt.Errorf("remove signing key %d: %w", k.number, err)
		}
		s.DB.Scrub()
	}
	return nil
}

// Reseal renews up to limit keys that are under another root key than the active
// one, and says how many. Zero means that none is left.
func (s *Store) Reseal(ctx context.Context, limit int) (done int, err error) {
	active := s.Root.Active()
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		done = 0
		keys, err := s.read(ctx, tx)
		if err != nil {
			return err
		}
		for i := 0; i < len(keys) && done < limit; i++ {
			k := &keys[i]
			box, err := s.Root.Seal(seal.AtRest, k.private.Seed(), k.context()...)
			if err != nil {
				return err
			}
			n, err := tx.Exec(ctx, `UPDATE signing_keys SET private = $1, root_version = $2 WHERE id = $3 AND root_version <> $4`,
				box, seal.BoxVersion(box), strconv.FormatInt(k.number, 10), active)
			if err != nil {
				return err
			}
			done += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("renew the signing keys: %w", err)
	}
	return done, nil
}
