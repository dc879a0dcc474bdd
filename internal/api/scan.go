package api

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/fault"
)

// apiKeyField is where a body holds the API key of an operation with the
// security KeyInBody.
const apiKeyField = "api_key"

// maxDepth is how deep the values of a body may stand in one another.
const maxDepth = 64

// scanned is what scan finds out about a body.
type scanned struct {
	complaint error  // the first that the shape has, nil if it has none
	isNull    bool   // the whole body is null
	apiKey    string // the field api_key of the outermost object
	noKey     error  // why there is no such text; nil if there is
}

// scan reads body once. It returns an error if body is not one strict JSON
// value: valid UTF-8, no name twice, no U+0000, nothing after it, not nested
// deeper than maxDepth. What sh has against it is only noted, because the
// caller may have to be found first, by the body's own api_key.
func scan(body []byte, sh *shape) (scanned, error) {
	s := scanner{dec: jsontext.NewDecoder(bytes.NewBuffer(body))}
	s.noKey = missing.at(apiKeyField)
	if err := s.value(sh, 0); err != nil {
		return scanned{}, s.explain(err)
	}
	if body := bytes.TrimLeft(body, " \t\r\n"); body[0] != '{' {
		s.noKey = s.complaint
	}
	if _, err := s.dec.ReadToken(); err != io.EOF {
		return scanned{}, fault.ErrInvalidRequest.Say("The request body goes on after its JSON value, at byte %d.", s.dec.InputOffset())
	}
	return s.scanned, nil
}

type scanner struct {
	dec   *jsontext.Decoder
	isKey bool // the value that is read next is the field api_key
	scanned
}

var (
	errTooDeep = errors.New("nested too deeply")
	errNUL     = errors.New("a text has U+0000")
)

var (
	// anything is the shape of a value that nothing is asked of.
	anything = &shape{Schema: &huma.Schema{}, open: true}
	text     = &shape{Schema: &huma.Schema{Type: huma.TypeString}}
)

// note keeps what is wrong with the value that was read last.
func (s *scanner) note(w wrong) {
	if w.kind != nil && s.complaint == nil {
		s.complaint = w.at(s.field())
	}
}

// value reads the next value. Everything is read in full, also what sh has
// something against.
func (s *scanner) value(sh *shape, depth int) error {
	if depth > maxDepth {
		return errTooDeep
	}
	tok, err := s.dec.ReadToken()
	if err != nil {
		return err
	}
	if s.isKey && depth == 1 && tok.Kind() != jsontext.KindString && tok.Kind() != jsontext.KindNull {
		s.noKey = text.wrongType().at(apiKeyField)
	}
	switch tok.Kind() {
	case jsontext.KindBeginObject:
		if !sh.takes(huma.TypeObject) {
			s.note(sh.wrongType())
			sh = anything
		}
		return s.object(sh, depth)
	case jsontext.KindBeginArray:
		if !sh.takes(huma.TypeArray) {
			s.note(sh.wrongType())
			sh = anything
		}
		return s.array(sh, depth)
	case jsontext.KindString:
		value := tok.String()
		if strings.IndexByte(value, 0) >= 0 {
			return errNUL
		}
		if s.isKey && depth == 1 {
			s.apiKey, s.noKey = value, nil
		}
		s.note(sh.checkString(value))
	case jsontext.KindNumber:
		s.note(sh.checkNumber(tok.String()))
	case jsontext.KindTrue, jsontext.KindFalse:
		if !sh.takes(huma.TypeBoolean) {
			s.note(sh.wrongType())
		}
	case jsontext.KindNull:
		// For a field of an object null means absent, and object has seen to
		// it. This one is an entry of an array or of a map, or the body.
		s.isNull = depth == 0
		if !sh.Nullable && sh.Type != "" {
			s.note(sh.wrongType())
		}
	}
	return nil
}

func (s *scanner) object(sh *shape, depth int) error {
	n, seen := 0, map[string]bool{}
	for ; s.dec.PeekKind() != jsontext.KindEndObject; n++ {
		tok, err := s.dec.ReadToken()
		if err != nil {
			return err
		}
		name := tok.String()
		if strings.IndexByte(name, 0) >= 0 {
			return errNUL
		}
		field, known := sh.fields[name]
		switch {
		case known && s.dec.PeekKind() == jsontext.KindNull:
			field = anything
		case known:
			seen[name] = true
		case sh.values != nil:
			field = sh.values
		default:
			field = anything
			if !sh.open {
				s.note(unknown)
			}
		}
		s.isKey = depth == 0 && name == apiKeyField
		if err := s.value(field, depth+1); err != nil {
			return err
		}
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	for _, name := range sh.required {
		if !seen[name] && s.complaint == nil {
			s.complaint = missing.at(under(s.field(), name))
		}
	}
	s.note(sh.checkCount(n))
	return nil
}

func (s *scanner) array(sh *shape, depth int) error {
	n, items := 0, sh.items
	if items == nil {
		items = anything
	}
	for ; s.dec.PeekKind() != jsontext.KindEndArray; n++ {
		if err := s.value(items, depth+1); err != nil {
			return err
		}
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	s.note(sh.checkCount(n))
	return nil
}

// field returns the place of the value that was read last, as an error names
// it: limits.burst, input_arguments.0.name.
func (s *scanner) field() string { return dotted(s.dec.StackPointer()) }

func dotted(p jsontext.Pointer) string {
	path := ""
	for name := range p.Tokens() {
		path = under(path, name)
	}
	return path
}

func under(path, name string) string {
	const most = 512
	switch {
	case path == "":
		return shown(name)
	case strings.HasSuffix(path, "…") && len(path) > most:
		return path
	case len(path) > most:
		return path + "…"
	}
	return path + "." + shown(name)
}

// shown returns a name that was sent as it can be sent back. A misspelt name is
// short and plain; all else may be a secret in the wrong place: API keys and
// tokens are longer.
func shown(name string) string {
	const most = 32
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.'
	}
	switch {
	case name == "":
		return `""`
	case len(name) > most, strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }):
		return "…"
	}
	return name
}

// explain says where a body is not what it must be. What the decoder itself
// says would quote the body.
func (s *scanner) explain(err error) error {
	at, field := s.dec.InputOffset(), s.dec.StackPointer()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at, field = syntax.ByteOffset, syntax.JSONPointer
	}
	place := strconv.FormatInt(at, 10)
	var f *fault.Fault
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		f = fault.ErrInvalidRequest.Say("The request body has a field twice in one object, at byte %s.", place)
	case errors.Is(err, errTooDeep):
		f = fault.ErrInvalidRequest.Say("The request body is nested more than %d levels deep, at byte %s.", maxDepth, place)
	case errors.Is(err, errNUL):
		f = fault.ErrInvalidRequest.Say("The request body has U+0000 in a text that ends at byte %s.", place)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fault.ErrInvalidRequest.Say("The request body ends before its JSON does, at byte %s.", place)
	default:
		f = fault.ErrInvalidRequest.Say("The request body is not valid JSON in UTF-8, at byte %s.", place)
	}
	if name := dotted(field); name != "" && !errors.Is(err, errTooDeep) {
		f = f.With(fault.Details{"field": name})
	}
	return f
}
