package client

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

// What is waited for grows from the first to the longest, by doubling.
const (
	firstWait   = 250 * time.Millisecond
	longestWait = 8 * time.Second
)

// again says whether a request of op that ended in err may be sent again, and
// after which time, when it was sent again n times.
func (c *Client) again(op *operation, r *http.Request, err error, n int) (time.Duration, bool) {
	if n >= c.retries || !worthwhile(err) || mayBeDone(err) && !repeatable(op, r) {
		return 0, false
	}
	wait := c.delay(n)
	if e := (*Error)(nil); errors.As(err, &e) {
		told := e.RetryAfter
		if e.Code == string(ErrSignatureReplayed) {
			told = 1 // the next second makes another signature
		}
		wait += time.Duration(told) * time.Second // nobody comes before he was told to
	}
	return wait, wait <= c.longest
}

// delay is what is waited for after n tries. All of it is by chance, so that those
// who were sent away together do not come back together.
func (c *Client) delay(n int) time.Duration {
	return rand.N(min(longestWait, firstWait<<min(n, 10)))
}

// worthwhile reports whether what ended in err may go well next time.
func worthwhile(err error) bool {
	e, f := (*Error)(nil), (*failure)(nil)
	untrusted := (*tls.CertificateVerificationError)(nil)
	switch {
	case errors.As(err, &e):
		return notDone(e)
	case errors.As(err, &f) && f.kind == ErrUnreachable:
		return !errors.As(err, &untrusted)
	case errors.As(err, &f):
		return f.status == http.StatusBadGateway || f.status == http.StatusServiceUnavailable || f.status == http.StatusGatewayTimeout
	}
	return false
}

// notDone reports whether the server says that it did nothing, and may do it
// later.
func notDone(e *Error) bool {
	switch {
	case e.Status == http.StatusTooManyRequests:
		return true
	case e.Status == http.StatusServiceUnavailable:
		return e.RetryAfter > 0
	}
	// Two requests that are alike in all to the second have one signature. A body
	// is never like another.
	return e.Code == string(ErrSignatureReplayed)
}

// mayBeDone reports whether the server may have done what was asked, although it
// ended in err.
func mayBeDone(err error) bool {
	if e := (*Error)(nil); errors.As(err, &e) {
		return !notDone(e)
	}
	f := (*failure)(nil)
	return !errors.As(err, &f) || !f.unsent
}

// repeatable reports whether doing it twice is the same as doing it once. Of what
// answers with a secret the second answer would not have it, so a POST, PUT or
// PATCH is not, unless the server knows it again.
func repeatable(op *operation, r *http.Request) bool {
	return op.method == http.MethodGet || op.method == http.MethodDelete || r.Header.Get(idempotencyHeader) != ""
}

// gone reports whether err says of a deletion, whose first answer was lost, that
// there is nothing any more to delete.
func gone(op *operation, err error) bool {
	if op.method != http.MethodDelete {
		return false
	}
	for _, code := range []Code{ErrKeyNotFound, ErrAgentNotFound, ErrAuthProfileNotFound, ErrAlertNotFound} {
		if errors.Is(err, code) {
			return true
		}
	}
	return op == revokeOwnKey && errors.Is(err, ErrRevokedAPIKey)
}

// pause waits, and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false // what is known now is better than what is known then
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
