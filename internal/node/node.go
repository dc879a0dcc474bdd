// Package node knows which servers are running on a database: this one tells
// the others that it is there, which of the root key's versions it holds, and
// with which run key they seal to it.
//
// Its laws:
//
//   - A row is written by its own server alone, all of it at each heartbeat. Its
//     tag vouches for it; the heartbeat stands outside.
//   - No two clocks are compared. A server is live until its heartbeat has stood
//     still for [Silence] by the clock of the one who watches, so that a clock
//     that is wrong takes nobody for dead. For the same reason a server that has
//     just been heard of for the first time is live.
//   - On SQLite the data folder's lock keeps every other server out, so that
//     each other row is that of a dead one.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

const (
	// Silence is for how long a live server may not be heard.
	Silence = 20 * time.Second

	pulse     = 2 * time.Second
	forgotten = 10 * time.Minute // the row of a server that was silent for so long goes

	// Remembered is how long after a heartbeat the others count a server among
	// them whatever happens to it, and far longer.
	Remembered = time.Minute
)

// Node is one running server.
type Node struct {
	ID           string
	Host         string
	StartedAt    time.Time // by its own clock, as SeenAt
	SeenAt       time.Time
	RootVersions map[uint32]string // the versions of the root key that it holds, with their ids
	RootActive   uint32            // the one that it writes with
	RunKey       []byte            // the public half of its run key; empty: it has told of none
}

// Fleet is this server among the others.
type Fleet struct {
	DB   *db.DB
	Root *seal.Root
	Host string // what people call the machine
	Now  func() time.Time
	Log  *slog.Logger

	mu      sync.Mutex
	id      string // "": not registered
	started time.Time
	told    string // what the last heartbeat said of the keys
	runKey  []byte
	heard   map[string]pulseOf

	beaten atomic.Pointer[time.Time]
}

// pulseOf is the heartbeat of a server as it was last seen.
type pulseOf struct {
	at    int64     // by its clock
	since time.Time // by ours: it has been so since then
}

// ID returns the id of this server: it has a new one each time it registers.
func (f *Fleet) ID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

// Beaten returns when the last heartbeat began that is on disk; the zero time if
// there was none. A server that was cut off or stood still may find itself
// forgotten by the others, and is back with its next one.
func (f *Fleet) Beaten() time.Time {
	if at := f.beaten.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Register tells the others that this server is there. On SQLite it takes away
// the rows of those that were there before.
func (f *Fleet) Register(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id, f.started, f.told = db.NewID(), f.Now(), ""
	if !f.DB.Shared() {
		err := f.DB.Tx(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM nodes`)
			return err
		})
		if err != nil {
			return fmt.Errorf("register this server: %w", err)
		}
	}
	return f.beat(ctx)
}

// Announce tells the others the public half of this server's run key: from now
// on, if it is registered, else when it registers.
func (f *Fleet) Announce(ctx context.Context, runKey []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runKey = runKey
	if f.id == "" {
		return nil
	}
	return f.beat(ctx)
}

// Leave tells the others that this server is going. It must not be followed any
// more.
func (f *Fleet) Leave(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := f.id
	f.id = ""
	err := f.DB.Tx(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM nodes WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("take leave of the other servers: %w", err)
	}
	return nil
}

// Others returns how many rows of other servers there are, of live ones and of
// those that have died lately.
func (f *Fleet) Others(ctx context.Context) (n int, err error) {
	if err := f.DB.QueryRow(ctx, `SELECT count(*) FROM nodes WHERE id <> $1`, f.ID()).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the other servers: %w", err)
	}
	return n, nil
}

// Follow keeps the heartbeat, until ctx ends. What it fails with is reported,
// and it is tried again.
func (f *Fleet) Follow(ctx context.Context) error {
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pulse):
		}
		err := f.Beat(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			f.Log.Error("the other servers can't be told that this one is running", "err", err)
		}
	}
}

// Beat is one heartbeat: it tells that this server is there and what it holds
// of the root key, and looks at the others.
func (f *Fleet) Beat(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id == "" {
		return errors.New("this server is not registered")
	}
	if err := f.beat(ctx); err != nil {
		return err
	}
	if !f.DB.Shared() {
		return nil
	}
	rows, err := f.read(ctx)
	if err != nil {
		return err
	}
	f.listen(rows)
	return f.purge(ctx)
}

// beat writes the whole row. Nothing in it comes from what was there before, so
// a row that was changed behind our back, or taken away, is itself again.
func (f *Fleet) beat(ctx context.Context) error {
	began := f.Now()
	n := Node{ID: f.id, Host: f.Host, StartedAt: f.started, SeenAt: began, RootVersions: map[uint32]string{}, RootActive: f.Root.Active(), RunKey: f.runKey}
	for _, version := range f.Root.Versions() {
		n.RootVersions[version] = f.Root.ID(version)
	}
	held := writeVersions(n.RootVersions)
	told := fmt.Sprintf("%s %d %x", held, n.RootActive, n.RunKey)
	if told == f.told && !f.DB.Shared() {
		return nil // nobody else is there to hear it
	}
	version, tag := f.Root.Tag(seal.Node, n.fields()...)
	err := f.DB.Tx(ctx, func(tx *db.Tx) error {
		// seen_at rises at each heartbeat, also when the clock is set back.
		_, err := tx.Exec(ctx, `
			INSERT INTO nodes (id, host, started_at, seen_at, root_versions, root_active, run_key, root_version, tag)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (id) DO UPDATE SET host = excluded.host, started_at = excluded.started_at,
			  seen_at = CASE WHEN nodes.seen_at < excluded.seen_at THEN excluded.seen_at ELSE nodes.seen_at + 1 END,
			  root_versions = excluded.root_versions, root_active = excluded.root_active,
			  run_key = excluded.run_key, root_version = excluded.root_version, tag = excluded.tag`,
			n.ID, n.Host, db.Micros(n.StartedAt), db.Micros(n.SeenAt), held, n.RootActive, n.RunKey, version, tag)
		return err
	})
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	f.told = told
	f.beaten.Store(&began)
	return nil
}

// Live returns the servers that are running, this one included, by their ids.
// A row whose tag does not fit is an error that names it.
func (f *Fleet) Live(ctx context.Context) ([]Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	if f.DB.Shared() {
		f.listen(rows)
	}
	var live []Node
	for _, r := range rows {
		if f.DB.Shared() && f.silence(r.ID) >= Silence {
			continue
		}
		if err := f.check(r); err != nil {
			return nil, err
		}
		live = append(live, r.Node)
	}
	return live, nil
}

// listen remembers the heartbeats in rows, and since when each is what it is.
func (f *Fleet) listen(rows []row) {
	heard, now := make(map[string]pulseOf, len(rows)), f.Now()
	for _, r := range rows {
		at := db.Micros(r.SeenAt)
		last, known := f.heard[r.ID]
		if !known || last.at != at || last.since.After(now) { // our clock may be set back, too
			last = pulseOf{at, now}
		}
		heard[r.ID] = last
	}
	f.heard = heard
}

// silence returns for how long a server was not heard.
func (f *Fleet) silence(id string) time.Duration { return f.Now().Sub(f.heard[id].since) }

// purge removes the rows of servers that are long dead.
func (f *Fleet) purge(ctx context.Context) error {
	for id, last := range f.heard {
		if id == f.id || f.silence(id) < forgotten {
			continue
		}
		err := f.DB.Tx(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM nodes WHERE id = $1 AND seen_at = $2`, id, last.at)
			return err
		})
		if err != nil {
			return fmt.Errorf("forget a dead server: %w", err)
		}
	}
	return nil
}

