package api

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
)

// Operation says what an operation is called, where it is and what it asks for.
type Operation struct {
	Method string
	Path   string
	Also   []string // other paths of the same operation

	Name        string // in the document: "createKey"
	Summary     string
	Description string
	Tag         string

	Security Security
	Action   access.Action // what a caller must be allowed to; the document names its scope
	Free     bool          // it does not count against the limits of its caller's key
	Status   int           // of success; 0: 200, or 204 for one that answers Nothing
	Loose    bool          // what the operation does not know is ignored, not refused

	// Headers are those that the handler sets on its answer, and what each says.
	Headers map[string]string

	// Errors are the failures that this operation can end in. Those of its
	// security, of reading its input, and of the server go without saying.
	Errors []*fault.Fault
}

// Nothing is what an operation answers that has no body.
type Nothing struct{}

// Register makes an operation of handle.
//
// In is a struct: fields with the tag path, query or header, a field Body with
// the JSON (a pointer if it may be left out), and embedded [BasicAuth],
// [Cursored] or [Paged]. Its tags are huma's; each is enforced or Register
// panics. Out is the JSON of the answer, or [Nothing].
//
// Handle runs with a caller that the operation's security lets in, and an input
// that its schema lets in. For Public and Password who is a visitor.
func Register[In, Out any](a *API, op Operation, handle func(ctx context.Context, who access.Caller, in *In) (Out, error)) {
	op.mustBeWhole(reflect.TypeFor[*In]())
	registerAt(a, op, handle)
	for _, path := range op.Also {
		at := op
		at.Path = path
		at.Name += "At" + camel(path)
		registerAt(a, at, handle)
	}
}

// RegisterWith is Register for an operation whose answer, whatever it is, has
// headers: op.Headers names them.
func RegisterWith[In, Out any](a *API, op Operation, handle func(ctx context.Context, who access.Caller, in *In) (Out, Headers, error)) {
	Register(a, op, func(ctx context.Context, who access.Caller, in *In) (Out, error) {
		out, headers, err := handle(ctx, who, in)
		headers.Set(ctx.Value(exchangeKey{}).(*exchange).w.Header())
		return out, err
	})
}

// camel returns /api/run_agent as ApiRunAgent.
func camel(path string) string {
	name := ""
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/_-.{}", r) }) {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

func (op Operation) mustBeWhole(in reflect.Type) {
	_, basic := in.Elem().FieldByName("BasicAuth")
	switch {
	case op.Method == "" || op.Path == "" || op.Name == "" || op.Summary == "" || op.Tag == "":
		panic(fmt.Sprintf("api: operation %s %s lacks its method, path, name, summary or tag", op.Method, op.Path))
	case op.Security < Public || op.Security > Password:
		panic(fmt.Sprintf("api: operation %s does not say its security", op.Name))
	case op.Action == "" && op.Security != Public && op.Security != Password:
		panic(fmt.Sprintf("api: operation %s does not say its action, so nobody would ask for its scope", op.Name))
	case basic != (op.Security == Password):
		panic(fmt.Sprintf("api: operation %s must have both the security Password and BasicAuth, or neither", op.Name))
	}
}

// route is what there is to know of an operation at one path.
type route struct {
	api       *API
	op        Operation
	params    []param
	body      *shape // nil: it reads no body
	needsBody bool
	streams   bool // it answers with a stream
}

func registerAt[In, Out any](a *API, op Operation, handle func(context.Context, access.Caller, *In) (Out, error)) {
	rt := &route{api: a, op: op}
	doc := a.doc.operation(op)
	doc.Middlewares = huma.Middlewares{rt.serve}

	if reflect.TypeFor[Out]() == reflect.TypeFor[Nothing]() {
		huma.Register(a.huma, doc, func(ctx context.Context, in *In) (*struct{}, error) {
			call(ctx, in, handle)
			return nil, nil
		})
	} else {
		huma.Register(a.huma, doc, func(ctx context.Context, in *In) (*answer[Out], error) {
			out, ok := call(ctx, in, handle)
			if !ok {
				return nil, nil
			}
			return &answer[Out]{Body: out}, nil
		})
	}
	rt.learn(a.doc.finish(op, a.config.Refusals[op.Security]))
}

// answer is an Out as huma takes it.
type answer[Out any] struct{ Body Out }

// call runs handle for the exchange that ctx carries.
func call[In, Out any](ctx context.Context, in *In, handle func(context.Context, access.Caller, *In) (Out, error)) (out Out, ok bool) {
	x := ctx.Value(exchangeKey{}).(*exchange)
	if b, has := any(in).(interface{ setBasicAuth(BasicAuth) }); has {
		b.setBasicAuth(x.basic)
	}
	out, x.failure = handle(ctx, x.who, in)
	return out, x.failure == nil
}

// learn takes from the document what the requests to rt are checked against.
func (rt *route) learn(doc *huma.Operation) {
	m := shapes{registry: rt.api.doc.Components.Schemas, made: rt.api.doc.shapes}
	rt.params = m.paramsOf(doc)
	if doc.RequestBody == nil {
		if rt.op.Security == KeyInBody {
			panic(fmt.Sprintf("api: operation %s has its key in the body, and no body", rt.op.Name))
		}
		return
	}
	rt.needsBody = doc.RequestBody.Required
	rt.body = m.of(doc.RequestBody.Content[mediaType].Schema)
	if len(rt.body.fields) > 0 && rt.body.open != rt.op.Loose {
		panic(fmt.Sprintf("api: operation %s shares the type of its body with one that is not as loose or strict", rt.op.Name))
	}
}

// Answer is one answer of a raw handler, for the document.
type Answer struct {
	Status      int
	ContentType string
	Body        any // a value of the type that the JSON has; nil for anything else
}

// Raw serves h at op's method and path, past the JSON machinery: for pages,
// files and protocols of their own. An empty method is any. Op goes into the
// document unless it has no name; its security is h's own affair. Failures
// are written with [API.Fail].
func (a *API) Raw(op Operation, h http.Handler, answers ...Answer) {
	a.mux.Handle(strings.TrimSpace(op.Method+" "+op.Path), h)
	if op.Name != "" {
		a.doc.addRaw(op, a.config.Refusals[op.Security], answers)
	}
}

// Direct serves h at op's method and path before all else: without the tree of
// patterns, and with a target that nobody has looked at. It stands in front of
// an operation or a raw handler of the same op, for which [API.Route] is the way.
func (a *API) Direct(op Operation, h http.Handler) {
	a.direct[op.Path] = direct{op.Method, h}
}

// direct is a handler with the method that it takes; "" is any.
type direct struct {
	method string
	http.Handler
}
