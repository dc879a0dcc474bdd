package runagent

import (
	"bytes"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// typed is a value as the SDKs take it: the JSON of it as a text, beside its type.
type typed struct {
	Type    string `json:"type"`
	Payload string `json:"payload"`
}

// encode returns the text that stands for v. No value at all is null.
func encode(v jsontext.Value) (string, error) {
	if len(v) == 0 {
		v = jsontext.Value("null")
	}
	text, err := json.Marshal(typed{typeOf(v), string(v)})
	return string(text), err
}

// typeOf returns what the SDKs call the type of v.
func typeOf(v jsontext.Value) string {
	switch v.Kind() {
	case jsontext.KindString:
		return "string"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "boolean"
	case jsontext.KindBeginObject:
		return "object"
	case jsontext.KindBeginArray:
		return "array"
	case jsontext.KindNumber:
		if bytes.ContainsAny(v, ".eE") {
			return "number"
		}
		return "integer"
	}
	return "null"
}
