package run

import (
	"context"
	"runtime"
	"time"

	"github.com/keyward/keyward/internal/db"
)

// DefaultAtOnce returns how many runs a server does at once if nobody says.
func DefaultAtOnce() int { return 2 * runtime.NumCPU() }

// maxCallers bounds the callers that wait on this server for their runs to begin,
// and maxCallersOfOne those of one organization.
const (
	maxCallers      = 1024
	maxCallersOfOne = 3 * maxCallers / 4
)

// queue is who waits on this server, and who is at it. The runs that wait on the
// disk are not in it: they are looked for there, one at a time, so that it does
// not matter how many they are. It is guarded by the mutex of its Runs.
type queue struct {
	busy     int                 // places that are taken
	ending   int                 // runs that gave theirs back, and whose end is being written
	of       map[string]int      // by which organization
	callers  map[string][]*job   // whose callers wait for them to begin, by organization
	waiting  int                 // how many those are
	last     string              // the organization that had its turn last
	onDisk   bool                // runs may be waiting on the disk
	stirred  int                 // how often somebody said so
	looking  bool                // somebody fills places
	again    bool                // and has to look once more
	held     map[string][]holder // callers of an organization that wait for a lane, the oldest first
	laneLeft chan struct{}       // closed when a run has left its lanes; nil: nobody asked
	stopping bool
	halted   chan struct{} // closed when nobody waits for runs any more; nil: nobody asked
}

// share is how many of the places one organization may have: some are left for
// the others.
func (r *Runs) share() int { return max(1, (3*r.atOnce()+3)/4) }

func (r *Runs) atOnce() int {
	if r.AtOnce > 0 {
		return r.AtOnce
	}
	return DefaultAtOnce()
}

// full reports whether nobody may have a place. It is called with r.mu held.
//
// As many ends as there are places may be waiting to be written: while the
// database takes none, it is given no beginnings either.
func (r *Runs) full() bool {
	return r.queue.busy >= r.atOnce() || r.queue.ending >= r.atOnce()
}

// room reports whether an organization may have one more place.
func (r *Runs) room(organizationID string) bool {
	return !r.full() && r.queue.of[organizationID] < r.share()
}

// seat gives a place to j. It is called with r.mu held.
func (r *Runs) seat(j *job) {
	q := &r.queue
	if q.of == nil {
		q.of = map[string]int{}
	}
	q.busy++
	q.of[j.run.OrganizationID]++
	q.last = j.run.OrganizationID
	j.seated = true
}

// sit gives j a place at once if there is one and nobody waits for it.
func (r *Runs) sit(j *job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue.waiting > 0 || !r.room(j.run.OrganizationID) {
		return false
	}
	r.seat(j)
	return true
}

// line makes j wait for a place. It has one when j.turn has a value.
func (r *Runs) line(j *job) {
	r.mu.Lock()
	q := &r.queue
	if q.callers == nil {
		q.callers = map[string][]*job{}
	}
	q.callers[j.run.OrganizationID] = append(q.callers[j.run.OrganizationID], j)
	q.waiting++
	r.passOn()
}

// unline ends j's waiting, or gives the place back that it has got meanwhile.
func (r *Runs) unline(j *job) {
	r.mu.Lock()
	q, id := &r.queue, j.run.OrganizationID
	for i, other := range q.callers[id] {
		if other == j {
			r.remove(id, i)
			break
		}
	}
	r.mu.Unlock()
	r.rise(j)
}

// remove takes one out of the line. It is called with r.mu held.
func (r *Runs) remove(organizationID string, i int) *job {
	q := &r.queue
	line := q.callers[organizationID]
	j := line[i]
	if line = append(line[:i:i], line[i+1:]...); len(line) == 0 {
		delete(q.callers, organizationID)
	} else {
		q.callers[organizationID] = line
	}
	q.waiting--
	return j
}

// rise gives j's place back, if it has one, and fills it again.
func (r *Runs) rise(j *job) {
	r.mu.Lock()
	select {
	case <-j.turn: // which came too late
	default:
	}
	if !j.seated && !j.ending {
		r.mu.Unlock()
		return
	}
	if j.ending {
		j.ending = false
		r.queue.ending--
	}
	r.unseat(j)
	r.passOn()
}

