package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
)

func agentsCommand() *cobra.Command {
	return group(page{
		use: "agents", short: "Define, change, show and delete agents",
		long: `Define, change, show and delete agents: programs that are run with a customer's
login. An agent is named by its id or its name.`,
		example: `  keyward agents create --id invoices --name Invoices --url https://agents.example.com/invoices --arg username --arg password:string:sensitive
  keyward agents apply -f agents.yaml
  keyward agents list`,
	}, createAgentCommand(), applyAgentsCommand(), listAgentsCommand(), showAgentCommand(), deleteAgentCommand(), agentHealthCommand(), runnerSecretCommand())
}

func createAgentCommand() *cobra.Command {
	var d client.AgentDefinition
	var file string
	var args []string
	return remoteCommand(page{
		use: "create", short: "Define an agent, and show its runner's secret this once",
		long: `Define an agent, from flags or from a file. The secret with which its runner checks
that a run comes from Keyward is shown this once: on standard output, alone.

--arg is NAME, NAME:TYPE, or more: NAME:TYPE:required:sensitive. The types are
string, number, boolean, json and totp.

` + agentFile,
		example: `  keyward agents create --id invoices --name Invoices --url https://agents.example.com/invoices --arg username --arg password:string:required:sensitive
  keyward agents create -f invoices.yaml`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVarP(&file, "file", "f", "", "the file that defines it; - is standard input")
		c.Flags().StringVar(&d.ID, "id", "", "its id (default: one is made)")
		c.Flags().StringVar(&d.Name, "name", "", "what people call it")
		c.Flags().StringVar(&d.Description, "description", "", "what it does")
		c.Flags().StringVar(&d.Runner.URL, "url", "", "the web service that runs are posted to")
		c.Flags().StringArrayVar(&args, "arg", nil, "an input argument, such as password:string:required:sensitive (may be given again)")
		c.Flags().Int64Var(&d.TimeoutSeconds, "timeout-seconds", 0, "how long a run may take (default: 300)")
		c.Flags().StringVar(&d.Visibility, "visibility", "", "private or public")
		c.Flags().BoolVar(&d.Idempotent, "idempotent", false, "a run that was cut short may be done again")
		c.Flags().Int64Var(&d.MaxConcurrent, "max-concurrent", 0, "how many runs there may be at once (default: any number)")
	}, func(ctx context.Context, r *remote, _ []string) error {
		if file != "" {
			for _, flag := range []string{"id", "name", "description", "url", "arg", "timeout-seconds", "visibility", "idempotent", "max-concurrent"} {
				if r.command.Flags().Changed(flag) {
					return r.misuse("--file says all of an agent, so --%s does not go with it", flag)
				}
			}
			all, err := r.definitions(file)
			if err != nil {
				return err
			}
			if len(all) != 1 {
				return advise(fmt.Errorf("%s defines %d agents", file, len(all)), "keyward agents apply -f takes any number.")
			}
			d = all[0]
		} else {
			if d.Name == "" || d.Runner.URL == "" {
				return r.misuse("--name and --url are needed, or --file")
			}
			d.Runner.Type = "http"
			for _, text := range args {
				a, err := parseArgument(text)
				if err != nil {
					return r.misuse("--arg %s: %w", text, err)
				}
				d.InputArguments = append(d.InputArguments, a)
			}
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		made, err := c.Agents.Create(ctx, d)
		if err != nil {
			return err
		}
		if r.json {
			return r.print(made)
		}
		return r.secret(fmt.Sprintf("Made the agent %s (%s). Runs that are posted to it are signed with this:", made.Name, made.ID), made.RunnerSecret,
			"It is shown this once. keyward agents runner-secret makes another.")
	})
}

func parseArgument(text string) (client.InputArgument, error) {
	parts := strings.Split(text, ":")
	a := client.InputArgument{Name: parts[0], Type: "string"}
	for i, part := range parts[1:] {
		switch part {
		case "required":
			a.Required = true
		case "sensitive":
			a.Sensitive = true
		case "string", "number", "boolean", "json", "totp":
			a.Type = part
		default:
			return a, fmt.Errorf("part %d must be a type (string, number, boolean, json or totp), required or sensitive", i+2)
		}
	}
	return a, nil
}

func listAgentsCommand() *cobra.Command {
	return remoteCommand(page{
		use: "list", short: "List the agents",
		long: `List the organization's agents. The operator's public ones are not among them; they
are shown and run as public/ID.`,
		example: `  keyward agents list
  keyward agents list --json`,
	}, nil, nil, func(ctx context.Context, r *remote, _ []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		all := []client.Agent{}
		for a, err := range c.Agents.All(ctx, client.Page{}) {
			if err != nil {
				return err
			}
			all = append(all, a)
		}
		if r.json {
			return r.print(all)
		}
		var rows [][]string
		for _, a := range all {
			rows = append(rows, []string{a.ID, a.Name, a.Runner.Type, a.Visibility, strings.Join(argumentNames(a), " ")})
		}
		r.Table("There are no agents. keyward agents create defines one.", []string{"ID", "NAME", "RUNNER", "VISIBILITY", "ARGUMENTS"}, rows)
		return nil
	})
}

func argumentNames(a client.Agent) (names []string) {
	for _, arg := range a.InputArguments {
		names = append(names, arg.Name)
	}
	return names
}

func showAgentCommand() *cobra.Command {
	return remoteCommand(page{
		use: "show AGENT", completes: agentIDs, short: "Show how an agent is defined",
		long: `Show how an agent is defined.`,
		example: `  keyward agents show invoices
  keyward agents show public/report --json`,
	}, cobra.ExactArgs(1), nil, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, args[0])
		if err != nil {
			return err
		}
		if r.json {
			return r.print(a)
		}
		runner := a.Runner.Type + " " + a.Runner.URL
		if a.Runner.Type == "command" {
			runner = "command " + strings.Join(a.Runner.Command, " ")
		}
		most, again := "", ""
		if a.MaxConcurrent > 0 {
			most = number(a.MaxConcurrent) + " at once"
		}
		if a.Idempotent {
			again = "done again when its server stops"
		}
		r.Fields("id", a.ID, "name", a.Name, "description", a.Description, "runner", strings.TrimSpace(runner), "visibility", a.Visibility,
			"timeout", fmt.Sprintf("%d s", a.TimeoutSeconds), "runs", strings.Trim(most+", "+again, ", "), "made", when(a.CreatedAt), "changed", when(a.UpdatedAt))
		var rows [][]string
		for _, arg := range a.InputArguments {
			var is []string
			if arg.Required {
				is = append(is, "required")
			}
			if arg.Sensitive || arg.Type == "totp" {
				is = append(is, "sensitive")
			}
			rows = append(rows, []string{arg.Name, arg.Type, strings.Join(is, " "), string(arg.Default), arg.Description})
		}
		fmt.Fprintln(r.Out)
		r.Table("It takes no arguments.", []string{"ARGUMENT", "TYPE", "", "DEFAULT", "DESCRIPTION"}, rows)
		return nil
	})
}

