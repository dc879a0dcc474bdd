package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/folder"
	"github.com/keyward/keyward/internal/serve"
)

func rootKeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "root",
		Short: "Make, show and replace the root key",
		Long: `The root key is what everything in the database is sealed and vouched for with.
It lies in root.key in the data folder, or in the file that
KEYWARD_ROOT_KEY_FILE names, or in KEYWARD_ROOT_KEY, and never in the database.
Keep a copy of it apart from the database's backups.`,
		Example: "  keyward root status",
	}
	c.AddCommand(rootInitCommand(), rootStatusCommand(), rootRotateCommand())
	return c
}

func rootInitCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a root key in the data folder, for a new PostgreSQL database",
		Long: `Make a root key, in root.key in the data folder. With SQLite the first start does
that by itself. With PostgreSQL it is done once for the whole fleet: copy the
file to every server. A root key that is there already is never touched.`,
		Example: "  keyward root init --data /var/lib/keyward",
		RunE: func(c *cobra.Command, _ []string) error {
			made, err := serve.InitRootKey(data)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "made root key %s in %s\nKeep a copy of it apart from the database's backups: without it nothing in the database opens.\n", made.ID, made.Path)
			return err
		},
	}
	dataFlag(c, &data)
	return c
}

func rootStatusCommand() *cobra.Command {
	return reporting(&cobra.Command{
		Use:     "status",
		Short:   "Show the versions of the root key, and what is still under each",
		Example: "  keyward root status",
	}, http.MethodGet, "/root/status", serve.RootKeyStatus)
}

func rootRotateCommand() *cobra.Command {
	return reporting(&cobra.Command{
		Use:   "rotate",
		Short: "Replace the root key while the server runs",
		Long: `Replace the root key: a new version is made and, when every server of the fleet
has it, used; everything in the database is sealed and vouched for anew; then
the old version is retired. Tokens and API keys stay as they are. The command
can be stopped at any moment and called again, and goes on where it was.

With a fleet, copy root.key to the other servers when the command asks for it.
Where the key is in KEYWARD_ROOT_KEY, it says what to put there.`,
		Example: "  keyward root rotate",
	}, http.MethodPost, "/root/rotate", serve.RotateRootKey)
}

// reporting gives c what makes it print a report: the running server's, or,
// where none uses the data folder, that of offline.
func reporting(c *cobra.Command, method, path string, offline func(context.Context, serve.Options, func(line string)) error) *cobra.Command {
	config.Flags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, _, err := config.Load(c.Flags(), os.Environ(), os.ReadFile)
		if err != nil {
			return usageError{c.CommandPath(), err}
		}
		if conn, err := folder.DialControl(c.Context(), cfg.Data); err == nil {
			conn.Close()
			return dialControl(cfg.Data).follow(c.Context(), method, path, c.OutOrStdout())
		}
		return offline(c.Context(), serve.Options{Config: cfg, Version: version(), Log: c.ErrOrStderr(), Lookup: os.LookupEnv},
			func(line string) { fmt.Fprintln(c.OutOrStdout(), line) })
	}
	return c
}
