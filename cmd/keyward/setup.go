package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/home"
)

// setup is what somebody who begins has said so far.
type setup struct {
	signInFlags
	signUp        bool
	name          string
	setupCodeFile string
	serverName    string
	keyName       string
	newKey        bool
}

func setupCommand() *cobra.Command {
	var s setup
	return remoteCommand(page{
		use: "setup", short: "Begin: choose a server, sign in, and get a first key",
		long: `Begin: choose a server, sign in or make an account, and get a first API key, which
is tried and kept for the other commands. On a terminal it asks what it needs to
know. Without one, flags say it:

  --browser             in a browser, on this machine or another
  --email E             with a password: KEYWARD_PASSWORD, --password-file, or one
                        line of standard input
  --sign-up --email E   make the account first; the operator of a new server gives
                        its setup code in KEYWARD_SETUP_CODE or --setup-code-file
  --with-key            a key that you have, as one line of standard input

Where a key is kept already and works, nothing is done, unless --new-key is given.`,
		example: `  keyward setup
  keyward setup --server https://keys.example.com --browser
  printf '%s\n' "$PASSWORD" | keyward setup --sign-up --name Jane --email jane@example.com`,
	}, nil, func(c *cobra.Command) {
		s.set(c)
		c.Flags().BoolVar(&s.signUp, "sign-up", false, "make an account")
		c.Flags().StringVar(&s.name, "name", "", "with --sign-up: your name")
		c.Flags().StringVar(&s.setupCodeFile, "setup-code-file", "", "with --sign-up: the file that holds the server's setup code (or KEYWARD_SETUP_CODE)")
		c.Flags().StringVar(&s.serverName, "server-name", "", "what to call the server from now on")
		c.Flags().StringVar(&s.keyName, "key-name", "", "the name of the key (default: you and this machine, as in jane@laptop)")
		c.Flags().BoolVar(&s.newKey, "new-key", false, "get a key also where one is kept that works")
	}, func(ctx context.Context, r *remote, _ []string) error { return s.run(ctx, r) })
}

func (s *setup) run(ctx context.Context, r *remote) error {
	if err := s.check(r); err != nil {
		return err
	}
	if s.signUp && (s.browser || s.withKey) {
		return r.misuse("--sign-up needs --email, and neither --browser nor --with-key")
	}
	if !r.Asks() && s.email == "" && !s.browser && !s.withKey {
		return r.misuse("there is no terminal to ask on: say how to sign in with --email, --browser or --with-key")
	}
	if r.Asks() && r.server == "" {
		address, err := r.where()
		if err != nil {
			return err
		}
		if r.server, err = r.Ask(ctx, "Server", address); err != nil {
			return err
		}
		r.address = ""
	}
	address, err := r.begin(ctx)
	if err != nil {
		return err
	}
	settings, err := r.home.Config()
	if err != nil {
		return err
	}
	use := func(c *home.Config) error { return c.Use(address, s.serverName) }
	if err := use(&settings); err != nil {
		return err // before a key is made
	}
	if kept, where, err := r.home.Credential(address); err == nil && kept.APIKey != "" && !s.newKey {
		if k, err := r.try(ctx, kept.APIKey); err == nil {
			if err := r.home.Change(use); err != nil {
				return err
			}
			return s.done(r, address, kept, k, where, "You are set up already")
		}
	}
	if err := s.choose(ctx, r); err != nil {
		return err
	}
	c, err := s.key(ctx, r)
	if err != nil {
		return err
	}
	where, err := r.keep(ctx, address, s.serverName, true, c)
	if err != nil {
		return err
	}
	k, err := r.try(ctx, c.APIKey)
	if err != nil {
		return err
	}
	return s.done(r, address, c, k, where, "Done")
}

