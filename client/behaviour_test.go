package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

// step is one step of a behaviour script: sdk/behaviour/README.md has the form.
type step struct {
	Call           string            `json:"call"`
	Path           map[string]any    `json:"path"`
	Query          map[string]any    `json:"query"`
	Body           json.RawMessage   `json:"body"`
	As             *string           `json:"as"`
	SigningSecret  string            `json:"signing_secret"`
	Retries        *int              `json:"retries"`
	IdempotencyKey string            `json:"idempotency_key"`
	List           bool              `json:"list"`
	After          int64             `json:"after"`
	Take           int               `json:"take"`
	Times          int               `json:"times"`
	Expect         json.RawMessage   `json:"expect"`
	Error          json.RawMessage   `json:"error"`
	Save           map[string]string `json:"save"`
}

func (s step) id() string { return fmt.Sprint(s.Path["id"]) }

func (s step) key() int64 {
	n, _ := s.Path["id"].(float64)
	return int64(n)
}

func (s step) text(name string) string {
	text, _ := s.Query[name].(string)
	return text
}

func (s step) time(name string) time.Time {
	var t client.Time
	_ = t.UnmarshalText([]byte(s.text(name)))
	return t.Time
}

func (s step) page() client.Page {
	limit, _ := s.Query["limit"].(float64)
	number, _ := s.Query["page"].(float64)
	return client.Page{Limit: int(limit), Cursor: s.text("cursor"), Number: int(number)}
}

