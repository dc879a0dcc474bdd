package invoices_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/examples/portal"
)

var jane = portal.Account{User: "jane-canary", Password: "password canary & ü+%", TOTP: "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

// site is a portal whose clock the test moves.
type site struct {
	*portal.Portal
	server *httptest.Server

	mu  sync.Mutex
	now time.Time
}

func newSite(t *testing.T) *site {
	p, err := portal.New(jane)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Portal: p, now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	p.Now = func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now }
	s.server = httptest.NewServer(p)
	t.Cleanup(s.server.Close)
	return s
}

func (s *site) advance(d time.Duration) { s.mu.Lock(); defer s.mu.Unlock(); s.now = s.now.Add(d) }

// arguments are those of a run with jane's profile.
func (s *site) arguments(t *testing.T) map[string]any {
	code, err := portal.Code(jane.TOTP, s.Now())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"username": jane.User, "password": jane.Password, "totp": code}
}

func with(arguments map[string]any, name string, value any) map[string]any {
	arguments[name] = value
	return arguments
}

func wantInvoices(t *testing.T, a answer, signedInWith string) {
	t.Helper()
	if a.Output == nil {
		t.Fatalf("the run failed: %s", a.Error)
	}
	if a.Output.SignedInWith != signedInWith {
		t.Errorf("signed in with %s, want %s", a.Output.SignedInWith, signedInWith)
	}
	if len(a.Output.Invoices) != 6 || a.Output.Invoices[0].Number == "" || a.Output.Invoices[0].Total == "" {
		t.Errorf("the invoices are %+v, want six", a.Output.Invoices)
	}
}

func wantError(t *testing.T, a answer, sentence string) {
	t.Helper()
	if a.Error != sentence {
		t.Errorf("error %q, want %q", a.Error, sentence)
	}
}

const (
	refused     = "The portal did not accept the user name, the password or the code."
	unreachable = "The portal cannot be reached."
	needed      = "The arguments username, password and totp are needed, as text."
	badList     = "The portal's list of invoices could not be read."
	badForm     = "The portal's sign-in page is not the one this agent knows."
	notARun     = "The input is not the JSON of a run."
	tooLarge    = "The input is too large."
	badSign     = "The signature is missing or wrong."
	staleSign   = "The signature is not of the last five minutes."
)

// runs are the claims that both programs keep.
var runs = map[string]func(t *testing.T, s *site, run runner){
	"the second run signs in with the cookie alone": func(t *testing.T, s *site, run runner) {
		first := run(s.arguments(t), nil)
		wantInvoices(t, first, "password")
		second := run(s.arguments(t), first.Session)
		wantInvoices(t, second, "session")
		wantInvoices(t, run(map[string]any{}, second.Session), "session")
		if got := s.PasswordSubmissions(); got != 1 {
			t.Errorf("the password form was used %d times, want once", got)
		}
	},
	"an expired cookie falls back to the password": func(t *testing.T, s *site, run runner) {
		first := run(s.arguments(t), nil)
		s.advance(s.SessionLifetime)
		second := run(s.arguments(t), first.Session)
		wantInvoices(t, second, "password")
		wantInvoices(t, run(with(s.arguments(t), "password", nil), second.Session), "session")
		if got := s.PasswordSubmissions(); got != 2 {
			t.Errorf("the password form was used %d times, want twice", got)
		}
	},
	"an expired cookie and a wrong password fail": func(t *testing.T, s *site, run runner) {
		first := run(s.arguments(t), nil)
		s.advance(s.SessionLifetime)
		wantError(t, run(with(s.arguments(t), "password", "wrong canary"), first.Session), refused)
	},
	"a wrong password fails": func(t *testing.T, s *site, run runner) {
		wantError(t, run(with(s.arguments(t), "password", "wrong canary"), nil), refused)
	},
	"a wrong user fails": func(t *testing.T, s *site, run runner) {
		wantError(t, run(with(s.arguments(t), "username", "canary\r\n\"<&"), nil), refused)
	},
	"a wrong code fails": func(t *testing.T, s *site, run runner) {
		wantError(t, run(with(s.arguments(t), "totp", "000000"), nil), refused)
	},
	"a replayed code fails": func(t *testing.T, s *site, run runner) {
		wantInvoices(t, run(s.arguments(t), nil), "password")
		wantError(t, run(s.arguments(t), nil), refused)
		s.advance(time.Minute)
		wantInvoices(t, run(s.arguments(t), nil), "password")
	},
	"a portal that is down fails the run": func(t *testing.T, s *site, run runner) {
		first := run(s.arguments(t), nil)
		s.server.Close()
		wantError(t, run(s.arguments(t), first.Session), unreachable)
		wantError(t, run(s.arguments(t), nil), unreachable)
	},
	"a run cannot send the credentials elsewhere": func(t *testing.T, s *site, run runner) {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error("the agent asked the address that the run named")
		}))
		defer elsewhere.Close()
		arguments := with(with(s.arguments(t), "portal_url", elsewhere.URL), "portal", elsewhere.URL)
		wantInvoices(t, run(arguments, nil), "password")
	},
}

