package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/home"
)

// changeFlags are what of a key is to change.
type changeFlags struct {
	keyFlags
	add, remove, drop []string
	enable, disable   bool
}

// change returns the change that the flags ask for.
func (f *changeFlags) change(r *remote) (client.ChangeKey, error) {
	in := client.ChangeKey{AddIPs: f.add, RemoveIPs: f.remove}
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
			return in, r.misuse("%w", err)
		}
		in.Metadata = client.Set(object)
	}
	if f.enable && f.disable {
		return in, r.misuse("--enable and --disable contradict each other")
	}
	if f.enable || f.disable {
		in.Enabled = &f.enable
	}
	err := f.unset(r, &in)
	return in, err
}

// unset removes the settings that are to go.
func (f *changeFlags) unset(r *remote, in *client.ChangeKey) error {
	for _, setting := range f.drop {
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
	return nil
}

func updateKeyCommand() *cobra.Command {
	var f changeFlags
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
		c.Flags().StringSliceVar(&f.add, "add-ip", nil, "an address or network to use the key from as well (may be given again)")
		c.Flags().StringSliceVar(&f.remove, "remove-ip", nil, "an address or network to use the key from no more (may be given again)")
		c.Flags().StringSliceVar(&f.drop, "unset", nil, "a setting to remove (may be given again)")
		oneOf(c, "unset", "scopes", "agent-ids", "allowed-ips", "expires-in", "limits", "external-id", "metadata")
		c.Flags().BoolVar(&f.enable, "enable", false, "it can be used again")
		c.Flags().BoolVar(&f.disable, "disable", false, "it can't be used until it is enabled")
	}, func(ctx context.Context, r *remote, args []string) error {
		in, err := f.change(r)
		if err != nil {
			return err
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
