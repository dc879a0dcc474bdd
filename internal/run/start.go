package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// DefaultLimit is how many runs a server does at once. Most of them wait for a
// web service; what they cost is memory.
const DefaultLimit = 256

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
	Client      func(operator bool) *http.Client // for calls to the operator's agents and to others'
	Dir         string                           // for the working folders of commands; its own, see PrepareDir
	Limit       int                              // of runs at once; 0: DefaultLimit. An organization may have half of it

	mu       sync.Mutex
	known    map[string]*job // by the run's id, until its end is on disk
	of       map[string]int  // how many each organization has
	stopping bool
	wg       sync.WaitGroup
}

// job is a run that is under way on this server.
type job struct {
	run       Run
	agent     agent.Agent
	arguments agent.Arguments
	profile   *Profile // nil: none
	ctx       context.Context
	cancel    context.CancelCauseFunc
	done      chan struct{} // closed when the run has left known
}

// errStopped is the cause with which runs are cancelled at shutdown.
var errStopped = errors.New("run: the server is stopping")

// Start starts a run of an agent. It is on disk when Start returns; with
// req.Wait it has also ended.
//
// The run goes on if ctx ends: whoever started it may have gone, and the agent
// has begun to act.
func (r *Runs) Start(ctx context.Context, who access.Caller, req Request) (Run, error) {
	if err := who.May(access.StartRun); err != nil {
		return Run{}, err
	}
	j, err := r.admit(who.OrganizationID)
	if err != nil {
		return Run{}, err
	}
	if err := r.begin(ctx, who, j, req); err != nil {
		r.leave(j)
		return Run{}, err
	}
	started := j.run // the job's own is written to from here on
	go r.carryOut(j)
	if !req.Wait {
		return started, nil
	}
	select {
	case <-ctx.Done():
		return Run{}, ctx.Err()
	case <-j.done:
	}
	if j.run.EndedAt.IsZero() {
		return Run{}, r.whyUnrecorded()
	}
	return j.run, nil
}

// whyUnrecorded says why a run has ended without its record.
func (r *Runs) whyUnrecorded() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return errStopping
	}
	return ErrNotFound // its organization was deleted while it was under way
}

// admit makes a job, if there is room for one more.
func (r *Runs) admit(organizationID string) (*job, error) {
	most := r.Limit
	if most == 0 {
		most = DefaultLimit
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopping:
		return nil, errStopping
	case len(r.known) >= most || r.of[organizationID] >= max(1, most/2):
		return nil, errBusy
	case r.known == nil:
		r.known, r.of = map[string]*job{}, map[string]int{}
	}
	j := &job{run: Run{ID: db.NewID(), OrganizationID: organizationID, NodeID: r.NodeID}, done: make(chan struct{})}
	j.ctx, j.cancel = context.WithCancelCause(context.Background())
	r.known[j.run.ID] = j
	r.of[organizationID]++
	r.wg.Add(1)
	return j, nil
}

// leave forgets a job that has ended, or was not begun.
func (r *Runs) leave(j *job) {
	if j.profile != nil {
		j.profile.Close()
	}
	j.cancel(nil)
	r.mu.Lock()
	delete(r.known, j.run.ID)
	if r.of[j.run.OrganizationID]--; r.of[j.run.OrganizationID] == 0 {
		delete(r.of, j.run.OrganizationID)
	}
	r.mu.Unlock()
	close(j.done)
	r.wg.Done()
}

func (r *Runs) knows(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[id] != nil
}

// begin finds all that the run needs and writes its record.
func (r *Runs) begin(ctx context.Context, who access.Caller, j *job, req Request) (err error) {
	if j.agent, err = r.Agents.Find(ctx, who, req.AgentID); err != nil {
		return err
	}
	if err := j.agent.Runnable(); err != nil {
		return err
	}
	var stored map[string]jsontext.Value
	if len(req.Token.Bytes()) > 0 {
		if j.profile, err = r.OpenProfile(ctx, who, j.agent, req.Token); err != nil {
			return err
		}
		stored = j.profile.Values
		j.run.Profile = j.profile.Name
	}
	now := db.Time(db.Micros(r.Now())) // as exact as it is kept
	if j.arguments, err = j.agent.Complete(req.Parameters, stored, now); err != nil {
		return err
	}
	j.run.AgentUID, j.run.AgentID = j.agent.UID, j.agent.IDFor(who)
	j.run.AccountID, j.run.KeyID = who.AccountID, who.KeyID
	j.run.Status, j.run.CreatedAt, j.run.StartedAt = Running, now, now

	return r.Acts.Do(ctx, who, access.StartRun, func(tx *db.Tx, act *access.Act) error {
		act.On("run", j.run.ID, "")
		act.Note("agent", j.run.AgentID)
		if j.profile != nil {
			act.Note("profile", j.profile.Name)
			if err := j.profile.Touch(ctx, tx); err != nil {
				return err
			}
		}
		return r.insert(ctx, tx, j.run)
	})
}

// carryOut does a run that has begun, and records how it ended.
func (r *Runs) carryOut(j *job) {
	defer r.leave(j)
	status := r.perform(j)
	j.run.EndedAt = db.Time(db.Micros(r.Now()))
	if err := r.record(j, status); err != nil {
		j.run.EndedAt = time.Time{}
		r.Log.Error("the end of a run can't be recorded", "run", j.run.ID, "status", string(status), "err", err)
	}
}

