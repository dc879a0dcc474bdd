package vault

import (
	"bytes"
	"crypto/subtle"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Value is a value for one of the agent's input arguments.
type Value struct {
	Name string
	JSON seal.Secret // its JSON; null or nothing where there is none
}

// NewValue returns a Value with a copy of json.
func NewValue(name string, json jsontext.Value) Value {
	return Value{Name: name, JSON: seal.NewSecret(json)}
}

// absent reports whether v stands for no value: an update removes the name.
func (v Value) absent() bool {
	json := bytes.Trim(v.JSON.Bytes(), whiteSpace)
	return len(json) == 0 || string(json) == "null"
}

var (
	errNotJSON    = fault.Field("auth_data", "a value is not valid JSON")
	errNUL        = fault.Field("auth_data", "a value has the character U+0000")
	errValueSize  = fault.Field("auth_data", "a value is larger than 64 KiB")
	errTwice      = fault.Field("auth_data", "a name stands in it twice")
	errManyFields = fault.Field("auth_data", "an auth profile can hold at most 100 values")
)

// whiteSpace is what may stand around a value (RFC 8259, section 2): less than
// Unicode's.
const whiteSpace = " \t\n\r"

// other begins the plaintext of a value that is not a text. No text begins with
// it: a text with U+0000 is refused.
const other = 0

// plaintext returns what is sealed of v: a text as it is, so that 64 KiB of
// text are 64 KiB whatever JSON makes of its line ends; anything else as a zero
// byte and its JSON. White space, and how a text is escaped, make no difference.
func (v Value) plaintext() ([]byte, error) {
	json := jsontext.Value(bytes.Trim(v.JSON.Bytes(), whiteSpace))
	if json.Kind() == '"' {
		text, err := jsontext.AppendUnquote(make([]byte, 0, len(json)), json)
		switch {
		case err != nil:
			return nil, errNotJSON
		case bytes.IndexByte(text, 0) >= 0:
			return nil, errNUL
		}
		return text, nil
	}
	if !json.IsValid() {
		return nil, errNotJSON
	}
	compact := json.Clone()
	defer clear(compact)
	if err := compact.Compact(); err != nil {
		return nil, errNotJSON
	}
	return append([]byte{other}, compact...), nil
}

// valueOf returns the value whose plaintext is given.
func valueOf(name string, plaintext []byte) (Value, error) {
	if len(plaintext) > 0 && plaintext[0] == other {
		return NewValue(name, plaintext[1:]), nil
	}
	json, err := jsontext.AppendQuote(make([]byte, 0, len(plaintext)+2), plaintext)
	if err != nil {
		return Value{}, seal.ErrOpen
	}
	defer clear(json)
	return NewValue(name, json), nil
}

func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
