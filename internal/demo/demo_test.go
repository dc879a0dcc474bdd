package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

// inFolder makes a folder for the story's folder.
func inFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	return folder
}

func mustBeEmpty(t *testing.T, folder string) {
	t.Helper()
	left, err := os.ReadDir(folder)
	if err != nil || len(left) > 0 {
		t.Errorf("the demo leaves %v behind, %v", left, err)
	}
}

func TestTheStoryIsToldToItsEnd(t *testing.T) {
	var out bytes.Buffer
	s := newStory(t.TempDir(), "test", &paper{out: &out})
	if err := s.play(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}

	rest := out.String()
	for _, next := range []string{
		"/auth/register", "201 Created",
		"/auth/token", "200 OK",
		"/auth/api-keys", "201 Created",
		"/v1/agents", "201 Created",
		"/api/upsert_agent_auth_profile", `"should_save_session": true`, `"type": "create"`,
		"/run_agent", `"run_async": false`, `"signed_in_with": "password"`,
		"/run_agent", `"signed_in_with": "session"`,
		"/v1/agents/invoices/runs", "202 Accepted", `"status": "queued"`, "/events", "event: start", "event: chunk", "event: done", `"status": "succeeded"`,
		"/run_agent", "404 Not Found", "AUTH_PROFILE_NOT_FOUND",
		"/v1/keys", "201 Created", "/v1/keys/self", "200 OK", "-X DELETE", "204 No Content", "401 Unauthorized", "REVOKED_API_KEY",
		"/v1/audit", "key.revoke", "run.start", "profile.create", "account.register",
		"has stopped", "has started again", `"signed_in_with": "session"`,
		"/auth/logout", "204 No Content", "/auth/me", "401 Unauthorized", "INVALID_ACCESS_TOKEN",
		"The end",
	} {
		_, after, found := strings.Cut(rest, next)
		if !found {
			t.Fatalf("the story has no %q where it should:\n%s", next, out.String())
		}
		rest = after
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("there are colours where none were asked for")
	}
	for secret := range s.paper.secrets() {
		if strings.Contains(out.String(), secret) {
			t.Errorf("a secret is shown: %s", secret)
		}
	}
	// Secrets that were not noticed as such.
	for name, form := range map[string]string{
		"an API key":          `ra_live_[0-9A-Za-z]{9}`,
		"an access token":     `eyJ[0-9A-Za-z_-]{12}`,
		"an auth token":       `kwt1[0-9A-Za-z_-]{9}`,
		"a runner secret":     `whsec_[0-9A-Za-z+/]{9}`,
		"a refresh token":     `"refreshToken": ?"[^"…]{9}`,
		"a setup code":        `(?i)setup.?code`,
		"basic authorization": `Basic [0-9A-Za-z+/=]{9}`,
	} {
		if found := regexp.MustCompile(form).FindString(out.String()); found != "" {
			t.Errorf("%s is shown: %s", name, found)
		}
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(line)); n > 140 {
			t.Errorf("a line has %d characters: %s", n, line)
		}
	}
}

func TestNothingStaysOfTheStory(t *testing.T) {
	folder := inFolder(t)
	if err := Run(t.Context(), io.Discard, false, "test"); err != nil {
		t.Fatal(err)
	}
	mustBeEmpty(t, folder)
}

