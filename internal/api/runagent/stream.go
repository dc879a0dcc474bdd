package runagent

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
)

const (
	asking  = 30 * time.Second // that a client may take for saying what it wants
	writing = time.Minute      // that it may take for what it is sent
	silence = 20 * time.Second // the longest, or what is between might hang up
	watched = 2 * time.Second  // how often it is asked whether the server stops, and the client may still watch

	// gap is left before the last frame: one of the SDKs loses what comes in the
	// same moment as that.
	gap = 50 * time.Millisecond
)

var (
	errNoUpgrade = fault.ErrInvalidRequest.Say("This address speaks WebSocket (RFC 6455). Ask for an upgrade to it.")
	errGoesOn    = fault.ErrUnavailable.Say("The server is stopping. The run goes on without it; GET /v1/runs/ID tells how it goes.")
)

func (s *surface) registerStreams() {
	s.addStream("agents/{id}/run-stream", "runAgentStream", "Run an agent and watch it",
		"A WebSocket. The first frame from the client is the body of runAgentRun; no other may follow. Frames from the server: "+
			"`{\"type\":\"status\",\"status\":\"stream_started\"}`, for each part of the output `{\"type\":\"data\",\"content\":\"{\\\"type\\\":…,\\\"payload\\\":…}\"}` "+
			"(for all of it, if the agent puts it out at once), and `{\"type\":\"status\",\"status\":\"stream_completed\"}` or `{\"type\":\"error\",\"error\":\"…\"}`. "+
			"The run goes on if the client goes.",
		wireOfToday{api.Messages[agentCall](s.api)})
	s.addStream("agents/{id}/execute/{tag}", "runAgentExecuteStream", "Run an agent and watch it, as older SDKs do",
		"As runAgentStream, in frames that have an id, a type, a timestamp, and what they tell in data or error.",
		olderWire{api.Messages[olderStart](s.api), s.Now})
}

func (s *surface) addStream(rest, name, summary, description string, w wire) {
	op := api.Operation{
		Method: http.MethodGet, Path: path(rest), Name: name, Tag: tag, Security: api.KeyInURL, Action: access.StartRun,
		Summary: summary, Description: description, Errors: []*fault.Fault{fault.ErrUnavailable, api.ErrTooManyStreams},
	}
	s.api.Raw(op, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		who, err := s.api.Identify(rw, r, op)
		if err != nil {
			s.api.Fail(rw, r, err)
			return
		}
		leave, err := s.api.Enter(who)
		if err != nil {
			s.api.Fail(rw, r, err)
			return
		}
		defer leave()
		conn, err := accept(rw, r)
		if err != nil {
			s.api.Fail(rw, r, err)
			return
		}
		s.Streams.Add(1)
		defer s.Streams.Done()
		defer conn.CloseNow()
		t := &stream{surface: s, wire: w, conn: conn, sent: time.Now()}
		// The request's context is not to be used after an upgrade.
		r = r.WithContext(context.WithoutCancel(r.Context()))
		t.still = func() (access.Caller, error) { return s.api.IdentifyAgain(rw, r, op) }
		if err := t.serve(r.Context(), r); err != nil {
			f, _ := s.api.Report(rw, r, err)
			t.end(r.Context(), f)
		}
	}), api.Answer{Status: http.StatusSwitchingProtocols})
}

// accept makes a WebSocket of r.
func accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	hushed := &hushed{ResponseWriter: w}
	conn, err := websocket.Accept(hushed, r, &websocket.AcceptOptions{
		// Any site may do this: who sends the request is known by a key that the
		// site has to have, and by no cookie.
		InsecureSkipVerify: true,
	})
	if err != nil {
		return nil, errNoUpgrade // the error has headers of the request in it
	}
	conn.SetReadLimit(api.MaxBody)
	return conn, nil
}

// hushed keeps a refusal back, which is ours to write.
type hushed struct {
	http.ResponseWriter
	refused bool
}

func (h *hushed) WriteHeader(status int) {
	if h.refused = status >= 400; !h.refused {
		h.ResponseWriter.WriteHeader(status)
	}
}

func (h *hushed) Write(b []byte) (int, error) {
	if h.refused {
		return len(b), nil
	}
	return h.ResponseWriter.Write(b)
}

// Unwrap lets the connection be reached.
func (h *hushed) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// stream is one client that watches a run.
type stream struct {
	*surface
	wire wire
	conn *websocket.Conn
	sent time.Time // when it was last sent anything

	still   func() (access.Caller, error) // who it is by now, if he may still do this
	checked time.Time                     // when that was asked
}

// errLeft says that the client has gone, or does not read what it is sent.
var errLeft = errors.New("runagent: the client has gone")

