package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/internal/home"
	"github.com/keyward/keyward/internal/terminal"
)

func configCommand() *cobra.Command {
	return group(page{
		use: "config", short: "Show and choose the server and the key that commands use",
		long: `Show and choose the server and the key that commands use.

The server is that of --server, else KEYWARD_SERVER, else the one of keyward config
use, else http://127.0.0.1:8080. The key is that of KEYWARD_API_KEY, else
RUNAGENT_API_KEY, else what is kept for the server: in the system's keychain if there
is one (unless KEYWARD_KEYCHAIN=off), else in a file that nobody else can read, in
keyward of the user's folder for settings (or KEYWARD_CONFIG_DIR).`,
		example: `  keyward config show
  keyward config show --key api_key
  keyward config use https://keys.example.com`,
	}, showConfigCommand(), useCommand())
}

func showConfigCommand() *cobra.Command {
	var key string
	return remoteCommand(page{
		use: "show", short: "Show which server and which key commands use",
		long: `Show which server and which key commands use, and where they come from. The key is
shown as it begins and ends; --key api_key prints all of it, alone.`,
		example: `  keyward config show
  keyward config show --key api_key
  export KEYWARD_API_KEY="$(keyward config show --key api_key)"`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVar(&key, "key", "", "print this one alone: api_key, server or config_file")
		oneOf(c, "key", "api_key", "server", "config_file")
	}, func(_ context.Context, r *remote, _ []string) error {
		switch key {
		case "", "api_key", "server", "config_file":
		default:
			return r.misuse("--key must be api_key, server or config_file")
		}
		if key == "config_file" {
			_, err := fmt.Fprintln(r.Out, r.home.ConfigPath())
			return err
		}
		address, err := r.where()
		if err != nil {
			return err
		}
		if key == "server" {
			_, err := fmt.Fprintln(r.Out, address)
			return err
		}
		kept, from, err := r.credential()
		if err != nil {
			return err
		}
		if key == "api_key" {
			if kept.APIKey == "" {
				return advise(fmt.Errorf("there is no key of %s", address), "keyward setup gets one.")
			}
			_, err := fmt.Fprintln(r.Out, kept.APIKey)
			return err
		}
		settings, err := r.home.Config()
		if err != nil {
			return err
		}
		type server struct {
			Name    string `json:"name,omitzero"`
			Address string `json:"address"`
			Current bool   `json:"current"`
		}
		shown := struct {
			Server     string   `json:"server"`
			NamedBy    string   `json:"server_named_by"`
			APIKey     string   `json:"api_key,omitzero"` // masked
			SignedInAs string   `json:"signed_in_as,omitzero"`
			Credential string   `json:"credential,omitzero"` // where it comes from
			ConfigFile string   `json:"config_file"`
			Servers    []server `json:"servers"`
		}{Server: address, NamedBy: r.namedBy, Credential: from, ConfigFile: r.home.ConfigPath(), Servers: []server{}}
		if kept.APIKey != "" {
			shown.APIKey = masked(kept.APIKey)
		}
		if kept.SignIn != nil {
			shown.SignedInAs = kept.SignIn.Email
		}
		for _, s := range settings.Servers {
			shown.Servers = append(shown.Servers, server{s.Name, s.Address, s.Address == settings.Current})
		}
		if r.json {
			return r.print(shown)
		}
		none := "none; keyward setup gets one"
		if shown.SignedInAs != "" {
			none = ""
		}
		r.Fields("server", shown.Server, "named by", shown.NamedBy, "signed in as", shown.SignedInAs, "api_key", cmp.Or(shown.APIKey, none), "from", shown.Credential, "settings", shown.ConfigFile)
		for _, s := range shown.Servers {
			mark := " "
			if s.Current {
				mark = "*"
			}
			fmt.Fprintln(r.Out, mark, terminal.Line(strings.TrimSpace(s.Name+" "+s.Address)))
		}
		return nil
	})
}

func useCommand() *cobra.Command {
	var name string
	var forget bool
	return remoteCommand(page{
		use: "use SERVER", short: "Choose the server that commands use from now on",
		long: `Choose the server that commands use from now on, by its address or its name. One
that is not known yet is added. --forget takes it off the list, with what is kept for
it.`,
		example: `  keyward config use https://keys.example.com --name work
  keyward config use work
  keyward config use work --forget`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().StringVar(&name, "name", "", "what to call it from now on")
		c.Flags().BoolVar(&forget, "forget", false, "forget the server, and the credential that is kept for it")
	}, func(ctx context.Context, r *remote, args []string) error {
		settings, err := r.home.Config()
		if err != nil {
			return err
		}
		address, err := resolve(settings, args[0])
		if err != nil {
			return err
		}
		if forget {
			return r.forgetServer(ctx, settings, address)
		}
		if err := r.home.Change(func(c *home.Config) error { return c.Use(address, name) }); err != nil {
			return err
		}
		if r.json {
			return r.print(map[string]any{"server": address})
		}
		r.Say("Commands use %s from now on.", address)
		if kept, _, err := r.home.Credential(address); err == nil && kept.IsZero() {
			r.Say("There is no key of it yet; keyward setup gets one.")
		}
		return nil
	})
}

func (r *remote) forgetServer(ctx context.Context, settings home.Config, address string) error {
	if _, there := settings.Find(address); !there {
		return errors.New("there is no such server on the list")
	}
	kept, _, err := r.home.Credential(address)
	if err != nil {
		return err
	}
	if !kept.IsZero() {
		if err := r.sure(ctx, "Forget %s and the credential that is kept for it? It can't be had again.", address); err != nil {
			return err
		}
		if _, err := r.home.ChangeCredential(address, func(c *home.Credential) error { *c = home.Credential{}; return nil }); err != nil {
			return err
		}
	}
	err = r.home.Change(func(c *home.Config) error {
		var others []home.Server
		for _, s := range c.Servers {
			if s.Address != address {
				others = append(others, s)
			}
		}
		c.Servers = others
		if c.Current == address {
			c.Current = ""
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(map[string]any{"server": address, "forgotten": true})
	}
	r.Say("Forgot %s.", address)
	return nil
}
