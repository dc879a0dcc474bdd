package egress

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/keyward/keyward/internal/fault"
)

// Explain says in a sentence why a call to whom ("The agent") had no answer. The
// sentence does not hold where the call went: whom it concerns need not know
// that, and a URL may hold a secret.
func Explain(whom string, err error) string {
	var refused *fault.Fault
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &refused):
		return whom + " was not called: " + refused.Message
	case errors.Is(err, syscall.ECONNREFUSED):
		return whom + " could not be reached: nothing listens at its address."
	case errors.As(err, &dns):
		return whom + " could not be reached: the name of its host was not found."
	case errors.As(err, &certificate):
		return whom + " could not be reached: its TLS certificate is not valid for its address."
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return whom + " could not be reached: its address does not speak TLS."
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return whom + " closed the connection before it had answered."
	}
	return whom + " could not be reached, or broke off before it had answered."
}
