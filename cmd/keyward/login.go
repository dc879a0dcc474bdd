package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/home"
)

// signInFlags say how somebody signs in.
type signInFlags struct {
	email        string
	passwordFile string
	browser      bool
	withKey      bool
	scopes       []string
}

func (f *signInFlags) set(c *cobra.Command) {
	c.Flags().StringVar(&f.email, "email", "", "sign in with this e-mail and a password")
	c.Flags().StringVar(&f.passwordFile, "password-file", "", "the file that holds the password (or KEYWARD_PASSWORD; or one line of standard input)")
	c.Flags().BoolVar(&f.browser, "browser", false, "sign in in a browser, on this machine or another")
	c.Flags().BoolVar(&f.withKey, "with-key", false, "keep a key that you have: one line of standard input, or asked for")
	c.Flags().StringSliceVar(&f.scopes, "scope", nil, "with --browser: what the key may do (may be given again; default: all)")
}

// check refuses what contradicts itself.
func (f *signInFlags) check(r *remote) error {
	ways := 0
	for _, way := range []bool{f.email != "", f.browser, f.withKey} {
		if way {
			ways++
		}
	}
	switch {
	case ways > 1:
		return r.misuse("--email, --browser and --with-key are three ways to sign in: choose one")
	case f.passwordFile != "" && f.email == "":
		return r.misuse("--password-file needs --email")
	case len(f.scopes) > 0 && !f.browser:
		return r.misuse("--scope needs --browser")
	}
	return nil
}

func (r *remote) password(ctx context.Context, file, question string) (string, error) {
	if file == "" {
		if text := os.Getenv("KEYWARD_PASSWORD"); text != "" {
			return text, nil
		}
		text, err := r.Secret(ctx, question)
		if text == "" && (err == nil || !r.Asks()) {
			return "", advise(errors.New("there is no password on standard input"), "Give it as one line there, in KEYWARD_PASSWORD, or in a file: --password-file FILE.")
		}
		return text, err
	}
	text, err := r.input(file)
	return strings.TrimRight(string(text), "\r\n"), err
}

func loginCommand() *cobra.Command {
	var f signInFlags
	return remoteCommand(page{
		use: "login", short: "Sign in to a server",
		long: `Sign in to a server: in a browser, which may be another machine's and gives this one
a key for 30 days; or with --email and a password; or with a key that you have. What
comes of it is kept in the system's keychain if there is one, else in a file that
nobody else can read.

Who has no account, or wants a key for longer: keyward setup.`,
		example: `  keyward login
  keyward login --server https://keys.example.com --email jane@example.com
  printf '%s\n' "$KEY" | keyward login --with-key`,
	}, nil, f.set, func(ctx context.Context, r *remote, _ []string) error {
		if err := f.check(r); err != nil {
			return err
		}
		address, err := r.begin(ctx)
		if err != nil {
			return err
		}
		var c home.Credential
		switch {
		case f.email != "":
			password, err := r.password(ctx, f.passwordFile, "Password")
			if err != nil {
				return err
			}
			t, err := r.signIn(ctx, f.email, password)
			if err != nil {
				return err
			}
			c.SignIn = &home.SignIn{Email: f.email, AccessToken: t.AccessToken, RefreshToken: t.RefreshToken}
		case f.withKey:
			if c, err = r.typedKey(ctx); err != nil {
				return err
			}
		default:
			if c, err = r.device(ctx, f.scopes); err != nil {
				return err
			}
		}
		where, err := r.keep(ctx, address, "", r.server == "" && os.Getenv("KEYWARD_SERVER") == "", c)
		if err != nil {
			return err
		}
		r.warnOfVariables()
		who := "as " + f.email
		if f.email == "" {
			who = "with the key " + masked(c.APIKey)
		}
		if r.json {
			return r.print(map[string]any{"server": address, "email": f.email, "key_id": c.KeyID, "kept_in": where})
		}
		r.Say("Signed in to %s %s. It is kept in %s.", address, who, where)
		return nil
	})
}

// begin checks, before anything is made that would be lost, that there is a server
// and that something can be kept.
func (r *remote) begin(ctx context.Context) (address string, err error) {
	if address, err = r.where(); err != nil {
		return "", err
	}
	if err := r.home.Writable(); err != nil {
		return "", err
	}
	if _, _, err := r.home.Credential(address); err != nil {
		return "", err
	}
	c, err := r.nobody(client.WithRetries(1))
	if err != nil {
		return "", err
	}
	return address, c.Health(ctx)
}

func (r *remote) signIn(ctx context.Context, email, password string) (client.Tokens, error) {
	c, err := r.nobody()
	if err != nil {
		return client.Tokens{}, err
	}
	t, err := c.Auth.SignIn(ctx, email, password)
	if errors.Is(err, client.ErrInvalidCredentials) {
		return t, advise(errors.New("the e-mail or the password is wrong"), "Who has no account makes one with keyward setup --sign-up.")
	}
	return t, err
}