func TestRuns(t *testing.T) {
	for name, test := range runs {
		t.Run(name, func(t *testing.T) {
			everyProgram(t, func(t *testing.T, p program) {
				s := newSite(t)
				test(t, s, p.served(t, s.server.URL))
			})
		})
	}
}

func TestACommandAnswersLikeTheService(t *testing.T) {
	everyProgram(t, func(t *testing.T, p program) {
		s := newSite(t)
		run := p.started(t, s.server.URL)
		first := run(s.arguments(t), nil)
		wantInvoices(t, first, "password")
		wantInvoices(t, run(s.arguments(t), first.Session), "session")
		wantError(t, run(s.arguments(t), nil), refused)
		wantError(t, p.runOnce(t, s.server.URL, nil), notARun)
		wantError(t, p.runOnce(t, s.server.URL, bytes.Repeat([]byte(" "), 8<<20+1)), tooLarge)
	})
}

func TestAServiceTellsItsStepsToWhoAsksForThem(t *testing.T) {
	everyProgram(t, func(t *testing.T, p program) {
		s := newSite(t)
		address := p.serve(t, s.server.URL, nil)
		ask := func(arguments map[string]any) (steps int, a answer) {
			r, err := http.NewRequestWithContext(t.Context(), "POST", address, bytes.NewReader(runBody(t, arguments, nil)))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "application/json, application/x-ndjson")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
				t.Fatalf("%v, status %d, %s", err, resp.StatusCode, resp.Header)
			}
			return strings.Count(string(text), "\n") - 1, readLines(t, string(text))
		}
		steps, a := ask(s.arguments(t))
		wantInvoices(t, a, "password")
		if steps != 2 {
			t.Errorf("%d steps, want 2", steps)
		}
		_, a = ask(s.arguments(t))
		wantError(t, a, refused)
	})
}

func TestASessionOfAnotherMakingIsAsGoodAsNone(t *testing.T) {
	everyProgram(t, func(t *testing.T, p program) {
		s := newSite(t)
		run := p.served(t, s.server.URL)
		for _, session := range []string{
			`"text"`, `[1]`, `{}`, `{"cookies":null}`, `{"cookies":[]}`, `{"cookies":{"portal_session":7}}`,
			`{"cookies":{"portal_session":"x\r\nX-Injected: canary"}}`, `{"cookies":{"a b":"c"}}`,
			`{"cookies":{"portal_session":""}}`, `{"cookies":{"portal_session":"GUESSED"}}`,
		} {
			wantInvoices(t, run(s.arguments(t), json.RawMessage(session)), "password")
			s.advance(time.Minute)
		}
	})
}

func TestMissingAndMistypedArgumentsFailBeforeThePortalIsAsked(t *testing.T) {
	everyProgram(t, func(t *testing.T, p program) {
		s := newSite(t)
		run := p.served(t, s.server.URL)
		for _, name := range []string{"username", "password", "totp"} {
			for _, value := range []any{nil, "", 123456, true, []string{"canary"}} {
				wantError(t, run(with(s.arguments(t), name, value), nil), needed)
			}
		}
		wantError(t, run(map[string]any{}, nil), needed)
		if got := s.PasswordSubmissions(); got != 0 {
			t.Errorf("the password form was used %d times, want never", got)
		}
	})
}

