package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// maxAnswer is the size of the largest answer that is read: an output of a run
// has 4 MiB at most, and up to six times as much when JSON escapes it.
const maxAnswer = 32 << 20

// request is what a call sends.
type request struct {
	path   []string // what stands in the places {…} of the operation's path, in order
	query  url.Values
	body   any // nil: none
	header http.Header
}

// call sends a request of op, as often as it takes, and returns what is answered.
func call[Out any](ctx context.Context, c *Client, op *operation, q request) (out Out, err error) {
	text, _, err := c.send(ctx, op, q)
	if err != nil {
		return out, err
	}
	if err := decode(text, &out); err != nil {
		return *new(Out), &failure{kind: ErrNotKeyward, text: fmt.Sprintf("keyward: %s: %s did not answer as Keyward does: %v", op.id, c.server, err)}
	}
	return out, nil
}

// run is call for an operation that answers nothing, which is 204. Any other
// answer, as of a page where one must sign in to a network, has done nothing.
func (c *Client) run(ctx context.Context, op *operation, q request) error {
	_, status, err := c.send(ctx, op, q)
	if err == nil && status != http.StatusNoContent {
		err = &failure{kind: ErrNotKeyward, text: fmt.Sprintf("keyward: %s: %s answers with status %d, where Keyward answers with 204", op.id, c.server, status)}
	}
	return err
}

// decode reads an answer. One that has not the first field of what it should be
// is none, even if it is JSON: some other service answers at this address.
func decode(text []byte, out any) error {
	var has map[string]json.RawMessage
	if err := json.Unmarshal(text, &has); err != nil {
		return errors.New("it is no JSON object")
	}
	if name := firstField(reflect.TypeOf(out).Elem()); has[name] == nil {
		return fmt.Errorf("%q is missing", name)
	}
	if err := json.Unmarshal(text, out); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return fmt.Errorf("%q is of another type", wrong.Field)
		}
		return errors.New("it has values of another form")
	}
	return nil
}

