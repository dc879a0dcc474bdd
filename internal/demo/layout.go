package demo

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const width = 78 // of a line, in characters

// layout says how JSON is laid out.
type layout struct {
	most int // how many entries of a list are shown that needs more than a line; 0: all
}

// lay lays JSON out to be read: on one line what fits on one, a member a line
// what does not. Its lines after the first begin with indent. What is no JSON
// stays as it is.
func (l layout) lay(text, indent string) string {
	v := jsontext.Value(text)
	if v.Compact() != nil {
		return text
	}
	return l.value(v, indent, width-len(indent))
}

// value lays out a compact value, of which the first line has room for so many
// characters.
func (l layout) value(v jsontext.Value, indent string, room int) string {
	line := v.Clone()
	line.Format(jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true))
	if utf8.RuneCount(line) <= room || v.Kind() != '{' && v.Kind() != '[' {
		return string(line)
	}
	all, more := members(v), 0
	if v.Kind() == '[' && l.most > 0 && len(all) > l.most {
		all, more = all[:l.most], len(all)-l.most
	}
	inner := indent + "  "
	var lines []string
	for _, m := range all {
		lines = append(lines, inner+m.name+l.value(m.value, inner, width-len(inner)-utf8.RuneCountInString(m.name)))
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("%s… and %d more", inner, more))
	}
	return string(v[0]) + "\n" + strings.Join(lines, ",\n") + "\n" + indent + string(v[len(v)-1])
}

// member is a part of an object or of a list, where it has no name.
type member struct {
	name  string // as it is written, with its colon
	value jsontext.Value
}

func members(v jsontext.Value) (all []member) {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	d.ReadToken()
	for d.PeekKind() != '}' && d.PeekKind() != ']' {
		var m member
		if v.Kind() == '{' {
			name, _ := d.ReadValue()
			m.name = string(name) + ": "
		}
		value, err := d.ReadValue()
		if err != nil {
			return all
		}
		m.value = value.Clone()
		all = append(all, m)
	}
	return all
}

// wrap breaks text between words where a line gets too long.
func wrap(text string) string {
	var lines []string
	for paragraph := range strings.Lines(text) {
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			if line != "" && utf8.RuneCountInString(line+" "+word) > width {
				lines = append(lines, line)
				line = ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
