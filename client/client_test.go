package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

const someKey = "ra_live_000000000000000000000000000000002zqB7O"

// connect returns a client of a server that need not be Keyward.
func connect(t *testing.T, server string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(append([]client.Option{client.WithServer(server), client.WithAPIKey(someKey)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answers starts a server that answers everything with h.
func answers(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestAClientIsOfWhomItIsToldOrElseOfTheEnvironment(t *testing.T) {
	for _, name := range []string{"KEYWARD_SERVER", "KEYWARD_API_KEY", "RUNAGENT_API_KEY"} {
		t.Setenv(name, "")
	}
	var shown string
	s := answers(t, func(w http.ResponseWriter, r *http.Request) {
		shown = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNoContent)
	})
	who := func(options ...client.Option) string {
		t.Helper()
		c, err := client.New(options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Keys.Revoke(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(shown, "Bearer ")
	}
	if c, err := client.New(); err != nil || c.Server() != client.DefaultServer {
		t.Errorf("with nothing: %v, %v", c, err)
	}
	t.Setenv("KEYWARD_SERVER", s.URL+"/")
	if got := who(); got != "" {
		t.Errorf("nobody was %s", got)
	}
	t.Setenv("RUNAGENT_API_KEY", "second")
	if got := who(); got != "second" {
		t.Errorf("RUNAGENT_API_KEY was %s", got)
	}
	t.Setenv("KEYWARD_API_KEY", " first\n")
	if got := who(); got != "first" {
		t.Errorf("KEYWARD_API_KEY was %s", got)
	}
	if got := who(client.WithAPIKey("told")); got != "told" {
		t.Errorf("WithAPIKey was %s", got)
	}
	if got := who(client.WithAPIKey("told"), client.WithAccessToken("later")); got != "later" {
		t.Errorf("the last option was %s", got)
	}
	if got := who(client.WithoutCredentials()); got != "" {
		t.Errorf("WithoutCredentials was %s", got)
	}
}

func TestAClientIsNotMadeOfWhatCantBeRight(t *testing.T) {
	t.Setenv("KEYWARD_API_KEY", "")
	for what, o := range map[string]client.Option{
		"an empty key":            client.WithAPIKey(""),
		"a key of white space":    client.WithAPIKey(" \n"),
		"a key of two lines":      client.WithAPIKey("a\nb-hidden"),
		"an empty token":          client.WithAccessToken(""),
		"an empty secret":         client.WithSigningSecret(""),
		"no refresh token":        client.WithSignIn(client.Tokens{AccessToken: "hidden"}, nil),
		"no address":              client.WithServer("keys.example.com"),
		"another scheme":          client.WithServer("ftp://keys.example.com"),
		"an empty address":        client.WithServer(""),
		"a password in the URL":   client.WithServer("https://jane:hidden@keys.example.com"),
		"a query in the URL":      client.WithServer("https://keys.example.com?key=hidden"),
		"less than no retries":    client.WithRetries(-1),
		"no HTTP client":          client.WithHTTPClient(nil),
		"an address in the open":  client.WithServer("http://keys.example.com"),
		"one in the open network": client.WithServer("http://10.0.0.1:8080"),
	} {
		if _, err := client.New(o); err == nil || strings.Contains(err.Error(), "hidden") || !strings.HasPrefix(err.Error(), "keyward: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, address := range []string{"http://localhost:1", "http://127.0.0.9", "http://[::1]:1", "http://keyward.localhost", "https://keys.example.com/keyward"} {
		if _, err := client.New(client.WithServer(address)); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := client.New(client.WithServer("http://keys.example.com"), client.WithPlainHTTP()); err != nil {
		t.Error(err)
	}
}

func TestWhatIsPrintedHasNoSecretInIt(t *testing.T) {
	const hidden = "hunter2"
	wrapped := func(v any) any { return map[string]any{"v": v} }
	c := connect(t, "http://127.0.0.1:1", client.WithAPIKey(hidden+"-key"), client.WithSigningSecret(hidden))
	signedIn := connect(t, "http://127.0.0.1:1", client.WithSignIn(client.Tokens{AccessToken: hidden, RefreshToken: hidden}, nil))
	data := map[string]any{"password": hidden}
	for _, v := range []any{
		c, *c, c.Keys, &c.Keys, signedIn, *signedIn, signedIn.Runs, client.Tokens{AccessToken: hidden, RefreshToken: hidden},
		client.IssuedKey{Secret: hidden, SigningSecret: hidden}, &client.IssuedKey{Secret: hidden}, client.ChangedKey{SigningSecret: hidden},
		client.CreatedAgent{RunnerSecret: hidden}, client.RunnerSecret{RunnerSecret: hidden}, client.AlertSet{WebhookSecret: hidden},
		client.AuthToken{AuthToken: hidden}, client.RotateToken{AuthToken: hidden}, client.VerifyKey{Key: hidden},
		client.CreateAccount{Password: hidden}, client.Registration{Password: hidden, SetupCode: hidden},
		client.CreateAuthProfile{AuthData: data}, client.UpsertAuthProfile{AuthData: data, AuthToken: hidden}, client.UpsertedAuthProfile{AuthToken: hidden},
		client.RunInput{Parameters: data, AuthToken: hidden}, client.Guard{APIKey: hidden}, &client.Guard{APIKey: hidden},
	} {
		for _, v := range []any{v, wrapped(v), []any{v}} {
			for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
				if text := fmt.Sprintf(form, v); strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", hidden)) {
					t.Errorf("%s of %T: %s", form, v, text)
				}
			}
		}
		for kind, handler := range map[string]func(*strings.Builder) slog.Handler{
			"text": func(b *strings.Builder) slog.Handler { return slog.NewTextHandler(b, nil) },
			"JSON": func(b *strings.Builder) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b strings.Builder
			if slog.New(handler(&b)).Info("made", "v", v); strings.Contains(b.String(), hidden) {
				t.Errorf("the %s log of %T: %s", kind, v, b.String())
			}
		}
	}
	if text, _ := json.Marshal(client.IssuedKey{Secret: hidden}); !strings.Contains(string(text), hidden) {
		t.Error("JSON has not the key")
	}
	if text := fmt.Sprint(connect(t, "http://127.0.0.1:1")); text != "a Keyward client of http://127.0.0.1:1, with ra_live_…qB7O" {
		t.Errorf("a client is printed as %s", text)
	}
}

func TestAClientDoesWhatAnAccountMayDo(t *testing.T) {
	s := keywardtest.Start(t)
	c, ctx := s.Client(t), t.Context()
	if err := errors.Join(c.Health(ctx), c.Ready(ctx)); err != nil {
		t.Fatal(err)
	}
	made, err := c.Keys.Create(ctx, client.CreateKey{Name: "monitoring", Scopes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	monitoring, err := c.With(client.WithAPIKey(made.Secret))
	if err != nil {
		t.Fatal(err)
	}
	if self, err := monitoring.Keys.Self(ctx); err != nil || self.ID != made.ID {
		t.Errorf("self: %+v, %v", self, err)
	}
	_, err = monitoring.Agents.Create(ctx, client.AgentDefinition{ID: "a", Name: "A", Runner: client.Runner{Type: "http", URL: "https://agents.example.com"}})
	var refused *client.Error
	if !errors.Is(err, client.ErrInsufficientScope) || !errors.As(err, &refused) || refused.Status != 403 || refused.RequestID == "" || refused.Details == nil {
		t.Errorf("without the scope: %v", err)
	}
	if err := c.Keys.Revoke(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := monitoring.Keys.Self(ctx); !errors.Is(err, client.ErrRevokedAPIKey) || !errors.Is(err, client.Code("REVOKED_API_KEY")) || errors.Is(err, client.ErrInvalidAPIKey) {
		t.Errorf("revoked: %v", err)
	}
}
