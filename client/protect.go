package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MaxSignedBody is the size of the largest body of a signed request that
// [Protect] lets through: the body goes to Keyward in base64, in a call of at
// most 1 MiB.
const MaxSignedBody = 704 << 10

// Guard says how [Protect] checks the keys of a service's callers. Server and
// APIKey are needed.
type Guard struct {
	// Server is the address of Keyward: https://keys.example.com.
	Server string

	// APIKey is the service's own key for Keyward, with the scope keys:verify.
	APIKey string

	// Organization is whose keys are let in: "" is APIKey's own organization. The
	// operator's key may name another, or "any".
	Organization string

	// Scopes are what a caller's key must have, all of them.
	Scopes []string

	// AgentID returns the agent that a request is about. Without it, keys that
	// are for some agents alone are refused.
	AgentID func(*http.Request) string

	// ClientIP returns where a request comes from; nil is the connection's peer.
	// Behind a proxy, return what that proxy says, and nothing that a client can
	// write. A key with allowed_ips is refused if it returns the zero Addr.
	ClientIP func(*http.Request) netip.Addr

	// Cost returns what a request counts against the limits of its key; nil is 1
	// for each.
	Cost func(*http.Request) int64

	// HideKey takes the caller's key out of the request before the service sees
	// it.
	HideKey bool

	// Timeout is for how long an answer of Keyward is waited for; 0 is two
	// seconds.
	Timeout time.Duration

	// HTTPClient calls Keyward; nil is one that keeps its connections. Redirects
	// are never followed: they would take the keys elsewhere.
	HTTPClient *http.Client

	// Failed is told why a request could not be checked and was answered with
	// 503: an [*Error] if Keyward refused the question, such as
	// INSUFFICIENT_SCOPE for the service's own key. No key is in it.
	Failed func(*http.Request, error)
}

// Protect returns a handler that lets a request through to next if Keyward says
// that its key is good, and counts it. All others are answered as Keyward itself
// would answer them.
//
// Keyward is asked about every request, and nothing is remembered: a key that
// was revoked is refused from then on. If Keyward does not answer in time nobody
// is let in: 503.
//
// It panics if g has no APIKey or no usable Server, so that a service with an
// unset variable does not start.
func Protect(next http.Handler, g Guard) http.Handler {
	at, err := url.Parse(g.Server)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Host == "" {
		panic("client.Protect: Server must be an address such as https://keys.example.com")
	}
	if g.APIKey == "" {
		panic("client.Protect: APIKey must be an API key with the scope keys:verify")
	}
	p := &protector{Guard: g, next: next, at: at.JoinPath("/v1/keys/verify").String()}
	p.Timeout = cmp.Or(g.Timeout, 2*time.Second)
	if g.HTTPClient != nil {
		p.http = *g.HTTPClient
	} else {
		p.http.Transport = connections
	}
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return p
}

// connections are shared by all guards.
var connections = func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 256 // by default 2, and every request in flight has its own
	t.MaxIdleConns = 0
	return t
}()

type verified struct{}

// VerifiedKey returns what Keyward said of the key of a request that [Protect]
// let through.
func VerifiedKey(ctx context.Context) (v Verification, ok bool) {
	v, ok = ctx.Value(verified{}).(Verification)
	return v, ok
}

type protector struct {
	Guard
	next http.Handler
	at   string
	http http.Client
}

func (p *protector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	refuse := func(status int, code, message string) {
		writeError(w, Error{Code: code, Message: message, Status: status, RequestID: id})
	}

	key, two := presentedKey(r.Header)
	switch {
	case two:
		refuse(http.StatusBadRequest, "INVALID_REQUEST", "The request holds two different credentials. Send one.")
		return
	case key == "":
		// Keyward would say the same.
		refuse(http.StatusUnauthorized, "INVALID_API_KEY", "The provided API key is invalid")
		return
	}
	q := VerifyKey{Key: key, Organization: p.Organization, Scopes: p.Scopes}
	if failed := sign(&q, r); failed != nil {
		failed.RequestID = id
		writeError(w, *failed)
		return
	}
	p.describe(&q, r)
	v, id, err := p.ask(r.Context(), q, id)
	if err != nil {
		p.fail(w, r, id, err)
		return
	}
	setRate(w.Header(), v.RateLimit)
	if !v.Valid {
		writeError(w, Error{
			Code: v.Code, Message: v.Message, Status: refusalStatus(v.Code), RequestID: id, RetryAfter: v.RetryAfter, Details: v.Details,
		})
		return
	}
	let := r.WithContext(context.WithValue(r.Context(), verified{}, v))
	if p.HideKey {
		let.Header = without(r.Header, key)
	}
	p.next.ServeHTTP(w, let)
}

