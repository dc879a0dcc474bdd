package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyward/keyward/client"
)

func keysCommand() *cobra.Command {
	return group(page{
		use: "keys", short: "Make, show, change, rotate and revoke API keys",
		long: `Make, show, change, rotate and revoke API keys. A key is named by its id or its
name.`,
		example: `  keyward keys create --name "production-2024"
  keyward keys list
  keyward keys revoke "old-key-id"`,
	}, createKeyCommand(), listKeysCommand(), showKeyCommand(), updateKeyCommand(), revokeKeyCommand(), rotateKeyCommand(),
		keyUsageCommand(), alertCommand(), alertsCommand(), verifyKeyCommand())
}

// keyFlags are the settings of a key on the command line.
type keyFlags struct {
	name, externalID, metadata string
	scopes, agents, ips        []string
	expiresIn                  span
	limits                     client.KeyLimits
	sign                       bool
}

func (f *keyFlags) set(fs *pflag.FlagSet) {
	fs.StringVar(&f.name, "name", "", "what people call the key")
	fs.StringSliceVar(&f.scopes, "scope", nil, "what the key may do, such as agents:read; or read, write, run, * (may be given again)")
	fs.StringSliceVar(&f.agents, "agent-id", nil, "an agent that the key is for; without any it is for all (may be given again)")
	fs.StringSliceVar(&f.ips, "allow-ip", nil, "an address or network that the key may be used from; without any from anywhere (may be given again)")
	fs.Var(&f.expiresIn, "expires-in", "after which time the key expires, such as 12h or 30d")
	fs.Int64Var(&f.limits.RequestsPerHour, "requests-per-hour", 0, "how many requests an hour the key may make")
	fs.Int64Var(&f.limits.Burst, "burst", 0, "how many requests the key may make in any one second")
	fs.Int64Var(&f.limits.RequestsPerMonth, "requests-per-month", 0, "how many requests the key may make in a calendar month (UTC)")
	fs.BoolVar(&f.sign, "require-signature", false, "each request with the key must be signed")
	fs.StringVar(&f.externalID, "external-id", "", "what you call whoever holds the key")
	fs.StringVar(&f.metadata, "metadata", "", "a JSON object that a check of the key returns")
}

func (f *keyFlags) object() (client.Object, error) {
	var any map[string]json.RawMessage
	if err := json.Unmarshal([]byte(f.metadata), &any); err != nil || any == nil {
		return nil, errors.New(`--metadata must be a JSON object, such as {"team":"billing"}`)
	}
	return client.Object(f.metadata), nil
}

