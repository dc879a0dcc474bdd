package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/home"
	"github.com/keyward/keyward/internal/terminal"
)

// remote is a command that calls a server, or is about how to.
type remote struct {
	*terminal.Screen
	home *home.Home

	command *cobra.Command
	server  string        // --server
	json    bool          // --json
	plain   bool          // --plain-http
	yes     bool          // --yes, of commands that take something away
	timeout time.Duration // --timeout

	address string // of the server; see [remote.where]
	namedBy string // who says that it is this one
	keptIn  string // where the credential comes from
}

// page is what a command's help says.
type page struct {
	use, short, long, example string

	// completes are what a shell offers for an argument; nil is nothing.
	completes func(context.Context, *client.Client) iter.Seq2[string, error]
}

// remoteCommand makes a command of what it does. Set adds its flags.
func remoteCommand(p page, args cobra.PositionalArgs, set func(*cobra.Command), do func(ctx context.Context, r *remote, args []string) error) *cobra.Command {
	var r remote
	begin := func(c *cobra.Command) {
		r.command = c
		r.Screen = terminal.New(c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr(), os.LookupEnv)
		r.home = home.Open(os.LookupEnv)
	}
	c := &cobra.Command{
		Use: p.use, Short: p.short, Long: p.long, Example: p.example, Args: args,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if p.completes == nil || len(args) > 0 && !strings.HasSuffix(p.use, "…") {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			begin(c)
			return r.offers(c.Context(), p.completes), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			begin(c)
			err := do(c.Context(), &r, args)
			if err == nil {
				err = r.Failed()
			}
			if err == nil || errors.As(err, &usageError{}) || errors.As(err, &told{}) {
				return err
			}
			if c.Context().Err() != nil && errors.Is(err, context.Canceled) {
				err = errors.New("interrupted")
			}
			return r.explain(err)
		},
	}
	c.Flags().StringVar(&r.server, "server", "", "the server, by its address or its name (KEYWARD_SERVER; see keyward config)")
	c.Flags().BoolVar(&r.json, "json", false, "print JSON")
	c.Flags().BoolVar(&r.plain, "plain-http", false, "allow an http:// address that is not on this machine, where others can read the key")
	c.Flags().DurationVar(&r.timeout, "timeout", 30*time.Second, "how long an answer may take")
	if set != nil {
		set(c)
	}
	if c.Annotations[takesAway] != "" {
		c.Flags().BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	}
	return c
}

// offers returns names that a shell completes. Without an answer in a moment there
// are none: who types does not wait.
func (r *remote) offers(ctx context.Context, all func(context.Context, *client.Client) iter.Seq2[string, error]) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := r.dial()
	if err != nil {
		return nil
	}
	for name, err := range all(ctx, c) {
		if err != nil {
			return names
		}
		if terminal.Line(name) == name {
			names = append(names, name)
		}
	}
	return names
}

// oneOf has a shell complete the values of a flag.
func oneOf(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// takesAway marks a command that asks first.
const takesAway = "takes away"

func asksFirst(c *cobra.Command) { c.Annotations = map[string]string{takesAway: "yes"} }

// group makes a command of commands.
func group(p page, of ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: p.use, Short: p.short, Long: p.long, Example: p.example}
	c.AddCommand(of...)
	return c
}

// misuse is a mistake in the command line.
func (r *remote) misuse(format string, args ...any) error {
	return usageError{r.command.CommandPath(), fmt.Errorf(format, args...)}
}

// sure asks whether to do what can't be undone. In a pipe there is nobody to ask,
// and who wrote the command there has thought of it.
func (r *remote) sure(ctx context.Context, format string, args ...any) error {
	switch {
	case r.yes || !r.Typing():
		return nil
	case !r.Asks():
		return r.misuse("there is somebody to ask and nowhere to ask it: say --yes")
	}
	yes, err := r.Confirm(ctx, fmt.Sprintf(format, args...))
	if err == nil && !yes {
		err = errors.New("nothing was done")
	}
	return err
}

