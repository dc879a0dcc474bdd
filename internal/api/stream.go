package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// How many streams may be open at one time on this server.
const (
	maxStreams             = 4096
	maxStreamsOfOne        = 64 // of a key, or of the account behind access tokens
	maxStreamsOfOneCompany = 256
)

// ErrTooManyStreams refuses a stream more than there may be at one time.
var ErrTooManyStreams = fault.New(fault.RateLimited, "TOO_MANY_STREAMS", "Too many streams are open with this key or in its organization. End one, or try again shortly.").Retry(5 * time.Second)

var (
	errStreamsFull = fault.ErrUnavailable.Say("Too many streams are open on this server. Try again shortly.").Retry(5 * time.Second)
	errStopping    = fault.ErrUnavailable.Say("The server is stopping. Try again shortly.").Retry(5 * time.Second)
)

// pace is how a stream goes when not much happens, or not much gets through.
type pace struct {
	check   time.Duration // how often it is asked whether it may go on
	silence time.Duration // the longest, or what is between might hang up
	write   time.Duration // that a client may take for one piece
}

var usualPace = pace{check: 2 * time.Second, silence: 15 * time.Second, write: 20 * time.Second}

// piece is how much is written at once.
const piece = 32 << 10

// Message is one message of a stream.
type Message struct {
	ID    int64 // after which whoever was cut off goes on; 0: none
	Event string
	Data  any // written as JSON
}

// Source is where the messages of a stream come from.
type Source struct {
	// Next returns the next message, and waits for it until ctx ends. After the
	// last one it returns io.EOF. It goes on after an end of ctx.
	Next func(ctx context.Context) (Message, error)

	// Still is asked now and then whether the stream may go on for who, the
	// caller as he is by then, while the server stops or not. It is optional.
	Still func(ctx context.Context, who access.Caller, stopping bool) error

	Close func()
}

// RegisterStream makes an operation of open that answers with server-sent
// events. In is as [Register] has it, and the headers as [RegisterWith] does.
//
// Open returns where they come from, or an error, which is answered as everywhere.
// Nothing to tell (a nil Source) is answered with 204, at which browsers stop to
// come again. From then on who has asked is asked for again every few seconds,
// without counting; one who may no longer, or does not read, is let go.
//
// A stream that can't go on ends with an error event that has no id, whose data is
// a [client.StreamError].
func RegisterStream[In any](a *API, op Operation, open func(ctx context.Context, who access.Caller, in *In) (*Source, Headers, error)) {
	if op.Security != KeyOrToken || op.Status != 0 || len(op.Also) > 0 {
		panic(fmt.Sprintf("api: the stream %s has a security, a status or addresses that streams do not have", op.Name))
	}
	op.Status = http.StatusOK
	op.Errors = append(slices.Clip(op.Errors), ErrTooManyStreams)
	op.mustBeWhole(reflect.TypeFor[*In]())
	rt := &route{api: a, op: op, streams: true}
	doc := a.doc.operation(op)
	doc.Middlewares = huma.Middlewares{rt.serve}
	huma.Register(a.huma, doc, func(ctx context.Context, in *In) (*struct{}, error) {
		x := ctx.Value(exchangeKey{}).(*exchange)
		source, headers, err := open(ctx, x.who, in)
		headers.Set(x.w.Header())
		if x.failure = err; err != nil {
			return nil, nil
		}
		if x.source = source; source == nil {
			x.source = &Source{}
		}
		return nil, nil
	})
	a.doc.streams(op)
	rt.learn(a.doc.finish(op, a.config.Refusals[op.Security]))
}

