// Package apitest checks what a server answers against its own document.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Transport returns a RoundTripper that sends requests through next (or
// http.DefaultTransport) and fails t for an answer that document, an OpenAPI
// 3.1 document in JSON, does not have: another status, another content type, a
// body of another shape or with a field more, a failure with another code.
//
// An address that the document does not have may only answer that there is
// nothing there. It fails t at once if the document itself is not valid.
func Transport(t testing.TB, document []byte, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	if next == nil {
		next = http.DefaultTransport
	}
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		t.Fatalf("openapi: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("openapi: %v", err)
	}
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatalf("openapi: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(documentURL, raw); err != nil {
		t.Fatalf("openapi: %v", err)
	}
	return &checker{t: t, next: next, doc: doc, compiler: compiler, schemas: map[string]*jsonschema.Schema{}}
}

const documentURL = "https://keyward.invalid/openapi.json"

type checker struct {
	t    testing.TB
	next http.RoundTripper
	doc  *openapi3.T

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by where they stand in the document
}

func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	// A stream of events ends when somebody hangs up; it has no one body.
	if res.StatusCode == http.StatusSwitchingProtocols || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return res, nil
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if err := c.check(r, res, body); err != nil {
		c.t.Errorf("%s %s answered %d: %v\n%.2000s", r.Method, r.URL.Path, res.StatusCode, err, body)
	}
	return res, nil
}

// check returns how an answer is not as the document says.
func (c *checker) check(r *http.Request, res *http.Response, body []byte) error {
	template, item := c.find(r.URL.EscapedPath())
	if item == nil {
		return c.checkError(res, body, "ROUTE_NOT_FOUND", "INVALID_REQUEST")
	}
	method := r.Method
	op := item.GetOperation(method)
	if op == nil && method == http.MethodHead {
		method = http.MethodGet
		op = item.Get
	}
	if op == nil {
		if res.Header.Get("Allow") == "" {
			return fmt.Errorf("there is no Allow for a method that is not documented")
		}
		if r.Method == http.MethodOptions && res.StatusCode == http.StatusNoContent {
			return nil
		}
		return c.checkError(res, body, "METHOD_NOT_ALLOWED", "INVALID_REQUEST")
	}

	at := strings.Join([]string{"#/paths", escape(template), strings.ToLower(method), "responses", fmt.Sprint(res.StatusCode)}, "/")
	answer := op.Responses.Status(res.StatusCode)
	if answer == nil {
		return fmt.Errorf("the status is not documented")
	}
	if answer.Ref != "" {
		at = answer.Ref
	}
	for name, header := range answer.Value.Headers {
		if name == "X-Request-Id" && res.Header.Get(name) == "" {
			return fmt.Errorf("the header %s (%s) is missing", name, header.Value.Description)
		}
	}
	if err := c.checkBody(r, res, body, answer.Value, at); err != nil {
		return err
	}
	if codes, ok := answer.Value.Extensions["x-error-codes"].([]any); ok && r.Method != http.MethodHead {
		return c.checkError(res, body, texts(codes)...)
	}
	return nil
}

// checkBody checks the content of an answer that stands at a place in the
// document.
func (c *checker) checkBody(r *http.Request, res *http.Response, body []byte, answer *openapi3.Response, at string) error {
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if len(answer.Content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("no body is documented")
		}
		return nil
	}
	media := answer.Content[kind]
	if err != nil || media == nil {
		return fmt.Errorf("the content type %q is not documented", res.Header.Get("Content-Type"))
	}
	if media.Schema == nil || r.Method == http.MethodHead {
		return nil
	}
	schema, err := c.schema(at + "/content/" + escape(kind) + "/schema")
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	return schema.Validate(value)
}

// checkError checks that an answer is a failure with one of codes, in the one
// shape of failures.
func (c *checker) checkError(res *http.Response, body []byte, codes ...string) error {
	if res.Request.Method == http.MethodHead {
		return nil
	}
	var answer struct {
		Error struct {
			Code      string
			Status    int
			RequestID string `json:"request_id"`
		}
		RequestID string `json:"request_id"` // of the surface that has it there
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the body is not that of a failure: %w", err)
	}
	switch got := answer.Error; {
	case !slices.Contains(codes, got.Code):
		return fmt.Errorf("the code %q is not documented here, only %v", got.Code, codes)
	case got.Status != res.StatusCode:
		return fmt.Errorf("the status in the body is %d", got.Status)
	case got.RequestID+answer.RequestID == "" || got.RequestID+answer.RequestID != res.Header.Get("X-Request-Id"):
		return fmt.Errorf("the request id in the body is not that in the header")
	}
	return nil
}

// schema returns the schema at a place in the document, made once.
func (c *checker) schema(at string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.schemas[at]; s != nil {
		return s, nil
	}
	s, err := c.compiler.Compile(documentURL + at)
	if err != nil {
		return nil, fmt.Errorf("schema of the answer: %w", err)
	}
	c.schemas[at] = s
	return s, nil
}

// find returns the documented path that p is, one without parameters first.
func (c *checker) find(p string) (template string, item *openapi3.PathItem) {
	best := -1
	for t, i := range c.doc.Paths.Map() {
		if n := matches(t, p); n >= 0 && (best < 0 || n < best) {
			template, item, best = t, i, n
		}
	}
	return template, item
}

// matches returns with how many parameters template is p, or -1 if it is not.
func matches(template, p string) int {
	want, got := strings.Split(template, "/"), strings.Split(p, "/")
	if len(want) != len(got) {
		return -1
	}
	n := 0
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "{") && got[i] != "":
			n++
		case w != got[i]:
			return -1
		}
	}
	return n
}

// escape writes a name as a part of a JSON pointer in a URL.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
}

func texts(values []any) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = fmt.Sprint(v)
	}
	return all
}
