package rootkey

import (
	"context"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Version is one version of the root key that the database was sealed under.
type Version struct {
	Number    uint32
	ID        string
	CreatedAt time.Time
	RetiredAt time.Time // zero: it is in use

	// sentinel is a box that this version's key opens, or, once it is retired, one
	// under a later version that proves it.
	sentinel []byte
}

func (v Version) sentinelPlace() [][]byte {
	return [][]byte{seal.Text("sentinel"), seal.Text(v.ID)}
}

func (v Version) retiredPlace() [][]byte {
	return [][]byte{seal.Text("retired"), seal.Uint(uint64(v.Number)), seal.Text(v.ID), seal.Int(db.Micros(v.RetiredAt))}
}

// versions are all that a database knows.
type versions struct {
	active  Version
	old     []Version // were active, and are not retired: a rotation is under way
	retired []Version
}

// begun reports whether there is any.
func (v versions) begun() bool { return v.active.Number != 0 }

// read returns the versions that a database knows: none of an empty one.
func read(ctx context.Context, q db.Querier) (versions, error) {
	rows, err := q.Query(ctx, `SELECT version, id, sentinel, active, created_at, retired_at FROM root_versions ORDER BY version`)
	if err != nil {
		return versions{}, fmt.Errorf("read the record of the root key: %w", err)
	}
	defer rows.Close()
	var v versions
	known, actives := 0, 0
	for rows.Next() {
		var one Version
		var active, created, retired int64
		if err := rows.Scan(&one.Number, &one.ID, &one.sentinel, &active, &created, &retired); err != nil {
			return versions{}, fmt.Errorf("read the record of the root key: %w", err)
		}
		one.CreatedAt, one.RetiredAt = db.Time(created), db.Time(retired)
		known++
		switch {
		case active != 0:
			actives++
			v.active = one
		case retired != 0:
			v.retired = append(v.retired, one)
		default:
			v.old = append(v.old, one)
		}
	}
	if err := rows.Err(); err != nil {
		return versions{}, fmt.Errorf("read the record of the root key: %w", err)
	}
	if known != 0 && (actives != 1 || v.active.Number == 0) {
		return versions{}, fmt.Errorf("%w: it has %d active versions", ErrChanged, actives)
	}
	return v, nil
}
