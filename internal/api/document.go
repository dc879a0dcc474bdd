package api

import (
	stdjson "encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// document is openapi.yaml while it is being put together.
type document struct {
	*huma.OpenAPI
	shapes   map[*huma.Schema]*shape
	failures map[string]string // the name of the component for a set of failures
	dialects []dialect
}

const (
	requestIDHeader = "X-Request-Id"
	// errorCodes lists, with each failed answer, the codes that it may have.
	errorCodes = "x-error-codes"
)

func newDocument() document {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	// Client knows nothing of huma, so what its types look like is said here.
	schemas.RegisterTypeAlias(reflect.TypeFor[client.Time](), reflect.TypeFor[timeSchema]())
	schemas.RegisterTypeAlias(reflect.TypeFor[client.Object](), reflect.TypeFor[map[string]any]())
	registerEdit[[]string, []string](schemas)
	registerEdit[int64, int64](schemas)
	registerEdit[string, string](schemas)
	registerEdit[client.Object, map[string]any](schemas)
	registerEdit[client.ChangeKeyLimits, client.ChangeKeyLimits](schemas)
	schemas.RegisterTypeAlias(reflect.TypeFor[jsontext.Value](), reflect.TypeFor[stdjson.RawMessage]())
	schemas.RegisterTypeAlias(reflect.TypeFor[unwritten](), reflect.TypeFor[errorAnswer]())

	text := &huma.Schema{Type: huma.TypeString}
	return document{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "Keyward",
				Version:     "1",
				Description: "Keys, credentials and sign-in for AI agents.",
			},
			Components: &huma.Components{
				Schemas:   schemas,
				Responses: map[string]*huma.Response{},
				Headers: map[string]*huma.Header{
					requestIDHeader:    {Schema: text, Description: "The id of this request: the caller's, if it sent one of 1 to 64 of A-Z a-z 0-9 . _ -"},
					"Retry-After":      {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Seconds after which to try again, if that is known"},
					"WWW-Authenticate": {Schema: text, Description: "How to authenticate"},
				},
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"apiKey":       {Type: "http", Scheme: "bearer", Description: "An API key"},
					"apiKeyHeader": {Type: "apiKey", In: "header", Name: "X-API-Key", Description: "An API key"},
					"apiKeyQuery":  {Type: "apiKey", In: "query", Name: "token", Description: "An API key, for clients that can send no header"},
					"accessToken":  {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "An access token, which signing in gives"},
					"basic":        {Type: "http", Scheme: "basic", Description: "E-mail and password"},
				},
			},
		},
		shapes:   map[*huma.Schema]*shape{},
		failures: map[string]string{},
	}
}

// registerEdit has a change of a T look like what it sets.
func registerEdit[T, As any](schemas huma.Registry) {
	schemas.RegisterTypeAlias(reflect.TypeFor[client.Edit[T]](), reflect.TypeFor[As]())
}

// timeSchema is what client.Time looks like.
type timeSchema struct{}

func (timeSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2024-01-01T00:00:00.000Z"}}
}

// securities is what the document says of each kind of security. The empty
// entry of a list is for what stands in the body.
var securities = map[Security][]map[string][]string{
	Public:      {},
	KeyOrToken:  {{"apiKey": {}}, {"apiKeyHeader": {}}, {"accessToken": {}}},
	AccessToken: {{"accessToken": {}}},
	KeyInBody:   {{"apiKey": {}}, {"apiKeyHeader": {}}, {}},
	KeyInURL:    {{"apiKey": {}}, {"apiKeyHeader": {}}, {"apiKeyQuery": {}}, {"accessToken": {}}},
	Password:    {{"basic": {}}, {}},
}