// serve starts the run that the client asks for and tells it how it goes. It
// returns an error that the client is to be told.
func (t *stream) serve(ctx context.Context, r *http.Request) error {
	call, err := t.read(ctx)
	var who access.Caller
	if err == nil {
		// He may have taken his time.
		who, err = t.still()
		t.checked = time.Now()
	}
	if err == nil {
		var started run.Run
		if started, err = t.start(ctx, who, r.PathValue("id"), call, r.Header.Get("Idempotency-Key"), false); err == nil {
			err = t.watch(ctx, who, started)
		}
	}
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// read reads what the client asks for.
func (t *stream) read(ctx context.Context) (agentCall, error) {
	limited, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	_, message, err := t.conn.Read(limited)
	if err != nil {
		return agentCall{}, errLeft
	}
	return t.wire.read(message)
}

// watch tells the client what happens in a run, until it has ended.
func (t *stream) watch(ctx context.Context, who access.Caller, started run.Run) error {
	ctx = t.conn.CloseRead(ctx) // it ends when the client goes
	events, err := t.Runs.Events(ctx, who, started.ID, 0)
	if err != nil {
		return err
	}
	defer events.Close()
	if err := t.send(ctx, t.wire.status("stream_started")); err != nil {
		return err
	}
	parts := 0
	for {
		e, err := t.next(ctx, events)
		switch {
		case ctx.Err() != nil:
			return errLeft
		case errors.Is(err, errQuiet):
			err = t.idle(ctx, who, started.ID)
		}
		if err == nil {
			err = t.check(started.AgentID)
		}
		if err != nil {
			return err
		}
		switch e.Kind {
		case run.ChunkEvent:
			parts++
			err = t.sendData(ctx, e.Data)
		case run.DoneEvent:
			return t.finish(ctx, who, started.ID, parts == 0)
		}
		if err != nil {
			return err
		}
	}
}

// check asks now and then whether the client may still watch a run of an agent.
func (t *stream) check(agentID string) error {
	if time.Since(t.checked) < watched {
		return nil
	}
	who, err := t.still()
	if err == nil {
		err = who.MayUse(agentID)
	}
	t.checked = time.Now()
	return err
}

// errQuiet says that nothing has happened.
var errQuiet = errors.New("runagent: nothing has happened")

// next waits for an event no longer than it takes to look whether the server
// stops.
func (t *stream) next(ctx context.Context, events *run.Events) (run.Event, error) {
	limited, cancel := context.WithTimeout(ctx, watched)
	defer cancel()
	e, err := events.Next(limited)
	if err != nil && limited.Err() != nil {
		err = errQuiet
	}
	return e, err
}

// idle is what is done while nothing happens.
func (t *stream) idle(ctx context.Context, who access.Caller, runID string) error {
	if t.Stopping() {
		r, err := t.Runs.Get(ctx, who, runID)
		if err != nil {
			return err
		}
		if r.Status == run.Queued || r.NodeID != t.Runs.NodeID {
			return errGoesOn
		}
	}
	if time.Since(t.sent) >= silence {
		t.sent = time.Now()
		go func() {
			// Who is slow to read is slow to answer, too; that is no reason to
			// hang up.
			limited, cancel := context.WithTimeout(ctx, silence/2)
			defer cancel()
			_ = t.conn.Ping(limited)
		}()
	}
	return nil
}

// finish tells the client how the run has ended, and with the output if it has
// seen no part of it.
func (t *stream) finish(ctx context.Context, who access.Caller, runID string, withOutput bool) error {
	r, err := t.Runs.Get(ctx, who, runID)
	if err != nil {
		return err
	}
	last := t.wire.status("stream_completed")
	switch {
	case r.Status != run.Succeeded:
		last = t.wire.failure(r.ErrorMessage)
	case withOutput:
		if err := t.sendData(ctx, r.Output); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(gap):
	}
	if err = t.send(ctx, last); err == nil {
		_ = t.conn.Close(websocket.StatusNormalClosure, "")
	}
	return err
}

// end tells the client of a failure, and hangs up.
func (t *stream) end(ctx context.Context, f *fault.Fault) {
	if t.send(ctx, t.wire.failure(f.Message)) != nil {
		return
	}
	status := websocket.StatusPolicyViolation
	switch f.Kind {
	case fault.Internal:
		status = websocket.StatusInternalError
	case fault.Unavailable:
		status = websocket.StatusTryAgainLater
	}
	_ = t.conn.Close(status, f.Code)
}

func (t *stream) sendData(ctx context.Context, v jsontext.Value) error {
	frame, err := t.wire.data(v)
	if err != nil {
		return err
	}
	return t.send(ctx, frame)
}

// send sends a frame, or says that the client has gone.
func (t *stream) send(ctx context.Context, frame any) error {
	text, err := json.Marshal(frame, json.Deterministic(true))
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, writing)
	defer cancel()
	if err := t.conn.Write(limited, websocket.MessageText, text); err != nil {
		return errLeft
	}
	t.sent = time.Now()
	return nil
}
