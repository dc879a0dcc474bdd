package run

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// carryOut does a run that has begun, and records how it ended.
func (r *Runs) carryOut(j *job) {
	defer r.leave(j)
	r.mu.Lock()
	j.events = &recorder{runs: r, run: j.run, seq: j.run.events}
	r.mu.Unlock()
	if j.run.tries > 1 {
		j.events.add(StartEvent, j.run.startData())
	}
	status := r.perform(j)
	last := j.events.close(&j.run)
	if status == Interrupted && j.run.async && j.run.tries < j.run.mostTries {
		again := j.run
		if _, err := r.requeue(context.WithoutCancel(j.ctx), &again, last...); err == nil {
			return
		}
	}
	j.run.EndedAt = r.now()
	r.riseToEnd(j)
	if err := r.record(j, status, last...); err != nil {
		r.asOnDisk(j)
		r.Log.Error("the end of a run can't be recorded", "run", j.run.ID, "status", string(status), "err", err)
	}
	if len(j.run.lanes()) > 0 {
		r.left()
	}
}

// cancelled is what is said of a run that was.
const cancelled = "The run was cancelled. What the agent did before that is done."

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
	var err error
	if j.open != nil {
		err = asFailure(j.open(context.WithoutCancel(j.ctx)))
	}
	ctx, cancel := context.WithTimeout(j.ctx, j.agent.Timeout())
	defer cancel()
	secrets := newCutter(j.arguments.Secrets, []jsontext.Value{j.session()})
	var said answer
	if err == nil {
		if err = ctx.Err(); err == nil { // one that was cancelled just now calls nobody
			said, err = r.call(ctx, j, secrets)
		}
	}
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
		status, message = Cancelled, cancelled
	case errors.Is(context.Cause(ctx), errStopped):
		status, message = Interrupted, "The server was stopped while this run was under way. What the agent did before that is done. Start the run again if that is safe."
	case errors.Is(context.Cause(ctx), errLost):
		status, message = Interrupted, lost
	case errors.Is(late, context.DeadlineExceeded):
		status, message = TimedOut, fmt.Sprintf("The agent did not end within %d seconds, which is its timeout.", j.agent.TimeoutSeconds)
	case errors.As(err, &f):
		status, message = Failed, secrets.text(f.says)
		r.saveSession(j, said.Session) // of one that failed, only if its answer asked for that
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
	said := newRedactor(secrets, j.events)
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
		// One that was given up meanwhile must not write over what came after it.
		ours, failed := r.isOurs(context.Background(), &j.run)
		if err = failed; err == nil && !ours {
			err = errLost
		}
		if err == nil {
			err = j.profile.SaveSession(context.Background(), session)
		}
	}
	if err != nil {
		r.Log.Warn("the session of a run was not kept", "run", j.run.ID, "agent", j.run.AgentID, "err", err)
	}
}

// record writes the end of a run, and tries again for as long as the database
// refuses and the server is not being stopped: a run that has ended must not
// look as if it were under way.
func (r *Runs) record(j *job, status Status, last ...batch) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		moved, err := r.move(context.Background(), &j.run, status, last...)
		if err == nil && !moved {
			return errors.New("its record is gone, or was ended by another server")
		}
		if err == nil {
			return nil
		}
		halted := r.halted()
		select {
		case <-halted:
			return err
		default:
		}
		r.Log.Warn("the end of a run can't be recorded and is tried again", "run", j.run.ID, "err", err)
		select {
		case <-time.After(pause):
		case <-halted:
		}
	}
}
