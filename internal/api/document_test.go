package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
)

func TestTheDocumentIsTheSameEachTime(t *testing.T) {
	first, err := newSurface(t).SpecYAML()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if again, err := newSurface(t).SpecYAML(); err != nil || string(again) != string(first) {
			t.Fatalf("another document, %v", err)
		}
	}
	doc, err := openapi3.NewLoader().LoadFromData(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil || doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s, %v", doc.OpenAPI, err)
	}
}

func TestTheDocumentIsServed(t *testing.T) {
	s := newSurface(t)
	want, err := s.SpecJSON()
	if err != nil {
		t.Fatal(err)
	}
	if re := s.start(t).do("GET", "/openapi.json", ""); re.text != string(want) || re.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s", re.StatusCode, re.Header, re.text)
	}
}

func TestTheDocumentSaysWhatEachOperationTakesAndAnswers(t *testing.T) {
	text, err := newSurface(t).SpecJSON()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Security    json.RawMessage
			Responses   map[string]struct {
				Ref string `json:"$ref"`
			}
		}
		Components struct {
			Schemas map[string]struct {
				Properties           map[string]json.RawMessage
				AdditionalProperties bool
			}
			Responses map[string]struct {
				Codes []string `json:"x-error-codes"`
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, method, id, security, failures string }{
		{"/v1/things", "post", "createThing", `[{"apiKey":[]},{"apiKeyHeader":[]},{"accessToken":[]}]`,
			"400 INVALID_FIELD_TYPE INVALID_REQUEST MISSING_REQUIRED_FIELD UNKNOWN_FIELD; 401 INVALID_API_KEY; 409 DUPLICATE_NAME; " +
				"413 BODY_TOO_LARGE; 415 UNSUPPORTED_MEDIA_TYPE; 500 INTERNAL_ERROR; 503 UNAVAILABLE"},
		{"/auth/keys/{id}", "delete", "deleteKey", `[{"accessToken":[]}]`,
			"400 INVALID_FIELD_TYPE INVALID_REQUEST MISSING_REQUIRED_FIELD UNKNOWN_FIELD; 401 INVALID_ACCESS_TOKEN; 500 INTERNAL_ERROR; 503 UNAVAILABLE"},
		{"/auth/login", "post", "signInAtAuthLogin", `[{"basic":[]},{}]`,
			"400 INVALID_FIELD_TYPE INVALID_REQUEST MISSING_REQUIRED_FIELD UNKNOWN_FIELD; 401 INVALID_ACCESS_TOKEN; " +
				"413 BODY_TOO_LARGE; 415 UNSUPPORTED_MEDIA_TYPE; 500 INTERNAL_ERROR; 503 UNAVAILABLE"},
		{"/api/run_agent", "post", "runAgentAtApiRunAgent", `[{"apiKey":[]},{"apiKeyHeader":[]},{}]`,
			"400 INVALID_FIELD_TYPE INVALID_REQUEST MISSING_REQUIRED_FIELD; 401 INVALID_API_KEY; " +
				"413 BODY_TOO_LARGE; 415 UNSUPPORTED_MEDIA_TYPE; 500 INTERNAL_ERROR; 503 UNAVAILABLE"},
		{"/healthz", "get", "alive", `[]`, "400 INVALID_REQUEST; 500 INTERNAL_ERROR"},
	} {
		op := doc.Paths[tt.path][tt.method]
		var failures []string
		for _, status := range []string{"400", "401", "409", "413", "415", "422", "500", "503", "default"} {
			if answer, ok := op.Responses[status]; ok {
				codes := doc.Components.Responses[strings.TrimPrefix(answer.Ref, "#/components/responses/")].Codes
				failures = append(failures, status+" "+strings.Join(codes, " "))
			}
		}
		var security strings.Builder
		for _, c := range string(op.Security) {
			if c != ' ' && c != '\n' {
				security.WriteRune(c)
			}
		}
		if got := strings.Join(failures, "; "); got != tt.failures || op.OperationID != tt.id || security.String() != tt.security {
			t.Errorf("%s %s: %s, %s\n%s\nwant %s, %s\n%s", tt.method, tt.path, op.OperationID, security.String(), got, tt.id, tt.security, tt.failures)
		}
	}
	for name, open := range map[string]bool{"Thing": false, "Limits": false, "Login": false, "Profile": true} {
		if s := doc.Components.Schemas[name]; s.AdditionalProperties != open || len(s.Properties) == 0 {
			t.Errorf("schema %s: %+v", name, s)
		}
	}
	if doc.Components.Schemas["Profile"].Properties["api_key"] == nil {
		t.Error("the body does not show its api_key")
	}
	for _, name := range []string{"ErrorModel", "Unwritten"} {
		if _, ok := doc.Components.Schemas[name]; ok {
			t.Errorf("the document has the schema %s, which nothing is of", name)
		}
	}
}