func createKeyCommand() *cobra.Command {
	var f keyFlags
	var kind string
	var disabled bool
	return remoteCommand(page{
		use: "create", short: "Make an API key, and show it this once",
		long: `Make an API key. It is shown this once: on standard output, alone, so that
"KEY=$(keyward keys create --name ci)" works. The signing secret of a key that
requires signatures is on the next line.

Without --scope it may do all that you may; with it, it belongs to the
organization (a service key) unless --type says otherwise.`,
		example: `  keyward keys create --name "production-2024"
  keyward keys create --scope read --name "monitoring"
  keyward keys create --agent-id agent-123 --name "agent-specific"
  keyward keys create --name trial --type temporary --expires-in 2h --requests-per-hour 50`,
	}, nil, func(c *cobra.Command) {
		f.set(c.Flags())
		c.Flags().StringVar(&kind, "type", "", "personal, service or temporary")
		oneOf(c, "type", "personal", "service", "temporary")
		c.Flags().BoolVar(&disabled, "disabled", false, "it can't be used until it is enabled")
	}, func(ctx context.Context, r *remote, _ []string) error {
		if f.name == "" {
			return r.misuse("--name is missing")
		}
		if r.command.Flags().Changed("expires-in") && f.expiresIn == 0 {
			return r.misuse("--expires-in must not be 0; without it the key never expires")
		}
		in := client.CreateKey{
			Name: f.name, Type: kind, Scopes: f.scopes, AgentIDs: f.agents, AllowedIPs: f.ips, ExpiresIn: f.expiresIn.seconds(),
			RequireSignature: f.sign, ExternalID: f.externalID,
		}
		if f.limits != (client.KeyLimits{}) {
			in.Limits = &f.limits
		}
		if disabled {
			in.Enabled = new(bool)
		}
		if f.metadata != "" {
			var err error
			if in.Metadata, err = f.object(); err != nil {
				return r.misuse("%w", err)
			}
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		made, err := c.Keys.Create(ctx, in)
		if err != nil {
			return err
		}
		if r.json {
			return r.print(made)
		}
		return r.showKey(fmt.Sprintf("Made the %s key %s (%d), which may: %s", made.Type, made.Name, made.ID, strings.Join(made.Scopes, " ")), made.Secret, made.SigningSecret)
	})
}

func (r *remote) showKey(before, key, signing string) error {
	after := "It is shown this once. Keep it where programs find it and nobody else does."
	if signing != "" {
		after = "The second line is the secret that its requests are signed with. Both are shown this once."
		key += "\n" + signing
	}
	return r.secret(before, key, after)
}

func listKeysCommand() *cobra.Command {
	var f client.KeyFilter
	return remoteCommand(page{
		use: "list", short: "List the keys, newest first",
		long: `List the keys that are not revoked, newest first.`,
		example: `  keyward keys list
  keyward keys list --status revoked
  keyward keys list --external-id customer-42 --json`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVar(&f.Status, "status", "", "active, disabled, expired or revoked")
		c.Flags().StringVar(&f.Type, "type", "", "personal, service or temporary")
		oneOf(c, "status", "active", "disabled", "expired", "revoked")
		oneOf(c, "type", "personal", "service", "temporary")
		c.Flags().StringVar(&f.ExternalID, "external-id", "", "of whoever you call so")
	}, func(ctx context.Context, r *remote, _ []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		all := []client.Key{}
		for k, err := range c.Keys.All(ctx, f) {
			if err != nil {
				return err
			}
			all = append(all, k)
		}
		if r.json {
			return r.print(all)
		}
		var rows [][]string
		for _, k := range all {
			rows = append(rows, []string{number(k.ID), k.Name, k.Type, k.Status, k.Hint, when(k.LastUsedAt), when(k.ExpiresAt)})
		}
		r.Table("There are no such keys. keyward keys create --name … makes one.", []string{"ID", "NAME", "TYPE", "STATUS", "KEY", "LAST USED", "EXPIRES"}, rows)
		return nil
	})
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func showKeyCommand() *cobra.Command {
	return remoteCommand(page{
		use: "show KEY", completes: keyNames, short: "Show what a key is and may do",
		long: `Show what a key is and may do: its scopes, the addresses that it may be used
from, its limits. The key itself can't be shown again.`,
		example: `  keyward keys show production-2024
  keyward keys show 5123456789012345 --json`,
	}, cobra.ExactArgs(1), nil, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		k, err := findKey(ctx, c, args[0])
		if err != nil {
			return err
		}
		return r.showSettings(k)
	})
}

func (r *remote) showSettings(k client.Key) error {
	if r.json {
		return r.print(k)
	}
	limits := "those of the " + k.Tier + " tier"
	if l := k.Limits; l != nil {
		var parts []string
		for _, limit := range []struct {
			n    int64
			span string
		}{{l.RequestsPerHour, "hour"}, {l.Burst, "second"}, {l.RequestsPerMonth, "month"}} {
			if limit.n > 0 {
				parts = append(parts, fmt.Sprintf("%d/%s", limit.n, limit.span))
			}
		}
		limits = strings.Join(parts, " ") + ", and " + limits
	}
	agents, ips, signed := "all", "anywhere", "no"
	if len(k.AgentIDs) > 0 {
		agents = strings.Join(k.AgentIDs, " ")
	}
	if len(k.AllowedIPs) > 0 {
		ips = strings.Join(k.AllowedIPs, " ")
	}
	if k.RequireSignature {
		signed = "yes"
	}
	used := when(k.LastUsedAt)
	if used == "" {
		used = "never"
	} else if k.LastUsedIP != "" {
		used += " from " + k.LastUsedIP
	}
	expires := when(k.ExpiresAt)
	if expires == "" {
		expires = "never"
	}
	r.Fields("id", number(k.ID), "name", k.Name, "key", k.Hint, "type", k.Type, "status", k.Status, "scopes", strings.Join(k.Scopes, " "),
		"agents", agents, "allowed IPs", ips, "limits", limits, "signed requests", signed, "external id", k.ExternalID, "metadata", string(k.Metadata),
		"made", when(k.CreatedAt), "expires", expires, "revoked", when(k.RevokedAt), "last used", used)
	return nil
}
