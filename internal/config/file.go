package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is far more than a thousand agents take.
const maxFile = 1 << 20

// file reads the config file: its plain settings are the result, its agents go
// into c. The parsed tree is walked by hand, since a decoder forgets on which
// line a value stands.
func (l *loader) file(readFile func(string) ([]byte, error), c *Config) map[string]value {
	layer := map[string]value{}
	text, err := readFile(l.path)
	if err != nil {
		l.refuse("config", l.sources.of("config"), "%w", err)
		return layer
	}
	root, err := parse(text)
	if err != nil {
		l.problems = append(l.problems, fmt.Errorf("%s: %w", l.path, err))
		return layer
	}
	if root != nil {
		l.level(root, "", layer, c)
	}
	return layer
}

// parse returns the top mapping of a YAML file, nil if the file says nothing.
func parse(text []byte) (*yaml.Node, error) {
	if len(text) > maxFile {
		return nil, errors.New("is larger than 1 MiB")
	}
	var doc, more yaml.Node
	read := yaml.NewDecoder(bytes.NewReader(text))
	switch err := read.Decode(&doc); {
	case err == io.EOF:
		return nil, nil
	case err != nil:
		return nil, notYAML(err)
	}
	switch err := read.Decode(&more); {
	case err == nil:
		return nil, errors.New("holds a second document after ---: give it one")
	case err != io.EOF:
		return nil, notYAML(err)
	}
	if line := aliasLine(&doc); line > 0 {
		return nil, fmt.Errorf("line %d: anchors and aliases are not read here: write the value out", line)
	}
	if root := doc.Content[0]; !null(root) {
		return root, nil
	}
	return nil, nil
}

// notYAML passes on what the parser says. Of its texts, only those on anchors
// repeat words of the file.
func notYAML(err error) error {
	said := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(said, "anchor") {
		said = "anchors and aliases are not read here"
	}
	return errors.New("is not YAML: " + said)
}

// aliasLine returns the line of an alias in n, or 0. Without them the tree is
// as small as its text.
func aliasLine(n *yaml.Node) int {
	if n.Kind == yaml.AliasNode {
		return n.Line
	}
	for _, child := range n.Content {
		if line := aliasLine(child); line > 0 {
			return line
		}
	}
	return 0
}

// level reads one level of the file, whose names begin with above.
func (l *loader) level(n *yaml.Node, above string, layer map[string]value, c *Config) {
	for name, child := range l.pairs(n, above) {
		full := above + name
		at := slices.IndexFunc(settings, func(s setting) bool { return s.name == full && !s.notInFile })
		within := slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.name, full+".") })
		switch {
		case null(child):
		case within:
			l.level(child, full+".", layer, c)
		case at < 0:
			l.refuse(shown(full), l.line(child), "there is no such setting; %s", suggest(full, fileNames()))
		case settings[at].onlyInFile:
			l.decode(child, full, reflect.ValueOf(&c.Agents).Elem())
			l.ownIDs(c.Agents)
		default:
			if _, twice := layer[full]; twice {
				l.refuse(full, l.line(child), "is here twice")
			} else if items, ok := l.items(settings[at], child); ok {
				layer[full] = value{items, l.line(child)}
			}
		}
	}
}

func fileNames() []string {
	var names []string
	for _, s := range settings {
		if !s.notInFile {
			names = append(names, s.name)
		}
	}
	return names
}

// pairs returns the names and values of a mapping, each name once.
func (l *loader) pairs(n *yaml.Node, path string) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode {
			l.refuse(around(path), l.line(n), "must hold names and values")
			return
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i]
			switch {
			case name.Kind != yaml.ScalarNode:
				l.refuse(around(path), l.line(name), "a name must be plain text")
			case seen[name.Value]:
				l.refuse(around(path), l.line(name), "%s is here twice", shown(name.Value))
			default:
				seen[name.Value] = true
				if !yield(name.Value, n.Content[i+1]) {
					return
				}
			}
		}
	}
}

// around is what the names that begin with path are in.
func around(path string) string {
	if path == "" {
		return "the file"
	}
	return strings.TrimRight(path, ".")
}

