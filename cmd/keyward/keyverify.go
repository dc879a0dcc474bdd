package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
)

func verifyKeyCommand() *cobra.Command {
	var in client.VerifyKey
	var file string
	var cost int64
	return remoteCommand(page{
		use: "verify", short: "Ask whether a key of a caller of yours is good",
		long: `Ask whether a key of a caller of yours is good: one of your organization's. The
key is read from the terminal without being shown, from standard input, or from
a file: one line. The exit code is 1 if it is not good. Nothing is counted against
the key's limits unless --cost says so.`,
		example: `  keyward keys verify
  printf '%s\n' "$KEY" | keyward keys verify --scope agents:run --ip 192.0.2.7
  keyward keys verify --file key.txt --json`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVar(&file, "file", "", "the file that holds the key")
		c.Flags().StringSliceVar(&in.Scopes, "scope", nil, "a scope that it must have (may be given again)")
		c.Flags().StringVar(&in.AgentID, "agent-id", "", "the agent that it is to be used for")
		c.Flags().StringVar(&in.IP, "ip", "", "where it is used from")
		c.Flags().Int64Var(&cost, "cost", 0, "what to count against its limits")
	}, func(ctx context.Context, r *remote, _ []string) error {
		key, err := r.secretLine(ctx, file, "Key")
		if err != nil {
			return err
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		in.Key, in.Cost = key, &cost
		v, err := c.Keys.Verify(ctx, in)
		if err != nil {
			return err
		}
		if r.json {
			if err := r.print(v); err != nil {
				return err
			}
		} else {
			id := ""
			if v.KeyID != 0 {
				id = number(v.KeyID)
			}
			r.Fields("code", v.Code, "id", id, "name", v.Name, "type", v.Type, "scopes", strings.Join(v.Scopes, " "), "agents", strings.Join(v.AgentIDs, " "),
				"external id", v.ExternalID, "metadata", string(v.Metadata), "expires", when(v.ExpiresAt))
		}
		switch {
		case v.Valid:
			return nil
		case r.json:
			return told{errors.New(v.Code)}
		}
		return errors.New(v.Message)
	})
}