// riseToEnd gives the place back of a run whose agent has ended. To write that is
// the server's own work, and can share its commit with the beginning of the run
// that has the place next.
//
// A run in a lane stays until it is written, since until then it is in the way of
// the one that would follow.
func (r *Runs) riseToEnd(j *job) {
	if len(j.run.lanes()) > 0 {
		return
	}
	r.mu.Lock()
	j.ending = true
	r.queue.ending++
	r.unseat(j)
	r.passOn()
}

// unseat takes j's place away, if it has one. It is called with r.mu held.
func (r *Runs) unseat(j *job) {
	if !j.seated {
		return
	}
	q, id := &r.queue, j.run.OrganizationID
	j.seated = false
	q.busy--
	if q.of[id]--; q.of[id] == 0 {
		delete(q.of, id)
	}
}

// passOn fills the places that are free. It is called with r.mu held, and gives
// it up. If no run waits on the disk, nobody has to go and look.
func (r *Runs) passOn() {
	q := &r.queue
	if q.onDisk {
		r.mu.Unlock()
		r.stirCallers()
		return
	}
	defer r.mu.Unlock()
	for organization := r.nextCaller(q.last); organization != ""; organization = r.nextCaller(q.last) {
		r.callUp(organization)
	}
}

// callUp gives a place to the caller of an organization who came first. It is
// called with r.mu held.
func (r *Runs) callUp(organizationID string) {
	j := r.remove(organizationID, 0)
	r.seat(j)
	j.turn <- struct{}{}
}

// left tells those that wait for a lane that a run has left its own.
func (r *Runs) left() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aside = nil
	r.wake()
}

// wake has those try again that wait for a lane. It is called with r.mu held.
func (r *Runs) wake() {
	if r.queue.laneLeft != nil {
		close(r.queue.laneLeft)
		r.queue.laneLeft = nil
	}
}

// laneLeft returns a channel that is closed when a run leaves its lanes.
func (r *Runs) laneLeft() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue.laneLeft == nil {
		r.queue.laneLeft = make(chan struct{})
	}
	return r.queue.laneLeft
}

// stir has places filled, also with runs that wait on the disk.
func (r *Runs) stir() {
	r.mu.Lock()
	r.queue.onDisk = true
	r.queue.stirred++
	r.mu.Unlock()
	r.stirCallers()
}

// stirCallers has places filled. What fills them is there only while there is
// something to do.
func (r *Runs) stirCallers() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue.stopping && r.queue.waiting == 0 {
		return
	}
	r.queue.again = true
	if r.queue.looking {
		return
	}
	r.queue.looking = true
	r.wg.Go(r.fill)
}

// fill gives places away as long as there are some, and somebody to have them.
func (r *Runs) fill() {
	for {
		r.mu.Lock()
		if !r.queue.again {
			r.queue.looking = false
			r.mu.Unlock()
			return
		}
		r.queue.again = false
		r.mu.Unlock()
		for r.fillOne() {
		}
	}
}

