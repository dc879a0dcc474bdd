package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/home"
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

func updateKeyCommand() *cobra.Command {
	var f keyFlags
	var add, remove, drop []string
	var enable, disable bool
	return remoteCommand(page{
		use: "update KEY", completes: keyNames, short: "Change the settings of a key",
		long: `Change the settings of a key. What no flag is given for stays. --scope, --agent-id
and --allow-ip replace the whole list; --add-ip and --remove-ip change it. --unset
removes a setting: scopes, agent-ids, allowed-ips, expires-in, limits, external-id
or metadata.`,
		example: `  keyward keys update production-2024 --add-ip 192.168.1.1
  keyward keys update 5123456789012345 --disable
  keyward keys update monitoring --requests-per-hour 100 --unset allowed-ips`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		f.set(c.Flags())
		c.Flags().StringSliceVar(&add, "add-ip", nil, "an address or network to use the key from as well (may be given again)")
		c.Flags().StringSliceVar(&remove, "remove-ip", nil, "an address or network to use the key from no more (may be given again)")
		c.Flags().StringSliceVar(&drop, "unset", nil, "a setting to remove (may be given again)")
		oneOf(c, "unset", "scopes", "agent-ids", "allowed-ips", "expires-in", "limits", "external-id", "metadata")
		c.Flags().BoolVar(&enable, "enable", false, "it can be used again")
		c.Flags().BoolVar(&disable, "disable", false, "it can't be used until it is enabled")
	}, func(ctx context.Context, r *remote, args []string) error {
		in := client.ChangeKey{AddIPs: add, RemoveIPs: remove}
		given := r.command.Flags().Changed
		if given("name") {
			in.Name = &f.name
		}
		if given("scope") {
			in.Scopes = client.Set(f.scopes)
		}
		if given("agent-id") {
			in.AgentIDs = client.Set(f.agents)
		}
		if given("allow-ip") {
			in.AllowedIPs = client.Set(f.ips)
		}
		if given("expires-in") {
			in.ExpiresIn = client.Set(f.expiresIn.seconds())
		}
		var limits client.ChangeKeyLimits
		for flag, to := range map[string]struct {
			n    int64
			edit *client.Edit[int64]
		}{
			"requests-per-hour": {f.limits.RequestsPerHour, &limits.RequestsPerHour}, "burst": {f.limits.Burst, &limits.Burst},
			"requests-per-month": {f.limits.RequestsPerMonth, &limits.RequestsPerMonth},
		} {
			if given(flag) {
				*to.edit = client.Set(to.n)
				in.Limits = client.Set(client.ChangeKeyLimits{})
			}
		}
		if !in.Limits.IsZero() {
			in.Limits = client.Set(limits)
		}
		if given("require-signature") {
			in.RequireSignature = &f.sign
		}
		if given("external-id") {
			in.ExternalID = client.Set(f.externalID)
		}
		if given("metadata") {
			object, err := f.object()
			if err != nil {
				return r.misuse("%w", err)
			}
			in.Metadata = client.Set(object)
		}
		if enable && disable {
			return r.misuse("--enable and --disable contradict each other")
		}
		if enable || disable {
			in.Enabled = &enable
		}
		for _, setting := range drop {
			switch setting {
			case "scopes":
				in.Scopes = client.Remove[[]string]()
			case "agent-ids":
				in.AgentIDs = client.Remove[[]string]()
			case "allowed-ips":
				in.AllowedIPs = client.Remove[[]string]()
			case "expires-in":
				in.ExpiresIn = client.Remove[int64]()
			case "limits":
				in.Limits = client.Remove[client.ChangeKeyLimits]()
			case "external-id":
				in.ExternalID = client.Remove[string]()
			case "metadata":
				in.Metadata = client.Remove[client.Object]()
			default:
				return r.misuse("--unset takes scopes, agent-ids, allowed-ips, expires-in, limits, external-id or metadata")
			}
		}
		nothing := true
		r.command.Flags().Visit(func(f *pflag.Flag) {
			switch f.Name {
			case "server", "json", "plain-http", "timeout":
			default:
				nothing = false
			}
		})
		if nothing {
			return r.misuse("there is nothing to change: give a flag, such as --add-ip 192.168.1.1")
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		k, err := findKey(ctx, c, args[0])
		if err != nil {
			return err
		}
		changed, err := c.Keys.Change(ctx, k.ID, in)
		if err != nil {
			return err
		}
		switch {
		case r.json:
			return r.print(changed)
		case changed.SigningSecret != "":
			return r.secret(fmt.Sprintf("Changed the key %s (%d). Its requests are signed from now on, with this:", changed.Name, changed.ID), changed.SigningSecret, "It is shown this once.")
		}
		r.Say("Changed the key %s (%d).\n", changed.Name, changed.ID)
		return r.showSettings(changed.Key)
	})
}

func revokeKeyCommand() *cobra.Command {
	return remoteCommand(page{
		use: "revoke KEY…", completes: keyNames, short: "End keys for good",
		long: `End keys for good, with every key that they have made. When the command is done no
request with them is accepted any more.`,
		example: `  keyward keys revoke "old-key-id"
  keyward keys revoke 5123456789012345 monitoring --yes`,
	}, cobra.MinimumNArgs(1), asksFirst, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		var keys []client.Key
		var names []string
		for _, arg := range args {
			k, err := findKey(ctx, c, arg)
			if err != nil {
				return fmt.Errorf("%s: %w", arg, err)
			}
			keys, names = append(keys, k), append(names, fmt.Sprintf("%s (%d, %s)", k.Name, k.ID, k.Hint))
		}
		if err := r.sure(ctx, "Revoke %s? It can't be undone.", strings.Join(names, ", ")); err != nil {
			return err
		}
		type revoked struct {
			ID     int64  `json:"id"`
			Name   string `json:"name"`
			Status string `json:"status"`
		}
		done := []revoked{}
		for i, k := range keys {
			if err := c.Keys.Revoke(ctx, k.ID); err != nil {
				return fmt.Errorf("%s: %w", args[i], err)
			}
			done = append(done, revoked{k.ID, k.Name, "revoked"})
			if !r.json {
				r.Say("Revoked the key %s (%d).", k.Name, k.ID)
			}
			if err := r.forgetKey(k.ID); err != nil {
				return err
			}
		}
		if r.json {
			return r.print(done)
		}
		return nil
	})
}

