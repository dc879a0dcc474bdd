package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/terminal"
)

func runCommand() *cobra.Command {
	var params []string
	var file, query, token, idempotency string
	var profile, detach bool
	return remoteCommand(page{
		use: "run AGENT", completes: agentIDs, short: "Run an agent, show its log, and print its output",
		long: `Run an agent and wait for it. Its log is shown as it comes, on standard error; its
output is printed as JSON on standard output. The exit code is 1 if the run does not
succeed. Ctrl-C ends the command and not the run.

Parameters are values for input arguments: --param months=3 gives a value of the
argument's type, and --param months:=3 gives JSON. Those of sensitive arguments are
read from a file (--params FILE, - for standard input) in JSON or YAML, since other
users of the machine can see arguments.

With an auth profile the run takes the profile's token: from KEYWARD_AUTH_TOKEN,
from --token-file, or with --ask-token from the terminal.`,
		example: `  keyward run invoices --param months=3 --token-file jane.token
  keyward run invoices --params input.yaml --json
  keyward run report --detach`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		c.Flags().StringArrayVarP(&params, "param", "p", nil, "NAME=VALUE, or NAME:=JSON (may be given again)")
		c.Flags().StringVar(&file, "params", "", "the file that holds names and values; - is standard input")
		c.Flags().StringVar(&query, "query", "", "the same as --param query=…")
		c.Flags().BoolVar(&profile, "ask-token", false, "ask for the token of an auth profile")
		c.Flags().BoolVarP(&detach, "detach", "d", false, "start the run, print its id, and do not wait for it")
		c.Flags().StringVar(&idempotency, "idempotency-key", "", "start no other run if one was started with this within a day")
		tokenFlag(c, &token)
	}, func(ctx context.Context, r *remote, args []string) error {
		if token == "-" && file == "-" {
			return r.misuse("standard input can hold the token or the parameters, not both")
		}
		if r.command.Flags().Changed("query") {
			params = append(params, "query="+query)
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		a, err := findAgent(ctx, c, args[0])
		if errors.Is(err, client.ErrInsufficientScope) {
			// A key that may run need not be one that may look.
			a, err = client.Agent{ID: args[0]}, nil
		}
		if err != nil {
			return err
		}
		in := client.RunInput{IdempotencyKey: idempotency}
		if in.Parameters, err = r.parameters(a, params, file); err != nil {
			return err
		}
		if token != "" || profile || os.Getenv("KEYWARD_AUTH_TOKEN") != "" {
			if in.AuthToken, err = r.authToken(ctx, token); err != nil {
				return err
			}
		}
		if detach {
			started, err := c.Runs.Start(ctx, a.ID, in)
			if err != nil {
				return err
			}
			if r.json {
				return r.print(started)
			}
			r.Say("Started. keyward runs events %s shows what happens.", started.ID)
			_, err = fmt.Fprintln(r.Out, started.ID)
			return err
		}
		return r.watch(ctx, a.ID, c.Runs.Stream(ctx, a.ID, in))
	})
}

// parameters reads what a run of a is started with.
func (r *remote) parameters(a client.Agent, params []string, file string) (map[string]any, error) {
	values := map[string]any{}
	if file != "" {
		text, err := r.input(file)
		if err != nil {
			return nil, err
		}
		if values, err = object(text); err != nil {
			return nil, fmt.Errorf("--params: %w", err)
		}
	}
	for _, pair := range params {
		name, text, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, r.misuse("--param must be NAME=VALUE or NAME:=JSON")
		}
		name, asJSON := strings.CutSuffix(name, ":")
		for _, arg := range a.InputArguments {
			if arg.Name == name && (arg.Sensitive || arg.Type == "totp") {
				return nil, r.misuse("%s is sensitive, and others can see arguments: give it in a file or on standard input, with --params", name)
			}
		}
		if _, twice := values[name]; twice {
			return nil, r.misuse("%s is given twice", terminal.Line(name))
		}
		var err error
		switch {
		case asJSON && !json.Valid([]byte(text)):
			return nil, r.misuse("what follows %s:= must be JSON", terminal.Line(name))
		case asJSON:
			values[name] = json.RawMessage(text)
		default:
			if values[name], err = typed(a, name, text); err != nil {
				return nil, r.misuse("--param: %w", err)
			}
		}
	}
	return values, nil
}

