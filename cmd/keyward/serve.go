package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/serve"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Start a server",
		Long: `Start a server. Without settings it listens on 127.0.0.1:8080 and keeps everything
in ./keyward-data.

Every setting can be given as a flag, as a variable (KEYWARD_ADDR for --addr), or
in a YAML file that --config names; a flag goes before a variable, a variable
before the file. docs/configuration.md has them all, and keyward.example.yaml is
a file to start from.

SIGTERM and Ctrl-C let what is under way finish; a second one does not wait.`,
		Example: `  keyward serve
  keyward serve --addr 127.0.0.1:9000 --data /var/lib/keyward
  keyward serve --config /etc/keyward.yaml`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, warnings, err := config.Load(c.Flags(), os.Environ(), os.ReadFile)
			if err != nil {
				return usageError{c.CommandPath(), err}
			}
			for _, w := range warnings {
				fmt.Fprintln(c.ErrOrStderr(), "keyward: warning:", w)
			}
			tuneCollector(c.Context())
			return serve.Run(c.Context(), serve.Options{
				Config: cfg, Version: version(), Say: c.OutOrStdout(), Log: c.ErrOrStderr(), Lookup: os.LookupEnv,
			})
		},
	}
	config.Flags(c.Flags())
	return c
}
