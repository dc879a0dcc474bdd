package seal

import (
	"fmt"
	"io"
)

const placeholder = "[redacted]"

// redacted makes the type that embeds it print as a placeholder, whatever
// prints it.
type redacted struct{}

func (redacted) String() string               { return placeholder }
func (redacted) Format(w fmt.State, _ rune)   { _, _ = io.WriteString(w, placeholder) }
func (redacted) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// hidden holds a secret and does not print it. fmt asks no method of what sits
// in another struct's unexported field; it stops at a pointer there, but with a
// verb that does not fit it follows one. Hence two.
type hidden struct {
	redacted
	at **[]byte
}

func hide(secret []byte) hidden {
	p := &secret
	return hidden{at: &p}
}

// bytes returns the secret itself, or nil if there is none.
func (h hidden) bytes() []byte {
	if h.at == nil {
		return nil
	}
	return **h.at
}

// Clear overwrites the secret, also for every copy of h.
func (h hidden) Clear() {
	if h.at != nil {
		clear(**h.at)
		**h.at = nil
	}
}

// Secret is a text that nothing prints. Reveal and Bytes are the only ways to
// it. The zero Secret, and one that was cleared, is the empty text.
type Secret struct{ hidden }

// NewSecret makes a Secret of a copy of text.
func NewSecret[T ~string | ~[]byte](text T) Secret {
	return Secret{hide(append([]byte(nil), text...))}
}

// Reveal returns the text. This copy cannot be cleared; prefer Bytes where it
// will do.
func (s Secret) Reveal() string { return string(s.bytes()) }

// Bytes returns the text itself, not a copy.
func (s Secret) Bytes() []byte { return s.bytes() }