// fillOne gives one place to whoever is next: the organizations take turns in the
// order of their ids, and within one it is the oldest run.
func (r *Runs) fillOne() bool {
	r.mu.Lock()
	q := &r.queue
	if r.full() {
		r.mu.Unlock()
		return false
	}
	last, look := q.last, q.onDisk && !q.stopping
	full := map[string]bool{}
	for id := range q.of {
		full[id] = !r.room(id)
	}
	taken, stirred := len(r.known), q.stirred
	r.mu.Unlock()

	var found candidate
	if look {
		var err error
		if found, err = r.nextOnDisk(context.Background(), last, full, taken); err != nil {
			r.Log.Error("the queue of runs can't be read", "err", err)
			found.more = true // it is looked at again with the next run, or the next tick
		}
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if look && !found.more && q.stirred == stirred {
		q.onDisk = false
	}
	organization := r.nextCaller(last)
	switch {
	case organization == "" && found.id == "":
		return false
	case found.id == "" || organization != "" && before(last, organization, r.queue.callers[organization][0].run.ID, found.organization, found.id):
		r.callUp(organization)
	default:
		if q.stopping || !r.room(found.organization) || r.known[found.id] != nil {
			return !r.full() && !q.stopping
		}
		j := r.newJob(found.id, found.organization)
		r.seat(j)
		go r.take(j)
	}
	return true
}

// nextCaller returns the first organization after last that has callers waiting
// and may have a place. It is called with r.mu held.
func (r *Runs) nextCaller(last string) (next string) {
	for id := range r.queue.callers {
		if r.room(id) && (next == "" || before(last, id, "", next, "")) {
			next = id
		}
	}
	return next
}

// before reports whether run a, of organization oa, has its turn before run b of
// ob, after the organization last had it.
func before(last, oa, a, ob, b string) bool {
	if oa == ob {
		return a < b
	}
	if (oa > last) != (ob > last) {
		return oa > last
	}
	return oa < ob
}

// candidate is a run that waits on the disk and could be done.
type candidate struct {
	organization, id string // "": there is none
	more             bool   // runs wait there, if not one that could be done
}

// nextOnDisk returns whose turn it is of the runs that wait on the disk. Of those
// that are taken this very moment there are no more than taken.
func (r *Runs) nextOnDisk(ctx context.Context, last string, full map[string]bool, taken int) (candidate, error) {
	more := false
	for _, span := range []struct{ after, upTo string }{{last, ""}, {"", last}} {
		for after := span.after; ; {
			var organization string
			if err := r.DB.QueryRow(ctx, `
				SELECT COALESCE(min(organization_id), '') FROM runs WHERE status = 'queued' AND node_id = '' AND organization_id > $1`, after).Scan(&organization); err != nil {
				return candidate{}, err
			}
			if organization == "" || span.upTo != "" && organization > span.upTo {
				break
			}
			more, after = true, organization
			if full[organization] {
				continue
			}
			id, err := r.oldestOnDisk(ctx, organization, taken)
			if id != "" || err != nil {
				return candidate{organization, id, true}, err
			}
		}
		if last == "" {
			break
		}
	}
	return candidate{more: more}, nil
}

// oldestOnDisk returns the oldest run of an organization that this server can
// take: there is room in its lanes, and it is not known to have no key to it. The
// bound of an agent is what it is now, not what it was when the run was started.
func (r *Runs) oldestOnDisk(ctx context.Context, organization string, taken int) (string, error) {
	rows, err := r.DB.Query(ctx, `
		SELECT id FROM runs WHERE status = 'queued' AND node_id = '' AND organization_id = $1
		  AND lane NOT IN (SELECT lane FROM run_lanes)
		  AND agent_uid NOT IN (
		    SELECT a.uid FROM (SELECT lane, count(*) AS taken FROM run_lanes GROUP BY lane) l JOIN agents a ON l.lane = '`+agentLane+`' || a.uid
		    WHERE a.max_concurrent > 0 AND l.taken >= a.max_concurrent)
		  AND NOT EXISTS (SELECT 1 FROM run_gone g WHERE g.run_id = runs.id AND g.node_id = $2)
		ORDER BY id LIMIT $3`, organization, r.NodeID, taken+1+maxSetAside)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return "", err
		}
		if !r.knows(id) && !r.isSetAside(id) {
			return id, nil
		}
	}
	return "", rows.Err()
}

// maxSetAside bounds the runs that are not looked at until the next tick.
const maxSetAside = 100

// setAside keeps a run that could not be taken from being tried again at once.
func (r *Runs) setAside(id string) { r.setAsideUnless(nil, id) }

// setAsideUnless is setAside for a run that has found a lane full, unless left says
// that one was left since: nobody would come to tell of it again.
func (r *Runs) setAsideUnless(left <-chan struct{}, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-left:
		return
	default:
	}
	if r.aside == nil || len(r.aside) >= maxSetAside {
		r.aside = map[string]bool{}
	}
	r.aside[id] = true
}

func (r *Runs) isSetAside(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.aside[id]
}

// now is the time, as exact as it is kept.
func (r *Runs) now() time.Time { return db.Time(db.Micros(r.Now())) }
