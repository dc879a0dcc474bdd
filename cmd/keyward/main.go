// Keyward is keys, credentials and sign-in for AI agents, in one binary. See
// the README.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/internal/config"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // refused, or failed
	exitUsage  = 2 // the command line or a setting is wrong
)

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		// Before anything is told that it stops, so that a second signal
		// ends the process at once.
		signal.Stop(signals)
		cancel()
	}()

	err := command().ExecuteContext(ctx)
	var usage usageError
	var setting *config.Problem // that only a part of the server could find
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "keyward: %v\nSee %s --help.\n", usage.err, usage.command)
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "keyward: %v\n", err)
	if errors.As(err, &setting) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in the command line.
type usageError struct {
	command string
	err     error
}

func (e usageError) Error() string { return e.err.Error() }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "keyward",
		Short: "Keys, credentials and sign-in for AI agents",
		Long: `Keyward signs a platform's customers up, gives them API keys and checks them,
and keeps their customers' logins in auth profiles that only the customer's own
token opens, for an agent to use at run time.

Begin with:

  keyward demo      tells the whole story on this terminal, in seconds
  keyward serve     starts a server`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(), demoCommand(), rootKeyCommand(), accountsCommand(), orgsCommand(), runsCommand(), versionCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError{c.CommandPath(), err} })
	for _, c := range all(root) {
		c.Args = usageArgs(c.Args)
		if c.HasSubCommands() {
			// Without this, cobra takes an unknown command below c for none.
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	return root
}

func all(c *cobra.Command) []*cobra.Command {
	found := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		found = append(found, all(sub)...)
	}
	return found
}

// usageArgs makes what check refuses a mistake in the command line.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{c.CommandPath(), err}
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  keyward version",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "keyward", version())
			return err
		},
	}
}

// version is what the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "development"
	}
	return info.Main.Version
}