// body reads a body as the type that the SDK has for it. A name that the type does
// not have is an error of the script.
func body[T any](s step) (in T) {
	d := json.NewDecoder(bytes.NewReader(s.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); len(s.Body) > 0 && err != nil {
		panic(fmt.Sprintf("%s: the body: %v", s.Call, err))
	}
	return in
}

// input reads the body of a call that starts a run.
func (s step) input() client.RunInput {
	b := body[struct {
		Parameters map[string]any `json:"parameters"`
		Query      any            `json:"query"`
		AuthToken  string         `json:"auth_token"`
	}](s)
	if b.Query != nil {
		if b.Parameters == nil {
			b.Parameters = map[string]any{}
		}
		b.Parameters["query"] = b.Query
	}
	return client.RunInput{Parameters: b.Parameters, AuthToken: b.AuthToken, IdempotencyKey: s.IdempotencyKey}
}

type do = func(ctx context.Context, c *client.Client, s step) (any, error)

// answering is an operation with an answer.
func answering[T any](call func(context.Context, *client.Client, step) (T, error)) do {
	return func(ctx context.Context, c *client.Client, s step) (any, error) { return call(ctx, c, s) }
}

func silent(call func(context.Context, *client.Client, step) error) do {
	return func(ctx context.Context, c *client.Client, s step) (any, error) { return nil, call(ctx, c, s) }
}

func listing[P, T any](page func(context.Context, *client.Client, step) (P, error), all func(context.Context, *client.Client, step) iter.Seq2[T, error]) do {
	return func(ctx context.Context, c *client.Client, s step) (any, error) {
		if !s.List {
			return page(ctx, c, s)
		}
		return collect(all(ctx, c, s), 0)
	}
}

func collect[T any](all iter.Seq2[T, error], most int) ([]T, error) {
	got := []T{}
	for v, err := range all {
		if err != nil {
			return got, err
		}
		if got = append(got, v); len(got) == most {
			break
		}
	}
	return got, nil
}

func watching(events func(context.Context, *client.Client, step) iter.Seq2[client.Event, error]) do {
	return func(ctx context.Context, c *client.Client, s step) (any, error) {
		return collect(events(ctx, c, s), s.Take)
	}
}

func keyFilter(s step) client.KeyFilter {
	return client.KeyFilter{Status: s.text("status"), Type: s.text("type"), ExternalID: s.text("external_id"), Page: s.page()}
}

func usageQuery(s step) client.UsageQuery {
	return client.UsageQuery{From: s.time("from"), To: s.time("to"), Interval: s.text("interval"), Page: s.page()}
}

func alertFilter(s step) client.AlertFilter {
	id, _ := s.Query["key_id"].(float64)
	return client.AlertFilter{KeyID: int64(id), Page: s.page()}
}

func runFilter(s step) client.RunFilter {
	return client.RunFilter{Status: s.text("status"), AgentID: s.text("agent_id"), Page: s.page()}
}

func auditFilter(s step) client.AuditFilter {
	return client.AuditFilter{Action: s.text("action"), SubjectKind: s.text("subject_kind"), SubjectID: fmt.Sprint(or(s.Query["subject_id"], "")), Page: s.page()}
}

func or(v, otherwise any) any {
	if v == nil {
		return otherwise
	}
	if n, ok := v.(float64); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return v
}

type (
	ctx = context.Context
	cli = *client.Client
)

// methods are what the operations are in Go.
var methods = map[string]do{
	"createKey": answering(func(x ctx, c cli, s step) (client.IssuedKey, error) {
		return c.Keys.Create(x, body[client.CreateKey](s))
	}),
	"listKeys": listing(
		func(x ctx, c cli, s step) (client.List[client.Key], error) { return c.Keys.List(x, keyFilter(s)) },
		func(x ctx, c cli, s step) iter.Seq2[client.Key, error] { return c.Keys.All(x, keyFilter(s)) }),
	"getKey": answering(func(x ctx, c cli, s step) (client.Key, error) { return c.Keys.Get(x, s.key()) }),
	"changeKey": answering(func(x ctx, c cli, s step) (client.ChangedKey, error) {
		return c.Keys.Change(x, s.key(), body[client.ChangeKey](s))
	}),
	"rotateKey": answering(func(x ctx, c cli, s step) (client.IssuedKey, error) {
		return c.Keys.Rotate(x, s.key(), body[client.RotateKey](s))
	}),
	"revokeKey":    silent(func(x ctx, c cli, s step) error { return c.Keys.Revoke(x, s.key()) }),
	"getOwnKey":    answering(func(x ctx, c cli, s step) (client.Key, error) { return c.Keys.Self(x) }),
	"revokeOwnKey": silent(func(x ctx, c cli, s step) error { return c.Keys.RevokeSelf(x) }),
	"verifyKey": answering(func(x ctx, c cli, s step) (client.Verification, error) {
		return c.Keys.Verify(x, body[client.VerifyKey](s))
	}),

	"getKeyUsage": answering(func(x ctx, c cli, s step) (client.Usage, error) { return c.Usage.OfKey(x, s.key(), usageQuery(s)) }),
	"listKeyUsage": listing(
		func(x ctx, c cli, s step) (client.UsageList, error) { return c.Usage.List(x, usageQuery(s)) },
		func(x ctx, c cli, s step) iter.Seq2[client.KeyUsage, error] { return c.Usage.All(x, usageQuery(s)) }),

	"setAlert": answering(func(x ctx, c cli, s step) (client.AlertSet, error) {
		return c.Alerts.Set(x, s.key(), body[client.SetAlert](s))
	}),
	"getAlert":    answering(func(x ctx, c cli, s step) (client.Alert, error) { return c.Alerts.Get(x, s.key()) }),
	"removeAlert": silent(func(x ctx, c cli, s step) error { return c.Alerts.Remove(x, s.key()) }),
	"listAlerts": listing(
		func(x ctx, c cli, s step) (client.List[client.FiredAlert], error) {
			return c.Alerts.List(x, alertFilter(s))
		},
		func(x ctx, c cli, s step) iter.Seq2[client.FiredAlert, error] { return c.Alerts.All(x, alertFilter(s)) }),

	"createAgent": answering(func(x ctx, c cli, s step) (client.CreatedAgent, error) {
		return c.Agents.Create(x, body[client.AgentDefinition](s))
	}),
	"listAgents": listing(
		func(x ctx, c cli, s step) (client.List[client.Agent], error) { return c.Agents.List(x, s.page()) },
		func(x ctx, c cli, s step) iter.Seq2[client.Agent, error] { return c.Agents.All(x, s.page()) }),
	"getAgent": answering(func(x ctx, c cli, s step) (client.Agent, error) { return c.Agents.Get(x, s.id()) }),
	"changeAgent": answering(func(x ctx, c cli, s step) (client.Agent, error) {
		return c.Agents.Change(x, s.id(), body[client.AgentChange](s))
	}),
	"deleteAgent":       silent(func(x ctx, c cli, s step) error { return c.Agents.Delete(x, s.id()) }),
	"getAgentHealth":    answering(func(x ctx, c cli, s step) (client.AgentHealth, error) { return c.Agents.Health(x, s.id()) }),
	"renewRunnerSecret": answering(func(x ctx, c cli, s step) (client.RunnerSecret, error) { return c.Agents.RenewRunnerSecret(x, s.id()) }),

	"createAgentAuthProfile": answering(func(x ctx, c cli, s step) (client.AuthToken, error) {
		return c.AuthProfiles.Create(x, body[client.CreateAuthProfile](s))
	}),
	"upsertAgentAuthProfile": answering(func(x ctx, c cli, s step) (client.UpsertedAuthProfile, error) {
		return c.AuthProfiles.Upsert(x, body[client.UpsertAuthProfile](s))
	}),
	"listAuthProfiles": listing(
		func(x ctx, c cli, s step) (client.List[client.AuthProfile], error) {
			return c.AuthProfiles.List(x, s.id(), s.page())
		},
		func(x ctx, c cli, s step) iter.Seq2[client.AuthProfile, error] {
			return c.AuthProfiles.All(x, s.id(), s.page())
		}),
	"getAuthProfile":    answering(func(x ctx, c cli, s step) (client.AuthProfile, error) { return c.AuthProfiles.Get(x, s.id()) }),
	"deleteAuthProfile": silent(func(x ctx, c cli, s step) error { return c.AuthProfiles.Delete(x, s.id()) }),
	"deleteSession":     silent(func(x ctx, c cli, s step) error { return c.AuthProfiles.DeleteSession(x, s.id()) }),
	"rotateAuthToken": answering(func(x ctx, c cli, s step) (client.AuthToken, error) {
		return c.AuthProfiles.RotateToken(x, body[client.RotateToken](s))
	}),

	"invokeAgent":  answering(func(x ctx, c cli, s step) (client.Invoked, error) { return c.Runs.Invoke(x, s.id(), s.input()) }),
	"startRun":     answering(func(x ctx, c cli, s step) (client.Run, error) { return c.Runs.Start(x, s.id(), s.input()) }),
	"streamAgent":  watching(func(x ctx, c cli, s step) iter.Seq2[client.Event, error] { return c.Runs.Stream(x, s.id(), s.input()) }),
	"getRunEvents": watching(func(x ctx, c cli, s step) iter.Seq2[client.Event, error] { return c.Runs.Events(x, s.id(), s.After) }),
	"getRun":       answering(func(x ctx, c cli, s step) (client.Run, error) { return c.Runs.Get(x, s.id()) }),
	"cancelRun":    answering(func(x ctx, c cli, s step) (client.Run, error) { return c.Runs.Cancel(x, s.id()) }),
	"listRuns": listing(
		func(x ctx, c cli, s step) (client.List[client.Run], error) { return c.Runs.List(x, runFilter(s)) },
		func(x ctx, c cli, s step) iter.Seq2[client.Run, error] { return c.Runs.All(x, runFilter(s)) }),

	"listAudit": listing(
		func(x ctx, c cli, s step) (client.List[client.AuditEntry], error) {
			return c.Audit.List(x, auditFilter(s))
		},
		func(x ctx, c cli, s step) iter.Seq2[client.AuditEntry, error] { return c.Audit.All(x, auditFilter(s)) }),

	"register": answering(func(x ctx, c cli, s step) (client.RegisteredAccount, error) {
		return c.Auth.Register(x, body[client.Registration](s))
	}),
	"signIn": answering(func(x ctx, c cli, s step) (client.Tokens, error) {
		b := body[struct{ Email, Password string }](s)
		return c.Auth.SignIn(x, b.Email, b.Password)
	}),
	"refresh": answering(func(x ctx, c cli, s step) (client.Tokens, error) {
		return c.Auth.Refresh(x, body[struct{ RefreshToken string }](s).RefreshToken)
	}),
	"signOut": silent(func(x ctx, c cli, s step) error {
		return c.Auth.SignOut(x, body[struct{ RefreshToken string }](s).RefreshToken)
	}),
	"me": answering(func(x ctx, c cli, s step) (client.Me, error) { return c.Auth.Me(x) }),
	"changePassword": silent(func(x ctx, c cli, s step) error {
		b := body[struct{ CurrentPassword, NewPassword string }](s)
		return c.Auth.ChangePassword(x, b.CurrentPassword, b.NewPassword)
	}),
	"deleteAccount": silent(func(x ctx, c cli, s step) error {
		return c.Auth.DeleteAccount(x, body[struct{ Password string }](s).Password)
	}),

	"listAccounts": listing(
		func(x ctx, c cli, s step) (client.List[client.Account], error) { return c.Accounts.List(x, s.page()) },
		func(x ctx, c cli, s step) iter.Seq2[client.Account, error] { return c.Accounts.All(x, s.page()) }),

	"health": silent(func(x ctx, c cli, _ step) error { return c.Health(x) }),
	"ready":  silent(func(x ctx, c cli, _ step) error { return c.Ready(x) }),
}

func TestTheBehaviourScriptsRun(t *testing.T) {
	config, err := os.ReadFile("../sdk/behaviour/keyward.yaml")
	if err != nil {
		t.Fatal(err)
	}
	server := keywardtest.Start(t, keywardtest.Options{File: string(config)})
	time.Sleep(1100 * time.Millisecond) // what is signed in the second of the server's start is refused
	files, err := filepath.Glob("../sdk/behaviour/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s struct {
				Name, About string
				Steps       []json.RawMessage
			}
			strict(t, text, &s)
			p := newPlay(t, server)
			for i, text := range s.Steps {
				p.step(t, i+1, text)
			}
		})
	}
}

