package api

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyward/keyward/internal/fault"
)

// shape is a schema of the document, made ready to check a value against.
type shape struct {
	*huma.Schema
	fields   map[string]*shape
	required []string
	open     bool   // names that are not among the fields pass
	values   *shape // what those must be, if they pass
	items    *shape
	pattern  *regexp.Regexp
	like     string // what a text is told that does not match pattern
}

// shapes makes the shapes of one document. Each component is made once, so one
// that holds itself is no trouble.
type shapes struct {
	registry huma.Registry
	made     map[*huma.Schema]*shape
}

// of returns the shape of s. It panics if s says something that check does not
// enforce: a rule that only stands in the document would be a lie.
func (m *shapes) of(s *huma.Schema) *shape {
	for s.Ref != "" {
		s = m.registry.SchemaFromRef(s.Ref)
	}
	if made := m.made[s]; made != nil {
		return made
	}
	sh := &shape{Schema: s, open: true, required: slices.Sorted(slices.Values(s.Required))}
	m.made[s] = sh
	mustBeChecked(s)

	if s.Pattern != "" {
		sh.pattern = regexp.MustCompile(s.Pattern)
		sh.like = cmp.Or(s.PatternDescription, "match "+s.Pattern)
		s.PatternDescription = "" // not a keyword that readers of the document know
	}
	if s.Items != nil {
		sh.items = m.of(s.Items)
	}
	switch more := s.AdditionalProperties.(type) {
	case bool:
		sh.open = more
	case *huma.Schema:
		sh.values = m.of(more)
	}
	sh.fields = map[string]*shape{}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		sh.fields[name] = m.of(s.Properties[name])
		if slices.Contains(sh.required, name) && sh.fields[name].Nullable {
			panic(fmt.Sprintf("api: field %s is required and may be null; null means absent here", name))
		}
	}
	return sh
}

var checkedFormats = []string{"", "date-time", "int32", "int64", "float", "double"}

func mustBeChecked(s *huma.Schema) {
	switch {
	case s.OneOf != nil, s.AnyOf != nil, s.AllOf != nil, s.Not != nil, s.Discriminator != nil,
		len(s.DependentRequired) > 0, s.MultipleOf != nil, s.ExclusiveMinimum != nil, s.ExclusiveMaximum != nil,
		s.UniqueItems, s.ReadOnly, s.WriteOnly, !slices.Contains(checkedFormats, s.Format):
		panic(fmt.Sprintf("api: the schema of an input has a keyword or a format (%q) that is not checked", s.Format))
	}
	for _, e := range s.Enum {
		if _, ok := e.(string); !ok {
			panic("api: an enum of an input is not of strings")
		}
	}
}

// wrong is what is wrong with a value; the zero is nothing. It does not hold
// the value, nor where it stands.
type wrong struct {
	kind   *fault.Fault
	reason string
}

func invalid(format string, args ...any) wrong {
	return wrong{fault.ErrInvalidRequest, fmt.Sprintf(format, args...)}
}

var (
	missing = wrong{fault.ErrMissingField, "is required"}
	unknown = wrong{fault.ErrUnknownField, "this call has no such field"}
)

// at says that w is so at field; "" is the body as a whole.
func (w wrong) at(field string) error {
	if field == "" {
		return fault.ErrInvalidRequest.Say("The request body %s.", w.reason)
	}
	return w.kind.Say("%s: %s", field, w.reason).With(fault.Details{"field": field, "reason": w.reason})
}

var typeNouns = map[string]string{
	huma.TypeString: "a string", huma.TypeBoolean: "true or false", huma.TypeInteger: "a whole number",
	huma.TypeNumber: "a number", huma.TypeArray: "an array", huma.TypeObject: "a JSON object",
}

// wrongType is what is wrong with a value whose type is not sh's.
func (sh *shape) wrongType() wrong {
	return wrong{fault.ErrFieldType, "must be " + typeNouns[sh.Type]}
}

// takes reports whether sh has nothing against the JSON type t as such.
func (sh *shape) takes(t string) bool { return sh.Type == t || sh.Type == "" }

// checkString returns what is wrong with the string s.
func (sh *shape) checkString(s string) wrong {
	if !sh.takes(huma.TypeString) {
		return sh.wrongType()
	}
	runes := utf8.RuneCountInString(s)
	switch {
	case sh.MinLength != nil && runes < *sh.MinLength && runes == 0:
		return invalid("must not be empty")
	case sh.MinLength != nil && runes < *sh.MinLength:
		return invalid("must have at least %d characters", *sh.MinLength)
	case sh.MaxLength != nil && runes > *sh.MaxLength:
		return invalid("must have at most %d characters", *sh.MaxLength)
	case len(sh.Enum) > 0 && !slices.Contains(sh.Enum, any(s)):
		return invalid("must be one of %s", join(sh.Enum))
	case sh.pattern != nil && !sh.pattern.MatchString(s):
		return invalid("must %s", sh.like)
	}
	if sh.Format == "date-time" {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return invalid("must be an RFC 3339 time, like 2024-01-01T00:00:00.000Z")
		}
	}
	return wrong{}
}

// checkNumber returns what is wrong with a number, given as it is written.
func (sh *shape) checkNumber(text string) wrong {
	switch sh.Type {
	case "":
		return wrong{}
	case huma.TypeNumber:
	case huma.TypeInteger:
		// What the decoder takes: digits alone, in the size of the Go type.
		bits := 64
		if sh.Format == "int32" {
			bits = 32
		}
		_, err := strconv.ParseInt(text, 10, bits)
		if errors.Is(err, strconv.ErrRange) {
			return invalid("is out of range")
		} else if err != nil || text[0] == '+' {
			return sh.wrongType()
		}
	default:
		return sh.wrongType()
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return invalid("is out of range")
	case sh.Minimum != nil && n < *sh.Minimum:
		return invalid("must be at least %v", *sh.Minimum)
	case sh.Maximum != nil && n > *sh.Maximum:
		return invalid("must be at most %v", *sh.Maximum)
	}
	return wrong{}
}

// checkCount returns what is wrong with n things in an array or object.
func (sh *shape) checkCount(n int) wrong {
	least, most, noun := sh.MinItems, sh.MaxItems, "entries"
	if sh.Type == huma.TypeObject {
		least, most, noun = sh.MinProperties, sh.MaxProperties, "fields"
	}
	switch {
	case least != nil && n < *least:
		return invalid("must have at least %d %s", *least, noun)
	case most != nil && n > *most:
		return invalid("must have at most %d %s", *most, noun)
	}
	return wrong{}
}

func join(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}