// forgetKey forgets the key that is kept for the server, if it is the one with
// this id.
func (r *remote) forgetKey(id int64) error {
	address, err := r.where()
	if err != nil {
		return err
	}
	kept, _, err := r.home.Credential(address)
	if err != nil || kept.APIKey == "" || kept.KeyID != id {
		return nil // a key from elsewhere was used; what is kept here is another matter
	}
	_, err = r.home.ChangeCredential(address, func(c *home.Credential) error {
		if c.KeyID == id {
			c.APIKey, c.KeyID, c.OfLogin = "", 0, false
		}
		return nil
	})
	if err == nil {
		r.Say("It was the key that is kept here for %s. keyward setup gets another.", address)
	}
	return err
}

func rotateKeyCommand() *cobra.Command {
	var grace span
	return remoteCommand(page{
		use: "rotate KEY", completes: keyNames, short: "Give a key a new value, and show it this once",
		long: `Give a key a new value under the same id, name, limits and settings. The old value
works until the grace ends, or is refused at once without --grace. If it is the
key that is kept here for the server, the new value is kept.`,
		example: `  keyward keys rotate production-2024 --grace 24h
  keyward keys rotate 5123456789012345`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().Var(&grace, "grace", "for how long the old value goes on working, such as 24h or 7d; 30d at most")
	}, func(ctx context.Context, r *remote, args []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		k, err := findKey(ctx, c, args[0])
		if err != nil {
			return err
		}
		if grace == 0 {
			if err := r.sure(ctx, "Rotate %s (%d)? Without --grace its old value is refused at once.", k.Name, k.ID); err != nil {
				return err
			}
		}
		made, err := c.Keys.Rotate(ctx, k.ID, client.RotateKey{GracePeriod: grace.seconds()})
		if err != nil {
			return err
		}
		// It is shown whatever becomes of keeping it: nobody can show it again.
		kept := r.keepRotated(made)
		if r.json {
			return errors.Join(r.print(made), kept)
		}
		until := "The old value is refused from now on."
		if grace > 0 {
			until = "The old value works until " + time.Now().Add(time.Duration(grace)).Format("2006-01-02 15:04:05") + "."
		}
		return errors.Join(r.showKey(fmt.Sprintf("The new value of the key %s (%d). %s", made.Name, made.ID, until), made.Secret, made.SigningSecret), kept)
	})
}

// keepRotated keeps the new value of a key, if its old one is kept.
func (r *remote) keepRotated(k client.IssuedKey) error {
	address, err := r.where()
	if err != nil {
		return err
	}
	if kept, _, err := r.home.Credential(address); err != nil || kept.APIKey == "" || kept.KeyID != k.ID {
		return nil
	}
	_, err = r.home.ChangeCredential(address, func(c *home.Credential) error {
		if c.KeyID == k.ID {
			c.APIKey = k.Secret
		}
		return nil
	})
	if err == nil {
		r.Say("It is the key that is kept here for %s; the new value is kept.\n", address)
	}
	return err
}

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

// secretLine reads a secret from a file, or as [terminal.Screen.Secret] does.
func (r *remote) secretLine(ctx context.Context, file, question string) (string, error) {
	var text string
	var err error
	if file != "" {
		var all []byte
		all, err = r.input(file)
		text = string(all)
	} else {
		text, err = r.Secret(ctx, question)
	}
	text = strings.TrimSpace(text)
	if err == nil && text == "" || errors.Is(err, io.EOF) {
		return "", fmt.Errorf("there is none on standard input: give the %s as one line", strings.ToLower(question))
	}
	return text, err
}

// span is a duration on the command line, which also knows days.
type span time.Duration

func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

func (s *span) Type() string { return "duration" }

func (s *span) Set(text string) error {
	days := time.Duration(0)
	if n, rest, ok := strings.Cut(text, "d"); ok {
		count, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return errors.New("must be like 90s, 12h or 30d")
		}
		days = time.Duration(count) * 24 * time.Hour
		if text = rest; text == "" {
			*s = span(days)
			return nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 0 && d < time.Second {
		return errors.New("must be like 90s, 12h or 30d")
	}
	*s = span(d + days)
	return nil
}

func (s span) seconds() int64 { return int64(time.Duration(s) / time.Second) }