// choose asks how to sign in, if no flag says it.
func (s *setup) choose(ctx context.Context, r *remote) (err error) {
	if s.email == "" && !s.browser && !s.withKey {
		way := "1"
		if !s.signUp {
			r.Say("\nHow do you want to sign in?\n  1  in a browser\n  2  with e-mail and password\n  3  make an account\n  4  with a key that you have")
			if way, err = r.Ask(ctx, "Choose", "1"); err != nil {
				return err
			}
		} else {
			way = "3"
		}
		switch way {
		case "1":
			s.browser = true
		case "2", "3":
			s.signUp = way == "3"
			if s.email, err = r.Ask(ctx, "E-mail", ""); err != nil {
				return err
			}
		case "4":
			s.withKey = true
		default:
			return errors.New("the answer must be 1, 2, 3 or 4; nothing was done")
		}
	}
	if s.signUp && s.name == "" {
		if !r.Asks() {
			return r.misuse("--sign-up needs --name")
		}
		if s.name, err = r.Ask(ctx, "Your name", ""); err != nil {
			return err
		}
	}
	return nil
}

// key signs in as was chosen, and gets a key.
func (s *setup) key(ctx context.Context, r *remote) (home.Credential, error) {
	switch {
	case s.browser:
		return r.device(ctx, s.scopes)
	case s.withKey:
		return r.typedKey(ctx)
	}
	password, err := s.account(ctx, r)
	if err != nil {
		return home.Credential{}, err
	}
	t, err := r.signIn(ctx, s.email, password)
	if err != nil {
		return home.Credential{}, err
	}
	// The key is what is kept; the sign-in has done its part.
	defer r.endSignIn(ctx, home.SignIn{RefreshToken: t.RefreshToken})
	as, err := r.nobody(client.WithAccessToken(t.AccessToken))
	if err != nil {
		return home.Credential{}, err
	}
	made, err := s.make(ctx, as)
	return home.Credential{APIKey: made.Secret, KeyID: made.ID, New: true}, err
}

// account returns the password of the account, which it makes if it is to.
func (s *setup) account(ctx context.Context, r *remote) (password string, err error) {
	if !s.signUp {
		return r.password(ctx, s.passwordFile, "Password")
	}
	code := strings.TrimSpace(os.Getenv("KEYWARD_SETUP_CODE"))
	switch {
	case s.setupCodeFile != "":
		text, err := r.input(s.setupCodeFile)
		if err != nil {
			return "", err
		}
		code = strings.TrimSpace(string(text))
	case code == "" && r.Asks():
		if code, err = r.AskHidden(ctx, "Setup code, if the server is yours and shows one (else leave it empty)"); err != nil {
			return "", err
		}
		code = strings.TrimSpace(code)
	}
	if password, err = r.password(ctx, s.passwordFile, "Password (8 characters or more)"); err != nil {
		return "", err
	}
	if r.Asks() && s.passwordFile == "" && os.Getenv("KEYWARD_PASSWORD") == "" {
		again, err := r.AskHidden(ctx, "The same password again")
		if err != nil {
			return "", err
		}
		if again != password {
			return "", errors.New("the two passwords differ; nothing was done")
		}
	}
	c, err := r.nobody()
	if err != nil {
		return "", err
	}
	made, err := c.Auth.Register(ctx, client.Registration{Name: s.name, Email: s.email, Password: password, SetupCode: code})
	if err != nil {
		return "", err
	}
	r.Say("Made an account for %s.", made.Email)
	return password, nil
}

// make makes the first key. If nobody named it and its name is taken, as at a
// second time on a machine, it gets a number.
func (s *setup) make(ctx context.Context, c *client.Client) (client.IssuedKey, error) {
	name := cmp.Or(s.keyName, machine())
	for n := 2; ; n++ {
		made, err := c.Keys.Create(ctx, client.CreateKey{Name: name})
		if s.keyName != "" || n > 20 || !errors.Is(err, client.ErrDuplicateName) && !errors.Is(err, client.ErrDuplicateNickname) {
			return made, err
		}
		name = fmt.Sprintf("%s %d", machine(), n)
	}
}

func (s *setup) done(r *remote, address string, c home.Credential, k client.Key, where, said string) error {
	r.warnOfVariables()
	if r.json {
		return r.print(map[string]any{"server": address, "key": k, "kept_in": where})
	}
	until := ""
	if !k.ExpiresAt.IsZero() {
		until = ", good until " + when(k.ExpiresAt)
	}
	r.Say("\n%s: the key %s (%s%s) works with %s.\nIt is kept in %s.\n", said, k.Name, masked(c.APIKey), until, address, where)
	r.Say("  keyward whoami                        what it may do\n  keyward config show --key api_key     show it\n  keyward keys create --name my-app     make one for a program")
	return nil
}