// watch shows what happens in a run until it ends, and prints its output.
func (r *remote) watch(ctx context.Context, agent string, events func(func(client.Event, error) bool)) error {
	spin := r.Spin("waiting for " + agent)
	defer spin.Stop()
	var ended client.Run
	var id, broken = "", error(nil)
	events(func(e client.Event, err error) bool {
		if err != nil {
			broken = err
			return false
		}
		switch e.Kind {
		case client.EventStart:
			var s client.RunStarted
			if json.Unmarshal(e.Data, &s) == nil && s.RunID != "" {
				if id != "" {
					spin.Say("It is done again from its beginning.")
				} else {
					spin.Say("run " + s.RunID)
				}
				id = s.RunID
			}
			spin.Turning("running " + agent)
		case client.EventLog, client.EventChunk:
			spin.Say(e.Text())
		case client.EventDone:
			ended, broken = e.Run()
			return false
		}
		return true
	})
	spin.Stop()
	switch {
	case broken != nil && id != "" && ctx.Err() != nil:
		return advise(errors.New("interrupted; the run goes on"), "keyward runs events %[1]s shows it, keyward runs cancel %[1]s ends it.", id)
	case broken != nil && id != "" && ended.ID == "":
		return advise(broken, "The run may go on: keyward runs show %s tells.", id)
	case broken != nil:
		return broken
	case ended.ID == "":
		return advise(errors.New("the server does not tell any more how the run ended"), "keyward runs show %s tells.", id)
	case r.json:
		if err := r.print(ended); err != nil || ended.Status == "succeeded" {
			return err
		}
		return told{errors.New(ended.Status)}
	}
	return r.ended(ended)
}

// ended prints the output of a run, or why there is none.
func (r *remote) ended(run client.Run) error {
	if len(run.Output) > 0 && string(run.Output) != "null" {
		text := string(run.Output)
		if r.Shows() {
			text = terminal.Clean(text)
		}
		if _, err := fmt.Fprintln(r.Out, text); err != nil {
			return err
		}
	}
	took := ""
	if !run.StartedAt.IsZero() {
		took = fmt.Sprintf(" after %s", run.EndedAt.Sub(run.StartedAt.Time).Round(time.Millisecond))
	}
	if run.Status == "succeeded" {
		r.Say("succeeded%s", took)
		return nil
	}
	said := run.Status + took
	if run.ErrorMessage != "" {
		said += ": " + run.ErrorMessage
	}
	return advise(errors.New(said), "keyward runs events %s shows its log.", run.ID)
}

func runsCommand() *cobra.Command {
	return group(page{
		use: "runs", short: "List, show, watch and cancel runs; remove old ones",
		example: `  keyward runs list --agent invoices
  keyward runs events 019f8a52-4c1e-7d30-b6a1-2f6d0c9be7aa
  keyward runs prune --older-than 168h`,
	}, listRunsCommand(), showRunCommand(), runEventsCommand(), cancelRunCommand(), pruneRunsCommand())
}

