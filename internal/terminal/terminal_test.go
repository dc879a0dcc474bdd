package terminal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func screen(in string, env ...string) (*Screen, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return New(strings.NewReader(in), &out, &err, func(name string) (string, bool) {
		for _, pair := range env {
			if v, ok := strings.CutPrefix(pair, name+"="); ok {
				return v, true
			}
		}
		return "", false
	}), &out, &err
}

func TestNothingFromElsewhereMovesTheCursor(t *testing.T) {
	for text, want := range map[string]string{
		"plain é 日本":             "plain é 日本",
		"a\tb\nc":                "a\tb\nc",
		"\x1b[2Jgone":            `\u001b[2Jgone`,
		"a\rb":                   `a\u000db`,
		"\u009b31m":              `\u009b31m`,
		"abc\u202edef":           `abc\u202edef`,
		"bell\a and \x7f":        `bell\u0007 and \u007f`,
		"not UTF-8: \xff\xfe ok": "not UTF-8: � ok",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Line("a\nb\tc"); got != `a\nb\tc` {
		t.Error(got)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWhatCouldNotBeWrittenIsRemembered(t *testing.T) {
	s := New(strings.NewReader(""), full{}, io.Discard, func(string) (string, bool) { return "", false })
	if err := s.Failed(); err != nil {
		t.Error(err)
	}
	s.Table("none", []string{"ID"}, [][]string{{"1"}})
	if err := s.Failed(); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

func TestATableHasItsColumnsAndNoMore(t *testing.T) {
	s, out, said := screen("")
	s.Table("none", []string{"ID", "NAME", ""}, [][]string{{"1", "é\nb", "x"}, {"22", "", "\x1b[2J"}})
	if got, want := out.String(), "ID  NAME\n1   é\\nb  x\n22  -     \\u001b[2J\n"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") || strings.Count(got, "\n") != 3 {
		t.Errorf("%q", got)
	}
	s.Table("none", []string{"ID"}, nil)
	if said.String() != "none\n" {
		t.Errorf("%q", said)
	}
}

func TestEachPartOfABarIsSeen(t *testing.T) {
	s, out, _ := screen("")
	s.Chart([]Bar{
		{Label: "a", Note: "1000000", Parts: []Part{{Size: 1000000, Plain: '#'}, {Size: 1, Plain: 'x'}}},
		{Label: "bb", Note: "0", Parts: []Part{{Plain: '#'}}},
		{Label: "c", Note: "1", Parts: []Part{{Size: 1, Plain: '#'}}},
	})
	lines := strings.Split(out.String(), "\n")
	if !strings.HasPrefix(lines[0], "a   #####") || lines[1] != "bb  0" || lines[2] != "c   # 1" {
		t.Errorf("%q", lines)
	}
	if strings.ContainsRune(out.String(), '█') || strings.ContainsRune(out.String(), '\x1b') {
		t.Error("blocks without a locale, or colours without a terminal")
	}
	blocks, out, _ := screen("", "LANG=en_GB.UTF-8")
	blocks.Chart([]Bar{{Label: "a", Parts: []Part{{Size: 1, Plain: '#'}}}})
	if !strings.ContainsRune(out.String(), '█') {
		t.Errorf("%q", out)
	}
}

func TestAPipeIsReadAndNotAsked(t *testing.T) {
	s, out, said := screen("first\r\nsecond")
	if s.Asks() || s.Shows() {
		t.Error("a pipe is no terminal")
	}
	if _, err := s.Ask(t.Context(), "Name", "x"); err != ErrNobody {
		t.Error(err)
	}
	if _, err := s.Confirm(t.Context(), "Really?"); err != ErrNobody {
		t.Error(err)
	}
	for _, want := range []string{"first", "second"} {
		if got, err := s.Secret(context.Background(), "Password"); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := s.Secret(t.Context(), "Password"); err == nil {
		t.Error("a secret came from nowhere")
	}
	spin := s.Spin("waiting")
	spin.Say("a line")
	spin.Stop()
	spin.Stop()
	if out.Len() > 0 || said.String() != "a line\n" {
		t.Errorf("%q %q", out, said)
	}
}
