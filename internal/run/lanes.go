package run

import (
	"cmp"
	"context"
	"errors"
	"slices"

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

// laneFull is errLaneFull with the lane's name.
type laneFull string

func (l laneFull) Error() string { return errLaneFull.Error() + ": " + string(l) }

// Is reports whether target is errLaneFull.
func (l laneFull) Is(target error) bool { return target == errLaneFull }

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
		return 0, laneFull(l.name)
	}
	return place, nil
}

// holder is a run whose caller waits for a lane.
type holder struct {
	id  string
	job *job
}

// hold makes j wait for a lane, behind those of its organization who are older.
// Other organizations are not held up: what the older one waits for besides may
// be there for them.
func (r *Runs) hold(j *job, full laneFull) {
	name := j.run.OrganizationID + " " + string(full)
	r.mu.Lock()
	defer r.mu.Unlock()
	if j.heldBy == name {
		return
	}
	r.letGo(j)
	if r.queue.held == nil {
		r.queue.held = map[string][]holder{}
	}
	line, h := r.queue.held[name], holder{j.run.ID, j}
	at, _ := slices.BinarySearchFunc(line, h, func(a, b holder) int { return cmp.Compare(a.id, b.id) })
	r.queue.held[name], j.heldBy = slices.Insert(line, at, h), name
}

// release ends j's waiting for a lane. The next one may try.
func (r *Runs) release(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.letGo(j) {
		r.wake()
	}
}

// letGo reports whether others wait behind j. It is called with r.mu held.
func (r *Runs) letGo(j *job) bool {
	if j.heldBy == "" {
		return false
	}
	name := j.heldBy
	line := slices.DeleteFunc(r.queue.held[name], func(other holder) bool { return other.job == j })
	if j.heldBy = ""; len(line) == 0 {
		delete(r.queue.held, name)
		return false
	}
	r.queue.held[name] = line
	return true
}

// heldUp returns a lane of j's for which somebody older of its organization waits
// here, or "".
func (r *Runs) heldUp(j *job) laneFull {
	lanes := j.run.lanes()
	if len(lanes) == 0 {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range lanes {
		if line := r.queue.held[j.run.OrganizationID+" "+l.name]; len(line) > 0 && line[0].id < j.run.ID {
			return laneFull(l.name)
		}
	}
	return ""
}

func leaveLanes(ctx context.Context, tx *db.Tx, runID string) error {
	_, err := tx.Exec(ctx, `DELETE FROM run_lanes WHERE run_id = $1`, runID)
	return err
}