// device gets a key that is approved in a browser.
func (r *remote) device(ctx context.Context, scopes []string) (home.Credential, error) {
	// Whoever approves it sees this, and so does who lists the keys later.
	host, _ := os.Hostname()
	c, err := r.nobody(client.WithUserAgent("keyward on " + cmp.Or(host, "a machine")))
	if err != nil {
		return home.Credential{}, err
	}
	login, err := c.Auth.BeginDeviceLogin(ctx, scopes...)
	if err != nil {
		return home.Credential{}, err
	}
	r.Say("Open %s in a browser, sign in, and type this code:\n\n  %s\n", login.VerificationURI, login.UserCode)
	spin := r.Spin("waiting until " + login.ExpiresAt.Format("15:04"))
	key, err := login.Key(ctx)
	spin.Stop()
	switch {
	case errors.Is(err, client.ErrLoginDenied):
		return home.Credential{}, advise(errors.New("the login was denied in the browser"), "keyward login begins another.")
	case errors.Is(err, client.ErrLoginExpired):
		return home.Credential{}, advise(errors.New("nobody typed the code in time"), "keyward login begins another.")
	case err != nil:
		return home.Credential{}, err
	}
	k, err := r.try(ctx, key)
	return home.Credential{APIKey: key, KeyID: k.ID, OfLogin: true, New: true}, err
}

// try uses a key, which tells the server that it has arrived, and whoever runs the
// command that it works.
func (r *remote) try(ctx context.Context, key string) (client.Key, error) {
	c, err := r.nobody(client.WithAPIKey(key))
	if err != nil {
		return client.Key{}, err
	}
	return c.Keys.Self(ctx)
}

// typedKey reads a key, and tries it.
func (r *remote) typedKey(ctx context.Context) (home.Credential, error) {
	key, err := r.secretLine(ctx, "", "API key")
	if err != nil {
		return home.Credential{}, err
	}
	k, err := r.try(ctx, key)
	return home.Credential{APIKey: key, KeyID: k.ID}, err
}

// keep keeps a credential for a server, in the place of one of its kind, and makes
// the server the current one if it is to be, or there is none.
func (r *remote) keep(ctx context.Context, address, name string, current bool, c home.Credential) (where string, err error) {
	var old home.Credential
	where, err = r.home.ChangeCredential(address, func(now *home.Credential) error {
		old = *now
		if c.APIKey != "" {
			now.APIKey, now.KeyID, now.OfLogin = c.APIKey, c.KeyID, c.OfLogin
			// Who just got a key wants to use it.
			now.SignIn = nil
		}
		if c.SignIn != nil {
			now.SignIn = c.SignIn
		}
		return nil
	})
	if err != nil {
		if c.New {
			r.endKey(ctx, c.APIKey)
			err = fmt.Errorf("the key that was made could not be kept, so it was ended: %w", err)
		}
		return "", err
	}
	// What nobody has any more need not go on being good.
	if old.SignIn != nil && (c.SignIn != nil || c.APIKey != "") {
		r.endSignIn(ctx, *old.SignIn)
	}
	if old.OfLogin && c.APIKey != "" && old.APIKey != c.APIKey {
		r.endKey(ctx, old.APIKey)
	}
	return where, r.home.Change(func(s *home.Config) error {
		before := s.Current
		if err := s.Use(address, name); err != nil {
			return err
		}
		if before != "" && !current {
			s.Current = before
		}
		return nil
	})
}

// endSignIn ends a sign-in, if it can.
func (r *remote) endSignIn(ctx context.Context, s home.SignIn) {
	if c, err := r.nobody(client.WithRetries(0), client.WithTimeout(5*time.Second)); err == nil {
		_ = c.Auth.SignOut(ctx, s.RefreshToken) // it ends by itself
	}
}

// endKey ends a key that a login made, if it can.
func (r *remote) endKey(ctx context.Context, key string) {
	if c, err := r.nobody(client.WithRetries(0), client.WithTimeout(5*time.Second), client.WithAPIKey(key)); err == nil {
		_ = c.Keys.RevokeSelf(ctx) // it ends by itself
	}
}

// warnOfVariables says if what is kept will not be used.
func (r *remote) warnOfVariables() {
	for _, name := range keyVariables {
		if os.Getenv(name) != "" {
			r.Say("%s is set and goes before what is kept; unset it to use that.", name)
			return
		}
	}
}

// masked is a key as it may be shown.
func masked(key string) string {
	if at := strings.LastIndexByte(key, '_'); at > 0 && at <= 20 && len(key) > at+20 {
		return key[:at+1] + "…" + key[len(key)-4:]
	}
	return "…"
}