func TestAStrangePortalFailsTheRun(t *testing.T) {
	everyProgram(t, func(t *testing.T, p program) {
		var strange http.Handler
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { strange.ServeHTTP(w, r) }))
		defer server.Close()
		run := p.served(t, server.URL)
		form := `<input type="hidden" name="form_token" value="TOKEN">`
		for name, test := range map[string]struct {
			handler http.HandlerFunc
			session string
			want    string
		}{
			"not found":       {http.NotFound, `null`, badForm},
			"no form":         {text(200, "<h1>canary</h1>"), `null`, badForm},
			"broken sign-in":  {text(500, form), `null`, badForm},
			"broken session":  {text(500, "canary"), `{"cookies":{"portal_session":"X"}}`, "The portal answered with status 500."},
			"no list":         {text(200, `{"canary":1}`), `{"cookies":{"portal_session":"X"}}`, badList},
			"list of no JSON": {text(200, `canary`), `{"cookies":{"portal_session":"X"}}`, badList},
			"no HTTP":         {hangUp, `null`, unreachable},
			"form refused":    {route(form, 403), `null`, "The portal answered with status 403."},
			"signed out at once": {route(form, 303), `null`,
				"The portal signed the agent out at once."},
			"sends the form on": {func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					t.Error("the agent followed a redirect with the credentials")
				}
				if r.Method == "POST" {
					http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
					return
				}
				io.WriteString(w, form)
			}, `null`, "The portal answered with status 307."},
		} {
			strange = test.handler
			if a := run(newSite(t).arguments(t), json.RawMessage(test.session)); a.Error != test.want {
				t.Errorf("%s: error %q, want %q", name, a.Error, test.want)
			}
		}
	})
}

func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// route shows the form, answers it with a status, and knows nobody.
func route(form string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "POST":
			w.WriteHeader(status)
		case r.URL.Path == "/login":
			io.WriteString(w, form)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		io.WriteString(connection, "canary\r\n\r\n")
		connection.Close()
	}
}

// garbage is input that is no run.
var garbage = map[string]string{
	"nothing":           "",
	"no JSON":           "canary",
	"cut off":           `{"arguments":{"password":"canary`,
	"two objects":       `{"arguments":{}}{"arguments":{}}`,
	"a list":            `["canary"]`,
	"a text":            `"canary"`,
	"null":              `null`,
	"no arguments":      `{"run_id":"canary"}`,
	"null arguments":    `{"arguments":null}`,
	"arguments a text":  `{"arguments":"canary"}`,
	"arguments a list":  `{"arguments":["canary"]}`,
	"not UTF-8":         "{\"arguments\":{\"username\":\"canary\xff\"}}",
	"nested too deeply": `{"arguments":` + strings.Repeat("[", 200_000),
}

func TestGarbageIsRefused(t *testing.T) {
	everyProgram(t, func(t *testing.T, p program) {
		address := p.serve(t, newSite(t).server.URL, nil)
		for name, body := range garbage {
			if status, a := post(t, address, []byte(body), nil); status != http.StatusBadRequest || a.Error != notARun {
				t.Errorf("%s: %d %q, want 400 %q", name, status, a.Error, notARun)
			}
		}
	})
}