// streams documents the answers of op, which is a stream.
func (d *document) streams(op Operation) {
	doc := d.find(op.Method, op.Path)
	doc.Responses["200"] = &huma.Response{
		Description: "Server-sent events",
		Content:     map[string]*huma.MediaType{eventStream: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	doc.Responses["204"] = &huma.Response{Description: "There is nothing to tell any more"}
}

const eventStream = "text/event-stream"

func (a *API) stopping() bool { return a.config.Stopping != nil && a.config.Stopping() }

// streams counts those that are open.
type streams struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by organization, and by key or account
}

// places are what who's streams count against.
func places(who access.Caller) (organization, holder string) {
	organization = "o" + who.OrganizationID
	if who.KeyID != 0 {
		return organization, "k" + strconv.FormatInt(who.KeyID, 10)
	}
	return organization, "a" + who.AccountID
}

// enter takes a place for a stream of who, if there is one.
func (s *streams) enter(who access.Caller, stopping bool) error {
	if stopping {
		return errStopping
	}
	organization, holder := places(who)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.all >= maxStreams:
		return errStreamsFull
	case s.of[holder] >= maxStreamsOfOne, s.of[organization] >= maxStreamsOfOneCompany:
		return ErrTooManyStreams
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.all++
	s.of[holder]++
	s.of[organization]++
	return nil
}

func (s *streams) leave(who access.Caller) {
	organization, holder := places(who)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	for _, place := range []string{organization, holder} {
		if s.of[place]--; s.of[place] == 0 {
			delete(s.of, place)
		}
	}
}

// errLeft says that the client has gone, or does not read what it is sent.
var errLeft = errors.New("api: the client of a stream has gone")

// stream is one client that is told what happens.
type stream struct {
	*route
	x       *exchange
	from    Client
	w       http.ResponseWriter
	conn    *http.ResponseController
	sent    time.Time
	checked time.Time
	within  bool // a message that is not whole yet
}

// stream answers x with the messages of its source.
func (rt *route) stream(w http.ResponseWriter, x *exchange) {
	if x.source.Close != nil {
		defer x.source.Close()
	}
	if x.source.Next == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", eventStream)
	// What is between would wait for more, to send or to pack it together.
	w.Header().Set("Cache-Control", "no-store, no-transform")
	w.Header().Set("X-Accel-Buffering", "no")
	if x.r.Method == http.MethodHead {
		return
	}
	now := time.Now()
	s := &stream{route: rt, x: x, from: rt.api.Client(w, x.r), w: w, conn: http.NewResponseController(w), sent: now, checked: now}
	err := s.tell()
	if err != nil && !errors.Is(err, errLeft) && x.r.Context().Err() == nil {
		f, _ := rt.api.Report(w, x.r, err)
		if s.within {
			panic(http.ErrAbortHandler) // it would be a part of that, which is not to be taken for a whole one
		}
		_ = s.part(f)
	}
	_ = s.conn.SetWriteDeadline(time.Time{}) // the connection may go on
}

// tell sends what there is until there is no more.
func (s *stream) tell() error {
	if err := s.write([]byte("retry: 2000\n\n")); err != nil {
		return err
	}
	for {
		m, err := s.next()
		quiet := errors.Is(err, errQuiet)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case s.x.r.Context().Err() != nil:
			return errLeft
		case err != nil && !quiet:
			return err
		}
		if err := s.check(); err != nil {
			return err
		}
		switch {
		case !quiet:
			err = s.send(m)
		case time.Since(s.sent) >= s.api.pace.silence:
			err = s.write([]byte(":\n\n"))
		default:
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// errQuiet says that nothing has happened for a while.
var errQuiet = errors.New("api: nothing has happened")

// next waits for a message until it is time to ask again who is told, or to say
// anything at all.
func (s *stream) next() (Message, error) {
	wait := min(s.every()-time.Since(s.checked), s.api.pace.silence-time.Since(s.sent))
	limited, cancel := context.WithTimeout(s.x.r.Context(), max(wait, time.Millisecond))
	defer cancel()
	m, err := s.x.source.Next(limited)
	if err != nil && !errors.Is(err, io.EOF) && limited.Err() != nil {
		err = errQuiet
	}
	return m, err
}

// every is how often it is asked whether the stream may go on: oftener when the
// server stops, which waits for it.
func (s *stream) every() time.Duration {
	if s.api.stopping() {
		return s.api.pace.check / 8
	}
	return s.api.pace.check
}

// check asks now and then whether who is told may still be.
func (s *stream) check() error {
	if time.Since(s.checked) < s.every() {
		return nil
	}
	ctx := s.x.r.Context()
	who, _, err := s.api.config.Authenticate(ctx, Credentials{
		Accepts: s.op.Security, Secret: s.x.credential, Action: s.op.Action, Free: true, Again: true,
	}, s.from)
	if err == nil && s.x.source.Still != nil {
		who.Address, who.RequestID = s.from.Address, s.from.RequestID
		err = s.x.source.Still(ctx, who, s.api.stopping())
	}
	s.checked = time.Now()
	return err
}

// part tells of a failure that ends the stream before its source does.
func (s *stream) part(f *fault.Fault) error {
	s.checked = time.Now() // whoever may no longer is told why
	return s.send(Message{Event: "error", Data: client.StreamError{Code: f.Code, Message: f.Message, RequestID: s.from.RequestID}})
}

func (s *stream) send(m Message) error {
	b, err := m.encoded()
	if err != nil {
		return err
	}
	return s.write(b)
}

// encoded returns m as it is sent.
func (m Message) encoded() ([]byte, error) {
	data, err := json.Marshal(m.Data, marshaling)
	if err != nil {
		return nil, err
	}
	if bytes.ContainsAny(data, "\r\n") { // between the parts of a value, where it means nothing
		_ = (*jsontext.Value)(&data).Compact() // it is valid
	}
	b := make([]byte, 0, len(data)+64)
	if m.ID > 0 {
		b = fmt.Appendf(b, "id: %d\n", m.ID)
	}
	b = fmt.Appendf(b, "event: %s\ndata: ", m.Event)
	return append(append(b, data...), "\n\n"...), nil
}

// write sends b. Who takes a piece in time may be slow; who does not is let go,
// sooner if the server stops.
func (s *stream) write(b []byte) error {
	for len(b) > 0 {
		if err := s.check(); err != nil {
			return err
		}
		n, patience := min(len(b), piece), s.api.pace.write
		if s.api.stopping() {
			patience = min(patience, s.api.pace.check)
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := s.w.Write(b[:n]); err != nil {
			return errLeft
		}
		if err := s.conn.Flush(); err != nil {
			return errLeft
		}
		b = b[n:]
		s.sent, s.within = time.Now(), len(b) > 0
	}
	return nil
}
