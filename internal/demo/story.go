package demo

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	invoices "github.com/keyward/keyward/examples/invoices-agent"
)

// chapter is a part of the story: what happens, and why it matters.
type chapter struct {
	title  string
	why    string
	happen func(ctx context.Context) error
}

// Ada's key is used ten times. A new organization's may be used ten times in a
// second, and a machine may be quick.
func (s *story) chapters() []chapter {
	return []chapter{
		{"Ada signs up", "Ada runs agents for other people. Her account comes with an organization, which owns all that she makes. " +
			"Of her password the server keeps a slow hash, sealed, so that not even a stolen copy can be guessed at.", s.signUp},
		{"She signs in", "The access token is good for fifteen minutes. With it an account manages its API keys.", s.signIn},
		{"She makes an API key", "Her program shows this key instead of her password. The key is shown this once: the server keeps a digest of it.", s.makeKey},
		{"She defines an agent", "An agent is a program that can be run. Its input arguments say what it needs to know, its runner says where it is. " +
			"The runner secret signs every run, so that the agent takes orders from this server alone.", s.defineAgent},
		{"Jane's login is stored", "Jane is a customer of Ada's, with invoices behind a password and a one-time code. Her login is sealed under a key that comes from the auth token, " +
			"and the server does not keep the token. No call gives a stored value back.", s.storeLogin},
		{"The agent runs with it", "For this one run the agent gets Jane's login, and the current code in place of the code's secret. It fills in the portal's sign-in form as Jane would.", s.runWithPassword},
		{"It runs again, and is still signed in", "What the agent left as its session was sealed into the profile. Its cookie is enough this time: the password is not sent again.", s.runWithSession},
		{"A run that nobody waits for, and somebody watches", "A run that is queued is on the disk when this is answered, and goes on from there, through a restart too. What it needs of Jane's login is sealed for this one run. " +
			"What happens in it is told as it happens; whoever loses the connection reads on after the last id.", s.watchRun},
		{"Somebody tries another token", "A token opens one profile of one agent. Every other token gets the same answer, so that trying tells nothing.", s.tryToken},
		{"A key is revoked", "Ada makes a second key, for a colleague, and takes it back. When the call that revokes it answers, it is refused already.", s.revokeKey},
		{"The audit log has it all", "Every act is written down in the same transaction as what it did: who, what, when, from where. A row that is changed or taken out later is noticed.", s.readAudit},
		{"The server stops and starts again", "What was answered is on the disk. While the server is away its files are searched for every secret of this story. " +
			"Then it goes on where it was, and so does the agent.", s.restart},
		{"Ada signs out", "Her access token would be good for some minutes still. It is refused from the moment that signing out is answered.", s.signOut},
	}
}

const email = "ada@example.com"

func (s *story) signUp(ctx context.Context) error {
	return s.ask(ctx, request{path: "/auth/register", user: email + ":" + s.password, body: object{{"name", "Ada"}}, status: http.StatusCreated})
}

type tokens struct{ AccessToken, RefreshToken string }

func (s *story) signIn(ctx context.Context) error {
	return s.ask(ctx, request{method: http.MethodPost, path: "/auth/token", user: email + ":" + s.password, status: http.StatusOK, into: &s.tokens})
}

// created is a key that was just made.
type created struct {
	ID  int64
	Key string
}

func (s *story) makeKey(ctx context.Context) error {
	var made created
	err := s.ask(ctx, request{path: "/auth/api-keys", bearer: s.tokens.AccessToken, body: object{{"nickname", "production-agent"}}, status: http.StatusCreated, into: &made})
	s.key = made.Key
	return err
}

