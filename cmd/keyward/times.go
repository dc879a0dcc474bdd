package main

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// span is a duration on the command line, which also knows days.
type span time.Duration

func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

func (s *span) Type() string { return "duration" }

func (s *span) Set(text string) error {
	days := time.Duration(0)
	if n, rest, ok := strings.Cut(text, "d"); ok {
		count, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return errors.New("must be like 90s, 12h or 30d")
		}
		days = time.Duration(count) * 24 * time.Hour
		if text = rest; text == "" {
			*s = span(days)
			return nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 0 && d < time.Second {
		return errors.New("must be like 90s, 12h or 30d")
	}
	*s = span(d + days)
	return nil
}

func (s span) seconds() int64 { return int64(time.Duration(s) / time.Second) }

// moment is a time on the command line, or how long ago it was.
type moment struct{ time.Time }

func (m *moment) Type() string { return "time" }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

func (m *moment) Set(text string) error {
	var ago span
	if ago.Set(text) == nil {
		m.Time = time.Now().Add(-time.Duration(ago))
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			m.Time = t
			return nil
		}
	}
	return errNoTime
}

var errNoTime = errors.New("must be a time, such as 2026-01-31 or 2026-01-31T15:04:05Z, or how long ago, such as 24h or 7d")
