// Keyward is keys, credentials and sign-in for AI agents, in one binary. See
// the README.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
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
	if !errors.As(err, &told{}) {
		report(os.Stderr, err)
	}
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
  keyward serve     starts a server
  keyward setup     gets you a key of a server

It ends with 0 if all went well, with 1 if something was refused or failed, and
with 2 if the command line or a setting is wrong.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	in := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddGroup(&cobra.Group{ID: "begin", Title: "Begin:"}, &cobra.Group{ID: "use", Title: "Use a server:"},
		&cobra.Group{ID: "run", Title: "Run a server, on its own machine:"}, &cobra.Group{ID: "more", Title: "More:"})
	in("begin", setupCommand(), loginCommand(), logoutCommand(), whoamiCommand(), configCommand())
	in("use", keysCommand(), agentsCommand(), profilesCommand(), runCommand(), runsCommand(), usageCommand(), auditCommand(), scanCommand())
	in("run", serveCommand(), demoCommand(), rootKeyCommand(), accountsCommand(), orgsCommand())
	in("more", versionCommand(), completionCommand(root), manCommand(root))
	root.SetHelpCommandGroupID("more")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError{c.CommandPath(), err} })
	for _, c := range all(root) {
		if c.Args == nil && c.HasSubCommands() {
			c.Args = cobra.NoArgs // which tells of an unknown command
		}
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
		check = func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				// Whatever it is, it may be a secret.
				return errors.New("takes no arguments, only flags")
			}
			return nil
		}
	}
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{c.CommandPath(), err}
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  keyward version",
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			} else {
				_, err = fmt.Fprintln(c.OutOrStdout(), "keyward", version())
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// version is what the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "development"
	}
	return info.Main.Version
}
