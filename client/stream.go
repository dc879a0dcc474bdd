package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// silence is for how long a stream may say nothing: a server gives a sign of life
// every 15 seconds.
const silence = 45 * time.Second

const (
	eventStream = "text/event-stream"
	lastEventID = "Last-Event-Id"
)

// watch tells the events after seen of a stream, and comes again if it breaks.
func (c *Client) watch(ctx context.Context, op *operation, q request, seen int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for broken := 0; ; {
			before := seen
			left, err := c.follow(ctx, op, q, &seen, func(e Event) bool { return yield(e, nil) })
			if left || err == nil {
				return
			}
			if seen > before {
				broken = 0
			}
			var f *failure
			wait, again := time.Duration(0), false
			if errors.As(err, &f) && f.broken && ctx.Err() == nil {
				wait, again = c.delay(broken), broken < c.retries
			}
			if !again || !pause(ctx, wait) {
				if ctx.Err() != nil {
					err = fmt.Errorf("keyward: %s: %w", op.id, context.Cause(ctx))
				}
				yield(Event{}, err)
				return
			}
			broken++
		}
	}
}

// follow tells the events of a stream after seen until it ends; left is whether
// the reader has had enough.
func (c *Client) follow(ctx context.Context, op *operation, q request, seen *int64, tell func(Event) bool) (left bool, err error) {
	q.header = maps.Clone(q.header)
	if q.header == nil {
		q.header = http.Header{}
	}
	q.header["Accept"] = []string{eventStream}
	if *seen > 0 {
		q.header[lastEventID] = eventID(*seen)
	}
	var a *http.Response
	var alive *time.Timer
	var stop context.CancelCauseFunc
	defer func() {
		if stop != nil {
			stop(nil)
		}
	}()
	err = c.tries(ctx, op, q, func(ctx context.Context, r *http.Request) error {
		if stop != nil {
			stop(nil)
		}
		ctx, cancel := context.WithCancelCause(ctx)
		stop = cancel
		alive = time.AfterFunc(silence, func() {
			cancel(&failure{kind: ErrUnreachable, broken: true, text: fmt.Sprintf("keyward: no sign of life from %s for %v", c.server, silence)})
		})
		var err error
		if a, err = c.answer(r.WithContext(ctx)); err != nil {
			alive.Stop()
			return err
		}
		if a.StatusCode != http.StatusNoContent && !strings.HasPrefix(a.Header.Get("Content-Type"), eventStream) {
			alive.Stop()
			a.Body.Close()
			return c.foreign(a)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	defer alive.Stop()
	defer a.Body.Close()
	if a.StatusCode == http.StatusNoContent {
		return false, nil
	}
	events := reader{lines: bufio.NewScanner(&living{a.Body, alive})}
	events.lines.Buffer(make([]byte, 0, 16<<10), maxAnswer)
	for {
		e, err := events.next()
		switch {
		case errors.Is(err, bufio.ErrTooLong):
			return false, &failure{kind: ErrNotKeyward, text: fmt.Sprintf("keyward: %s tells an event of more than %d MiB", c.server, maxAnswer>>20)}
		case errors.Is(err, errNoEvent):
			return false, &failure{kind: ErrNotKeyward, text: fmt.Sprintf("keyward: %s tells an event that is no JSON", c.server)}
		case err != nil:
			f := &failure{kind: ErrUnreachable, cause: err, broken: true, text: fmt.Sprintf("keyward: the stream of %s broke off: %v", c.server, err)}
			if silent := (*failure)(nil); errors.As(context.Cause(a.Request.Context()), &silent) {
				f = silent
			}
			return false, f
		case e.ID == 0 && e.Kind == EventError:
			return false, c.ended(e)
		case e.ID <= *seen:
			continue
		}
		*seen = e.ID
		if !tell(e) {
			return true, nil
		}
		if e.Kind == EventDone {
			return false, nil
		}
	}
}

// ended is the failure of a stream that the server ended before its run did.
func (c *Client) ended(e Event) error {
	var said StreamError
	if json.Unmarshal(c.hide(e.Data), &said) != nil || said.Code == "" {
		return &failure{kind: ErrNotKeyward, text: fmt.Sprintf("keyward: %s ends a stream as Keyward does not", c.server)}
	}
	refused := &Error{Code: said.Code, Message: said.Message, RequestID: said.RequestID}
	// The server stops; the run does not, and another server may tell of it. Or
	// the stream has outlived its access token.
	if said.Code == string(ErrUnavailable) || said.Code == string(ErrExpiredAccessToken) && c.signedIn != nil {
		return &failure{kind: refused, text: refused.Error(), broken: true}
	}
	return refused
}

// living is a body whose every byte is a sign of life.
type living struct {
	io.Reader
	alive *time.Timer
}

func (l *living) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 {
		l.alive.Reset(silence)
	}
	return n, err
}

var errNoEvent = errors.New("an event is no JSON")

// reader reads server-sent events.
type reader struct {
	lines *bufio.Scanner
}

// next returns the next event. One that is not whole is none.
func (r *reader) next() (e Event, err error) {
	var data []byte
	for r.lines.Scan() {
		line := r.lines.Bytes()
		if len(line) == 0 {
			if data == nil {
				e = Event{}
				continue // a sign of life
			}
			e.Data = data
			if !json.Valid(data) {
				return Event{}, errNoEvent
			}
			return e, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.Kind = string(value)
		case "id":
			e.ID, _ = strconv.ParseInt(string(value), 10, 64)
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			if data = append(data, value...); data == nil {
				data = []byte{}
			}
			if len(data) > maxAnswer {
				return Event{}, bufio.ErrTooLong
			}
		}
	}
	if err := r.lines.Err(); err != nil {
		return Event{}, err
	}
	return Event{}, io.ErrUnexpectedEOF
}