// describe adds to q what the guard's functions say of r.
func (p *protector) describe(q *VerifyKey, r *http.Request) {
	if p.AgentID != nil {
		q.AgentID = p.AgentID(r)
	}
	from := peer
	if p.ClientIP != nil {
		from = p.ClientIP
	}
	if at := from(r).Unmap().WithZone(""); at.IsValid() {
		q.IP = at.String()
	}
	if p.Cost != nil {
		cost := p.Cost(r)
		q.Cost = &cost
	}
}

func peer(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero Addr if it is none
	return at.Addr()
}

// ask asks Keyward. The id it returns is that of the answer.
func (p *protector) ask(ctx context.Context, q VerifyKey, id string) (v Verification, answerID string, err error) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // or the path of a signed request could become six times as long
	if err := e.Encode(q); err != nil {
		return v, id, fmt.Errorf("ask Keyward: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.at, &body)
	if err != nil {
		return v, id, fmt.Errorf("ask Keyward: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+p.APIKey)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(requestIDHeader, id)
	got, err := p.http.Do(r)
	if err != nil {
		return v, id, fmt.Errorf("ask Keyward: %w", err)
	}
	defer got.Body.Close()
	id = cmp.Or(got.Header.Get(requestIDHeader), id)
	// To its end, or the connection is not used again.
	text, err := io.ReadAll(io.LimitReader(got.Body, 1<<20))
	if err != nil {
		return v, id, fmt.Errorf("ask Keyward: %w", err)
	}
	if got.StatusCode != http.StatusOK {
		var failed struct{ Error *Error }
		if json.Unmarshal(text, &failed) == nil && failed.Error != nil && failed.Error.Code != "" {
			return v, id, failed.Error
		}
		return v, id, fmt.Errorf("ask Keyward: it answered with status %d and not as Keyward does", got.StatusCode)
	}
	if err := json.Unmarshal(text, &v); err != nil || v.Code == "" || v.Valid != (v.Code == "VALID") {
		return Verification{}, id, errors.New("ask Keyward: it did not answer as Keyward does")
	}
	return v, id, nil
}

// fail answers a request that could not be checked. Why is the service's
// business, not the caller's.
func (p *protector) fail(w http.ResponseWriter, r *http.Request, id string, err error) {
	if p.Failed != nil && r.Context().Err() == nil { // a caller that went away is no failure
		p.Failed(r, err)
	}
	wait := 1
	if e := (*Error)(nil); errors.As(err, &e) {
		wait = max(wait, e.RetryAfter)
	}
	writeError(w, Error{
		Code: "UNAVAILABLE", Message: "The server can't do this just now. Try again shortly.",
		Status: http.StatusServiceUnavailable, RequestID: id, RetryAfter: wait,
	})
}

const requestIDHeader = "X-Request-Id"

// requestID returns the request id of r, or a new one if it has none that Keyward
// would take.
func requestID(r *http.Request) string {
	id := r.Header.Get(requestIDHeader)
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.' || c == '_' || c == '-')
	}) {
		return rand.Text()
	}
	return id
}

// refusalStatus is the status of a refusal by its code. One that a later Keyward
// has is still a refusal.
func refusalStatus(code string) int {
	switch code {
	case "RATE_LIMITED":
		return http.StatusTooManyRequests
	case "INVALID_API_KEY", "EXPIRED_API_KEY", "REVOKED_API_KEY", "DISABLED_API_KEY",
		"SIGNATURE_REQUIRED", "INVALID_SIGNATURE", "SIGNATURE_EXPIRED", "SIGNATURE_REPLAYED":
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// setRate tells of a key's hourly limit, as Keyward's own answers do.
func setRate(h http.Header, l *RateLimit) {
	if l == nil {
		return
	}
	limit, left := strconv.FormatInt(l.Limit, 10), strconv.FormatInt(l.Remaining, 10)
	h.Set("X-RateLimit-Limit", limit)
	h.Set("X-RateLimit-Remaining", left)
	h.Set("X-RateLimit-Reset", strconv.FormatInt(l.Reset, 10))
	h.Set("RateLimit-Policy", `"hour";q=`+limit+`;w=3600`)
	h.Set("RateLimit", `"hour";r=`+left+`;t=`+strconv.FormatInt(max(0, l.Reset-time.Now().Unix()), 10))
}

// writeError writes the one shape of an error.
func writeError(w http.ResponseWriter, e Error) {
	h := w.Header()
	h.Set(requestIDHeader, e.RequestID)
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="keyward"`)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	body, _ := json.Marshal(struct {
		Error Error `json:"error"`
	}{e}) // details came as JSON
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}
