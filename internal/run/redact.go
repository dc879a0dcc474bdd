package run

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// redacted stands where a secret was cut out.
const redacted = "[redacted]"

// Secrets shorter than these are not looked for inside of other texts: cutting
// every "1" or "no" out of an answer would leave nothing of it. A short value is
// still cut where it is a whole text or number.
const (
	leastValue   = 4 // characters
	leastSession = 6 // of the texts in a session, many of which are no secrets
	leastLine    = 8 // of the lines in a value that has several, each of which tells a part of it
)

// Beginnings of secrets, where a text breaks off, count from these lengths on.
const (
	leastOpen = 3 // bytes, if the text may go on; what is shorter tells next to nothing
	leastPart = 8 // bytes, if it does not
)

// A finder takes 25 bytes of memory for each byte of what it finds. So there is
// more than one of them if there is much to find, and a long text is found in
// pieces.
const (
	maxFinder = 1 << 20
	maxPiece  = 64 << 10
)

// cutter cuts the values that a run was given out of what its agent says:
// wherever they stand in a text, as they are or in JSON, URL, hex or base64 form.
//
// Those forms are found by undoing them in the text, not by doing them to the
// secret. That finds every spelling of a form, and a secret that is only a part
// of what was encoded.
type cutter struct {
	finders []*finder
	whole   map[string]bool // the short values
}

// newCutter makes a cutter for values, and for the texts in sessions.
func newCutter(values, sessions []jsontext.Value) *cutter {
	c := &cutter{whole: map[string]bool{}}
	long := map[string]bool{}
	for _, v := range values {
		leaves(v, func(_ jsontext.Kind, text string) {
			trimmed := strings.TrimSpace(text) // as programs do with what they are given
			switch {
			case utf8.RuneCountInString(trimmed) >= leastValue:
				addLines(long, trimmed)
				return // what it was trimmed of is no secret without it
			case utf8.RuneCountInString(text) >= leastValue:
				long[text] = true
			case text != "":
				c.whole[text] = true
			}
			if trimmed != "" {
				c.whole[trimmed] = true
			}
		})
	}
	for _, v := range sessions {
		addSession(long, v)
	}
	c.find(long)
	return c
}

// addSession makes c cut out the texts in a session, too.
func (c *cutter) addSession(v jsontext.Value) {
	texts := map[string]bool{}
	addSession(texts, v)
	c.find(texts)
}

func addSession(texts map[string]bool, v jsontext.Value) {
	leaves(v, func(kind jsontext.Kind, text string) {
		if kind == '"' && utf8.RuneCountInString(text) >= leastSession {
			addLines(texts, text)
		}
	})
}

// addLines adds text, and the lines of one that has several: a program may show
// one of them alone.
func addLines(texts map[string]bool, text string) {
	texts[text] = true
	if !strings.Contains(text, "\n") {
		return
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); utf8.RuneCountInString(line) >= leastLine {
			texts[line] = true
		}
	}
}

// find makes c find long, too.
func (c *cutter) find(long map[string]bool) {
	var texts [][]byte
	size := 0
	for text := range long {
		for _, piece := range pieces(text) {
			if size += len(piece); size > maxFinder {
				c.finders = append(c.finders, newFinder(texts))
				texts, size = nil, len(piece)
			}
			texts = append(texts, []byte(piece))
		}
	}
	if len(texts) > 0 {
		c.finders = append(c.finders, newFinder(texts))
	}
}

// pieces returns parts of text that cover it.
func pieces(text string) (all []string) {
	for len(text) > maxPiece {
		all = append(all, text[:maxPiece])
		text = text[min(maxPiece, len(text)-maxPiece):] // the last is as long as the others
	}
	return append(all, text)
}

// leaves calls f with every text and number in v, which is valid JSON or none.
func leaves(v jsontext.Value, f func(kind jsontext.Kind, text string)) {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return
		}
		if kind := token.Kind(); kind == '0' || kind == '"' && !isName(d) {
			f(kind, token.String())
		}
	}
}

// isName reports whether the text that d has just read is a name in an object.
func isName(d *jsontext.Decoder) bool {
	kind, n := d.StackIndex(d.StackDepth())
	return kind == '{' && n%2 == 1
}

