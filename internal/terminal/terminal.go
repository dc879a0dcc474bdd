// Package terminal is where a command reads and writes: a person's terminal, or
// a pipe to another program.
//
// Its laws:
//   - What a program is to read goes to Out, and what a person is to read to Err;
//     on a terminal they look like one.
//   - Nothing that comes from elsewhere, such as a name or a log line, can move
//     the cursor, change a title or colour what follows: [Clean].
//   - Colours and movement are for a terminal alone, and not where NO_COLOR is set.
//   - What is typed in secret is not shown, and a terminal is left as it was found,
//     however the command ends.
package terminal

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Screen is where a command reads and writes.
type Screen struct {
	Out io.Writer // for programs
	Err io.Writer // for people

	out     *output // is Out
	in      io.Reader
	typed   *bufio.Reader // of in
	inTTY   *os.File      // nil: in is no terminal
	outTTY  *os.File
	errTTY  *os.File
	colours bool
	blocks  bool // Unicode's blocks can be shown
}

// New returns a screen of what a command was started with; lookup is
// os.LookupEnv.
func New(in io.Reader, out, err io.Writer, lookup func(string) (string, bool)) *Screen {
	o := &output{to: out}
	s := &Screen{Out: o, Err: err, out: o, in: in, typed: bufio.NewReader(in), inTTY: terminal(in), outTTY: terminal(out), errTTY: terminal(err)}
	set := func(name string) string { text, _ := lookup(name); return text }
	s.colours = set("NO_COLOR") == "" && set("TERM") != "dumb"
	locale := strings.ToLower(cmp.Or(set("LC_ALL"), set("LC_CTYPE"), set("LANG")))
	s.blocks = strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
	return s
}

// terminal returns the terminal that a reader or writer is, or nil.
func terminal(of any) *os.File {
	if f, ok := of.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// Asks reports whether there is somebody to ask.
func (s *Screen) Asks() bool { return s.inTTY != nil && s.errTTY != nil }

// Typing reports whether what comes in is typed, also where nobody would see what
// is asked.
func (s *Screen) Typing() bool { return s.inTTY != nil }

// Shows reports whether Out is a terminal.
func (s *Screen) Shows() bool { return s.outTTY != nil }

// Typed returns what comes in that is not the answer to a question.
func (s *Screen) Typed() io.Reader { return s.typed }

// Failed returns why not all of Out could be written, or nil. A table that did not
// fit on a disk is no success.
func (s *Screen) Failed() error { return s.out.failed }

// output remembers the first failure of a writer.
type output struct {
	to     io.Writer
	failed error
}

func (o *output) Write(text []byte) (int, error) {
	n, err := o.to.Write(text)
	if o.failed == nil {
		o.failed = err
	}
	return n, err
}

// Say writes a sentence for people.
func (s *Screen) Say(format string, args ...any) {
	fmt.Fprintln(s.Err, Clean(fmt.Sprintf(format, args...)))
}

// width returns how many characters a line of f has.
func width(f *os.File) int {
	if f != nil {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// Clean makes what comes from elsewhere harmless to a terminal: control
// characters other than a tab and a line feed, and what turns the direction of
// writing, become visible. Of JSON it makes the same JSON.
func Clean(text string) string {
	harmful := func(r rune) bool {
		switch {
		case r == '\n' || r == '\t':
			return false
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029, r == 0x200e, r == 0x200f, r == 0x061c:
			return true
		}
		return unicode.IsControl(r)
	}
	if strings.IndexFunc(text, harmful) < 0 {
		return strings.ToValidUTF8(text, "�")
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "�") {
		if harmful(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Line is Clean for what must not begin another line.
func Line(text string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(Clean(text))
}

// Style is how a text looks.
type Style string

// The styles.
const (
	Plain Style = ""
	Bold  Style = "\x1b[1m"
	Dim   Style = "\x1b[2m"
	Red   Style = "\x1b[31m"
	Green Style = "\x1b[32m"
	Amber Style = "\x1b[33m"
)

// styled returns text as it looks on f.
func (s *Screen) styled(f *os.File, style Style, text string) string {
	if f == nil || !s.colours || style == Plain || text == "" {
		return text
	}
	return string(style) + text + "\x1b[0m"
}

// Status returns the style of a state that something is in.
func Status(name string) Style {
	switch name {
	case "active", "ok", "succeeded", "delivered", "created", "VALID":
		return Green
	case "running", "queued", "pending", "disabled", "changed":
		return Amber
	case "revoked", "expired", "failed", "timed_out", "interrupted", "cancelled", "unreachable":
		return Red
	}
	return Plain
}
