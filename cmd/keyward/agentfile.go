package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/keyward/keyward/client"
)

const agentFile = `An agent's file, in YAML or JSON:

  id: invoices
  name: Invoices
  description: Fetches the invoices of a customer.
  timeout_seconds: 120
  input_arguments:
    - {name: username, type: string, required: true}
    - {name: password, type: string, required: true, sensitive: true}
    - {name: months, type: number, default: 3}
  runner: {type: http, url: "https://agents.example.com/invoices"}`

// definitions reads the agents of a file: one, a list of them, the list of a
// server's config file, or several documents.
func (r *remote) definitions(file string) ([]client.AgentDefinition, error) {
	text, err := r.input(file)
	if err != nil {
		return nil, err
	}
	fail := func(n *yaml.Node, format string, args ...any) error {
		return fmt.Errorf("%s: line %d: %w", file, n.Line, fmt.Errorf(format, args...))
	}
	var all []client.AgentDefinition
	add := func(n *yaml.Node) error {
		if n.Kind != yaml.MappingNode {
			return fail(n, "an agent must hold names and values")
		}
		d, err := definition(n)
		if err != nil {
			return fail(n, "%w", err)
		}
		all = append(all, d)
		return nil
	}
	for read := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc yaml.Node
		err := read.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s is not YAML: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		root := doc.Content[0]
		if root.Kind == yaml.MappingNode && len(root.Content) == 2 && root.Content[0].Value == "agents" {
			root = root.Content[1]
		}
		if root.Kind != yaml.SequenceNode {
			if err := add(root); err != nil {
				return nil, err
			}
			continue
		}
		for _, n := range root.Content {
			if err := add(n); err != nil {
				return nil, err
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s defines no agent", file)
	}
	return all, nil
}

// definition reads an agent strictly: a name that is mistyped is refused.
func definition(n *yaml.Node) (d client.AgentDefinition, err error) {
	var any map[string]any
	if err := decode(n, &any); err != nil {
		return d, errors.New("it must be plain YAML: " + strings.TrimPrefix(err.Error(), "yaml: "))
	}
	text, err := json.Marshal(any)
	if err != nil {
		return d, errors.New("its names must be texts")
	}
	read := json.NewDecoder(bytes.NewReader(text))
	read.DisallowUnknownFields()
	if err := read.Decode(&d); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return d, fmt.Errorf("%s must be a %s", wrong.Field, wrong.Type)
		}
		return d, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return d, nil
}

func applyAgentsCommand() *cobra.Command {
	var file string
	return remoteCommand(page{
		use: "apply -f FILE", short: "Make agents be as a file says",
		long: `Make agents be as a file says: those that are not there are made, those that differ
are changed, and the others are left alone. What the file leaves out goes back to
its default. Each agent needs an id. No agent is deleted. The runner's secret of
one that is made is shown this once, on standard output: id, a space, secret.

` + agentFile + `

The file may hold a list of agents, or several of them, with --- between.`,
		example: `  keyward agents apply -f agents.yaml
  generate-agents | keyward agents apply -f -`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVarP(&file, "file", "f", "", "the file; - is standard input")
	}, func(ctx context.Context, r *remote, _ []string) error {
		if file == "" {
			return r.misuse("--file is missing")
		}
		all, err := r.definitions(file)
		if err != nil {
			return err
		}
		for i, d := range all {
			if d.ID == "" {
				return fmt.Errorf("%s: agent %d has no id, so each time it would be another one", file, i+1)
			}
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		type applied struct {
			ID           string `json:"id"`
			Action       string `json:"action"` // created, changed or unchanged
			RunnerSecret string `json:"runner_secret,omitzero"`
		}
		done := []applied{}
		for _, d := range all {
			action, secret, err := apply(ctx, c, d)
			if err != nil {
				if r.json {
					err = errors.Join(r.print(done), fmt.Errorf("%s: %w", d.ID, err))
				} else {
					err = fmt.Errorf("%s: %w", d.ID, err)
				}
				return err
			}
			done = append(done, applied{d.ID, action, secret})
			if r.json {
				continue
			}
			r.Say("%s: %s", d.ID, action)
			if secret != "" {
				fmt.Fprintln(r.Out, d.ID, secret)
			}
		}
		if r.json {
			return r.print(done)
		}
		return nil
	})
}

// apply makes an agent be as d says.
func apply(ctx context.Context, c *client.Client, d client.AgentDefinition) (action, secret string, err error) {
	now, err := c.Agents.Get(ctx, d.ID)
	if errors.Is(err, client.ErrAgentNotFound) {
		made, err := c.Agents.Create(ctx, d)
		return "created", made.RunnerSecret, err
	} else if err != nil {
		return "", "", err
	}
	if d.InputArguments == nil {
		d.InputArguments = []client.InputArgument{}
	}
	if d.Visibility == "" {
		d.Visibility = "private"
	}
	if d.TimeoutSeconds == 0 {
		d.TimeoutSeconds = 300
	}
	for i := range d.InputArguments {
		if a := &d.InputArguments[i]; a.Type == "totp" {
			a.Sensitive = true
		}
	}
	if same(d, client.AgentDefinition{
		ID: d.ID, Name: now.Name, Description: now.Description, InputArguments: now.InputArguments, Runner: now.Runner, Visibility: now.Visibility,
		TimeoutSeconds: now.TimeoutSeconds, Idempotent: now.Idempotent, MaxConcurrent: now.MaxConcurrent,
	}) {
		return "unchanged", "", nil
	}
	_, err = c.Agents.Change(ctx, d.ID, client.AgentChange{
		Name: &d.Name, Description: &d.Description, InputArguments: &d.InputArguments, Runner: &d.Runner, Visibility: &d.Visibility,
		TimeoutSeconds: &d.TimeoutSeconds, Idempotent: &d.Idempotent, MaxConcurrent: &d.MaxConcurrent,
	})
	return "changed", "", err
}

// same reports whether two are the same as JSON, however that is written.
func same(a, b client.AgentDefinition) bool {
	read := func(d client.AgentDefinition) (v any) {
		if text, err := json.Marshal(d); err == nil {
			_ = json.Unmarshal(text, &v)
		}
		return v
	}
	return reflect.DeepEqual(read(a), read(b))
}
