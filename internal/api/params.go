package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// param is a parameter of an operation, in its path, query or header.
type param struct {
	in, name string
	required bool
	*shape
}

// paramsOf returns what is checked of the parameters of op.
func (m *shapes) paramsOf(op *huma.Operation) []param {
	var all []param
	for _, p := range op.Parameters {
		sh := m.of(p.Schema)
		text := sh
		if sh.Type == huma.TypeArray {
			text = sh.items
		}
		if !slices.Contains([]string{huma.TypeString, huma.TypeInteger, huma.TypeBoolean}, text.Type) {
			panic(fmt.Sprintf("api: parameter %s of %s has a type that is not checked", p.Name, op.OperationID))
		}
		all = append(all, param{p.In, p.Name, p.Required, sh})
	}
	return all
}

// checkParams returns the first thing that is wrong with the parameters of r.
// Loose lets queries pass that the operation does not know.
func checkParams(all []param, r *http.Request, query url.Values, loose bool) error {
	if !loose {
		for _, name := range slices.Sorted(maps.Keys(query)) {
			if !slices.ContainsFunc(all, func(p param) bool { return p.in == "query" && p.name == name }) {
				return unknown.at(shown(name))
			}
		}
	}
	for _, p := range all {
		if w := p.check(p.sent(r, query)); w.kind != nil {
			return w.at(p.name)
		}
	}
	return nil
}

func (p param) sent(r *http.Request, query url.Values) []string {
	switch p.in {
	case "path":
		return []string{r.PathValue(p.name)}
	case "query":
		return query[p.name]
	default:
		return r.Header.Values(p.name)
	}
}

// check returns what is wrong with the values of p. As everywhere in a query
// or header, the empty text is a parameter that was not sent; but not in a header
// that says how long it must be.
func (p param) check(values []string) wrong {
	if len(values) > 1 {
		return invalid("is there more than once")
	}
	if len(values) == 1 && values[0] == "" && p.in == "header" && p.MinLength != nil {
		return p.checkText("") // what an unset variable leaves must not pass for nothing at all
	}
	if len(values) == 0 || values[0] == "" {
		if p.required {
			return missing
		}
		return wrong{}
	}
	if !cleanText(values[0]) {
		return invalid("is not valid UTF-8, or has U+0000 in it")
	}
	if p.Type != huma.TypeArray {
		return p.checkText(values[0])
	}
	entries := strings.Split(values[0], ",")
	for _, e := range entries {
		if w := p.items.checkText(e); w.kind != nil {
			return w
		}
	}
	return p.checkCount(len(entries))
}

// checkText returns what is wrong with a value that is given as text.
func (sh *shape) checkText(text string) wrong {
	switch sh.Type {
	case huma.TypeInteger:
		return sh.checkNumber(text)
	case huma.TypeBoolean:
		if text != "true" && text != "false" {
			return sh.wrongType()
		}
		return wrong{}
	default:
		return sh.checkString(text)
	}
}
