package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/keyward/keyward/client"
)

// valueFlags say where values come from.
type valueFlags struct {
	file  string
	files []string
}

func (f *valueFlags) set(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "values", "", "the file that holds names and values; - is standard input")
	c.Flags().StringArrayVar(&f.files, "value-file", nil, "NAME=FILE: the value is what the file holds (may be given again)")
}

// values reads values for the arguments of a. Ask says whether to ask for them on
// a terminal.
func (r *remote) values(ctx context.Context, f valueFlags, a client.Agent, ask bool) (map[string]any, error) {
	values := map[string]any{}
	named := f.file
	if named == "" && len(f.files) == 0 && ask && !r.Asks() {
		named = "-"
	}
	if named != "" {
		text, err := r.input(named)
		if err != nil {
			return nil, err
		}
		if values, err = object(text); err != nil {
			if named == "-" {
				named = "standard input"
			}
			return nil, fmt.Errorf("%s: %w", named, err)
		}
	}
	for _, pair := range f.files {
		name, file, ok := strings.Cut(pair, "=")
		if !ok || name == "" || file == "" {
			return nil, r.misuse("--value-file must be NAME=FILE")
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		// Editors end a file with a line feed, and a value has none.
		if values[name], err = typed(a, name, strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")); err != nil {
			return nil, err
		}
	}
	if named != "" || len(f.files) > 0 || !ask {
		return values, nil
	}
	for _, arg := range a.InputArguments {
		question := arg.Name
		if arg.Type != "string" {
			question += " (" + arg.Type + ")"
		}
		if !arg.Required {
			question += ", if any"
		}
		var text string
		var err error
		if arg.Sensitive || arg.Type == "totp" {
			text, err = r.AskHidden(ctx, question)
		} else {
			text, err = r.Ask(ctx, question, "")
		}
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		if values[arg.Name], err = typed(a, arg.Name, text); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// object reads names and values, in JSON or YAML.
func object(text []byte) (map[string]any, error) {
	var values map[string]any
	read := json.NewDecoder(bytes.NewReader(text))
	read.UseNumber()
	if read.Decode(&values) == nil && values != nil && !read.More() {
		return values, nil
	}
	values = nil
	var doc yaml.Node
	// What the parsers say could repeat a value.
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode || decode(doc.Content[0], &values) != nil {
		return nil, errors.New(`it must hold names and values, in JSON or YAML, such as {"username": "jane"}`)
	}
	if _, err := json.Marshal(values); err != nil {
		return nil, errors.New("its names must be texts")
	}
	return values, nil
}

// decode reads YAML as JSON would have it: what looks like a date is a text.
func decode(n *yaml.Node, to *map[string]any) error {
	var texts func(*yaml.Node)
	texts = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
			n.Tag = "!!str"
		}
		for _, child := range n.Content {
			texts(child)
		}
	}
	texts(n)
	return n.Decode(to)
}

// typed makes of a text a value of its argument's type.
func typed(a client.Agent, name, text string) (any, error) {
	for _, arg := range a.InputArguments {
		if arg.Name != name {
			continue
		}
		switch arg.Type {
		case "number":
			if _, err := strconv.ParseFloat(text, 64); err != nil || !json.Valid([]byte(text)) {
				return nil, fmt.Errorf("%s must be a number", name)
			}
			return json.Number(text), nil
		case "boolean":
			is, err := strconv.ParseBool(text)
			if err != nil {
				return nil, fmt.Errorf("%s must be true or false", name)
			}
			return is, nil
		case "json":
			if !json.Valid([]byte(text)) {
				return nil, fmt.Errorf("%s must be JSON", name)
			}
			return json.RawMessage(text), nil
		}
	}
	return text, nil
}

// authToken reads a profile's token: from a file, from the environment, or from
// the terminal.
func (r *remote) authToken(ctx context.Context, file string) (string, error) {
	if file == "" {
		if text := strings.TrimSpace(os.Getenv("KEYWARD_AUTH_TOKEN")); text != "" {
			return text, nil
		}
		if !r.Asks() {
			return "", advise(errors.New("there is no auth token"), "Give the profile's token in KEYWARD_AUTH_TOKEN, or in a file: --token-file FILE, - for standard input.")
		}
	}
	return r.secretLine(ctx, file, "Auth token")
}

func tokenFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "token-file", "", "the file that holds the profile's auth token; - is standard input (or KEYWARD_AUTH_TOKEN)")
}
