package client

import "encoding/json"

// Edit says what becomes of a setting in a change: the zero leaves it as it is,
// [Set] sets it, and [Remove] removes it, which JSON writes as null. Its field is
// tagged `json:",omitzero"`.
type Edit[T any] struct {
	sent bool
	to   *T
}

// Set sets a setting to v.
func Set[T any](v T) Edit[T] { return Edit[T]{true, &v} }

// Remove removes a setting.
func Remove[T any]() Edit[T] { return Edit[T]{sent: true} }

// To returns what the setting is set to: nil if it stays as it is, and the zero
// of T if it is removed.
func (e Edit[T]) To() *T {
	if e.Removed() {
		return new(T)
	}
	return e.to
}

// Removed reports whether e removes the setting.
func (e Edit[T]) Removed() bool { return e.sent && e.to == nil }

// IsZero reports whether e leaves the setting as it is.
func (e Edit[T]) IsZero() bool { return !e.sent }

// MarshalJSON writes what the setting is set to, or null.
func (e Edit[T]) MarshalJSON() ([]byte, error) { return json.Marshal(e.to) }

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Edit[T]) UnmarshalJSON(b []byte) error {
	*e = Edit[T]{sent: true}
	return json.Unmarshal(b, &e.to)
}

// Object is a JSON object, as text. Nil is none.
type Object []byte

// MarshalJSON writes the object, or null.
func (o Object) MarshalJSON() ([]byte, error) {
	if o == nil {
		return []byte("null"), nil
	}
	return o, nil
}

// UnmarshalJSON keeps a copy of b.
func (o *Object) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*o = nil
		return nil
	}
	*o = append(Object(nil), b...)
	return nil
}
