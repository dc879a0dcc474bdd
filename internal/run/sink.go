package run

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what an agent may say while it runs. What goes beyond is left out,
// and the run goes on.
const (
	maxLog     = 4 << 20  // bytes of a run's log, as they come
	perLine    = 64       // of them, that a line takes beside what is in it
	maxRawLine = 64 << 10 // bytes of a line that are read
	maxLine    = 8 << 10  // and of it, that are shown
)

// sink takes what a runner says while its run goes on.
type sink interface {
	chunk(v jsontext.Value) // a part of the output
	log(line []byte)        // without its line end
}

// redactor is a sink that cuts secrets out of what is said before it is passed
// on: out of log lines, which become text that a person can read, and out of
// chunks. Its own sink is called by one goroutine at a time, and may keep what it
// is given.
//
// A secret may stand in several lines, or in several chunks that are texts. Of
// those a line or a chunk is held, as long as it breaks off in what may be the
// beginning of a secret.
type redactor struct {
	mu     sync.Mutex
	to     sink
	lines  stream
	texts  stream
	failed any // what a call has panicked with
}

func newRedactor(c *cutter, to sink) *redactor {
	r := &redactor{to: to}
	r.lines = stream{cutter: c, out: func(line []byte) { to.log(readable(line)) }}
	r.texts = stream{cutter: c, out: func(text []byte) {
		if quoted, err := jsontext.AppendQuote(nil, bytes.ToValidUTF8(text, nil)); err == nil {
			to.chunk(quoted)
		}
	}}
	return r
}

func (r *redactor) log(line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.guard()
	if r.failed != nil {
		return
	}
	if len(line) >= maxRawLine {
		// The rest of it is unread, and with it the rest of a secret.
		r.lines.add(line)
		r.lines.end(leastOpen)
		return
	}
	r.lines.add(slices.Concat(line, []byte{'\n'})) // the runner's own bytes stay as they are
	r.lines.settle()
}

func (r *redactor) chunk(v jsontext.Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.guard()
	if r.failed != nil {
		return
	}
	if v.Kind() == '"' {
		if text, err := jsontext.AppendUnquote(nil, v); err == nil {
			r.texts.add(text)
			r.texts.settle()
			return
		}
	}
	r.texts.end(leastPart)
	if v, err := r.texts.cutter.json(v); err == nil { // it was read as JSON
		r.to.chunk(v)
	}
}

// guard keeps a panic for close: the goroutines of a command's pipes are nobody's
// who could catch it, and it would end the server.
func (r *redactor) guard() {
	if v := recover(); v != nil {
		r.failed = v
	}
}

// close passes on what is held.
func (r *redactor) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		panic(r.failed)
	}
	r.lines.end(leastPart)
	r.texts.end(leastPart)
}

// readable returns a line as a person can read it.
func readable(line []byte) []byte {
	text := printable(strings.ToValidUTF8(string(bytes.TrimRight(line, "\r\n")), "\uFFFD"))
	if len(text) <= maxLine {
		return []byte(text)
	}
	end := maxLine
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return []byte(text[:end] + "…")
}
