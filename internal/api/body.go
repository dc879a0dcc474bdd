package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/fault"
)

// MaxBody is the size of the largest body that an operation reads.
const MaxBody = 1 << 20

const mediaType = "application/json"

// Failures of a body, before its JSON is looked at.
var (
	ErrBodyTooLarge         = fault.New(fault.TooLarge, "BODY_TOO_LARGE", "The request body is larger than 1 MiB.")
	ErrUnsupportedMediaType = fault.New(fault.UnsupportedMedia, "UNSUPPORTED_MEDIA_TYPE", "This call reads JSON in UTF-8. Send the body with the header Content-Type: application/json.")

	errNoBody      = fault.ErrInvalidRequest.Say("This call needs a JSON object as its request body.")
	errBodyCut     = fault.ErrInvalidRequest.Say("The request body did not arrive whole.")
	errContentCode = ErrUnsupportedMediaType.Say("This call does not read compressed bodies. Send the body without Content-Encoding.")
)

// arriving is a body that has until a deadline to arrive.
//
// The deadline is the connection's: it stays until the body is there, because
// the server reads what a handler left before it answers, also of a body that
// it has refused. Once the body is there it must be gone, or reaching it would
// end the request's context in the middle of the work.
type arriving struct {
	io.ReadCloser
	deadline *http.ResponseController
}

// awaitBody gives the body of r the time limit to arrive. A writer without
// deadlines is one that no slow network stands behind.
func awaitBody(w http.ResponseWriter, r *http.Request, limit time.Duration) {
	if r.ContentLength == 0 {
		return
	}
	deadline := http.NewResponseController(w)
	if deadline.SetReadDeadline(time.Now().Add(limit)) == nil {
		r.Body = &arriving{r.Body, deadline}
	}
}

func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.deadline.SetReadDeadline(time.Time{})
	}
	return n, err
}

// ReadBody returns the body of r, nil if it has none: for direct handlers. It
// refuses one that is too large, or of another type than JSON.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) { return readBody(w, r) }

// readBody returns the body of r, nil if it has none.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, ErrBodyTooLarge
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, MaxBody), r.ContentLength)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, ErrBodyTooLarge
	case err != nil:
		return nil, errBodyCut.Because(err)
	case len(body) == 0:
		return nil, nil
	}
	return body, checkMediaType(r.Header)
}

// readAll is io.ReadAll for a body whose length is told, if it is a usual one.
func readAll(from io.Reader, length int64) ([]byte, error) {
	const usual = 16 << 10 // who claims more must send it before it is kept
	if length <= 0 || length > usual {
		return io.ReadAll(from)
	}
	body := make([]byte, length, length+1)
	if n, err := io.ReadFull(from, body); err != nil {
		return body[:n], err
	}
	// The end of the body must be seen, or the connection is not used again.
	n, err := from.Read(body[length : length+1])
	if err == io.EOF {
		return body, nil
	} else if err == nil && n > 0 {
		err = errors.New("a body is longer than its Content-Length")
	} else if err == nil {
		err = io.ErrNoProgress
	}
	return nil, err
}

func checkMediaType(h http.Header) error {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return errContentCode
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, set := params["charset"]
	if err != nil || kind != mediaType || set && !strings.EqualFold(charset, "utf-8") {
		return ErrUnsupportedMediaType
	}
	return nil
}

// marshaling is how answers are written: the same value, the same bytes.
var marshaling = json.Deterministic(true)

// decode reads a body, which scan has found good, into the input of a handler.
// What still fails is a value that its Go type refuses. The error is the place
// of it and nothing else: huma hands it to newError as text.
func decode(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	var refused *json.SemanticError
	if errors.As(err, &refused) {
		return errors.New(dotted(refused.JSONPointer))
	} else if err != nil {
		return errors.New("")
	}
	return nil
}

// encode writes an answer before its status is sent, so that one that can't be
// written is a failure and not half an answer.
func encode(ctx huma.Context, _ string, v any) (any, error) {
	x, ok := ctx.(*exchange)
	if !ok || x.failure != nil {
		return jsontext.Value(nil), nil
	}
	body, err := json.Marshal(v, marshaling)
	if err != nil {
		x.failure = err
		return jsontext.Value(nil), nil
	}
	ctx.SetHeader("Content-Length", strconv.Itoa(len(body)))
	return jsontext.Value(body), nil
}

func writeEncoded(w io.Writer, v any) error {
	body, _ := v.(jsontext.Value)
	_, err := w.Write(body)
	return err
}
