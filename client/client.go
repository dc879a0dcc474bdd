package client

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// DefaultServer is the address of a server on this machine that has the usual
// settings.
const DefaultServer = "http://127.0.0.1:8080"

// Client calls a Keyward server, as one caller: the holder of an API key or
// whoever has signed in. Make one with [New] and keep it: it may be used by many
// goroutines at a time, and keeps its connections.
//
// No key, token or secret is in what it prints, nor in any error of its calls.
type Client struct {
	Keys          KeyCalls
	Agents        AgentCalls
	AuthProfiles  AuthProfileCalls
	Runs          RunCalls
	Usage         UsageCalls
	Alerts        AlertCalls
	Audit         AuditCalls
	Auth          AuthCalls
	Accounts      AccountCalls
	Organizations OrganizationCalls

	settings
}

// settings are all that options set.
type settings struct {
	server    string
	http      *http.Client
	plain     bool
	key       secret // an API key or an access token
	nobody    bool   // without credentials, whatever the environment has
	signedIn  *signIn
	signing   secret
	retries   int
	longest   time.Duration
	timeout   time.Duration
	userAgent string
}

// New returns a client of the server that the options name, or else the variable
// KEYWARD_SERVER, or else [DefaultServer]; with the credential that the options
// give, or else the API key in KEYWARD_API_KEY, or else that in RUNAGENT_API_KEY.
// Without any it can do what needs none, such as [AuthCalls.SignIn].
//
// It sends nothing yet, so a wrong key is only told by the first call.
func New(options ...Option) (*Client, error) {
	s := settings{retries: 3, longest: 30 * time.Second, timeout: 30 * time.Second, userAgent: "keyward-go"}
	s.http = bare(&http.Client{Transport: connections})
	return s.with(options)
}

// With returns a client like c but for the options. It shares c's connections.
func (c *Client) With(options ...Option) (*Client, error) { return c.settings.with(options) }

func (s settings) with(options []Option) (*Client, error) {
	for _, o := range options {
		if err := o(&s); err != nil {
			return nil, fmt.Errorf("keyward: %w", err)
		}
	}
	if s.server == "" {
		if err := WithServer(cmp.Or(os.Getenv("KEYWARD_SERVER"), DefaultServer))(&s); err != nil {
			return nil, fmt.Errorf("keyward: KEYWARD_SERVER: %w", err)
		}
	}
	if !s.nobody && s.key.empty() && s.signedIn == nil {
		for _, name := range []string{"KEYWARD_API_KEY", "RUNAGENT_API_KEY"} {
			if key := os.Getenv(name); key != "" {
				if err := WithAPIKey(key)(&s); err != nil {
					return nil, fmt.Errorf("keyward: %s: %w", name, err)
				}
				break
			}
		}
	}
	if !s.plain && strings.HasPrefix(s.server, "http:") && !loopback(s.server) {
		return nil, fmt.Errorf("keyward: %s is not on this machine and is called without encryption, so whoever is between could read the key: use https, or allow it with WithPlainHTTP", s.server)
	}
	c := &Client{settings: s}
	c.Keys, c.Agents, c.AuthProfiles, c.Runs, c.Usage = KeyCalls{c}, AgentCalls{c}, AuthProfileCalls{c}, RunCalls{c}, UsageCalls{c}
	c.Alerts, c.Audit, c.Auth, c.Accounts, c.Organizations = AlertCalls{c}, AuditCalls{c}, AuthCalls{c}, AccountCalls{c}, OrganizationCalls{c}
	return c, nil
}

// Server returns the address of the server, without a slash at its end.
func (c *Client) Server() string { return c.server }

// Format prints the server and whose client it is, whatever the verb.
func (c *Client) Format(f fmt.State, _ rune) {
	if c == nil {
		fmt.Fprint(f, "a nil Keyward client")
		return
	}
	who := "without credentials"
	switch {
	case c.signedIn != nil:
		who = "signed in"
	case !c.key.empty():
		who = "with " + hint(c.key.reveal())
	}
	fmt.Fprintf(f, "a Keyward client of %s, %s", c.server, who)
}

// hint returns so much of a credential as a [Key] shows of itself. Of what has
// not the form of a key it returns nothing.
func hint(text string) string {
	if !isKey(text) {
		return "an access token"
	}
	return text[:strings.LastIndexByte(text, '_')+1] + "…" + text[len(text)-4:]
}

// Option sets something of a [Client].
type Option func(*settings) error

// WithServer sets the address of the server: https://keys.example.com.
func WithServer(address string) Option {
	return func(s *settings) error {
		at, err := url.Parse(strings.TrimSpace(address))
		if err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Hostname() == "" || at.Opaque != "" || at.RawQuery != "" || at.Fragment != "" {
			return errors.New("the server's address must look like https://keys.example.com") // it may hold a secret, so it is not repeated
		}
		if at.User != nil {
			return errors.New("the server's address must not have a user name or password in it")
		}
		s.server = strings.TrimRight(at.String(), "/")
		return nil
	}
}

