package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// exchange is one request to an operation, on its way through huma: what huma
// reads of the request comes out of here, checked, and what huma would write of
// a failure ends here.
type exchange struct {
	inner
	r     *http.Request
	query url.Values
	body  []byte
	read  bool // the body has been read
	who   access.Caller
	basic BasicAuth

	credential seal.Secret // that who has shown; for streams
	source     *Source     // what is streamed, if anything is
	w          http.ResponseWriter

	failure error // what the request is answered with, if not nil
}

// inner lets an exchange embed a huma.Context and still have a method of that
// name.
type inner huma.Context

// exchangeKey is where the handler's wrapper finds the exchange: the one value
// that Keyward ever puts in a context, since huma calls handlers with nothing
// else.
type exchangeKey struct{}

func (x *exchange) Context() context.Context {
	return context.WithValue(x.r.Context(), exchangeKey{}, x)
}

// Unwrap lets humago find what it made.
func (x *exchange) Unwrap() huma.Context { return x.inner }

func (x *exchange) Query(name string) string { return x.query.Get(name) }

func (x *exchange) BodyReader() io.Reader { return bytes.NewReader(x.body) }

// Header hides the Content-Type as it was written, in any letter case and with
// a charset: checkMediaType has read it.
func (x *exchange) Header(name string) string {
	if name == "Content-Type" {
		return mediaType
	}
	return x.inner.Header(name)
}

func (x *exchange) SetReadDeadline(time.Time) error { return nil }

func (x *exchange) SetStatus(status int) {
	if x.failure == nil && x.source == nil {
		x.inner.SetStatus(status)
	}
}

func (x *exchange) BodyWriter() io.Writer {
	if x.failure != nil {
		return io.Discard
	}
	return x.inner.BodyWriter()
}

// serve is the middleware of an operation. It finds the caller and checks the
// request, has huma call the handler, and answers if anything failed.
func (rt *route) serve(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	x := &exchange{inner: ctx, r: r, w: w, query: r.URL.Query()}
	x.failure = rt.admit(w, x)
	if x.failure == nil && rt.streams {
		// A stream has its place before its handler starts anything.
		if x.failure = rt.api.streams.enter(x.who, rt.api.stopping()); x.failure == nil {
			defer rt.api.streams.leave(x.who)
		}
	}
	if x.failure == nil {
		next(x)
	}
	if x.failure == nil && x.source != nil {
		rt.stream(w, x)
		return
	}
	if x.failure == nil {
		return
	}
	if rt.op.Security == Password && fault.Of(x.failure).Kind == fault.Unauthenticated {
		w.Header().Add("WWW-Authenticate", `Basic realm="keyward", charset="UTF-8"`)
	}
	rt.api.Fail(w, r, x.failure)
}

// admit finds the caller of x and checks what was sent, in this order: who asks
// comes before what is wrong with the question. Where the key stands in the
// body, or a signature vouches for it, the body must be read first.
func (rt *route) admit(w http.ResponseWriter, x *exchange) error {
	from := rt.api.Client(w, x.r)
	if x.r.Header[signatureHeader] != nil {
		if err := x.readBody(w); err != nil {
			return err
		}
	}
	if rt.op.Security != KeyInBody {
		if err := rt.identify(w, x, from, scanned{}); err != nil {
			return err
		}
	}
	began := time.Now()
	found, err := rt.readBody(w, x)
	if err != nil {
		return err
	}
	if (rt.op.Security == KeyOrToken || rt.op.Security == AccessToken) && time.Since(began) >= dawdling {
		if x.who, err = rt.api.IdentifyAgain(w, x.r, rt.op); err != nil {
			return err
		}
	}
	if rt.op.Security == KeyInBody {
		if err := rt.identify(w, x, from, found); err != nil {
			return err
		}
	}
	if err := checkParams(rt.params, x.r, x.query, rt.op.Loose); err != nil {
		return err
	}
	return found.complaint
}

