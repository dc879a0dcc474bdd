package run

import (
	"context"
	"errors"

	"github.com/keyward/keyward/internal/db"
)

// The names of lanes begin with these.
const (
	agentLane   = "agent:"
	profileLane = "profile:"
)

// lane is a way that no more than width runs go at a time, on all servers
// together.
type lane struct {
	name  string
	width int64
}

// errLaneFull says that a run has to wait for others of its agent or its auth
// profile.
var errLaneFull = errors.New("run: no place in a lane")

// enterLanes takes a place in each lane, or fails with errLaneFull. A place is a
// row of its own, so that whoever comes second finds it taken.
func enterLanes(ctx context.Context, tx *db.Tx, runID string, lanes []lane) error {
	for _, l := range lanes {
		place, err := firstFree(ctx, tx, l)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO run_lanes (lane, place, run_id) VALUES ($1, $2, $3) ON CONFLICT (lane, place) DO NOTHING`, l.name, place, runID)
		if err != nil {
			return err
		}
		if n == 0 {
			return db.ErrConflict
		}
	}
	return nil
}

func firstFree(ctx context.Context, tx *db.Tx, l lane) (place int64, err error) {
	rows, err := tx.Query(ctx, `SELECT place FROM run_lanes WHERE lane = $1 ORDER BY place`, l.name)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	n := int64(0)
	for ; rows.Next(); n++ {
		var taken int64
		if err := rows.Scan(&taken); err != nil {
			return 0, err
		}
		if taken == place {
			place++
		}
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	if n >= l.width { // or more, if its width was another
		return 0, errLaneFull
	}
	return place, nil
}

func leaveLanes(ctx context.Context, tx *db.Tx, runID string) error {
	_, err := tx.Exec(ctx, `DELETE FROM run_lanes WHERE run_id = $1`, runID)
	return err
}