// WithAPIKey makes the holder of an API key the caller. White space around it is
// left out.
func WithAPIKey(key string) Option {
	return func(s *settings) error { return s.be(key, "the API key") }
}

// WithAccessToken makes whoever has signed in the caller, for as long as the
// token is good: 15 minutes. [WithSignIn] goes on from there.
func WithAccessToken(token string) Option {
	return func(s *settings) error { return s.be(token, "the access token") }
}

// WithSignIn makes whoever has signed in the caller. When the access token has
// expired the client gets new tokens, which keep stores; the old ones are good no
// more. An error of keep is one of the call that needed the tokens. Keep may be
// nil.
func WithSignIn(t Tokens, keep func(Tokens) error) Option {
	return func(s *settings) error {
		if t.RefreshToken == "" {
			return errors.New("the refresh token is empty")
		}
		s.key, s.nobody, s.signedIn = secret{}, false, newSignIn(t, keeping(keep))
		return nil
	}
}

// WithSharedSignIn is [WithSignIn] for tokens that other programs renew as well:
// renew looks first whether one has, and only else refreshes, with the others kept
// out. A refresh token that comes a second time ends the sign-in.
func WithSharedSignIn(t Tokens, renew Renewal) Option {
	return func(s *settings) error {
		if t.RefreshToken == "" {
			return errors.New("the refresh token is empty")
		}
		s.key, s.nobody, s.signedIn = secret{}, false, newSignIn(t, renew)
		return nil
	}
}

// WithoutCredentials makes nobody the caller, whatever the environment has.
func WithoutCredentials() Option {
	return func(s *settings) error {
		s.key, s.nobody, s.signedIn = secret{}, true, nil
		return nil
	}
}

func (s *settings) be(credential, name string) error {
	credential = strings.TrimSpace(credential)
	switch {
	case credential == "":
		return fmt.Errorf("%s is empty", name)
	case strings.ContainsFunc(credential, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Errorf("%s has characters in it that none has", name)
	}
	s.key, s.nobody, s.signedIn = newSecret(credential), false, nil
	return nil
}

// WithSigningSecret signs every request, which a key that was made with
// RequireSignature needs. The secret was shown with the key.
func WithSigningSecret(text string) Option {
	return func(s *settings) error {
		if text = strings.TrimSpace(text); text == "" {
			return errors.New("the signing secret is empty")
		}
		s.signing = newSecret(text)
		return nil
	}
}

// WithHTTPClient makes calls with a copy of c, such as one with certificates of
// its own. Redirects are not followed, since they would take the key elsewhere,
// and cookies are not kept. Its Timeout holds for streams too.
func WithHTTPClient(c *http.Client) Option {
	return func(s *settings) error {
		if c == nil {
			return errors.New("the HTTP client is nil")
		}
		s.http = bare(c)
		return nil
	}
}

// bare returns a copy of c that takes a request to where it is sent and nowhere
// else.
func bare(c *http.Client) *http.Client {
	copied := *c
	copied.Jar = nil
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &copied
}

// WithRetries sets how often a call is tried again that got no answer, or one
// that says to try again: 3 by default, and 0 is never. Only what is safe to
// repeat is: see the package documentation.
func WithRetries(n int) Option {
	return func(s *settings) error {
		if n < 0 {
			return errors.New("there can't be less than 0 retries")
		}
		s.retries = n
		return nil
	}
}

// WithLongestWait sets for how long at most a call waits before it is tried
// again: 30 seconds by default. A server that says Retry-After a longer time is
// not waited for, and its error is returned.
func WithLongestWait(d time.Duration) Option {
	return func(s *settings) error { s.longest = d; return nil }
}

// WithTimeout sets how long an answer may take: 30 seconds by default, and 0 is
// for ever. It holds for each try by itself, and not for calls that wait for a
// run, which last as long as their context.
func WithTimeout(d time.Duration) Option {
	return func(s *settings) error { s.timeout = d; return nil }
}

// WithUserAgent sets what the client calls itself.
func WithUserAgent(name string) Option {
	return func(s *settings) error { s.userAgent = name; return nil }
}

// WithPlainHTTP allows a server at an http:// address that is not on this
// machine. Without it New refuses such an address: the key would travel where
// others can read it, and use it from then on. It is for networks that are
// encrypted by other means, and for tests.
func WithPlainHTTP() Option {
	return func(s *settings) error { s.plain = true; return nil }
}

// loopback reports whether an address is on this machine.
func loopback(address string) bool {
	at, err := url.Parse(address)
	if err != nil {
		return false
	}
	name := strings.ToLower(at.Hostname())
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && ip.Unmap().IsLoopback()
}

// secret is a text that is not printed. It is behind a function: fmt calls no
// method of a private field, and for a wrong verb follows pointers.
type secret struct{ text func() string }

func newSecret(text string) secret { return secret{func() string { return text }} }

func (s secret) empty() bool { return s.reveal() == "" }

func (s secret) reveal() string {
	if s.text == nil {
		return ""
	}
	return s.text()
}