// operation returns op as huma takes it. The failures are added by finish, when
// huma has found out what op reads.
func (d *document) operation(op Operation) huma.Operation {
	describe := op.Description
	if scopes := access.ScopesFor(op.Action).Names(); len(scopes) > 0 {
		describe = strings.TrimSpace(describe + "\n\nAn API key needs the scope `" + strings.Join(scopes, "` or `") + "`.")
	}
	return huma.Operation{
		Method: op.Method, Path: op.Path, DefaultStatus: op.Status,
		OperationID: op.Name, Summary: op.Summary, Description: describe, Tags: []string{op.Tag},
		Security:  securities[op.Security],
		Responses: map[string]*huma.Response{"500": {}, "503": {}}, // or huma adds a default
		// The body has been read, and within its limits, before huma sees it.
		MaxBodyBytes: -1, BodyReadTimeout: -1,
		SkipValidateParams: true, SkipValidateBody: true,
	}
}

// finish completes what huma has written down of op.
func (d *document) finish(op Operation, refusals []*fault.Fault) *huma.Operation {
	doc := d.find(op.Method, op.Path)
	for _, answer := range doc.Responses {
		answer.Headers = d.header(answer.Headers, requestIDHeader)
		for name, says := range op.Headers {
			answer.Headers[name] = &huma.Header{Schema: &huma.Schema{Type: huma.TypeString}, Description: says}
		}
	}
	if access.ScopesFor(op.Action) != 0 {
		refusals = append(refusals, access.ErrInsufficientScope)
	}
	may := slices.Concat(refusals, op.Errors, []*fault.Fault{fault.ErrInternal, fault.ErrUnavailable, fault.ErrInvalidRequest})
	if doc.RequestBody != nil || len(doc.Parameters) > 0 {
		may = append(may, fault.ErrMissingField, fault.ErrFieldType)
	}
	if !op.Loose {
		may = append(may, fault.ErrUnknownField)
	}
	if doc.RequestBody != nil {
		may = append(may, ErrBodyTooLarge, ErrUnsupportedMediaType)
		body := doc.RequestBody.Content[mediaType].Schema
		if op.Security == KeyInBody {
			d.addAPIKey(body)
		}
		if op.Loose {
			d.loosen(body)
		}
	}
	d.addFailures(doc, may)
	return doc
}

func (d *document) find(method, path string) *huma.Operation {
	item := d.Paths[path]
	return map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
		http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
	}[method]
}