func strict(t *testing.T, text []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("the script: %v in %s", err, text)
	}
}

// play is a script that runs.
type play struct {
	server  *keywardtest.Server
	known   map[string]any
	secrets []string
}

func newPlay(t *testing.T, server *keywardtest.Server) *play {
	who := server.SignUp(t)
	tokens, err := connect(t, server.URL, client.WithoutCredentials()).Auth.SignIn(t.Context(), who.Email, who.Password)
	if err != nil {
		t.Fatal(err)
	}
	key, err := who.Client.Keys.Create(t.Context(), client.CreateKey{Name: "owner"})
	if err != nil {
		t.Fatal(err)
	}
	return &play{server: server, known: map[string]any{
		"email": who.Email, "password": who.Password, "access_token": tokens.AccessToken, "refresh_token": tokens.RefreshToken,
		"owner_key": key.Secret, "unique": strings.ToLower(rand.Text()[:12]), "server": server.URL,
	}}
}

var variable = regexp.MustCompile(`\{\{(\w+)\}\}`)

// fill replaces the variables in v.
func (p *play) fill(t *testing.T, v any) any {
	switch v := v.(type) {
	case string:
		if whole := variable.FindStringSubmatch(v); whole != nil && whole[0] == v {
			value, ok := p.known[whole[1]]
			if !ok {
				t.Fatalf("%s is not known yet", v)
			}
			return value
		}
		return variable.ReplaceAllStringFunc(v, func(name string) string { return fmt.Sprint(p.fill(t, name)) })
	case map[string]any:
		for name := range v {
			v[name] = p.fill(t, v[name])
		}
	case []any:
		for i := range v {
			v[i] = p.fill(t, v[i])
		}
	}
	return v
}

