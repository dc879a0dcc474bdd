package client

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// presentedKey returns the one Keyward key that a request holds, or "": what has
// another form is the business of the service. Two different ones are too many.
func presentedKey(h http.Header) (key string, two bool) {
	for _, text := range presented(h) {
		switch {
		case !isKey(text) || text == key:
		case key != "":
			return "", true
		default:
			key = text
		}
	}
	return key, false
}

// presented returns the texts that stand where keys do.
func presented(h http.Header) []string {
	var all []string
	for _, value := range h.Values("Authorization") {
		if text, ok := bearer(value); ok {
			all = append(all, text)
		}
	}
	for _, value := range h.Values("X-API-Key") {
		all = append(all, strings.TrimSpace(value))
	}
	return all
}

func bearer(value string) (text string, ok bool) {
	scheme, text, ok := strings.Cut(strings.TrimSpace(value), " ")
	return strings.TrimSpace(text), ok && strings.EqualFold(scheme, "bearer")
}

// without returns h without key.
func without(h http.Header, key string) http.Header {
	h = h.Clone()
	drop := func(name string, holds func(value string) bool) {
		var kept []string
		for _, value := range h.Values(name) {
			if !holds(value) {
				kept = append(kept, value)
			}
		}
		h.Del(name)
		for _, value := range kept {
			h.Add(name, value)
		}
	}
	drop("Authorization", func(value string) bool { text, ok := bearer(value); return ok && text == key })
	drop("X-API-Key", func(value string) bool { return strings.TrimSpace(value) == key })
	return h
}

// keyForm is the form of a key: docs/formats.md.
var keyForm = regexp.MustCompile(`^[a-z][a-z0-9]{1,9}_(live|temp)_[0-9A-Za-z]{38}$`)

// isKey reports whether text has the form of a key and its checksum is right.
func isKey(text string) bool {
	const checksum = 6
	if !keyForm.MatchString(text) {
		return false
	}
	body := text[:len(text)-checksum]
	sum := crc32.ChecksumIEEE([]byte(body))
	for i := len(text) - 1; i >= len(body); i-- {
		if text[i] != "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[sum%62] {
			return false
		}
		sum /= 62
	}
	return true
}

// sign adds to q the signature of r, if it has one, and reads and puts back the
// body that it is of. What is too long to be a signature is none: a key that
// needs one is then refused.
func sign(q *VerifyKey, r *http.Request) *Error {
	value, stamp := r.Header.Values("X-Signature"), r.Header.Values("X-Timestamp")
	switch {
	case len(value) == 0:
		return nil
	case len(value) > 1 || len(stamp) > 1:
		return &Error{Code: "INVALID_REQUEST", Message: "The request holds X-Signature or X-Timestamp twice. Send one.", Status: http.StatusBadRequest}
	case len(stamp) == 0 || value[0] == "" || len(value[0]) > 128 || stamp[0] == "" || len(stamp[0]) > 32 ||
		r.RequestURI == "" || len(r.RequestURI) > 16<<10 || len(r.Method) > 32:
		return nil
	}
	s := &SignedRequest{Method: r.Method, Path: r.RequestURI, Timestamp: stamp[0], Value: value[0]}
	if r.Body != nil && r.Body != http.NoBody {
		body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxSignedBody))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return &Error{Code: "BODY_TOO_LARGE", Message: "The body of a signed request must not be larger than 704 KiB.", Status: http.StatusRequestEntityTooLarge}
		} else if err != nil {
			return &Error{Code: "INVALID_REQUEST", Message: "The request body did not arrive whole.", Status: http.StatusBadRequest}
		}
		s.Body = body
		r.Body = struct {
			io.Reader
			io.Closer
		}{bytes.NewReader(body), r.Body}
	}
	q.Signature = s
	return nil
}
