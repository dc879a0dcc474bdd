package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/run"
)

const (
	maxLines = 2000     // of a log that a page shows: its last ones, up to twice as many
	maxLog   = 1 << 20  // bytes of them, likewise
	maxLine  = 16 << 10 // bytes of one of them

	// A page does not wait for a run: it shows what is there. An event that is
	// there comes within soon, and what a run that has ended said within lastWords.
	soon      = 60 * time.Millisecond
	atMost    = time.Second
	lastWords = 5 * time.Second

	// While somebody watches, it is asked this often whether he is still signed in
	// and whether the server stops.
	watched = 2 * time.Second
	silence = 14 * time.Second // the longest, or what is between might hang up
	writing = 30 * time.Second // that a browser may take for what it is sent
)

// line is an event as it is shown.
type line struct {
	Kind run.EventKind `json:"kind"`
	At   string        `json:"at"`
	Text string        `json:"text"`
}

func newLine(e run.Event) line {
	l := line{Kind: e.Kind, At: e.At.UTC().Format("15:04:05.000")}
	var said struct{ Status, Message string }
	switch e.Kind {
	case run.StartEvent:
		l.Text = "started"
	case run.ErrorEvent, run.DoneEvent:
		_ = json.Unmarshal(e.Data, &said, json.MatchCaseInsensitiveNames(true)) // it is ours
		l.Text = said.Status
		if e.Kind == run.ErrorEvent {
			l.Text = said.Message
		}
	default:
		// A text stands there without its quotes; anything else is JSON.
		if e.Data.Kind() != '"' || json.Unmarshal(e.Data, &l.Text) != nil {
			l.Text = string(e.Data)
		}
	}
	if short, cut := shorten(l.Text, maxLine); cut {
		l.Text = fmt.Sprintf("%s … (%d bytes more)", short, len(l.Text)-len(short))
	}
	return l
}

// log is what a page shows of a run's events.
type log struct {
	lines []line
	size  int // bytes of their texts
	cut   bool
	after int64 // the number of the last event
	whole bool
}

// readLog reads the events that are there.
func readLog(ctx context.Context, events *run.Events) (*log, error) {
	l := &log{}
	for end := time.Now().Add(atMost); !l.whole && time.Now().Before(end); {
		before := l.after
		if err := l.readOn(ctx, events, soon); err != nil {
			return nil, err
		}
		if l.after == before {
			break
		}
	}
	return l, nil
}

// readOn reads more events, until no time is left.
func (l *log) readOn(ctx context.Context, events *run.Events, wait time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for !l.whole {
		e, err := events.Next(limited)
		switch {
		case err == io.EOF:
			l.whole = true
			return nil
		case limited.Err() != nil && ctx.Err() == nil:
			return nil
		case err != nil:
			return err
		}
		l.after = e.Seq
		l.add(newLine(e))
	}
	return nil
}

// add adds a line, and lets go of the first ones if there are too many.
func (l *log) add(next line) {
	l.lines, l.size = append(l.lines, next), l.size+len(next.Text)
	if len(l.lines) < 2*maxLines && l.size < 2*maxLog {
		return
	}
	n := 0
	for ; len(l.lines)-n > maxLines || l.size > maxLog; n++ {
		l.size -= len(l.lines[n].Text)
	}
	l.lines, l.cut = append([]line(nil), l.lines[n:]...), true
}

// events sends the events of a run while they happen, to the script of its page.
func (p *pages) events(w http.ResponseWriter, r *http.Request) error {
	visit, err := p.visit(w, r)
	if err != nil {
		return err
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if last := r.Header.Get("Last-Event-ID"); last != "" { // it was cut off and comes again
		after, _ = strconv.ParseInt(last, 10, 64)
	}
	events, err := p.Runs.Events(r.Context(), visit.Caller, r.PathValue("id"), after)
	if err != nil {
		return err
	}
	defer events.Close()
	leave, err := p.api.Enter(visit.Caller)
	switch {
	case err == nil:
		defer leave()
	case !p.Stopping(): // then it ends below: a browser that is refused does not come again
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	s := &stream{w: w, to: http.NewResponseController(w), checked: time.Now()}
	defer func() { _ = s.to.SetWriteDeadline(time.Time{}) }() // the connection goes on
	s.send("retry: 2000\n\n")
	for s.err == nil {
		e, err := s.next(r.Context(), events)
		if err == io.EOF || r.Context().Err() != nil || p.Stopping() {
			return nil
		}
		quiet := errors.Is(err, context.DeadlineExceeded)
		if err != nil && !quiet {
			// It is too late to tell the browser, which comes again.
			p.api.Report(w, r, err)
			return nil
		}
		if time.Since(s.checked) >= watched {
			if _, err := p.visit(w, r); err != nil {
				return nil
			}
			s.checked = time.Now()
		}
		switch {
		case !quiet:
			text, err := json.Marshal(newLine(e), jsontext.EscapeForJS(true))
			if err != nil {
				return nil // a text that is not valid is none of ours
			}
			s.send("id: %d\ndata: %s\n\n", e.Seq, text)
		case time.Since(s.sent) >= silence:
			s.send(":\n\n")
		}
	}
	return nil
}

// stream is one who watches.
type stream struct {
	w       http.ResponseWriter
	to      *http.ResponseController
	err     error
	sent    time.Time
	checked time.Time // that he is signed in
}

// next waits for an event no longer than it takes to ask again who watches.
func (s *stream) next(ctx context.Context, events *run.Events) (run.Event, error) {
	limited, cancel := context.WithTimeout(ctx, watched)
	defer cancel()
	return events.Next(limited)
}

func (s *stream) send(format string, args ...any) {
	s.sent = time.Now()
	_ = s.to.SetWriteDeadline(s.sent.Add(writing)) // one who does not read is not waited for
	if _, s.err = fmt.Fprintf(s.w, format, args...); s.err == nil {
		s.err = s.to.Flush()
	}
}