// perform calls the runner, keeps the session that it leaves, sets the run's
// output or error, and returns the state that it is to end in.
func (r *Runs) perform(j *job) (status Status) {
	defer func() {
		// What is panicked with may hold a value.
		if v := recover(); v != nil {
			r.Log.Error("a run panicked", "run", j.run.ID, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			j.run.Output, j.run.ErrorMessage = nil, fault.ErrInternal.Message
			status = Failed
		}
	}()
	ctx, cancel := context.WithTimeout(j.ctx, j.agent.Timeout())
	defer cancel()
	secrets := newCutter(j.arguments.Secrets, []jsontext.Value{j.session()})
	said, err := r.call(ctx, j, secrets)
	late := ctx.Err() // what comes after is the server's own time, not the agent's

	secrets.addSession(said.Session)
	var output jsontext.Value
	if err == nil {
		output, err = secrets.json(said.Output)
	}
	if err == nil && len(output) > maxOutput {
		err = fails("The agent's output is larger than 4 MiB.")
	}
	if err == nil {
		// Whoever is told that the run succeeded finds its session.
		r.saveSession(j, said.Session)
		j.run.Output = output
		r.Log.Info("a run succeeded", "run", j.run.ID, "agent", j.run.AgentID)
		return Succeeded
	}

	var f *failure
	message := fault.ErrInternal.Message
	switch {
	case errors.Is(context.Cause(ctx), errCancelled):
		status, message = Cancelled, "The run was cancelled. What the agent did before that is done."
	case errors.Is(context.Cause(ctx), errStopped):
		status, message = Interrupted, "The server was stopped while this run was under way. What the agent did before that is done. Start the run again if that is safe."
	case errors.Is(late, context.DeadlineExceeded):
		status, message = TimedOut, fmt.Sprintf("The agent did not end within %d seconds, which is its timeout.", j.agent.TimeoutSeconds)
	case errors.As(err, &f):
		status, message = Failed, secrets.text(f.says)
	default:
		status = Failed
	}
	j.run.ErrorMessage = shorten(message)
	attributes := []any{"run", j.run.ID, "agent", j.run.AgentID, "status", string(status)}
	if f == nil {
		attributes = append(attributes, "err", secrets.text(err.Error()))
	} else if f.cause != nil {
		attributes = append(attributes, "err", secrets.text(f.cause.Error())) // it may quote the agent
	}
	r.Log.Info("a run failed", attributes...)
	return status
}

// call gives the run to its runner. What that says meanwhile goes to the run's
// events without the secrets in it.
func (r *Runs) call(ctx context.Context, j *job, secrets *cutter) (answer, error) {
	input, err := json.Marshal(task{j.run.ID, j.agent.ID, j.arguments.JSON, j.session()})
	if err != nil {
		return answer{}, err
	}
	said := newRedactor(secrets, discard{})
	defer said.close()
	if j.agent.Runner.Type == agent.Command {
		return r.callCommand(ctx, j.agent, j.run.ID, input, said)
	}
	return r.callHTTP(ctx, j.agent, j.run.ID, input, said)
}

// session returns what the agent left at an earlier run, or nil.
func (j *job) session() jsontext.Value {
	if j.profile == nil || !j.profile.KeepSession || len(j.profile.Session) == 0 {
		return nil
	}
	return j.profile.Session
}

// saveSession keeps what the agent wants to find again. That it can't be kept
// does not make the run fail.
func (r *Runs) saveSession(j *job, session jsontext.Value) {
	if session == nil || j.profile == nil || !j.profile.KeepSession {
		return
	}
	err := session.Compact()
	switch {
	case err != nil:
	case session.Kind() != '{' || string(session) == "{}":
		err = errors.New("it is not an object with something in it")
	case len(session) > seal.MaxSession:
		err = errors.New("it is larger than 4 MiB")
	default:
		err = j.profile.SaveSession(context.Background(), session)
	}
	if err != nil {
		r.Log.Warn("the session of a run was not kept", "run", j.run.ID, "agent", j.run.AgentID, "err", err)
	}
}

// record writes the end of a run, and tries again for as long as the database
// refuses and the server is not being stopped: a run that has ended must not
// look as if it were under way.
func (r *Runs) record(j *job, status Status) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		moved, err := r.move(context.Background(), &j.run, status)
		if err == nil && !moved {
			return errors.New("its record is gone, or was ended by another server")
		}
		if err == nil || errors.Is(context.Cause(j.ctx), errStopped) {
			return err
		}
		r.Log.Warn("the end of a run can't be recorded and is tried again", "run", j.run.ID, "err", err)
		select {
		case <-time.After(pause):
		case <-j.ctx.Done():
		}
	}
}

// Shutdown starts no more runs and waits for those under way until ctx ends.
// Then it cancels them, and returns when they are recorded as interrupted.
func (r *Runs) Shutdown(ctx context.Context) {
	r.mu.Lock()
	r.stopping = true
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
	r.Log.Warn("runs are interrupted by the shutdown", "runs", len(r.known))
	for _, j := range r.known {
		j.cancel(errStopped)
	}
	r.mu.Unlock()
	<-ended
}

// printable returns text without what a terminal would act on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, text)
}

// shorten returns what a person reads of a text.
func shorten(text string) string {
	text = printable(text)
	if utf8.RuneCountInString(text) <= maxMessage {
		return text
	}
	return string([]rune(text)[:maxMessage-1]) + "…"
}
