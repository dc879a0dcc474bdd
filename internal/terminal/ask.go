package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/term"
)

// longest is how long an answer may be.
const longest = 64 << 10

// ErrNobody says that there is nobody to ask.
var ErrNobody = errors.New("there is no terminal to ask on")

// Ask asks a question. An empty answer is the fallback.
func (s *Screen) Ask(ctx context.Context, question, fallback string) (string, error) {
	if !s.Asks() {
		return "", ErrNobody
	}
	if fallback != "" {
		question += " [" + fallback + "]"
	}
	fmt.Fprint(s.Err, Line(question)+": ")
	text, err := s.await(ctx, s.line)
	if text = strings.TrimSpace(text); text == "" {
		text = fallback
	}
	return text, err
}

// AskHidden asks for what nobody shall see.
func (s *Screen) AskHidden(ctx context.Context, question string) (string, error) {
	if !s.Asks() {
		return "", ErrNobody
	}
	fmt.Fprint(s.Err, Line(question)+": ")
	before, err := term.GetState(int(s.inTTY.Fd()))
	if err != nil {
		return "", err
	}
	text, err := s.await(ctx, func() (string, error) {
		text, err := term.ReadPassword(int(s.inTTY.Fd()))
		return string(text), err
	})
	if ctx.Err() != nil {
		// The read still waits, and has hidden what is typed.
		_ = term.Restore(int(s.inTTY.Fd()), before)
	} else {
		fmt.Fprintln(s.Err)
	}
	return text, err
}

// Confirm asks whether to go on. Nothing but yes is yes.
func (s *Screen) Confirm(ctx context.Context, question string) (bool, error) {
	text, err := s.Ask(ctx, question+" [y/N]", "")
	text = strings.ToLower(text)
	return text == "y" || text == "yes", err
}

// await reads, unless the command is told to end first.
func (s *Screen) await(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := read()
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		if errors.Is(a.err, io.EOF) {
			fmt.Fprintln(s.Err)
			a.err = errors.New("no answer")
		}
		return a.text, a.err
	case <-ctx.Done():
		fmt.Fprintln(s.Err)
		return "", errors.New("interrupted")
	}
}

// Secret reads one line that is a secret: from the terminal, where it is not
// shown, or from standard input.
func (s *Screen) Secret(ctx context.Context, question string) (string, error) {
	if s.Asks() {
		return s.AskHidden(ctx, question)
	}
	if s.inTTY != nil {
		// Typed here it would be seen.
		return "", ErrNobody
	}
	return s.line()
}

func (s *Screen) line() (string, error) {
	var b strings.Builder
	for b.Len() <= longest {
		c, err := s.typed.ReadByte()
		switch {
		case err != nil && b.Len() > 0:
			return strings.TrimSuffix(b.String(), "\r"), nil
		case err != nil:
			return "", err
		case c == '\n':
			return strings.TrimSuffix(b.String(), "\r"), nil
		}
		b.WriteByte(c)
	}
	return "", errors.New("the line is too long")
}