func logoutCommand() *cobra.Command {
	var revoke bool
	return remoteCommand(page{
		use: "logout", short: "Sign out of a server, and forget what is kept for it",
		long: `Sign out of a server: end the sign-in, end the key if a login made it, and forget
what is kept here. A key that keyward setup made, or that you gave, is forgotten here
and goes on working elsewhere; --revoke ends it too.`,
		example: `  keyward logout
  keyward logout --server https://keys.example.com --revoke`,
	}, nil, func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().BoolVar(&revoke, "revoke", false, "end the key that is kept, wherever it is used")
	}, func(ctx context.Context, r *remote, _ []string) error {
		address, err := r.where()
		if err != nil {
			return err
		}
		kept, _, err := r.home.Credential(address)
		if err != nil {
			return err
		}
		if kept.IsZero() {
			return advise(fmt.Errorf("nothing is kept for %s", address), "keyward config show tells which servers there are.")
		}
		if kept.APIKey != "" && !kept.OfLogin {
			question := "Forget the key %s? It can't be had again."
			if revoke {
				question = "Revoke the key %s, wherever it is used?"
			}
			if err := r.sure(ctx, question, masked(kept.APIKey)); err != nil {
				return err
			}
		}
		ended := "forgotten"
		if kept.APIKey != "" && (revoke || kept.OfLogin) {
			c, err := r.nobody(client.WithAPIKey(kept.APIKey))
			if err != nil {
				return err
			}
			over := []client.Code{client.ErrRevokedAPIKey, client.ErrExpiredAPIKey, client.ErrInvalidAPIKey}
			err = c.Keys.RevokeSelf(ctx)
			if err != nil && !slices.ContainsFunc(over, func(c client.Code) bool { return errors.Is(err, c) }) {
				return advise(fmt.Errorf("the key could not be ended, so it is still kept: %w", err), "keyward config use %s --forget forgets it without.", address)
			}
			ended = "revoked and forgotten"
		}
		if kept.SignIn != nil {
			c, err := r.nobody()
			if err != nil {
				return err
			}
			if err := c.Auth.SignOut(ctx, kept.SignIn.RefreshToken); err != nil && !errors.Is(err, client.ErrInvalidRefreshToken) && !errors.Is(err, client.ErrRefreshTokenReused) {
				return advise(fmt.Errorf("the sign-in could not be ended, so it is still kept: %w", err), "keyward config use %s --forget forgets it without.", address)
			}
		}
		if _, err := r.home.ChangeCredential(address, func(c *home.Credential) error {
			*c = home.Credential{}
			return nil
		}); err != nil {
			return err
		}
		if r.json {
			return r.print(map[string]any{"server": address, "key_revoked": ended != "forgotten"})
		}
		said := "Signed out of " + address + "."
		if kept.APIKey != "" {
			said += " The key " + masked(kept.APIKey) + " is " + ended + "."
		}
		r.Say("%s", said)
		r.warnOfVariables()
		return nil
	})
}

func whoamiCommand() *cobra.Command {
	return remoteCommand(page{
		use: "whoami", short: "Show who you are to a server, and what you may do",
		long: `Show who you are to a server, and what you may do: the account that has signed in,
or the key that is used.`,
		example: `  keyward whoami
  keyward whoami --server https://keys.example.com --json`,
	}, nil, nil, func(ctx context.Context, r *remote, _ []string) error {
		c, err := r.dial()
		if err != nil {
			return err
		}
		kept, from, err := r.credential()
		if err != nil {
			return err
		}
		if kept.SignIn == nil {
			k, err := c.Keys.Self(ctx)
			if err != nil {
				return err
			}
			if r.json {
				return r.print(map[string]any{"server": c.Server(), "credential": from, "key": k})
			}
			r.Fields("server", c.Server(), "with", from, "account", k.MadeBy.AccountID)
			return r.showSettings(k)
		}
		me, err := c.Auth.Me(ctx)
		if err != nil {
			return err
		}
		if r.json {
			return r.print(map[string]any{"server": c.Server(), "credential": from, "account": me})
		}
		pairs := []string{"server", c.Server(), "with", from, "account", me.ID, "name", me.Name, "e-mail", me.Email}
		for _, m := range me.Organizations {
			pairs = append(pairs, "organization", fmt.Sprintf("%s (%s), as %s, on %s", m.Name, m.ID, m.Role, m.Tier))
		}
		r.Fields(pairs...)
		return nil
	})
}

// machine names whoever runs the command, as in jane@laptop.
func machine() string {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	text := strings.Trim(name+"@"+host, "@")
	if len(text) > 50 || text == "" {
		return "keyward"
	}
	return text
}