func firstField(t reflect.Type) string {
	f := t.Field(0)
	if f.Anonymous {
		return firstField(f.Type)
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// send sends a request of op until it is answered, and returns the body and the
// status of the answer.
func (c *Client) send(ctx context.Context, op *operation, q request) (text []byte, status int, err error) {
	status = http.StatusNoContent // of a deletion that was done before its answer was lost
	err = c.tries(ctx, op, q, func(ctx context.Context, r *http.Request) error {
		if c.timeout > 0 && !op.waits {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
		a, err := c.answer(r.WithContext(ctx))
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if text, err = c.read(a); err == nil {
			status = a.StatusCode
		}
		return err
	})
	return text, status, err
}

// tries has try send a request of op until that goes well, or there is no use or
// no right to try again.
func (c *Client) tries(ctx context.Context, op *operation, q request, try func(context.Context, *http.Request) error) error {
	where, err := c.address(op, q)
	if err != nil {
		return err
	}
	var body []byte
	if q.body != nil {
		if body, err = encode(q.body); err != nil {
			return fmt.Errorf("keyward: %s: %w", op.id, err)
		}
	}
	if c.signedIn != nil && !op.public && c.signedIn.tokens().AccessToken == "" {
		if err := c.signedIn.renew(ctx, c, ""); err != nil {
			return err
		}
	}
	lost, renewed := false, false
	for n := 0; ; n++ {
		r, credential, err := c.request(ctx, op, q, where, body)
		if err != nil {
			return fmt.Errorf("keyward: %s: %w", op.id, err)
		}
		err = try(ctx, r)
		switch {
		case err == nil || lost && gone(op, err):
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("keyward: %s: %w", op.id, context.Cause(ctx))
		case c.signedIn != nil && !op.public && !renewed && errors.Is(err, ErrExpiredAccessToken):
			// It was refused, so it may be sent again.
			if err := c.signedIn.renew(ctx, c, credential); err != nil {
				return err
			}
			renewed = true
			n--
			continue
		}
		lost = lost || mayBeDone(err)
		wait, again := c.again(op, r, err, n)
		if !again || !pause(ctx, wait) {
			return err
		}
	}
}

// address returns where a request of op goes.
func (c *Client) address(op *operation, q request) (string, error) {
	path, values := op.path, q.path
	for len(values) > 0 {
		before, rest, _ := strings.Cut(path, "{")
		name, after, _ := strings.Cut(rest, "}")
		// An id that is empty would make it another call, and one of dots as well.
		if v := values[0]; v == "" || v == "." || v == ".." {
			return "", &Error{
				Code: string(ErrInvalidRequest), Message: name + ": must not be empty", Status: http.StatusBadRequest,
				Details: map[string]any{"field": name, "reason": "must not be empty"},
			}
		}
		path, values = before+url.PathEscape(values[0])+after, values[1:]
	}
	if query := q.query.Encode(); query != "" {
		path += "?" + query
	}
	return c.server + path, nil
}

func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// request returns a request of op, and the credential in it.
func (c *Client) request(ctx context.Context, op *operation, q request, where string, body []byte) (*http.Request, string, error) {
	if c.signs(op) && body != nil {
		body = distinct(body)
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, op.method, where, reader)
	if err != nil {
		return nil, "", errors.New("the request can't be made")
	}
	for name, values := range q.header {
		r.Header[name] = values
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "application/json")
	}
	r.Header.Set("User-Agent", c.userAgent)
	if op.public {
		return r, "", nil
	}
	credential := c.key.reveal()
	if c.signedIn != nil {
		credential = c.signedIn.tokens().AccessToken
	}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	if c.signs(op) {
		c.sign(r, body)
	}
	return r, credential, nil
}

// answer sends r once and returns the answer if it is one of success. Its body is
// open.
func (c *Client) answer(r *http.Request) (*http.Response, error) {
	a, err := c.http.Do(r)
	if err != nil {
		return nil, c.unanswered(r.Context(), err)
	}
	if a.StatusCode >= 200 && a.StatusCode < 300 {
		return a, nil
	}
	defer a.Body.Close()
	if a.StatusCode >= 300 && a.StatusCode < 400 {
		to := "another address"
		if at, err := a.Location(); err == nil && at.Host != "" {
			to = at.Scheme + "://" + at.Host
		}
		return nil, &failure{kind: ErrNotKeyward, text: fmt.Sprintf("keyward: %s answers with a redirect to %s, which is not followed; if that is the server, use its address", c.server, to)}
	}
	text, err := c.read(a)
	if err != nil && !errors.Is(err, ErrNotKeyward) {
		return nil, err
	}
	var refused struct{ Error *Error }
	if err != nil || json.Unmarshal(c.hide(text), &refused) != nil || refused.Error == nil || refused.Error.Code == "" {
		return nil, c.foreign(a)
	}
	e := refused.Error
	e.Status = a.StatusCode
	e.RequestID = cmp.Or(e.RequestID, a.Header.Get(requestIDHeader))
	e.RetryAfter = max(e.RetryAfter, retryAfter(a.Header))
	return nil, e
}

// read reads the body of an answer.
func (c *Client) read(a *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.unanswered(a.Request.Context(), err)
	case len(text) > maxAnswer:
		return nil, &failure{kind: ErrNotKeyward, text: fmt.Sprintf("keyward: %s answers with more than %d MiB", c.server, maxAnswer>>20)}
	case a.StatusCode != http.StatusNoContent && !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json"):
		return nil, c.foreign(a)
	}
	return text, nil
}

// hide takes the credentials out of what is answered, by something that shows
// what it was sent, before it becomes part of an error.
func (c *Client) hide(text []byte) []byte {
	secrets := []string{c.key.reveal(), c.signing.reveal()}
	if c.signedIn != nil {
		t := c.signedIn.tokens()
		secrets = append(secrets, t.AccessToken, t.RefreshToken)
	}
	for _, s := range secrets {
		if s != "" {
			text = bytes.ReplaceAll(text, []byte(s), []byte("[redacted]"))
		}
	}
	return text
}

// unanswered is the failure of a request that got no whole answer.
func (c *Client) unanswered(ctx context.Context, err error) error {
	if silent := (*failure)(nil); errors.As(context.Cause(ctx), &silent) {
		return silent
	}
	if inside := (*url.Error)(nil); errors.As(err, &inside) {
		err = inside.Err // its text has the address once more
	}
	dial := (*net.OpError)(nil)
	f := &failure{kind: ErrUnreachable, cause: err, unsent: errors.As(err, &dial) && dial.Op == "dial"}
	f.text = fmt.Sprintf("keyward: no answer from %s: %v", c.server, err)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		f.text = fmt.Sprintf("keyward: no answer from %s within %v", c.server, c.timeout)
	}
	return f
}

// foreign is the failure of an answer that Keyward does not give.
func (c *Client) foreign(a *http.Response) error {
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	if len(kind) > 40 || strings.ContainsFunc(kind, func(r rune) bool { return r <= ' ' || r > '~' }) {
		kind = ""
	}
	return &failure{
		kind: ErrNotKeyward, status: a.StatusCode,
		text: fmt.Sprintf("keyward: %s answers with status %d and %s, not as Keyward does; is the address right, and is anything between?", c.server, a.StatusCode, cmp.Or(kind, "no type")),
	}
}

// retryAfter returns the seconds of a Retry-After, and 0 without one.
func retryAfter(h http.Header) int {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil {
		return max(0, n)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, int(time.Until(at)/time.Second)+1)
	}
	return 0
}