func (s *story) defineAgent(ctx context.Context) error {
	var made struct {
		RunnerSecret string `json:"runner_secret"`
	}
	err := s.ask(ctx, request{path: "/v1/agents", bearer: s.key, status: http.StatusCreated, into: &made, body: object{
		{"id", "invoices"},
		{"name", "Invoices"},
		{"input_arguments", []object{
			{{"name", "username"}, {"type", "string"}, {"required", true}},
			{{"name", "password"}, {"type", "string"}, {"required", true}, {"sensitive", true}},
			{{"name", "totp"}, {"type", "totp"}, {"required", true}},
		}},
		{"runner", object{{"type", "http"}, {"url", "http://" + s.agent.Addr().String() + "/"}}},
	}})
	if err != nil {
		return err
	}
	agent, err := invoices.New(s.portalURL, made.RunnerSecret)
	if err != nil {
		return err
	}
	s.host(s.agent, agent)
	s.paper.note("The agent has its secret and is waiting for runs.")
	return nil
}

func (s *story) storeLogin(ctx context.Context) error {
	var stored struct {
		AuthToken string `json:"auth_token"`
		Type      string
	}
	err := s.ask(ctx, request{path: "/api/upsert_agent_auth_profile", status: http.StatusOK, into: &stored, body: object{
		{"agent_id", "invoices"},
		{"api_key", s.key},
		{"name", "Jane at the portal"},
		{"auth_data", object{{"username", s.jane.user}, {"password", s.jane.password}, {"totp", s.jane.totp}}},
		{"should_save_session", true},
	}})
	if err != nil {
		return err
	}
	s.token = stored.AuthToken
	return expect("the type of the answer", stored.Type, "create")
}

func (s *story) runWithPassword(ctx context.Context) error { return s.run(ctx, "password") }

func (s *story) runWithSession(ctx context.Context) error { return s.run(ctx, "session") }

func (s *story) runWith(token string) object {
	return object{{"agent_id", "invoices"}, {"api_key", s.key}, {"auth_token", token}, {"run_async", false}}
}

// run runs the agent and waits for it. It must sign in with what was expected,
// and the portal must have seen one password in the whole story.
func (s *story) run(ctx context.Context, signedInWith string) error {
	var ended struct {
		Output struct {
			Invoices     []json.RawMessage
			SignedInWith string `json:"signed_in_with"`
		} `json:"agent_output"`
		Failure string `json:"error_message"`
	}
	err := s.ask(ctx, request{path: "/run_agent", body: s.runWith(s.token), status: http.StatusOK, into: &ended})
	if err != nil {
		return err
	}
	if ended.Failure != "" || len(ended.Output.Invoices) == 0 {
		return fmt.Errorf("the run gave no invoices; expected was that the agent signs in with the %s and fetches them", signedInWith)
	}
	if err := expect("what the agent signed in with", ended.Output.SignedInWith, signedInWith); err != nil {
		return err
	}
	if err := expect("the number of times that the portal was sent a password", s.portal.PasswordSubmissions(), 1); err != nil {
		return err
	}
	s.paper.note("The agent signed in with the %s.", signedInWith)
	s.paper.note("The portal has been sent a password once in this story.")
	return nil
}

func (s *story) watchRun(ctx context.Context) error {
	var queued struct{ ID, Status string }
	err := s.ask(ctx, request{path: "/v1/agents/invoices/runs", bearer: s.key, body: object{{"auth_token", s.token}}, status: http.StatusAccepted, into: &queued})
	if err != nil {
		return err
	}
	if err := expect("the run's status", queued.Status, "queued"); err != nil {
		return err
	}
	// Watched with the access token: any member of the organization may.
	kinds, err := s.watch(ctx, request{path: "/v1/runs/" + queued.ID + "/events", bearer: s.tokens.AccessToken})
	if err != nil {
		return err
	}
	if len(kinds) < 3 || kinds[0] != "start" || kinds[1] != "chunk" || kinds[len(kinds)-1] != "done" {
		return fmt.Errorf("the events of the run were %v; expected was a start, chunks and done", kinds)
	}
	return nil
}