func TestColoursEndWithTheirLine(t *testing.T) {
	var out bytes.Buffer
	p := &paper{out: &out, colours: true}
	p.title("one")
	p.answer(404, "Not Found", []byte(`{}`))
	if got, want := out.String(), "\n\x1b[1mone\x1b[0m\n  \x1b[33m404 Not Found\x1b[0m\n  {}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// stopper stops the story when a text is written.
type stopper struct {
	at   string
	stop func() error
}

func (s stopper) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.at) {
		if err := s.stop(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func TestAStoryThatIsStoppedLeavesNothing(t *testing.T) {
	for _, at := range []string{"Keyward's story", "signed_in_with", "The server has stopped"} {
		folder := inFolder(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := Run(ctx, stopper{at, func() error { cancel(); return nil }}, false, "test")
		if !errors.Is(err, errStopped) {
			t.Errorf("stopped at %q: %v", at, err)
		}
		mustBeEmpty(t, folder)
	}
}

func TestAReaderThatGoesAwayEndsTheStory(t *testing.T) {
	folder := inFolder(t)
	gone := errors.New("broken pipe")
	if err := Run(t.Context(), stopper{"makes an API key", func() error { return gone }}, false, "test"); err == nil || !strings.Contains(err.Error(), gone.Error()) {
		t.Errorf("Run = %v, want %v", err, gone)
	}
	mustBeEmpty(t, folder)
}

func TestAnUnexpectedAnswerEndsTheStory(t *testing.T) {
	const secret = "a-secret-that-nobody-may-read"
	for name, tt := range map[string]struct {
		status  int
		answer  string
		request request
		want    string
	}{
		"another status":   {500, `{"error":{"code":"INTERNAL_ERROR"}}`, request{path: "/x", status: 200}, "GET /x was answered with 500 INTERNAL_ERROR; expected was 200"},
		"another code":     {401, `{"error":{"code":"INVALID_API_KEY"}}`, request{path: "/x", status: 401, code: "REVOKED_API_KEY"}, "GET /x was answered with 401 INVALID_API_KEY; expected was 401 REVOKED_API_KEY"},
		"good where not":   {200, `{}`, request{path: "/x", body: object{}, status: 404, code: "AUTH_PROFILE_NOT_FOUND"}, "POST /x was answered with 200; expected was 404 AUTH_PROFILE_NOT_FOUND"},
		"what is no JSON":  {200, `<html>`, request{path: "/x", status: 200, into: new(tokens)}, "GET /x was answered with what is not the JSON that was expected"},
		"no error's shape": {502, `bad gateway`, request{path: "/x", status: 200}, "GET /x was answered with 502; expected was 200"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			w.Write([]byte(tt.answer))
		}))
		var out bytes.Buffer
		s := newStory(t.TempDir(), "test", &paper{out: &out})
		s.server = &server{url: srv.URL}
		tt.request.bearer = secret
		s.paper.hide(secret, 3)
		if err := s.ask(t.Context(), tt.request); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s: the secret is shown:\n%s", name, out.String())
		}
		srv.Close()
	}
}

func TestASecretInAFileIsFound(t *testing.T) {
	for name, form := range formsOf("correct horse") {
		s := newStory(t.TempDir(), "test", &paper{})
		s.paper.hide("correct horse", 4)
		if err := os.WriteFile(s.log(), []byte("before "+form+" after"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.searchFiles(); err == nil || !strings.Contains(err.Error(), "server.log") || strings.Contains(err.Error(), "horse") {
			t.Errorf("form %d: %v", name, err)
		}
		if err := os.WriteFile(s.log(), []byte("nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
		if files, err := s.searchFiles(); err != nil || files != 1 {
			t.Errorf("%d files, %v", files, err)
		}
	}
}

func TestJSONIsLaidOutToBeRead(t *testing.T) {
	long := strings.Repeat("x", 70)
	for in, want := range map[string]string{
		`{"a":1,"b":[true,null]}`:                   `{"a": 1, "b": [true, null]}`,
		`{"a":"` + long + `","b":{"c":"d"}}` + "\n": "{\n  \"a\": \"" + long + "\",\n  \"b\": {\"c\": \"d\"}\n}",
		`["` + long + `",2,3,4]`:                    "[\n  \"" + long + "\",\n  2,\n  … and 2 more\n]",
		`{}`:                                        `{}`,
		`not JSON`:                                  `not JSON`,
		`"` + long + long + `"`:                     `"` + long + long + `"`,
	} {
		if got := (layout{most: 2}).lay(in, ""); got != want {
			t.Errorf("lay(%s) =\n%s\nwant\n%s", in, got, want)
		}
	}
}
