package run

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Runs starts runs and keeps their records.
type Runs struct {
	Acts   *access.Acts
	DB     *db.DB
	Root   *seal.Root
	Now    func() time.Time
	Log    *slog.Logger
	NodeID string // of this server, and of no other before it

	Agents      *agent.Store
	OpenProfile OpenProfile
	Waiting     Waiting // how runs wait without whoever started them
	KeyEnded    KeyEnded
	Client      func(operator bool) *http.Client // for calls to the operator's agents and to others'
	Dir         string                           // for the working folders of commands; its own, see PrepareDir
	AtOnce      int                              // runs of this server at one time; 0: DefaultAtOnce

	mu    sync.Mutex
	known map[string]*job // by the run's id, until its end is on disk
	queue queue
	aside map[string]bool      // what waits on the disk and could not be taken lately
	held  map[string]time.Time // when another server lived that may have the key to a run of which this one has none
	keys  digestKey
	wg    sync.WaitGroup
}

// KeyEnded says why an API key of an organization may start no runs any more, or
// "". A run that has waited for its turn is not begun with such a key.
type KeyEnded func(ctx context.Context, organizationID string, keyID int64) (why string, err error)

// job is a run that this server does, or is about to.
type job struct {
	run       Run
	agent     agent.Agent
	caller    access.Caller
	request   Request
	arguments agent.Arguments
	profile   *Profile // nil: none
	open      func(ctx context.Context) error
	events    *recorder

	ctx      context.Context
	cancel   context.CancelCauseFunc
	turn     chan struct{} // has a value when the run has got the place that it waited for
	seated   bool          // it has one of the places
	ending   bool          // it has given that back, and its end is being written
	recorded bool          // it is on disk
	heldBy   string        // the lane that it waits for; "": none
	err      error         // why it was not begun, if it is not on disk
	done     chan struct{} // closed when the run has left known
}

// errStopped is the cause with which runs are cancelled at shutdown.
var errStopped = errors.New("run: the server is stopping")

// Start starts a run of an agent. It is on disk when Start returns; with
// req.Wait it has also ended.
//
// A run that nobody waits for survives its server as long as it has not begun.
// One that its caller waits for goes on if ctx ends: whoever started it may have
// gone, and the agent has begun to act.
func (r *Runs) Start(ctx context.Context, who access.Caller, req Request) (Run, error) {
	if err := who.May(access.StartRun); err != nil {
		return Run{}, err
	}
	if req.IdempotencyKey != "" {
		if run, err := r.earlier(ctx, who, req); err != nil || run.ID != "" {
			return run, err
		}
	}
	j, err := r.admit(who.OrganizationID, req.Wait)
	if err != nil {
		return Run{}, err
	}
	if err := r.prepare(ctx, who, j, req); err != nil {
		r.leave(j)
		return Run{}, err
	}
	if req.Wait {
		err = r.startAndWait(ctx, j)
	} else {
		err = r.startAndLeave(ctx, j)
	}
	if errors.Is(err, errDuplicate) {
		// The same request came twice at the same time, and the other was first.
		return r.earlier(ctx, who, req)
	}
	if err != nil {
		return Run{}, err
	}
	return j.run, nil
}

// startAndLeave writes the run into the queue.
func (r *Runs) startAndLeave(ctx context.Context, j *job) error {
	err := r.park(ctx, j)
	r.leave(j)
	if err == nil {
		r.stir()
	}
	return err
}

// startAndWait begins the run, as soon as it has its turn, and waits for its end.
func (r *Runs) startAndWait(ctx context.Context, j *job) error {
	if r.heldUp(j) != "" || !r.sit(j) {
		go r.await(ctx, j)
	} else if err := r.begin(ctx, j); err == nil {
		go r.carryOut(j)
	} else if errors.Is(err, errLaneFull) {
		r.rise(j)
		go r.await(ctx, j)
	} else {
		r.leave(j)
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-j.done:
	}
	if j.err != nil {
		return j.err
	}
	if j.run.EndedAt.IsZero() {
		return r.whyUnrecorded()
	}
	return nil
}

// whyUnrecorded says why a run has ended without its record.
func (r *Runs) whyUnrecorded() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue.stopping {
		return errStopping
	}
	return ErrNotFound // its organization was deleted while it was under way
}

// admit makes a job, if this server takes one more.
func (r *Runs) admit(organizationID string, wait bool) (*job, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.queue.stopping:
		return nil, errStopping
	case wait && (r.queue.waiting >= maxCallers || len(r.queue.callers[organizationID]) >= maxCallersOfOne):
		return nil, errBusy
	}
	return r.newJob(db.NewID(), organizationID), nil
}

// newJob makes a job that is known from now on. It is called with r.mu held.
func (r *Runs) newJob(id, organizationID string) *job {
	if r.known == nil {
		r.known = map[string]*job{}
	}
	j := &job{run: Run{ID: id, OrganizationID: organizationID, NodeID: r.NodeID}, turn: make(chan struct{}, 1), done: make(chan struct{})}
	j.ctx, j.cancel = context.WithCancelCause(context.Background())
	r.known[id] = j
	r.wg.Add(1)
	return j
}

// leave forgets a job that has ended, or was not begun, and fills its place.
func (r *Runs) leave(j *job) {
	if j.profile != nil {
		j.profile.Close()
	}
	j.cancel(nil)
	r.mu.Lock()
	delete(r.known, j.run.ID)
	r.mu.Unlock()
	r.rise(j)
	close(j.done)
	r.wg.Done()
}

func (r *Runs) knows(id string) bool { return r.job(id) != nil }

