// Package rootkey knows the root key as the database does: the versions it was
// sealed under, which of them is active, and how the next one takes its place.
//
// Its laws:
//
//   - Each version has a sentinel, a box that only the right key opens. A server
//     with another key, or with none beside existing data, does not start, and
//     is told the id of the key that is needed.
//   - A new version is on the disk of every live server before it becomes active.
//   - The active version only rises.
//   - A version is retired when every live server writes with a later one and
//     nothing is left under it. A box under the later one proves it: who can
//     write to the database alone makes no server give up a key.
//
// Where the key is kept is package folder's, what is done with it package
// seal's. Every noun renews its own rows.
package rootkey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// The ways in which a root key and a database do not belong together.
var (
	ErrNoKey   = errors.New("there is no root key")
	ErrWrong   = errors.New("this is the wrong root key")
	ErrLacking = errors.New("the root key lacks a version")
	ErrNoTrace = errors.New("the database has data, and no record of the root key that it is sealed under")
	ErrEmpty   = errors.New("the database is empty: nothing was begun on it yet")
	ErrChanged = errors.New("the record of the root key was changed by somebody")
)

// Keys is the root key of one server.
type Keys struct {
	DB   *db.DB
	Root *seal.Root
	Acts *access.Acts
	Now  func() time.Time
	Log  *slog.Logger

	// Read returns the lines of the root key from where they are kept. Write puts
	// others in their place; when it returns, they are on the disk. It is nil
	// where that is not this server's alone to do.
	Read  func() ([]byte, error)
	Write func(text []byte) error

	// Nodes returns the live servers, this one included.
	Nodes func(ctx context.Context) ([]Node, error)
	// Rows are all rows that are tagged or sealed under the root key.
	Rows []Rows
	// Settle is how long a request may still write under the old version after
	// its server has turned to a new one. What is written later than that is lost.
	// It may be zero only where no server on the database serves.
	Settle time.Duration

	keeping  sync.Mutex // while the ring is brought up to date, from Read to Write
	reminded bool       // of lines that the operator should take away

	turning sync.Mutex // by Rotate

	mu     sync.Mutex
	behind error // what keeps this server from the active version
}

// Node is a live server and what it has told of the root key.
type Node struct {
	ID, Host string
	Versions map[uint32]string // what it holds, with ids
	Active   uint32            // what it writes with
}

// Rows are one noun's rows that are tagged or sealed under the root key.
type Rows struct {
	Name   string   // what people call them
	Tables []string // each with a column root_version; names from the program alone
	// Reseal renews up to limit of them that are under another version than the
	// active one and says how many. Zero means that none is left.
	Reseal func(ctx context.Context, limit int) (int, error)
}

// MayBegin returns nil if nothing was begun on the database, so that a root key
// may be made for it. Otherwise the error is ErrNoKey and says which key the
// database needs, or ErrNoTrace.
func MayBegin(ctx context.Context, q db.Querier) error {
	v, err := present(ctx, q)
	if err != nil {
		return err
	}
	if v.begun() {
		return fmt.Errorf("%w, and this database needs version %d with the id %s: %s", ErrNoKey, v.active.Number, v.active.ID, whereTo)
	}
	return nil
}

// present returns the versions on record, none if the database is empty. It is
// ErrNoTrace if there is data and no version.
//
// The data is looked for first. Whoever begins records the root key before all
// else, so another server that is just beginning never looks like data without
// a record.
func present(ctx context.Context, q db.Querier) (versions, error) {
	data := false
	for _, table := range []string{"organizations", "accounts", "audit_entries"} {
		var n int64
		if err := q.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 AS one FROM `+table+` LIMIT 1) AS found`).Scan(&n); err != nil {
			return versions{}, fmt.Errorf("look whether the database is empty: %w", err)
		}
		data = data || n != 0
	}
	v, err := read(ctx, q)
	if err == nil && data && !v.begun() {
		err = fmt.Errorf("%w: restore it whole, its table root_versions included", ErrNoTrace)
	}
	return v, err
}

const whereTo = "put its line into root.key in the data folder, or to where KEYWARD_ROOT_KEY_FILE or KEYWARD_ROOT_KEY says"

// Check returns nil if the root key is the one that the database needs, and has
// then made its active version active here. On an empty database it writes the
// first sentinel, if mayBegin; the key must be on the disk already.
//
// A server calls it at start, and again once it is registered among the live
// ones: a rotation that did not see it yet is over its first wait by then.
func (k *Keys) Check(ctx context.Context, mayBegin bool) error {
	k.keeping.Lock()
	defer k.keeping.Unlock()
	v, err := present(ctx, k.DB)
	if err != nil {
		return err
	}
	if !v.begun() {
		if !mayBegin {
			return ErrEmpty
		}
		if v, err = k.begin(ctx); err != nil {
			return err
		}
	}
	return k.adopt(v)
}

// begin writes the sentinel of the first version. Of two servers that begin at
// once one comes second, and finds its key right or wrong like any other.
func (k *Keys) begin(ctx context.Context) (versions, error) {
	first := Version{Number: k.Root.Active(), ID: k.Root.ID(k.Root.Active())}
	box, err := k.Root.Seal(seal.ServerState, nil, first.sentinelPlace()...)
	if err != nil {
		return versions{}, err
	}
	err = k.DB.Tx(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO root_versions (version, id, sentinel, active, created_at, retired_at) VALUES ($1, $2, $3, 1, $4, 0)
			ON CONFLICT (version) DO NOTHING`, first.Number, first.ID, box, db.Micros(k.Now()))
		return err
	})
	if err != nil {
		return versions{}, fmt.Errorf("record the root key: %w", err)
	}
	return read(ctx, k.DB)
}

// adopt checks the ring against v, turns to the active version, and forgets the
// retired ones.
func (k *Keys) adopt(v versions) error {
	for _, version := range append([]Version{v.active}, v.old...) {
		if err := k.holds(version); err != nil {
			return err
		}
	}
	if now := k.Root.Active(); v.active.Number < now {
		return fmt.Errorf("%w: version %d is active after version %d was", ErrChanged, v.active.Number, now)
	}
	if err := k.Root.SetActive(v.active.Number); err != nil {
		return err
	}
	for _, version := range v.retired {
		if k.Root.ID(version.Number) == "" {
			continue
		}
		if err := k.proved(version); err != nil {
			return err
		}
		if err := k.Root.Remove(version.Number); err != nil {
			return err
		}
	}
	return nil
}

// holds returns nil if the ring has version, and its key opens the sentinel.
func (k *Keys) holds(version Version) error {
	switch id := k.Root.ID(version.Number); {
	case id == "":
		return fmt.Errorf("%w: this database needs version %d with the id %s: %s", ErrLacking, version.Number, version.ID, whereTo)
	case id != version.ID:
		return fmt.Errorf("%w: its version %d has the id %s, and this database needs the one with the id %s: %s", ErrWrong, version.Number, id, version.ID, whereTo)
	}
	if _, err := k.Root.Open(seal.ServerState, version.sentinel, version.sentinelPlace()...); err != nil {
		return fmt.Errorf("%w: version %d has the right id, %s, and does not open its sentinel", ErrChanged, version.Number, version.ID)
	}
	return nil
}

// proved returns nil if it was a server with the root key that retired version.
func (k *Keys) proved(version Version) error {
	if _, err := k.Root.Open(seal.ServerState, version.sentinel, version.retiredPlace()...); err != nil {
		return fmt.Errorf("%w: version %d is said to be retired, without a proof", ErrChanged, version.Number)
	}
	return nil
}