// json returns v, which is valid JSON, without the secrets in it. A number that
// holds one becomes a text.
func (c *cutter) json(v jsontext.Value) (jsontext.Value, error) {
	var out bytes.Buffer
	from, to := jsontext.NewDecoder(bytes.NewReader(v)), jsontext.NewEncoder(&out)
	alike := 1 // names that became alike, so far
	for {
		token, err := from.ReadToken()
		if errors.Is(err, io.EOF) {
			return bytes.TrimSpace(out.Bytes()), nil
		}
		if err != nil {
			return nil, err
		}
		switch token.Kind() {
		case '"':
			token = jsontext.String(c.text(token.String()))
		case '0':
			if number := token.String(); c.text(number) != number {
				token = jsontext.String(redacted)
			}
		}
		err = to.WriteToken(token)
		for name := token.String(); errors.Is(err, jsontext.ErrDuplicateName); {
			alike++
			err = to.WriteToken(jsontext.String(name + " " + strconv.Itoa(alike)))
		}
		if err != nil {
			return nil, err
		}
	}
}

// text returns s without the secrets in it.
func (c *cutter) text(s string) string {
	if c.whole[s] {
		return redacted
	}
	m, _ := c.look([]byte(s), len(s)+1)
	if m == nil {
		return s
	}
	// A piece of a long text, found without the rest of it, may end inside of a
	// character.
	return strings.ToValidUTF8(string(m.cut([]byte(s), 0, len(s), 0)), "")
}

// look marks the secrets in text. It also says where the beginning of one stands
// in which text breaks off, if it is least bytes long; else open is len(text).
func (c *cutter) look(text []byte, least int) (m marks, open int) {
	open = len(text)
	if len(c.finders) == 0 {
		return nil, open
	}
	// What a text that breaks off in an escape will say is not known yet.
	certain := len(text) - brokenEscape(text)
	opens := func(text []byte, depth int, place func(from, to int) (int, int), size int) {
		if depth < least {
			return
		}
		// One digit may be left, of which nothing is known yet.
		from, to := place(size-depth, size)
		rest := text[to:]
		if len(rest)-bytes.Count(rest, []byte{'\n'})-bytes.Count(rest, []byte{'\r'}) <= 1 {
			open = min(open, from)
		}
	}
	eachReading(text, func(read []byte, place func(from, to int) (int, int)) {
		for _, f := range c.finders {
			depth := f.scan(read, func(from, to int) {
				from, to = place(from, to)
				m.hide(len(text), from, to)
			})
			opens(text, depth, place, len(read))
		}
	})
	if certain < len(text) && least <= certain {
		eachReading(text[:certain], func(read []byte, place func(from, to int) (int, int)) {
			for _, f := range c.finders {
				opens(text[:certain], f.scan(read, func(int, int) {}), place, len(read))
			}
		})
	}
	m.add()
	return m, open
}

// marks counts, for each byte of a text, the secrets that it is in. Before add it
// is those that begin there less those that end before it.
type marks []int32

func (m *marks) hide(size, from, to int) {
	if *m == nil {
		*m = make(marks, size+1)
	}
	(*m)[from]++
	(*m)[to]--
}

// hideFrom is hide after add.
func (m *marks) hideFrom(from, to int) {
	if *m == nil && from < to {
		*m = make(marks, to+1)
	}
	for i := from; i < to; i++ {
		(*m)[i]++
	}
}

func (m marks) add() {
	for i := 1; i < len(m); i++ {
		m[i] += m[i-1]
	}
}

// hides reports whether the byte at i is of a secret.
func (m marks) hides(i int) bool { return m != nil && m[i] > 0 }

// cut returns the bytes from, …, to-1 of text without the secrets in them. Of one
// that begins before from it tells if that is before first as well, where nobody
// has told of it yet.
func (m marks) cut(text []byte, from, to, first int) []byte {
	if m == nil {
		return bytes.Clone(text[from:to])
	}
	var out []byte
	for i := from; i < to; i++ {
		switch {
		case !m.hides(i):
			out = append(out, text[i])
		case i == first || !m.hides(i-1):
			out = append(out, redacted...)
		}
	}
	return out
}