func TestOnlySignedRunsAreTaken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runner.secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	everyProgram(t, func(t *testing.T, p program) {
		s := newSite(t)
		address := p.serve(t, s.server.URL, nil, "--secret-file", file)
		body, now := runBody(t, s.arguments(t), nil), time.Now()
		altered := func(name, value string) http.Header {
			h := signed(body, now)
			h.Set(name, value)
			return h
		}
		signature := signed(body, now).Get("webhook-signature")
		stamp := signed(body, now).Get("webhook-timestamp")
		for name, test := range map[string]struct {
			header http.Header
			want   string
		}{
			"none":               {nil, badSign},
			"no id":              {altered("webhook-id", ""), badSign},
			"no time":            {altered("webhook-timestamp", ""), badSign},
			"no signature":       {altered("webhook-signature", ""), badSign},
			"another id":         {altered("webhook-id", "msg_2"), badSign},
			"another time":       {altered("webhook-timestamp", strconv.FormatInt(now.Unix()-1, 10)), badSign},
			"no version":         {altered("webhook-signature", strings.TrimPrefix(signature, "v1,")), badSign},
			"another version":    {altered("webhook-signature", "v2"+strings.TrimPrefix(signature, "v1")), badSign},
			"cut off":            {altered("webhook-signature", signature[:len(signature)-1]), badSign},
			"garbage":            {altered("webhook-signature", "v1,\xe4\xf6 , v1, ===="), badSign},
			"of another body":    {signed(append(body, ' '), now), badSign},
			"of another secret":  {signedWith("whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 32)), "msg_1", stamp, body), badSign},
			"six minutes old":    {signed(body, now.Add(-6*time.Minute)), staleSign},
			"six minutes early":  {signed(body, now.Add(6*time.Minute)), staleSign},
			"of no time":         {signedWith(secret, "msg_1", "yesterday", body), staleSign},
			"of a time too long": {signedWith(secret, "msg_1", strings.Repeat("9", 30), body), staleSign},
			"of a negative time": {signedWith(secret, "msg_1", "-9223372036854775808", body), staleSign},
		} {
			if status, a := post(t, address, body, test.header); status != http.StatusUnauthorized || a.Error != test.want {
				t.Errorf("signature %s: %d %q, want 401 %q", name, status, a.Error, test.want)
			}
		}
		if got := s.PasswordSubmissions(); got != 0 {
			t.Fatalf("the password form was used %d times by runs that were refused", got)
		}
		if status, a := post(t, address, []byte("garbage"), nil); status != http.StatusUnauthorized {
			t.Errorf("garbage without a signature: %d %q, want 401", status, a.Error)
		}

		several := altered("webhook-signature", "v1,b2xk "+signature+" v1a,eHg= v1,bmV3")
		status, a := post(t, address, body, several)
		if status != http.StatusOK {
			t.Fatalf("a good signature among others: %d %q", status, a.Error)
		}
		wantInvoices(t, a, "password")
	})
}

// The values are those of Standard Webhooks' own libraries' tests.
func TestTheSignatureIsThatOfStandardWebhooks(t *testing.T) {
	h := signedWith("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if got, want := h.Get("webhook-signature"), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func TestHealthNeedsNoSignature(t *testing.T) {
	everyProgram(t, func(t *testing.T, p program) {
		address := p.serve(t, newSite(t).server.URL, []string{"KEYWARD_RUNNER_SECRET=" + secret})
		for path, want := range map[string]int{"/": 200, "/health": 200, "/elsewhere": 404} {
			resp, err := http.Get(address + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("GET %s: %d, want %d", path, resp.StatusCode, want)
			}
		}
	})
}

func TestBadSettingsEndTheAgentAtItsStart(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	everyProgram(t, func(t *testing.T, p program) {
		for name, test := range map[string]struct {
			portal string
			env    []string
			flags  []string
		}{
			"no portal":          {portal: ""},
			"another scheme":     {portal: "ftp://canary.example"},
			"a password inside":  {portal: "https://canary:canary@portal.example"},
			"no host":            {portal: "https:///path"},
			"no port":            {portal: "http://portal.example:canary"},
			"no secret":          {portal: "http://127.0.0.1:1", env: []string{"KEYWARD_RUNNER_SECRET=canary"}},
			"another prefix":     {portal: "http://127.0.0.1:1", env: []string{"KEYWARD_RUNNER_SECRET=" + strings.TrimPrefix(secret, "whsec_")}},
			"a short secret":     {portal: "http://127.0.0.1:1", env: []string{"KEYWARD_RUNNER_SECRET=whsec_c2hvcnQ="}},
			"no file":            {portal: "http://127.0.0.1:1", flags: []string{"--secret-file", empty + "-not"}},
			"an empty file":      {portal: "http://127.0.0.1:1", flags: []string{"--secret-file", empty}},
			"an unknown setting": {portal: "http://127.0.0.1:1", flags: []string{"--portals"}},
			"no address":         {portal: "http://127.0.0.1:1", flags: []string{"--addr", "nowhere"}},
		} {
			out, err := p.cmd(t, test.portal, test.env, append([]string{"--addr", "127.0.0.1:0"}, test.flags...)...).CombinedOutput()
			if _, ended := err.(*exec.ExitError); !ended || len(out) == 0 {
				t.Errorf("%s: %v %q, want an end with a reason", name, err, out)
			}
			wantNoValues(t, string(out))
		}
	})
}
