package client

import (
	"fmt"
	"strconv"
	"time"
)

// Time is a moment as the API writes it: RFC 3339, UTC, milliseconds, as in
// "2024-01-01T00:00:00.000Z".
//
// A moment that may be missing is a field tagged `json:",omitzero"`: the zero
// Time is then left out. Where the field is always there, the zero is null.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// NewTime returns t as the API writes it, in UTC and cut to milliseconds. The
// zero stays the zero.
func NewTime(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.UTC().Truncate(time.Millisecond)}
}

// String returns the text that JSON has, and "" for the zero.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

// MarshalText writes the text that JSON has, without quotes.
func (t Time) MarshalText() ([]byte, error) {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("keyward: year %d can't be written as RFC 3339", y)
	}
	return []byte(t.String()), nil
}

// UnmarshalText reads any RFC 3339 time; the empty text is the zero.
func (t *Time) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*t = Time{}
		return nil
	}
	parsed, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("keyward: not an RFC 3339 time")
	}
	*t = Time{parsed.UTC()}
	return nil
}

// MarshalJSON writes t in quotes, or null for the zero.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	text, err := t.MarshalText()
	if err != nil {
		return nil, err
	}
	return strconv.AppendQuote(nil, string(text)), nil
}

// UnmarshalJSON reads any RFC 3339 time; null is the zero.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	text, err := strconv.Unquote(string(b))
	if err != nil || text == "" {
		return fmt.Errorf("keyward: not an RFC 3339 time")
	}
	return t.UnmarshalText([]byte(text))
}