// items returns the value of a plain setting: the text as it stands in the file,
// whatever type YAML would make of it.
func (l *loader) items(s setting, n *yaml.Node) ([]string, bool) {
	switch {
	case n.Kind == yaml.ScalarNode:
		return s.split(n.Value), true
	case n.Kind != yaml.SequenceNode || s.many == nil:
		l.refuse(s.name, l.line(n), "must be %s", s.form)
		return nil, false
	}
	items := []string{}
	for i, item := range n.Content {
		if item.Kind != yaml.ScalarNode || null(item) {
			l.refuse(s.name, l.line(item), "item %d must be plain text", i+1)
			return nil, false
		}
		items = append(items, item.Value)
	}
	return items, true
}

// decode reads n into v, a field of Agent, and refuses every name that v has
// not. It notes the line of each part, so that package agent's rules can be
// told with it.
func (l *loader) decode(n *yaml.Node, path string, v reflect.Value) {
	l.sources[path] = l.line(n)
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		if text, err := toJSON(n); err != nil {
			l.refuse(path, l.line(n), "%w", err)
		} else {
			v.SetBytes(text)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		l.decodeStruct(n, path, v)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			l.refuse(path, l.line(n), "must be a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			l.decode(item, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	default:
		if err := setScalar(n, v); err != nil {
			l.refuse(path, l.line(n), "%w", err)
		}
	}
}

func (l *loader) decodeStruct(n *yaml.Node, path string, v reflect.Value) {
	var names []string
	for i := range v.NumField() {
		names = append(names, v.Type().Field(i).Tag.Get("yaml"))
	}
	for name, child := range l.pairs(n, path+".") {
		switch i := slices.Index(names, name); {
		case i < 0:
			l.refuse(path, l.line(child), "%s is not known here; %s", shown(name), suggest(name, names))
		case !null(child):
			l.decode(child, path+"."+name, v.Field(i))
		}
	}
}

func setScalar(n *yaml.Node, v reflect.Value) error {
	if n.Kind != yaml.ScalarNode || null(n) {
		return errors.New("must be one plain value")
	}
	switch v.Kind() {
	case reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			return errors.New("must be true or false")
		}
		v.SetBool(n.Value == "true")
	case reflect.Int64:
		number, err := strconv.ParseInt(n.Value, 10, 64)
		if err != nil {
			return errors.New("must be a whole number")
		}
		v.SetInt(number)
	default:
		v.SetString(n.Value)
	}
	return nil
}

// ownIDs refuses agents without an id or with another's. An id made at random
// would be another one at the next start, and the agent's profiles lost with it.
func (l *loader) ownIDs(agents []Agent) {
	seen := map[string]bool{}
	for i, a := range agents {
		name := fmt.Sprintf("agents[%d].id", i)
		switch {
		case a.ID == "":
			l.refuse(name, l.sources.of(name), "an agent in the file needs an id, so that it is the same agent at the next start")
		case seen[a.ID]:
			l.refuse(name, l.sources.of(name), "an earlier agent in the list has this id")
		}
		seen[a.ID] = true
	}
}

// toJSON returns n as JSON. Text that YAML could take for a time stays text.
func toJSON(n *yaml.Node) (json.RawMessage, error) {
	switch n.Kind {
	case yaml.SequenceNode:
		list := []json.RawMessage{}
		for _, item := range n.Content {
			text, err := toJSON(item)
			if err != nil {
				return nil, err
			}
			list = append(list, text)
		}
		return json.Marshal(list)
	case yaml.MappingNode:
		object := map[string]json.RawMessage{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i]
			if _, twice := object[name.Value]; twice || name.Kind != yaml.ScalarNode {
				return nil, errors.New("has a name twice, or one that is not plain text")
			}
			text, err := toJSON(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			object[name.Value] = text
		}
		return json.Marshal(object)
	case yaml.ScalarNode:
		return scalarJSON(n)
	}
	return nil, errors.New("must be a value")
}

func scalarJSON(n *yaml.Node) (json.RawMessage, error) {
	switch n.ShortTag() {
	case "!!null":
		return json.RawMessage("null"), nil
	case "!!bool", "!!int", "!!float":
		if !json.Valid([]byte(n.Value)) {
			return nil, errors.New("must be written as in JSON, or in quotes if it is text")
		}
		return json.RawMessage(n.Value), nil
	case "!!str", "!!timestamp":
		return json.Marshal(n.Value)
	}
	return nil, errors.New("must be text, a number, true, false, a list or names with values")
}

func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func (l *loader) line(n *yaml.Node) string { return fmt.Sprintf("%s line %d", l.path, n.Line) }
