package typescript_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write types/wire.d.ts")

// What travels has one description, and the types are made of it.
func TestTypesOfWhatTravelsAreFresh(t *testing.T) {
	const path = "types/wire.d.ts"
	now := wire(t)
	if *update {
		if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(path); err != nil || string(kept) != now {
		t.Errorf("%s is not what openapi.yaml says (%v): go test ./sdk/typescript -update", path, err)
	}
}

// names are those of the document that are called otherwise here.
var names = map[string]string{
	"AccountJSON":    "RegisteredAccount",
	"LimitsJSON":     "MembershipLimits",
	"MembershipJSON": "Membership",
	"TokensJSON":     "Tokens",
	"ProfileToken":   "AuthToken", // the same
}

type document struct {
	Paths      map[string]map[string]*operation
	Components struct{ Schemas map[string]*schema }
}

type operation struct {
	OperationID string `yaml:"operationId"`
	Parameters  []struct {
		Name, In, Description string
		Schema                *schema
	}
	RequestBody *answer `yaml:"requestBody"`
	Responses   map[string]*answer
}

type answer struct {
	Content map[string]struct{ Schema *schema }
}

type schema struct {
	Ref                  string    `yaml:"$ref"`
	Type                 yaml.Node // one or several
	Description          string
	Enum                 []string
	Items                *schema
	Properties           map[string]*schema
	Required             []string
	AdditionalProperties yaml.Node `yaml:"additionalProperties"`
	Nullable             bool
}

// wire returns types/wire.d.ts: what the calls that the SDK offers send and answer.
func wire(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile("test/left-out.json")
	if err != nil {
		t.Fatal(err)
	}
	var leftOut map[string]string
	if err := json.Unmarshal(text, &leftOut); err != nil {
		t.Fatal(err)
	}

	w := writer{types: map[string]string{}, d: &d}
	offered := map[string]*operation{}
	for _, methods := range d.Paths {
		for _, op := range methods {
			if _, out := leftOut[op.OperationID]; !out && op.OperationID != "" {
				offered[op.OperationID] = op
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(offered)) { // two names of one type have it from the first
		op := offered[id]
		w.query(op)
		for _, a := range append([]*answer{op.RequestBody}, values(op.Responses)...) {
			if a == nil || a.Content["application/json"].Schema == nil {
				continue
			}
			w.typeOf(a.Content["application/json"].Schema)
		}
	}
	var b strings.Builder
	b.WriteString("// What travels, as openapi.yaml has it: go test ./sdk/typescript -update writes this file.\n")
	for _, name := range slices.Sorted(maps.Keys(w.types)) {
		b.WriteString("\n" + w.types[name])
	}
	return b.String()
}

type writer struct {
	d     *document
	types map[string]string
}

// typeOf returns the type of what s describes.
func (w *writer) typeOf(s *schema) string {
	if s == nil {
		return "unknown"
	}
	if s.Ref != "" {
		return w.named(strings.TrimPrefix(s.Ref, "#/components/schemas/"))
	}
	if len(s.Enum) > 0 {
		return union(s.Enum, isNull(s))
	}
	var all []string
	for _, kind := range kinds(s) {
		switch kind {
		case "string", "boolean", "null":
			all = append(all, kind)
		case "integer", "number":
			all = append(all, "number")
		case "array":
			of := w.typeOf(s.Items)
			if strings.Contains(of, " | ") {
				of = "(" + of + ")"
			}
			all = append(all, of+"[]")
		case "object":
			var of *schema
			if s.AdditionalProperties.Kind == yaml.MappingNode {
				of = new(schema)
				if err := s.AdditionalProperties.Decode(of); err != nil {
					panic(err)
				}
				if of.Type.IsZero() && of.Ref == "" {
					of = nil
				}
			}
			all = append(all, "Record<string, "+w.typeOf(of)+">")
		}
	}
	if len(all) == 0 {
		return "unknown"
	}
	return strings.Join(all, " | ")
}

var listName = regexp.MustCompile(`^List([A-Z]\w*)$`)

// named returns the name of a type, and writes it if it is new.
func (w *writer) named(name string) string {
	if m := listName.FindStringSubmatch(name); m != nil {
		return "Page<" + w.named(m[1]) + ">"
	}
	as := name
	if other, ok := names[name]; ok {
		as = other
	}
	if _, known := w.types[as]; known {
		return as
	}
	w.types[as] = "" // it may be part of itself
	s := w.d.Components.Schemas[name]
	var b strings.Builder
	b.WriteString(comment("", s.Description))
	fmt.Fprintf(&b, "export interface %s {\n", as)
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[field]
		of, mark := w.typeOf(p), ""
		if p.Ref != "" && strings.Contains(p.Description, "null: ") { // it can't be said beside a reference
			of += " | null"
		}
		if !slices.Contains(s.Required, field) {
			mark = "?"
		}
		b.WriteString(comment("  ", p.Description))
		fmt.Fprintf(&b, "  %s%s: %s;\n", field, mark, of)
	}
	b.WriteString("}\n")
	w.types[as] = b.String()
	return as
}

// query writes the type of the parameters of op that stand behind the path.
func (w *writer) query(op *operation) {
	var b strings.Builder
	for _, p := range op.Parameters {
		// What stands in a header, too, is for those who can send no header.
		if p.In == "query" && p.Name != "last_event_id" {
			of := w.typeOf(p.Schema)
			if p.Name == "from" || p.Name == "to" {
				of += " | Date"
			}
			b.WriteString(comment("  ", p.Description))
			fmt.Fprintf(&b, "  %s?: %s;\n", p.Name, of)
		}
	}
	if b.Len() == 0 {
		return
	}
	name := strings.ToUpper(op.OperationID[:1]) + op.OperationID[1:] + "Query"
	w.types[name] = fmt.Sprintf("export interface %s {\n%s}\n", name, b.String())
}

func comment(indent, text string) string {
	if text == "" {
		return ""
	}
	return indent + "/** " + strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "*/", "*\u200b/") + " */\n"
}

func union(values []string, orNull bool) string {
	var all []string
	for _, v := range values {
		if v != "" && v != "null" {
			all = append(all, fmt.Sprintf("%q", v))
		}
	}
	if orNull {
		all = append(all, "null")
	}
	return strings.Join(all, " | ")
}

func kinds(s *schema) (all []string) {
	switch s.Type.Kind {
	case yaml.ScalarNode:
		all = []string{s.Type.Value}
	case yaml.SequenceNode:
		for _, n := range s.Type.Content {
			all = append(all, n.Value)
		}
	}
	return all
}

func isNull(s *schema) bool { return slices.Contains(kinds(s), "null") }

func values(m map[string]*answer) (all []*answer) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[name])
	}
	return all
}
