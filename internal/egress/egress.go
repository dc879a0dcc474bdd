// Package egress is the one way out to addresses that users name: runners,
// health checks, webhooks.
//
// Its laws:
//   - A call goes to https, with no user name in the URL, follows no redirect
//     and asks no proxy.
//   - The address is checked when it is dialled, after the name was looked up,
//     so a name that changes what it means between two look-ups gains nothing.
//   - Only public addresses are dialled. The operator can allow others, and plain
//     http there, for agents of the operator's own: the setting runners.allow.
//   - What the operator may reach and what others may reach never shares a
//     connection.
//
// How long a whole call takes, and how much of an answer is read, is up to the
// caller.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// handshakeTimeout bounds each of the look-up with the dial, and the TLS
	// handshake: the caller's deadline is for the work behind them.
	handshakeTimeout = 10 * time.Second

	// maxHeader is what an answer's header may take of memory.
	maxHeader = 64 << 10

	// Connections that wait for the next call. A host that is called often keeps
	// as many as it had calls at once, or each of them would begin with a dial; a
	// thousand hosts that are called once keep none for long.
	maxIdle        = 256
	maxIdlePerHost = 64
	idleTimeout    = time.Minute
)

// Policy says what may be called. The zero Policy allows public https addresses
// alone. It must not change once it is used.
type Policy struct {
	Allow    []Rule        // the setting runners.allow: for the operator
	Laptop   bool          // the server is reached from this machine alone: everyone may call loopback, without TLS too
	Resolver *net.Resolver // nil: the system's

	roots *x509.CertPool // nil: the system's

	once             sync.Once
	operator, others *http.Client
}

// Client returns the client for calls to URLs that the operator, or anyone
// else, has named. Every request needs a deadline. A redirect comes back as the
// answer that it is. A refusal is ErrURL or ErrRefused, wrapped.
func (p *Policy) Client(operator bool) *http.Client {
	p.once.Do(func() {
		p.operator, p.others = p.newClient(true), p.newClient(false)
	})
	if operator {
		return p.operator
	}
	return p.others
}

func (p *Policy) newClient(operator bool) *http.Client {
	return &http.Client{
		Transport: &transport{
			policy:   p,
			operator: operator,
			plain:    p.newTransport(operator, true),
			tls:      p.newTransport(operator, false),
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newTransport returns the connections for plain http or for https. They are
// apart since an address that is good enough for https may not be for http.
func (p *Policy) newTransport(operator, plain bool) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			d := net.Dialer{
				Timeout:  handshakeTimeout,
				Resolver: p.Resolver,
				Control: func(network, address string, _ syscall.RawConn) error {
					return p.checkDial(operator, plain, strings.ToLower(host), network, address)
				},
			}
			return d.DialContext(ctx, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.roots},
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		// An answer that unpacks to more than was sent would pass every limit.
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	// One request a connection: a stuck stream holds up nobody else's.
	t.Protocols.SetHTTP1(true)
	return t
}

// transport checks each request before its connection is looked for.
type transport struct {
	policy     *Policy
	operator   bool
	plain, tls *http.Transport
}

var errNoDeadline = errors.New("egress: a call needs a deadline, or an endless answer would hold it for ever")

// RoundTrip checks the URL again: the settings may have changed since it was
// stored.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	_, err := t.policy.CheckURL(r.URL.String(), t.operator)
	if _, bounded := r.Context().Deadline(); err == nil && !bounded {
		err = errNoDeadline
	}
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	if r.URL.Scheme == "http" {
		return t.plain.RoundTrip(r)
	}
	return t.tls.RoundTrip(r)
}

// CloseIdleConnections is what http.Client's method of that name calls.
func (t *transport) CloseIdleConnections() {
	t.plain.CloseIdleConnections()
	t.tls.CloseIdleConnections()
}