// where returns the address of the server: that of --server, of KEYWARD_SERVER,
// the current one of the settings, or the usual one.
func (r *remote) where() (string, error) {
	if r.address != "" {
		return r.address, nil
	}
	c, err := r.home.Config()
	var named string
	for _, way := range []struct{ by, names string }{
		{"--server", r.server}, {"KEYWARD_SERVER", os.Getenv("KEYWARD_SERVER")}, {"keyward config use", c.Current}, {"nobody, so the usual one", client.DefaultServer},
	} {
		if named = way.names; named != "" {
			r.namedBy = way.by
			break
		}
	}
	if err != nil && (r.server == "" && os.Getenv("KEYWARD_SERVER") == "" || !strings.Contains(named, "://")) {
		return "", err
	}
	r.address, err = resolve(c, named)
	return r.address, err
}

// resolve returns the address of a server that somebody named.
func resolve(c home.Config, named string) (string, error) {
	if s, ok := c.Find(named); ok {
		return s.Address, nil
	}
	if !strings.Contains(named, "://") {
		var names []string
		for _, s := range c.Servers {
			names = append(names, cmp.Or(s.Name, s.Address))
		}
		known := "none is kept yet"
		if len(names) > 0 {
			known = "there are " + strings.Join(names, ", ")
		}
		return "", fmt.Errorf("no server is named %q: %s; or give an address, as in https://keys.example.com", terminal.Line(named), known)
	}
	return normal(named)
}

// normal returns an address in the one form that it is kept in.
func normal(address string) (string, error) {
	c, err := client.New(client.WithServer(address), client.WithoutCredentials(), client.WithPlainHTTP())
	if err != nil {
		return "", bare(err)
	}
	at, err := url.Parse(c.Server())
	if err != nil {
		return "", err
	}
	at.Scheme, at.Host = strings.ToLower(at.Scheme), strings.ToLower(at.Host)
	return at.String(), nil
}

// bare returns an error of package client without its first word, which is this
// program's.
func bare(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), "keyward: "); ok {
		return errors.New(strings.ReplaceAll(text, "allow it with WithPlainHTTP", "allow it with --plain-http"))
	}
	return err
}

// nobody returns a client of the server without credentials.
func (r *remote) nobody(more ...client.Option) (*client.Client, error) {
	address, err := r.where()
	if err != nil {
		return nil, err
	}
	options := []client.Option{
		client.WithServer(address), client.WithoutCredentials(), client.WithUserAgent("keyward/" + version()),
		client.WithTimeout(r.timeout), client.WithLongestWait(5 * time.Second),
	}
	if r.plain {
		options = append(options, client.WithPlainHTTP())
	}
	c, err := client.New(append(options, more...)...)
	if err != nil {
		return nil, bare(err)
	}
	return c, nil
}

// keyVariables are where a key is looked for first.
var keyVariables = []string{"KEYWARD_API_KEY", "RUNAGENT_API_KEY"}

// credential returns what the server is called with, and where it comes from: the
// environment, or what is kept.
func (r *remote) credential() (c home.Credential, from string, err error) {
	for _, name := range keyVariables {
		if key := strings.TrimSpace(os.Getenv(name)); key != "" {
			return home.Credential{APIKey: key}, name, nil
		}
	}
	address, err := r.where()
	if err != nil {
		return home.Credential{}, "", err
	}
	return r.home.Credential(address)
}

// dial returns a client of the server for who runs the command.
func (r *remote) dial() (*client.Client, error) {
	return r.dialWith(func(c home.Credential) bool { return c.SignIn != nil })
}

// dialKey is dial for calls that an API key alone can make. The key is not used for
// somebody else than who has signed in: what he stores would be another's.
func (r *remote) dialKey(ctx context.Context) (*client.Client, error) {
	c, err := r.dialWith(func(home.Credential) bool { return false })
	if err != nil {
		return nil, err
	}
	if kept, _, err := r.credential(); err != nil || kept.SignIn == nil {
		return c, err
	}
	signedIn, err := r.dial()
	if err != nil {
		return nil, err
	}
	me, err := signedIn.Auth.Me(ctx)
	if err != nil {
		return nil, err
	}
	k, err := c.Keys.Self(ctx)
	if err != nil {
		return nil, err
	}
	if k.MadeBy.AccountID != me.ID {
		return nil, advise(fmt.Errorf("the key that is kept, %s, is not one of %s, who has signed in", k.Name, me.Email), "keyward setup --new-key gets one and keeps it instead.")
	}
	return c, nil
}