func (s *story) tryToken(ctx context.Context) error {
	const start = len("kwt1") // after which tokens differ
	letter := "A"
	if s.token[start:start+1] == letter {
		letter = "B"
	}
	other := s.token[:start] + letter + s.token[start+1:]
	s.paper.hide(other, shown["auth_token"])
	return s.ask(ctx, request{path: "/run_agent", body: s.runWith(other), status: http.StatusNotFound, code: "AUTH_PROFILE_NOT_FOUND"})
}

func (s *story) revokeKey(ctx context.Context) error {
	var second created
	if err := s.ask(ctx, request{path: "/v1/keys", bearer: s.key, body: object{{"name", "colleague"}}, status: http.StatusCreated, into: &second}); err != nil {
		return err
	}
	for _, q := range []request{
		{path: "/v1/keys/self", bearer: second.Key, status: http.StatusOK},
		{method: http.MethodDelete, path: "/v1/keys/" + strconv.FormatInt(second.ID, 10), bearer: s.key, status: http.StatusNoContent},
		{path: "/v1/keys/self", bearer: second.Key, status: http.StatusUnauthorized, code: "REVOKED_API_KEY"},
	} {
		if err := s.ask(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) readAudit(ctx context.Context) error {
	var log struct {
		Data []struct {
			At      string
			Action  string
			Subject struct{ Name string }
		}
	}
	if err := s.ask(ctx, request{path: "/v1/audit?limit=100", bearer: s.key, status: http.StatusOK, into: &log}); err != nil {
		return err
	}
	done := map[string]bool{}
	s.paper.note("In short, the newest first:")
	for _, entry := range log.Data {
		done[entry.Action] = true
		s.paper.note("  %s  %-22s %s", entry.At, entry.Action, entry.Subject.Name)
	}
	for _, action := range []string{"account.register", "account_key.create", "agent.create", "profile.create", "run.start", "key.create", "key.revoke"} {
		if !done[action] {
			return fmt.Errorf("the audit log has no %s; expected was one", action)
		}
	}
	return nil
}

func (s *story) restart(ctx context.Context) error {
	address := strings.TrimPrefix(s.server.url, "http://") // tokens name the address as their issuer
	s.client.CloseIdleConnections()
	err := s.server.stop()
	s.server = nil
	if err != nil {
		return err
	}
	s.paper.note("The server has stopped.")
	files, err := s.searchFiles()
	if err != nil {
		return err
	}
	s.paper.note("None of the secrets above is in any of its %d files, nor is it in base64 or hex.", files)
	if err := s.startServer(ctx, address); err != nil {
		return err
	}
	s.paper.note("The server has started again.")
	return s.run(ctx, "session")
}

// searchFiles looks for each secret of the story in each file of the folder,
// and says how many files there are.
func (s *story) searchFiles() (files int, err error) {
	err = filepath.WalkDir(s.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for secret, beginning := range s.paper.secrets() {
			for _, form := range formsOf(secret) {
				if strings.Contains(string(text), form) {
					return fmt.Errorf("%s holds a secret that begins with %s; expected was none", entry.Name(), beginning)
				}
			}
		}
		return nil
	})
	return files, err
}

// formsOf is secret as it is, in base64 and in hex. The end of a base64 text
// depends on what comes after it, so that is left out.
func formsOf(secret string) []string {
	whole := []byte(secret[:len(secret)/3*3])
	return []string{secret, base64.StdEncoding.EncodeToString(whole), base64.URLEncoding.EncodeToString(whole), hex.EncodeToString([]byte(secret))}
}

func (s *story) signOut(ctx context.Context) error {
	if err := s.ask(ctx, request{path: "/auth/logout", body: object{{"refreshToken", s.tokens.RefreshToken}}, status: http.StatusNoContent}); err != nil {
		return err
	}
	return s.ask(ctx, request{path: "/auth/me", bearer: s.tokens.AccessToken, status: http.StatusUnauthorized, code: "INVALID_ACCESS_TOKEN"})
}

func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s was %v; expected was %v", what, got, want)
	}
	return nil
}