func deleteAgentCommand() *cobra.Command {
	return remoteCommand(page{
		use: "delete AGENT", completes: agentIDs, short: "Delete an agent with all its auth profiles",
		long: `Delete an agent with all its auth profiles. It can't be undone.`,
		example: `  keyward agents delete invoices
  keyward agents delete invoices --yes`,
	}, cobra.ExactArgs(1), asksFirst, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := r.sure(ctx, "Delete the agent %s (%s) with all its auth profiles? It can't be undone.", a.Name, a.ID); err != nil {
			return err
		}
		if err := c.Agents.Delete(ctx, a.ID); err != nil {
			return err
		}
		return r.gone("agent", a.ID, a.Name)
	})
}

// gone tells that something was deleted.
func (r *remote) gone(noun, id, name string) error {
	if r.json {
		return r.print(map[string]any{"id": id, "deleted": true})
	}
	if name != "" && name != id {
		id = name + " (" + id + ")"
	}
	r.Say("Deleted the %s %s.", noun, id)
	return nil
}

func agentHealthCommand() *cobra.Command {
	return remoteCommand(page{
		use: "health AGENT", completes: agentIDs, short: "Ask whether an agent can be reached",
		long:    `Ask whether an agent can be reached. The exit code is 1 if it can't.`,
		example: `  keyward agents health invoices`,
	}, cobra.ExactArgs(1), nil, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, args[0])
		if err != nil {
			return err
		}
		h, err := c.Agents.Health(ctx, a.ID)
		if err != nil {
			return err
		}
		if r.json {
			if err := r.print(h); err != nil || h.Status == "ok" {
				return err
			}
			return told{errors.New(h.Reason)}
		}
		r.Fields("agent", a.ID, "status", h.Status, "reason", h.Reason, "asked", when(h.CheckedAt), "took", fmt.Sprintf("%d ms", h.LatencyMS))
		if h.Status != "ok" {
			return errors.New("the agent can't be reached")
		}
		return nil
	})
}

func runnerSecretCommand() *cobra.Command {
	return remoteCommand(page{
		use: "runner-secret AGENT", completes: agentIDs, short: "Give an agent's runner a new secret, and show it this once",
		long: `Give an agent's runner a new secret, and show it this once: on standard output,
alone. From then on runs are signed with it, and no more with the old one.`,
		example: `  keyward agents runner-secret invoices`,
	}, cobra.ExactArgs(1), asksFirst, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := r.sure(ctx, "Give the runner of %s (%s) a new secret? The old one ends at once.", a.Name, a.ID); err != nil {
			return err
		}
		s, err := c.Agents.RenewRunnerSecret(ctx, a.ID)
		if err != nil {
			return err
		}
		if r.json {
			return r.print(s)
		}
		return r.secret(fmt.Sprintf("Runs that are posted to %s (%s) are signed with this from now on:", a.Name, a.ID), s.RunnerSecret, "It is shown this once.")
	})
}
