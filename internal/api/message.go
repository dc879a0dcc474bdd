package api

import (
	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/internal/fault"
)

// Messages returns what reads the messages of a protocol that is not HTTP's, as
// bodies are read: strict JSON, by the schema of a T, of which fields that it does
// not know are ignored.
func Messages[T any](a *API) func(message []byte) (T, error) {
	schema := a.doc.schema(*new(T))
	a.doc.loosen(schema)
	sh := shapes{registry: a.doc.Components.Schemas, made: a.doc.shapes}
	rules := sh.of(schema)
	return func(message []byte) (in T, err error) {
		if len(message) == 0 {
			return in, errNoBody
		}
		found, err := scan(message, rules)
		if err == nil {
			err = found.complaint
		}
		if err == nil && json.Unmarshal(message, &in) != nil {
			err = fault.ErrInvalidRequest // a value that the Go type refuses
		}
		return in, err
	}
}
