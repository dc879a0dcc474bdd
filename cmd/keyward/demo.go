package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keyward/keyward/internal/demo"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Tell the whole story on this terminal, in seconds",
		Long: `Start a server, a web site with a sign-in form and an agent on this machine alone,
and show what a platform does with them, every request and answer: sign up, make
an API key, define an agent, store a customer's login, run the agent with it, run
it again on its saved session, revoke a key, stop the server and go on.

Nothing is installed and nothing stays: all is kept in a temporary folder, which
is removed at the end. Secrets are shown by their first characters. An answer that
is not as expected ends the demo with exit code 1.`,
		Example: `  keyward demo
  NO_COLOR=1 keyward demo | less`,
		RunE: func(c *cobra.Command, _ []string) error {
			// The temporary folder goes even when the terminal does, or the
			// reader of a pipe.
			signal.Ignore(syscall.SIGPIPE)
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGHUP)
			defer stop()
			return demo.Run(ctx, c.OutOrStdout(), wantsColours(c.OutOrStdout()), version())
		},
	}
}

// wantsColours reports whether out is a terminal whose user has not asked for
// plain text.
func wantsColours(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
