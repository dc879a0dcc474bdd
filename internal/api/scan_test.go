package api

import (
	stdjson "encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/fault"
)

// sample has a field of each type that an input can have.
type sample struct {
	Name   string            `json:"name" minLength:"1" maxLength:"5" pattern:"^[a-z]*$"`
	On     bool              `json:"on,omitzero"`
	Count  int               `json:"count,omitzero" minimum:"-3"`
	Small  int32             `json:"small,omitzero"`
	Share  float64           `json:"share,omitzero"`
	Kind   string            `json:"kind,omitzero" enum:"a,b"`
	List   []string          `json:"list,omitzero" maxItems:"3"`
	Labels map[string]string `json:"labels,omitzero"`
	Any    map[string]any    `json:"any,omitzero"`
	Inner  *sample           `json:"inner,omitzero"`
	When   client.Time       `json:"when,omitzero"`
}

func shapeFor(v any) *shape {
	d := newDocument()
	m := shapes{registry: d.Components.Schemas, made: d.shapes}
	return m.of(d.schema(v))
}

// FuzzScan holds scan against the decoder that reads a body after it, and
// against its own promise not to repeat what was sent.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"name":"abc"}`, `{"name":null}`, `{"name":"a","inner":{"name":"b","inner":{}}}`, `[]`, `null`, `{"name":"a","count":1e2}`,
		`{"name":"a","labels":{"x.y":"z"},"any":{"a":[1,"\u0000"]}}`, `{"name":"a","name":"b"}`, "{\"name\":\"\xff\"}",
		`{"name":"a","when":"2024-01-01T00:00:00Z","small":2147483648}`, `{"api_key":"k"}`, `{"name":"\ud800"}`, `{} {}`,
	} {
		f.Add([]byte(seed))
	}
	sh := shapeFor(sample{})
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		found, err := scan(body, sh)
		if string(body) != before {
			t.Fatalf("%q was changed to %q", before, body)
		}
		for _, e := range []error{err, found.complaint} {
			if e == nil {
				continue
			}
			f := fault.Of(e)
			if f.Kind != fault.Invalid || !utf8.ValidString(f.Message) || len(f.Message) > 2048 {
				t.Errorf("%q: %v", body, f)
			}
		}
		if err == nil && (!stdjson.Valid(body) || !utf8.Valid(body)) {
			t.Errorf("%q passed, and is not JSON", body)
		}
		if err != nil || found.complaint != nil {
			return
		}
		// What has passed is what the decoder takes, except for a number in an
		// untyped value that no float64 holds.
		var v sample
		if err := json.Unmarshal(body, &v); err != nil && !strings.Contains(err.Error(), "out of range") {
			t.Errorf("%q passed, and the decoder says: %v", body, err)
		}
		if v.Name == "" || v.Count < -3 || len(v.List) > 3 {
			t.Errorf("%q passed as %+v", body, v)
		}
	})
}

func TestAnInputWithARuleThatIsNotCheckedIsNotRegistered(t *testing.T) {
	for name, v := range map[string]any{
		"a format": struct {
			A string `json:"a" format:"email"`
		}{},
		"multipleOf": struct {
			A int `json:"a" multipleOf:"2"`
		}{},
		"exclusiveMinimum": struct {
			A int `json:"a" exclusiveMinimum:"2"`
		}{},
		"uniqueItems": struct {
			A []string `json:"a" uniqueItems:"true"`
		}{},
		"readOnly": struct {
			A string `json:"a" readOnly:"true"`
		}{},
		"dependentRequired": struct {
			A string `json:"a,omitzero" dependentRequired:"b"`
			B string `json:"b,omitzero"`
		}{},
		"an enum of numbers": struct {
			A int `json:"a" enum:"1,2"`
		}{},
		"a required field, nullable": struct {
			A *string `json:"a"`
		}{},
		"a rule deep in the input": struct {
			A []struct {
				B string `json:"b" format:"email"`
			} `json:"a"`
		}{},
		"a rule in a map": struct {
			A map[string]odd `json:"a"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was made into a shape")
				}
			}()
			d := newDocument()
			m := shapes{registry: d.Components.Schemas, made: d.shapes}
			m.of(d.Components.Schemas.Schema(reflect.TypeOf(v), false, "Test"))
		})
	}
}

// odd has a schema of its own, with something that is not checked.
type odd string

func (odd) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: "string"}}}
}

func TestANameIsShownInAFormThatCanBeSentBack(t *testing.T) {
	for name, want := range map[string]string{
		"allowed_ip":             "allowed_ip",
		"":                       `""`,
		"limits.Burst-2":         "limits.Burst-2",
		"a\x00b\x1b[2J\u202e":    "…",
		"\xff":                   "…",
		"naïve":                  "…",
		"pass word":              "…",
		strings.Repeat("x", 32):  strings.Repeat("x", 32),
		strings.Repeat("x", 33):  "…",
		strings.Repeat("x", 1e6): "…",
	} {
		if got := shown(name); got != want {
			t.Errorf("shown(%.20q) = %q, want %q", name, got, want)
		}
	}
}