// job returns the run with that id, if it is this server's, or nil.
func (r *Runs) job(id string) *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[id]
}

// prepare finds all that the run needs, and refuses what can't be run.
func (r *Runs) prepare(ctx context.Context, who access.Caller, j *job, req Request) (err error) {
	j.caller, j.request = who, req
	if j.agent, err = r.Agents.Find(ctx, who, req.AgentID); err != nil {
		return err
	}
	if err := j.agent.Runnable(); err != nil {
		return err
	}
	if len(req.Token.Bytes()) > 0 {
		j.open = func(ctx context.Context) error {
			p, err := r.OpenProfile(ctx, who, j.agent, req.Token)
			return j.take(p, err)
		}
		if err := j.open(ctx); err != nil {
			return err
		}
	}
	now := r.now()
	if err := j.complete(now); err != nil {
		return err
	}
	j.run.AgentUID, j.run.AgentID = j.agent.UID, j.agent.IDFor(who)
	j.run.AccountID, j.run.KeyID = who.AccountID, who.KeyID
	j.run.width, j.run.mostTries = j.agent.MaxConcurrent, 1
	if p := j.profile; p != nil {
		j.run.Profile, j.run.profileUID = p.Name, p.UID
		if p.KeepSession {
			j.run.lane = profileLane + p.UID
		}
	}
	j.run.CreatedAt = now
	return nil
}

// take makes p the job's profile, in the place of another.
func (j *job) take(p *Profile, err error) error {
	if err != nil {
		return err
	}
	if j.profile != nil {
		j.profile.Close()
	}
	j.profile = p
	return nil
}

// complete puts together what the agent is given.
func (j *job) complete(now time.Time) (err error) {
	var stored map[string]jsontext.Value
	if j.profile != nil {
		stored = j.profile.Values
	}
	j.arguments, err = j.agent.Complete(j.request.Parameters, stored, now)
	return err
}

// begin writes that the run is under way, or fails with errLaneFull, or with
// errQuit if it ended while it waited.
func (r *Runs) begin(ctx context.Context, j *job) error {
	waited := j.run
	j.run.StartedAt, j.run.tries, j.run.events = r.now(), 1, 1
	var err error
	if j.recorded {
		var moved bool
		if moved, err = r.move(ctx, &j.run, Running); err == nil && !moved {
			err = errQuit
		}
	} else {
		j.run.Status = Running
		err = r.create(ctx, j, nil)
	}
	if err != nil {
		j.run = waited
		return err
	}
	if j.recorded || j.run.lane != "" {
		// What it is given has got old, or another run may have left a session.
		open := j.open
		j.open = func(ctx context.Context) error {
			if open != nil {
				if err := open(ctx); err != nil {
					return err
				}
			}
			return j.complete(r.now())
		}
	} else {
		j.open = nil
	}
	j.recorded = true
	return nil
}

// enlist writes that the run waits for its turn on this server.
func (r *Runs) enlist(ctx context.Context, j *job) error {
	j.run.Status = Queued
	if err := r.create(ctx, j, nil); err != nil {
		return err
	}
	j.recorded = true
	return nil
}

// create writes the run for the first time, and what also does.
func (r *Runs) create(ctx context.Context, j *job, also func(tx *db.Tx) error) error {
	digests, err := r.digests(ctx, j)
	if err != nil {
		return err
	}
	err = r.Acts.Do(ctx, j.caller, access.StartRun, func(tx *db.Tx, act *access.Act) error {
		act.On("run", j.run.ID, "")
		act.Note("agent", j.run.AgentID)
		if j.profile != nil {
			act.Note("profile", j.profile.Name)
			if err := j.profile.Touch(ctx, tx); err != nil {
				return err
			}
		}
		if err := r.insert(ctx, tx, j.run); err != nil {
			return err
		}
		if digests != nil {
			if err := digests.insert(ctx, tx, j.run, db.Micros(r.Now())); err != nil {
				return err
			}
		}
		if also != nil {
			return also(tx)
		}
		return nil
	})
	return err
}

// Shutdown starts no more runs and waits for those under way until ctx ends.
// Then it cancels them, and returns when they are recorded as interrupted. What
// waits on the disk stays there.
func (r *Runs) Shutdown(ctx context.Context) {
	r.mu.Lock()
	r.queue.stopping = true
	r.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	r.mu.Lock()
	if len(r.known) > 0 {
		r.Log.Warn("runs are interrupted by the shutdown", "runs", len(r.known))
	}
	for _, j := range r.known {
		j.cancel(errStopped)
	}
	r.mu.Unlock()
	r.halt()
	<-ended
}

// halted returns a channel that is closed when the server stops and waits for no
// run any more.
func (r *Runs) halted() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue.halted == nil {
		r.queue.halted = make(chan struct{})
	}
	return r.queue.halted
}

func (r *Runs) halt() {
	halted := r.halted()
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-halted:
	default:
		close(r.queue.halted)
	}
}

// starter is the caller that started a run, as far as the run still needs him.
func (r *Runs) starter(run *Run) access.Caller {
	return access.Caller{
		AccountID: run.AccountID, OrganizationID: run.OrganizationID, Operator: run.OrganizationID == r.Agents.OperatorID,
		Role: access.Owner, KeyID: run.KeyID, Scopes: access.AgentsRun,
	}
}

// mayWait is for how long a run may wait on the disk: its token is sealed to keys
// that are destroyed after a day.
const mayWait = 24 * time.Hour

// expiry is when the run's slot ends: the latest time at which it can be under way.
func (j *job) expiry() time.Time {
	return j.run.CreatedAt.Add(mayWait + j.agent.Timeout() + 5*time.Minute)
}
