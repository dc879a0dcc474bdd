package seal

import (
	"fmt"
	"io"
)

const placeholder = "[redacted]"

// redacted makes the type that embeds it print as a placeholder, whatever
// prints it. It does not reach a secret in an unexported field of another
// struct, which fmt reads without asking: hence every secret also sits behind
// a pointer.
type redacted struct{}

func (redacted) String() string               { return placeholder }
func (redacted) Format(w fmt.State, _ rune)   { _, _ = io.WriteString(w, placeholder) }
func (redacted) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// Secret is a text that nothing prints. Reveal and Bytes are the only ways to
// it. The zero Secret is the empty text.
type Secret struct {
	redacted
	text *[]byte
}

// NewSecret makes a Secret of a copy of text.
func NewSecret[T ~string | ~[]byte](text T) Secret {
	b := append([]byte(nil), text...)
	return Secret{text: &b}
}

// Reveal returns the text. The copy cannot be cleared; prefer Bytes where it
// will do.
func (s Secret) Reveal() string { return string(s.Bytes()) }

// Bytes returns the text itself, not a copy.
func (s Secret) Bytes() []byte {
	if s.text == nil {
		return nil
	}
	return *s.text
}

// Clear overwrites the text, for every copy of s; s is then the empty text.
func (s Secret) Clear() {
	if s.text != nil {
		clear(*s.text)
		*s.text = nil
	}
}