// identify finds who sent x.
func (rt *route) identify(w http.ResponseWriter, x *exchange, from Client, body scanned) (err error) {
	switch rt.op.Security {
	case Public:
		x.who = access.NewVisitor(from.Address, from.RequestID)
		return nil
	case Password:
		x.who = access.NewVisitor(from.Address, from.RequestID)
		x.basic, err = basicAuth(x.r.Header)
		return err
	}
	text, err := rt.api.credential(rt.op.Security, x.r.Header, body.apiKey)
	if err != nil {
		return err
	}
	if rt.op.Security == KeyInBody && text == "" && body.noKey != nil {
		return body.noKey
	}
	if rt.streams {
		x.credential = seal.NewSecret(text)
	}
	x.who, err = rt.api.authenticate(w, x.r, rt.op, text, x.body)
	return err
}

// authenticate finds who stands behind the credential of r, which has that body.
func (a *API) authenticate(w http.ResponseWriter, r *http.Request, op Operation, credential string, body []byte) (who access.Caller, err error) {
	c := Credentials{Accepts: op.Security, Secret: seal.NewSecret(credential), Action: op.Action, Free: op.Free}
	if c.Signature, err = signature(r); err != nil {
		return access.Caller{}, err
	}
	c.Signature.Body = body
	from := a.Client(w, r)
	who, headers, err := a.config.Authenticate(r.Context(), c, from)
	headers.Set(w.Header())
	who.Address, who.RequestID = from.Address, from.RequestID
	return who, err
}

// Identify finds who sends r, as op asks for it: for raw handlers, and for
// requests without a body.
func (a *API) Identify(w http.ResponseWriter, r *http.Request, op Operation) (access.Caller, error) {
	op, text, err := a.shown(r, op)
	if err != nil {
		return access.Caller{}, err
	}
	return a.authenticate(w, r, op, text, nil)
}

// shown returns the credential of r, and op without the URL as a place for it.
func (a *API) shown(r *http.Request, op Operation) (Operation, string, error) {
	inURL := ""
	if op.Security == KeyInURL {
		inURL = r.URL.Query().Get("token")
		op.Security = KeyOrToken
	}
	text, err := a.credential(op.Security, r.Header, inURL)
	return op, text, err
}

// readBody reads the body of x, once.
func (x *exchange) readBody(w http.ResponseWriter) (err error) {
	if !x.read {
		x.body, err = readBody(w, x.r)
		x.read = true
	}
	return err
}

// readBody reads the body of x and checks it against its schema.
func (rt *route) readBody(w http.ResponseWriter, x *exchange) (found scanned, err error) {
	if rt.body == nil {
		return scanned{}, nil
	}
	if err := x.readBody(w); err != nil {
		return scanned{}, err
	}
	if x.body == nil && rt.needsBody {
		return scanned{}, errNoBody
	} else if x.body == nil {
		return scanned{}, nil
	}
	found, err = scan(x.body, rt.body)
	if found.isNull && !rt.needsBody {
		x.body, found = nil, scanned{}
	}
	return found, err
}

// newError takes the errors that huma finds. Nothing of a request gets that far
// but a value that its Go type refuses, which decode tells the place of; all
// else is a failure of ours.
func newError(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
	failure := error(fault.ErrInternal.Because(errors.New("huma: " + msg)))
	if len(errs) > 0 && status < 500 {
		failure = fault.ErrInvalidRequest
		var detail *huma.ErrorDetail
		if errors.As(errs[0], &detail) {
			failure = invalid("has a value that can't be used").at(place(detail))
		}
	}
	if x, ok := ctx.(*exchange); ok {
		x.failure = failure
	}
	return &unwritten{}
}

// place returns the field that detail is about.
func place(detail *huma.ErrorDetail) string {
	if in, name, ok := strings.Cut(detail.Location, "."); ok && in != "body" {
		return name
	}
	return detail.Message // from decode
}

// unwritten is what huma is given to write where Fail is going to.
type unwritten struct{ errorAnswer }

func (*unwritten) Error() string  { return "unwritten" }
func (*unwritten) GetStatus() int { return http.StatusInternalServerError }

func init() {
	// These are huma's settings, and it keeps them in variables.
	huma.NewErrorWithContext = newError
	huma.NewError = func(int, string, ...error) huma.StatusError { return &unwritten{} }
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
}