// resolve returns the schema that s is or refers to.
func (d *document) resolve(s *huma.Schema) *huma.Schema {
	for s.Ref != "" {
		s = d.Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// addAPIKey gives the body of an operation its field for the key. It is not
// required, because the key may be in a header instead.
func (d *document) addAPIKey(body *huma.Schema) {
	d.resolve(body).Properties[apiKeyField] = &huma.Schema{
		Type:        huma.TypeString,
		Description: "The API key. Required, unless a header holds it",
	}
}

// loosen lets fields pass that an input does not know.
func (d *document) loosen(s *huma.Schema) {
	s = d.resolve(s)
	if d.shapes[s] != nil {
		return
	}
	if closed, ok := s.AdditionalProperties.(bool); ok && !closed {
		s.AdditionalProperties = true
		for _, field := range s.Properties {
			d.loosen(field)
		}
	}
	if s.Items != nil {
		d.loosen(s.Items)
	}
}

// addFailures documents the failures that doc may end in, each status once.
func (d *document) addFailures(doc *huma.Operation, may []*fault.Fault) {
	byStatus := map[int]map[string]string{} // status → code → message
	for _, f := range may {
		status := fault.Status(f.Kind)
		if byStatus[status] == nil {
			byStatus[status] = map[string]string{}
		}
		byStatus[status][f.Code] = f.Message
	}
	shape := d.failureAt(doc.Path, client.Error{})
	for status, codes := range byStatus {
		doc.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + d.failure(status, codes, shape)}
	}
}

// failure returns the name of the component for answers with these codes, in the
// shape of a value. Operations that fail alike share it, so that the document can
// be read.
func (d *document) failure(status int, messages map[string]string, shape any) string {
	codes := slices.Sorted(maps.Keys(messages))
	key := strconv.Itoa(status) + " " + strings.Join(codes, " ") + " " + reflect.TypeOf(shape).Name()
	if name := d.failures[key]; name != "" {
		return name
	}
	base := strings.ReplaceAll(http.StatusText(status), " ", "")
	name := base
	for n := 2; d.Components.Responses[name] != nil; n++ {
		name = base + strconv.Itoa(n)
	}
	d.failures[key] = name

	var says []string
	for _, code := range codes {
		says = append(says, "`"+code+"`: "+messages[code])
	}
	headers := d.header(nil, requestIDHeader)
	switch status {
	case http.StatusUnauthorized:
		headers = d.header(headers, "WWW-Authenticate")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		headers = d.header(headers, "Retry-After")
	}
	d.Components.Responses[name] = &huma.Response{
		Description: strings.Join(says, "\n\n"),
		Headers:     headers,
		Content:     map[string]*huma.MediaType{mediaType: {Schema: d.schema(shape)}},
		Extensions:  map[string]any{errorCodes: codes},
	}
	return name
}

// header returns headers with the component of that name.
func (d *document) header(headers map[string]*huma.Header, name string) map[string]*huma.Header {
	if headers == nil {
		headers = map[string]*huma.Header{}
	}
	headers[name] = &huma.Header{Ref: "#/components/headers/" + name}
	return headers
}

// schema returns the schema of the type that v has.
func (d *document) schema(v any) *huma.Schema {
	t := reflect.TypeOf(v)
	return d.Components.Schemas.Schema(t, true, t.Name())
}

// pathParameter is a place in a path.
var pathParameter = regexp.MustCompile(`\{([a-z_]+)\}`)

// addRaw documents a raw handler. Refusals are those of an operation that asks
// for an action.
func (d *document) addRaw(op Operation, refusals []*fault.Fault, answers []Answer) {
	doc := d.operation(op)
	for _, found := range pathParameter.FindAllStringSubmatch(op.Path, -1) {
		doc.Parameters = append(doc.Parameters, &huma.Param{Name: found[1], In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	doc.Responses = map[string]*huma.Response{}
	if op.Method == "" {
		doc.Method = http.MethodGet
	}
	for _, a := range answers {
		media := &huma.MediaType{}
		if a.Body != nil {
			media.Schema = d.schema(a.Body)
		}
		answer := &huma.Response{Description: http.StatusText(a.Status), Headers: d.header(nil, requestIDHeader)}
		if a.ContentType != "" {
			answer.Content = map[string]*huma.MediaType{a.ContentType: media}
		}
		doc.Responses[strconv.Itoa(a.Status)] = answer
	}
	may := slices.Concat(op.Errors, []*fault.Fault{fault.ErrInternal, fault.ErrInvalidRequest})
	if op.Action != "" {
		may = append(append(may, refusals...), fault.ErrUnavailable)
		if access.ScopesFor(op.Action) != 0 {
			may = append(may, access.ErrInsufficientScope)
		}
	}
	d.addFailures(&doc, may)
	d.AddOperation(&doc)
}

// SpecJSON returns the OpenAPI 3.1 document of what is registered so far. The
// same operations, registered in the same order, give the same bytes.
func (a *API) SpecJSON() ([]byte, error) { return stdjson.MarshalIndent(a.doc.OpenAPI, "", "  ") }

// SpecYAML returns what SpecJSON does as YAML.
func (a *API) SpecYAML() ([]byte, error) { return a.doc.YAML() }

// serveDocument registers /openapi.json.
func (a *API) serveDocument() {
	text := sync.OnceValues(a.SpecJSON)
	a.Raw(Operation{
		Method: http.MethodGet, Path: "/openapi.json", Name: "getDocument", Tag: "server",
		Summary: "This document", Security: Public,
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := text()
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body)
	}), Answer{Status: http.StatusOK, ContentType: mediaType, Body: map[string]any{}})
}