// Reseal renews the tags of up to limit rows that were made under another root
// key than the active one, and says how many. Zero means that none is left.
func (f *Fleet) Reseal(ctx context.Context, limit int) (done int, err error) {
	rows, err := f.read(ctx)
	if err != nil {
		return 0, err
	}
	active := f.Root.Active()
	err = f.DB.Tx(ctx, func(tx *db.Tx) error {
		done = 0
		for _, r := range rows {
			if r.version == active || done == limit {
				continue
			}
			if err := f.check(r); err != nil {
				return err
			}
			version, tag := f.Root.Tag(seal.Node, r.fields()...)
			if _, err := tx.Exec(ctx, `UPDATE nodes SET root_version = $1, tag = $2 WHERE id = $3 AND tag = $4`, version, tag, r.ID, r.tag); err != nil {
				return err
			}
			done++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("re-tag servers: %w", err)
	}
	return done, nil
}

// row is a Node as it is kept.
type row struct {
	Node
	version uint32
	tag     []byte
}

// fields is what the tag of n's row vouches for. That of a server without a run
// key is as it was when there were none.
func (n Node) fields() [][]byte {
	fields := [][]byte{
		seal.Text(n.ID), seal.Text(n.Host), seal.Int(db.Micros(n.StartedAt)),
		seal.Text(writeVersions(n.RootVersions)), seal.Uint(uint64(n.RootActive)),
	}
	if len(n.RunKey) > 0 {
		fields = append(fields, n.RunKey)
	}
	return fields
}

func (f *Fleet) check(r row) error {
	if err := f.Root.CheckTag(seal.Node, r.version, r.tag, r.fields()...); err != nil {
		return fmt.Errorf("server %s: %w", r.ID, err)
	}
	return nil
}

// read returns all rows. It checks no tags.
func (f *Fleet) read(ctx context.Context) ([]row, error) {
	rows, err := f.DB.Query(ctx, `SELECT id, host, started_at, seen_at, root_versions, root_active, run_key, root_version, tag FROM nodes ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the servers: %w", err)
	}
	defer rows.Close()
	var all []row
	for rows.Next() {
		var r row
		var started, seen int64
		var held string
		if err := rows.Scan(&r.ID, &r.Host, &started, &seen, &held, &r.RootActive, &r.RunKey, &r.version, &r.tag); err != nil {
			return nil, fmt.Errorf("read the servers: %w", err)
		}
		r.StartedAt, r.SeenAt, r.RootVersions = db.Time(started), db.Time(seen), readVersions(held)
		all = append(all, r)
	}
	return all, rows.Err()
}

// writeVersions writes "1:ID 2:ID", lowest first.
func writeVersions(held map[uint32]string) string {
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(held)) {
		parts = append(parts, fmt.Sprintf("%d:%s", version, held[version]))
	}
	return strings.Join(parts, " ")
}

// readVersions reads what writeVersions wrote. What cannot be read is left out:
// then the tag of its row does not fit.
func readVersions(text string) map[uint32]string {
	held := map[uint32]string{}
	for part := range strings.FieldsSeq(text) {
		number, id, _ := strings.Cut(part, ":")
		if version, err := strconv.ParseUint(number, 10, 32); err == nil {
			held[uint32(version)] = id
		}
	}
	return held
}
