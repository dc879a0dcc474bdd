package apitest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const document = `{
  "openapi": "3.1.0",
  "info": {"title": "Test", "version": "1"},
  "paths": {
    "/things/{id}": {
      "get": {
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
        "responses": {
          "200": {
            "description": "OK",
            "headers": {"X-Request-Id": {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
          },
          "204": {"description": "None"},
          "404": {"$ref": "#/components/responses/NotFound"}
        }
      }
    },
    "/things/self": {
      "get": {"responses": {"200": {"description": "OK", "content": {"text/plain": {}}}}}
    }
  },
  "components": {
    "schemas": {
      "Thing": {
        "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {
          "id": {"type": "string"}, "at": {"type": "string", "format": "date-time"},
          "next": {"type": ["string", "null"]}, "inner": {"$ref": "#/components/schemas/Thing"}
        }
      }
    },
    "responses": {
      "NotFound": {"description": "Gone", "x-error-codes": ["GONE"], "content": {"application/json": {}}}
    }
  }
}`

// witness is a test that notes that it failed.
type witness struct {
	testing.TB
	said string
}

func (w *witness) Helper() {}

func (w *witness) Errorf(format string, args ...any) { w.said += fmt.Sprintf(format, args...) }

func TestAnAnswerThatIsNotAsDocumentedFailsTheTest(t *testing.T) {
	const problem = `{"error":{"code":"%s","message":"m","status":%d,"request_id":"r"}}`
	fails := func(code string, status int) string { return fmt.Sprintf(problem, code, status) }
	for _, tt := range []struct {
		name, method, path  string
		status              int
		kind, body, headers string
		want                string // in what the test is told; "": it passes
	}{
		{"good", "GET", "/things/1", 200, "application/json", `{"id":"1","at":"2024-01-01T00:00:00.000Z","next":null,"inner":{"id":"2"}}`, "", ""},
		{"good with a charset", "GET", "/things/1", 200, "application/json; charset=utf-8", `{"id":"1"}`, "", ""},
		{"good without a body", "GET", "/things/1", 204, "", "", "", ""},
		{"good text", "GET", "/things/self", 200, "text/plain", "self", "", ""},
		{"good head", "HEAD", "/things/1", 200, "application/json", "", "", ""},
		{"good failure", "GET", "/things/1", 404, "application/json", fails("GONE", 404), "", ""},
		{"good address that is not there", "GET", "/nothing", 404, "application/json", fails("ROUTE_NOT_FOUND", 404), "", ""},
		{"good method that is not there", "PUT", "/things/1", 405, "application/json", fails("METHOD_NOT_ALLOWED", 405), "GET", ""},
		{"good options", "OPTIONS", "/things/1", 204, "", "", "GET", ""},

		{"another status", "GET", "/things/1", 201, "application/json", `{"id":"1"}`, "", "the status is not documented"},
		{"another type", "GET", "/things/1", 200, "text/plain", `{"id":"1"}`, "", "content type"},
		{"a field more", "GET", "/things/1", 200, "application/json", `{"id":"1","secret":"x"}`, "", "secret"},
		{"a field more, deeper", "GET", "/things/1", 200, "application/json", `{"id":"1","inner":{"id":"2","secret":"x"}}`, "", "secret"},
		{"a field less", "GET", "/things/1", 200, "application/json", `{}`, "", "id"},
		{"a field of another type", "GET", "/things/1", 200, "application/json", `{"id":1}`, "", "string"},
		{"a null", "GET", "/things/1", 200, "application/json", `{"id":null}`, "", "string"},
		{"another format", "GET", "/things/1", 200, "application/json", `{"id":"1","at":"yesterday"}`, "", "date-time"},
		{"no JSON", "GET", "/things/1", 200, "application/json", `{"id":"1"`, "", "not JSON"},
		{"a body where there is none", "GET", "/things/1", 204, "application/json", `{}`, "", ""}, // net/http does not send it
		{"another code", "GET", "/things/1", 404, "application/json", fails("LOST", 404), "", "LOST"},
		{"another status inside", "GET", "/things/1", 404, "application/json", fails("GONE", 400), "", "400"},
		{"an address that is not documented", "GET", "/secret", 200, "application/json", `{}`, "", "not documented"},
		{"a method that is not documented", "PUT", "/things/1", 200, "application/json", `{}`, "GET", "not documented"},
		{"no Allow", "PUT", "/things/1", 405, "application/json", fails("METHOD_NOT_ALLOWED", 405), "", "Allow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Request-Id", "r")
				if tt.headers != "" {
					w.Header().Set("Allow", tt.headers)
				}
				w.Header().Set("Content-Type", tt.kind)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer server.Close()
			w := &witness{TB: t}
			client := &http.Client{Transport: Transport(w, []byte(document), nil)}
			r, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || tt.method != "HEAD" && tt.status != 204 && string(got) != tt.body {
				t.Errorf("the body is now %q, %v", got, err)
			}
			if (tt.want == "") != (w.said == "") || !strings.Contains(w.said, tt.want) {
				t.Errorf("the test was told %q, want something of %q", w.said, tt.want)
			}
		})
	}
}

func TestARequestIdThatIsMissingFailsTheTest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"1"}`)
	}))
	defer server.Close()
	w := &witness{TB: t}
	res, err := (&http.Client{Transport: Transport(w, []byte(document), nil)}).Get(server.URL + "/things/1")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if !strings.Contains(w.said, "X-Request-Id") {
		t.Errorf("the test was told %q", w.said)
	}
}