func (r *remote) dialWith(signedIn func(home.Credential) bool) (*client.Client, error) {
	address, err := r.where()
	if err != nil {
		return nil, err
	}
	kept, from, err := r.credential()
	if err != nil {
		return nil, err
	}
	r.keptIn = from
	var as client.Option
	switch {
	case signedIn(kept):
		t := client.Tokens{AccessToken: kept.SignIn.AccessToken, RefreshToken: kept.SignIn.RefreshToken}
		as = client.WithSharedSignIn(t, r.renewal(address))
	case kept.APIKey != "":
		as = client.WithAPIKey(kept.APIKey)
	case kept.SignIn != nil:
		return nil, advise(errors.New("this needs an API key, and you have signed in without one"), "keyward setup makes one and keeps it.")
	case r.home.Closed() != nil:
		return nil, advise(fmt.Errorf("there is no key of %s that can be got: the system's keychain is locked: %w", address, r.home.Closed()),
			"Unlock it; or keyward setup gets another key, which is kept in a file.")
	default:
		return nil, advise(fmt.Errorf("there is no key of %s", address), "keyward setup gets one; or give it in KEYWARD_API_KEY.")
	}
	more := []client.Option{as}
	if secret := os.Getenv("KEYWARD_SIGNING_SECRET"); secret != "" {
		more = append(more, client.WithSigningSecret(secret))
	}
	c, err := r.nobody(more...)
	if err != nil && from != "" {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return c, err
}

// renewal renews a sign-in under the lock of what is kept, so that of several
// commands at a time one does, and the others find what it got.
func (r *remote) renewal(address string) client.Renewal {
	return func(ctx context.Context, old client.Tokens, refresh func(context.Context, client.Tokens) (client.Tokens, error)) (client.Tokens, error) {
		now := old
		if err := r.home.Writable(); err != nil {
			// The refresh token would be spent, and what came for it lost.
			return client.Tokens{}, err
		}
		_, err := r.home.ChangeCredential(address, func(c *home.Credential) error {
			if c.SignIn == nil {
				return advise(errors.New("the sign-in has ended: somebody signed out meanwhile"), "keyward login signs in again.")
			}
			now.AccessToken, now.RefreshToken = c.SignIn.AccessToken, c.SignIn.RefreshToken
			if now.AccessToken != old.AccessToken {
				return nil
			}
			t, err := refresh(ctx, now)
			if err != nil {
				return err
			}
			now = t
			c.SignIn.AccessToken, c.SignIn.RefreshToken = t.AccessToken, t.RefreshToken
			return nil
		})
		if err != nil {
			return client.Tokens{}, err
		}
		return now, nil
	}
}

// print writes v for programs.
func (r *remote) print(v any) error { return printJSON(r.Out, v) }

func printJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	// JSON escapes not all that a terminal obeys.
	_, err := io.WriteString(w, terminal.Clean(text.String()))
	return err
}

// secret shows what is shown this once: alone on standard output, so that a
// program can take it from there, with a word for people around it.
func (r *remote) secret(before, text, after string) error {
	r.Say("%s\n", before)
	if _, err := fmt.Fprintln(r.Out, text); err != nil {
		return err
	}
	if after != "" {
		r.Say("\n%s", after)
	}
	return nil
}

// input reads a file, or standard input if it is named -.
func (r *remote) input(name string) ([]byte, error) {
	const most = 4 << 20
	from := r.Typed()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	} else if r.Asks() {
		r.Say("Reading from the terminal; end with Ctrl-D.")
	}
	text, err := io.ReadAll(io.LimitReader(from, most+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s is larger than 4 MiB", name)
	}
	return text, err
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

func when(t client.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