func listRunsCommand() *cobra.Command {
	var f client.RunFilter
	var limit int
	return remoteCommand(page{
		use: "list", short: "List the runs, newest first",
		long: `List the organization's runs, newest first.`,
		example: `  keyward runs list
  keyward runs list --agent invoices --status failed --json`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVar(&f.AgentID, "agent", "", "of this agent")
		c.Flags().StringVar(&f.Status, "status", "", "queued, running, succeeded, failed, cancelled, timed_out or interrupted")
		oneOf(c, "status", "queued", "running", "succeeded", "failed", "cancelled", "timed_out", "interrupted")
		c.Flags().IntVar(&limit, "limit", 50, "how many at most")
	}, func(ctx context.Context, r *remote, _ []string) error {
		if limit < 1 {
			return r.misuse("--limit must be 1 or more")
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		if f.AgentID != "" {
			a, err := findAgent(ctx, c, f.AgentID)
			if err != nil && !errors.Is(err, client.ErrInsufficientScope) {
				return err
			} else if err == nil {
				f.AgentID = a.ID
			}
		}
		f.Limit = min(limit, 100)
		all, err := first(limit, c.Runs.All(ctx, f))
		if err != nil {
			return err
		}
		if r.json {
			return r.print(all)
		}
		var rows [][]string
		for _, run := range all {
			took := ""
			if !run.StartedAt.IsZero() && !run.EndedAt.IsZero() {
				took = run.EndedAt.Sub(run.StartedAt.Time).Round(time.Millisecond).String()
			}
			rows = append(rows, []string{run.ID, run.AgentID, run.Status, run.AuthProfile, when(run.CreatedAt), took})
		}
		r.Table("There are no such runs. keyward run AGENT starts one.", []string{"ID", "AGENT", "STATUS", "PROFILE", "MADE", "TOOK"}, rows)
		return nil
	})
}

func showRunCommand() *cobra.Command {
	return remoteCommand(page{
		use: "show RUN", completes: runIDs, short: "Show a run, and its output",
		long:    `Show a run, and its output.`,
		example: `  keyward runs show 019f8a52-4c1e-7d30-b6a1-2f6d0c9be7aa`,
	}, cobra.ExactArgs(1), nil, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		run, err := c.Runs.Get(ctx, args[0])
		if err != nil {
			return err
		}
		if r.json {
			return r.print(run)
		}
		r.Fields("id", run.ID, "agent", run.AgentID, "status", run.Status, "auth profile", run.AuthProfile, "made", when(run.CreatedAt),
			"started", when(run.StartedAt), "ended", when(run.EndedAt), "error", run.ErrorMessage, "output", string(run.Output))
		return nil
	})
}

func runEventsCommand() *cobra.Command {
	var after int64
	return remoteCommand(page{
		use: "events RUN", completes: runIDs, short: "Show what happens in a run until it ends",
		long: `Show what happens in a run until it ends, from its beginning; of one that has ended,
what happened. With --json, one event a line. Ctrl-C ends the command and not the run.`,
		example: `  keyward runs events 019f8a52-4c1e-7d30-b6a1-2f6d0c9be7aa
  keyward runs events 019f8a52-4c1e-7d30-b6a1-2f6d0c9be7aa --after 12 --json`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		c.Flags().Int64Var(&after, "after", 0, "only what came after the event with this number")
	}, func(ctx context.Context, r *remote, args []string) error {
		if after < 0 {
			return r.misuse("--after must be 0 or more")
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		for e, err := range c.Runs.Events(ctx, args[0], after) {
			if err != nil {
				return err
			}
			if r.json {
				line, err := json.Marshal(e)
				if err == nil {
					_, err = fmt.Fprintln(r.Out, terminal.Clean(string(line)))
				}
				if err != nil {
					return err
				}
				continue
			}
			text := e.Text()
			switch e.Kind {
			case client.EventStart:
				text = "started"
			case client.EventError:
				if f, err := e.Failure(); err == nil {
					text = f.Code + ": " + f.Message
				}
			case client.EventDone:
				if run, err := e.Run(); err == nil {
					if text = run.Status; len(run.Output) > 0 {
						text += ": " + string(run.Output)
					}
				}
			}
			fmt.Fprintln(r.Out, terminal.Clean(fmt.Sprintf("%d %s  %s", e.ID, e.Kind, strings.TrimRight(text, "\n"))))
		}
		return nil
	})
}

func cancelRunCommand() *cobra.Command {
	return remoteCommand(page{
		use: "cancel RUN…", completes: runIDs, short: "Cancel runs",
		long:    `Cancel runs. One that is under way is stopped; what it did is done.`,
		example: `  keyward runs cancel 019f8a52-4c1e-7d30-b6a1-2f6d0c9be7aa`,
	}, cobra.MinimumNArgs(1), asksFirst, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		if err := r.sure(ctx, "Cancel %s?", strings.Join(args, ", ")); err != nil {
			return err
		}
		done := []client.Run{}
		for _, id := range args {
			run, err := c.Runs.Cancel(ctx, id)
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			done = append(done, run)
			if !r.json {
				said := run.Status
				if said == "running" {
					said = "is told to stop"
				}
				r.Say("%s: %s", run.ID, said)
			}
		}
		if r.json {
			return r.print(done)
		}
		return nil
	})
}
