package main

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func pruneRunsCommand() *cobra.Command {
	var data string
	var olderThan time.Duration
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove the runs that ended some time ago, as the operator on the server's own machine",
		Long: `The server removes runs by itself, as the settings runs.keep and runs.keep_logs say.
The command talks to the running server through the control socket in its data
folder, so it needs no password, and works on the server's own machine alone.

Remove the runs, of all organizations, that ended longer ago than --older-than,
with their output and their logs. Without the flag, remove what the settings
runs.keep and runs.keep_logs say, now and not within the hour. It is done a little
at a time, so that the server goes on as ever. Runs that have not ended stay.`,
		Example: `  keyward runs prune
  keyward runs prune --older-than 168h`,
		RunE: func(c *cobra.Command, _ []string) error {
			path := "/runs/prune"
			if c.Flags().Changed("older-than") {
				path += "?older_than=" + olderThan.String()
			}
			return dialControl(data).follow(c.Context(), http.MethodPost, path, c.OutOrStdout())
		},
	}
	dataFlag(c, &data)
	c.Flags().DurationVar(&olderThan, "older-than", 0, "the time since their end, such as 168h (default: as the settings say)")
	return c
}