func TestAnOperationThatIsNotWholeIsNotRegistered(t *testing.T) {
	whole := api.Operation{Method: "POST", Path: "/x", Name: "x", Summary: "x", Tag: "x", Security: api.Public}
	type none = struct{}
	nothing := func(context.Context, access.Caller, *none) (api.Nothing, error) { return api.Nothing{}, nil }
	for name, register := range map[string]func(a *api.API){
		"no security": func(a *api.API) {
			op := whole
			op.Security = 0
			api.Register(a, op, nothing)
		},
		"no name": func(a *api.API) {
			op := whole
			op.Name = ""
			api.Register(a, op, nothing)
		},
		"Password without BasicAuth": func(a *api.API) {
			op := whole
			op.Security = api.Password
			api.Register(a, op, nothing)
		},
		"BasicAuth without Password": func(a *api.API) {
			api.Register(a, whole, func(context.Context, access.Caller, *struct{ api.BasicAuth }) (api.Nothing, error) {
				return api.Nothing{}, nil
			})
		},
		"a key in a body that is not there": func(a *api.API) {
			op := whole
			op.Security, op.Action = api.KeyInBody, access.StartRun
			api.Register(a, op, nothing)
		},
		"a key, and no action": func(a *api.API) {
			op := whole
			op.Security = api.KeyOrToken
			api.Register(a, op, nothing)
		},
		"an access token, and no action": func(a *api.API) {
			op := whole
			op.Security = api.AccessToken
			api.Register(a, op, nothing)
		},
		"one body, loose and strict": func(a *api.API) {
			loose := whole
			loose.Path, loose.Name, loose.Loose = "/y", "y", true
			in := func(context.Context, access.Caller, *struct{ Body login }) (api.Nothing, error) {
				return api.Nothing{}, nil
			}
			api.Register(a, whole, in)
			api.Register(a, loose, in)
		},
		"a parameter whose type is not checked": func(a *api.API) {
			api.Register(a, whole, func(context.Context, access.Caller, *struct {
				X float64 `query:"x"`
			}) (api.Nothing, error) {
				return api.Nothing{}, nil
			})
		},
		"the same address twice": func(a *api.API) {
			api.Register(a, whole, nothing)
			again := whole
			again.Name = "y"
			api.Register(a, again, nothing)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was registered")
				}
			}()
			register(api.New(api.Config{}))
		})
	}
}

func TestARawHandlerFailsAsTheOthersDo(t *testing.T) {
	s := newSurface(t)
	s.Raw(api.Operation{Method: "GET", Path: "/raw", Name: "raw", Summary: "Raw", Tag: "server", Security: api.Public,
		Errors: []*fault.Fault{errTaken}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Fail(w, r, errTaken)
	}), api.Answer{Status: 200, ContentType: "text/html"})
	s.start(t).do("GET", "/raw", "").wants(t, 409, "DUPLICATE_NAME", "")
}