func (p *play) step(t *testing.T, n int, text []byte) {
	t.Helper()
	var raw any
	strict(t, text, &raw)
	text, err := json.Marshal(p.fill(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	var s step
	strict(t, text, &s)
	call, ok := methods[s.Call]
	if !ok {
		t.Fatalf("step %d: there is no operation %s", n, s.Call)
	}
	for range max(1, s.Times) {
		c := p.client(t, s)
		out, err := call(t.Context(), c, s)
		var refused *client.Error
		switch {
		case err != nil && s.Error == nil:
			t.Fatalf("step %d: %s: %v", n, s.Call, err)
		case err != nil && !errors.As(err, &refused):
			t.Fatalf("step %d: %s ended in %v, which is no refusal", n, s.Call, err)
		case err == nil && s.Error != nil:
			t.Fatalf("step %d: %s did not end in an error, but in %v", n, s.Call, plain(t, out))
		case err != nil:
			p.hidden(t, s, c, err)
			if !errors.Is(err, client.Code(refused.Code)) {
				t.Errorf("step %d: %v is not its code", n, err)
			}
			p.check(t, n, s, s.Error, plain(t, refused))
		default:
			p.check(t, n, s, s.Expect, plain(t, out))
		}
	}
}

func (p *play) client(t *testing.T, s step) *client.Client {
	as, _ := p.known["owner_key"].(string)
	if s.As != nil {
		as = *s.As
	}
	options := []client.Option{client.WithServer(p.server.URL), client.WithoutCredentials()}
	if as != "" {
		options = append(options, client.WithAPIKey(as))
	}
	if s.SigningSecret != "" {
		options = append(options, client.WithSigningSecret(s.SigningSecret))
	}
	if s.Retries != nil {
		options = append(options, client.WithRetries(*s.Retries))
	}
	c, err := client.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	p.secrets = []string{as, s.SigningSecret}
	return c
}

// hidden checks that neither the error nor the client tells a secret.
func (p *play) hidden(t *testing.T, s step, c *client.Client, err error) {
	var sent map[string]any
	_ = json.Unmarshal(s.Body, &sent)
	for name, v := range sent {
		if text, ok := v.(string); ok && regexp.MustCompile("(?i)password|token|^key$").MatchString(name) {
			p.secrets = append(p.secrets, text)
		}
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		said := fmt.Sprintf(form+" "+form, err, c)
		for _, secret := range p.secrets {
			if secret != "" && secret != "nonsense" && strings.Contains(said, secret) {
				t.Errorf("%s tells a secret: %s", s.Call, said)
			}
		}
	}
}

// plain returns v as its JSON is read.
func plain(t *testing.T, v any) (out any) {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *play) check(t *testing.T, n int, s step, want json.RawMessage, got any) {
	t.Helper()
	if want != nil {
		var w any
		if err := json.Unmarshal(want, &w); err != nil {
			t.Fatal(err)
		}
		if why := differs(w, got); why != "" {
			text, _ := json.Marshal(got)
			t.Errorf("step %d: %s: %s in %s", n, s.Call, why, text)
		}
	}
	for name, path := range s.Save {
		at := got
		for part := range strings.SplitSeq(path, ".") {
			switch v := at.(type) {
			case map[string]any:
				at = v[part]
			case []any:
				if i, err := strconv.Atoi(part); err == nil && i < len(v) {
					at = v[i]
				} else {
					at = nil
				}
			default:
				at = nil
			}
		}
		if at == nil {
			t.Fatalf("step %d: there is no %s to save", n, path)
		}
		p.known[name] = at
	}
}

// differs says how got is not as expected; "" if it is.
func differs(want, got any) string {
	switch w := want.(type) {
	case map[string]any:
		for name, argument := range w {
			if strings.HasPrefix(name, "$") {
				return matcher(name, argument, got)
			}
		}
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%v is no object", got)
		}
		for name := range w {
			if why := differs(w[name], g[name]); why != "" {
				return name + ": " + why
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%v is no array of %d", got, len(w))
		}
		for i := range w {
			if why := differs(w[i], g[i]); why != "" {
				return fmt.Sprintf("%d: %s", i, why)
			}
		}
	default:
		if !reflect.DeepEqual(want, got) {
			return fmt.Sprintf("%v, not %v", got, want)
		}
	}
	return ""
}

func matcher(name string, argument, got any) string {
	is, length := "null", -1
	text, _ := got.(string)
	number, _ := got.(float64)
	switch v := got.(type) {
	case string:
		is, length = "string", len([]rune(v))
	case float64:
		is = "number"
	case bool:
		is = "boolean"
	case map[string]any:
		is = "object"
	case []any:
		is, length = "array", len(v)
	}
	ok := false
	switch name {
	case "$matches":
		ok = is == "string" && regexp.MustCompile(argument.(string)).MatchString(text)
	case "$is":
		ok = is == argument
	case "$length":
		ok = float64(length) == argument
	case "$least":
		ok = is == "number" && number >= argument.(float64)
	case "$has":
		all, _ := got.([]any)
		for _, v := range all {
			ok = ok || differs(argument, v) == ""
		}
	default:
		return "there is no " + name
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%v is not %s %v", got, name, argument)
}
