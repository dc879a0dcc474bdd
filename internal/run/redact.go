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
			for _, s := range []string{text, strings.TrimSpace(text)} { // programs trim what they are given
				if utf8.RuneCountInString(s) >= leastValue {
					long[s] = true
				} else if s != "" {
					c.whole[s] = true
				}
			}
		})
	}
	for _, v := range sessions {
		leaves(v, func(kind jsontext.Kind, text string) {
			if kind == '"' && utf8.RuneCountInString(text) >= leastSession {
				long[text] = true
			}
		})
	}

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
	return c
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
	if len(c.finders) == 0 {
		return s
	}
	var m marks
	eachReading([]byte(s), func(read []byte, place func(from, to int) (int, int)) {
		for _, f := range c.finders {
			f.scan(read, func(from, to int) {
				from, to = place(from, to)
				m.hide(len(s), from, to)
			})
		}
	})
	return m.apply(s)
}

// marks counts, for each byte of a text, the secrets that begin there less
// those that end before it.
type marks []int32

func (m *marks) hide(size, from, to int) {
	if *m == nil {
		*m = make(marks, size+1)
	}
	(*m)[from]++
	(*m)[to]--
}

func (m marks) apply(s string) string {
	if m == nil {
		return s
	}
	var out strings.Builder
	inside, shown := int32(0), 0
	for i, n := range m {
		switch before := inside; {
		case before == 0 && n > 0:
			out.WriteString(s[shown:i])
			out.WriteString(redacted)
		case before > 0 && before+n == 0:
			shown = i
		}
		inside += n
	}
	out.WriteString(s[shown:])
	// A piece of a long text, found without the rest of it, may end inside of a
	// character.
	return strings.ToValidUTF8(out.String(), "")
}
