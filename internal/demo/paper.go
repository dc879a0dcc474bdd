package demo

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// paper is what the story is written on. Every text passes shorten on its way.
type paper struct {
	out     io.Writer
	colours bool
	err     error // the first that writing met; nothing is written after it

	hidden []string // each secret and, after it, what is shown of it
}

// hide has only the first characters of secret shown from now on.
func (p *paper) hide(secret string, shown int) {
	if len(secret) > shown && !slices.Contains(p.hidden, secret) {
		p.hidden = append(p.hidden, secret, secret[:shown]+"…")
	}
}

// secrets is each secret with what is shown of it.
func (p *paper) secrets() iter.Seq2[string, string] {
	return func(yield func(secret, beginning string) bool) {
		for pair := range slices.Chunk(p.hidden, 2) {
			if !yield(pair[0], pair[1]) {
				return
			}
		}
	}
}

func (p *paper) shorten(text string) string { return strings.NewReplacer(p.hidden...).Replace(text) }

// The colours of a terminal.
const (
	bold   = "1"
	cyan   = "36"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

// write writes text, indented.
func (p *paper) write(indent, colour, text string) {
	if p.err != nil {
		return
	}
	text = p.shorten(text)
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if p.colours && colour != "" {
			line = "\x1b[" + colour + "m" + line + "\x1b[0m"
		}
		if _, p.err = fmt.Fprintf(p.out, "%s%s\n", indent, line); p.err != nil {
			return
		}
	}
}

func (p *paper) gap() { p.write("", "", "\n") }

// title begins a chapter.
func (p *paper) title(format string, args ...any) {
	p.gap()
	p.write("", bold, fmt.Sprintf(format, args...))
}

// say writes sentences.
func (p *paper) say(format string, args ...any) {
	p.write("", "", wrap(fmt.Sprintf(format, args...)))
}

// note writes what the story found out.
func (p *paper) note(format string, args ...any) {
	p.write("  ", faint, fmt.Sprintf(format, args...))
}

// command writes the curl that makes a request: where to, and its options.
func (p *paper) command(url string, options []string) {
	p.gap()
	line := strings.Join(append([]string{"$ curl " + url}, options...), " ")
	if utf8.RuneCountInString(p.shorten(line)) > width || strings.Contains(line, "\n") {
		line = strings.Join(append([]string{"$ curl " + url}, options...), " \\\n    ")
	}
	p.write("  ", cyan, line)
}

// event writes one of the events of a stream.
func (p *paper) event(kind, data string) {
	p.write("  ", green, "event: "+kind)
	p.write("  ", "", "data: "+layout{most: 1}.lay(p.shorten(data), ""))
}

// answer writes what a request was answered with.
func (p *paper) answer(status int, text string, body []byte) {
	colour := green
	if status >= 400 {
		colour = yellow
	}
	p.write("  ", colour, fmt.Sprintf("%d %s", status, text))
	if len(body) > 0 {
		p.write("  ", "", layout{most: 1}.lay(p.shorten(string(body)), ""))
	}
}
