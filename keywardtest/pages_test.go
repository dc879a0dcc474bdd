package keywardtest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

// browser is somebody who looks at pages: he keeps cookies, and is told of
// redirects.
type browser struct {
	t      *testing.T
	url    string
	client *http.Client
}

// page is what a browser got.
type page struct {
	status int
	header http.Header
	text   string
}

func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, url, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) do(method, path string, form url.Values, headers ...string) page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	got, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer got.Body.Close()
	all, err := io.ReadAll(got.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{got.StatusCode, got.Header, string(all)}
}

func (b *browser) get(path string, headers ...string) page {
	b.t.Helper()
	return b.do("GET", path, nil, headers...)
}

func (b *browser) signIn(p person, next string, headers ...string) page {
	b.t.Helper()
	return b.do("POST", "/login", url.Values{"email": {p.email}, "password": {p.password}, "next": {next}}, headers...)
}

// must signs in somebody who can.
func (b *browser) must(p person) *browser {
	b.t.Helper()
	if got := b.signIn(p, ""); got.status != 303 {
		b.t.Fatalf("sign in: %d %s", got.status, got.text)
	}
	return b
}

// cookie returns what stands in the browser for the server.
func (b *browser) cookie() *http.Cookie {
	b.t.Helper()
	u, _ := url.Parse(b.url)
	if all := b.client.Jar.Cookies(u); len(all) == 1 {
		return all[0]
	}
	return nil
}

func (b *browser) signedIn() bool { return b.get("/login").has("You are signed in") }

func (p page) has(text string) bool { return strings.Contains(p.text, text) }
func (p page) location() string     { return p.header.Get("Location") }

// started starts a run and returns the path of its page.
func (h *house) started(p person, agent string) string {
	h.t.Helper()
	run := h.must(200, "POST", "/run_agent", map[string]any{"agent_id": agent, "api_key": p.key})
	at, found := strings.CutPrefix(run.text("agent_run_url"), h.URL)
	if !found {
		h.t.Fatalf("its page is %s", run.Text)
	}
	return at
}

// ended waits for the end of the run at a page.
func (h *house) ended(p person, at string) answer {
	h.t.Helper()
	var run answer
	eventually(h.t, "the end of "+at, func() bool {
		run = h.must(200, "GET", "/v1"+at, nil, p.withKey())
		return run.text("ended_at") != ""
	})
	return run
}

// commands is a config file with agents that are shell commands.
func commands(lines map[string]string) string {
	file := "agents:\n"
	for id, line := range lines {
		file += fmt.Sprintf("  - id: %s\n    name: 'The <b>agent</b> %s'\n    runner: {type: command, command: [/bin/sh, -c, %q]}\n", id, id, line)
	}
	return file
}

func TestARunsPageIsForItsOrganizationAlone(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.File = commands(map[string]string{"a": `read -r in; echo one line >&2; printf '{"output":{"pages":[1,2]}}\n'`})
		h := newHouse(t, o)
		owner, other := h.person(h.SetupCode(t)), h.person("")
		at := h.started(owner, "a")
		h.ended(owner, at)

		b := newBrowser(t, h.URL)
		if got := b.get(at); got.status != 303 || got.location() != "/login?next="+url.QueryEscape(at) || got.has("one line") {
			t.Errorf("to a stranger: %d %s", got.status, got.location())
		}
		if got := b.get(at, owner.withKey(), "X-API-Key: "+owner.key); got.status != 303 {
			t.Errorf("with a key: %d", got.status)
		}
		if got := b.get(at+"/events", owner.bearer()); got.status != 401 || got.has("one line") {
			t.Errorf("its events with an access token: %d", got.status)
		}
		if got := b.get("/login?next=" + url.QueryEscape(at)); got.status != 200 || !got.has(`name="next" value="`+at+`"`) {
			t.Errorf("the form: %d %s", got.status, got.text)
		}
		if got := b.signIn(owner, at); got.status != 303 || got.location() != at {
			t.Fatalf("signing in: %d %s", got.status, got.text)
		}
		got := b.get(at)
		for _, text := range []string{"one line", "succeeded", owner.email, "The &lt;b&gt;agent&lt;/b&gt; a", "Took", "{\n  &#34;pages&#34;: [\n    1,\n"} {
			if got.status != 200 || !got.has(text) {
				t.Errorf("%d, without %s: %s", got.status, text, got.text)
			}
		}
		if got := b.get("/login?next=" + url.QueryEscape(at)); got.status != 303 || got.location() != at {
			t.Errorf("to one who is signed in already: %d %s", got.status, got.location())
		}
		if got := b.get(at + "/events"); got.status != 200 || !got.has(`"text":"one line"`) || !got.has(`"kind":"done"`) {
			t.Errorf("its events: %d %s", got.status, got.text)
		}
		if got := b.get(at+"/events?after=1", "Last-Event-ID: 2"); !got.has("id: 3\n") || got.has("id: 2\n") || got.has("one line") {
			t.Errorf("its events from the third on: %s", got.text)
		}

		// To a member of another organization it is as if there were none.
		s := newBrowser(t, h.URL).must(other)
		unknown := "/runs/01890000-0000-7000-8000-000000000000"
		for _, tail := range []string{"", "/events"} {
			theirs, none := s.get(at+tail, "X-Request-Id: r"), s.get(unknown+tail, "X-Request-Id: r")
			if theirs.status != 404 || theirs.text != none.text || !theirs.has("RUN_NOT_FOUND") || theirs.status != none.status {
				t.Errorf("%s: %d %s, an unknown one %d %s", tail, theirs.status, theirs.text, none.status, none.text)
			}
		}
	})
}

func TestWhatAnAgentSaysIsTextOnItsPage(t *testing.T) {
	const attack = `</pre><script src=//evil.example></script><img src=x onerror=alert(1)>`
	h := newHouse(t, keywardtest.Options{File: commands(map[string]string{
		"good": `read -r in; echo '` + attack + `' >&2; echo '{"chunk":"` + attack + `"}'; printf '{"output":{"` + attack + `":"` + attack + `"}}\n'`,
		"bad":  `read -r in; printf '{"error":"` + attack + `"}\n'`,
	})})
	p := h.person(h.SetupCode(t))
	b := newBrowser(t, h.URL).must(p)
	for _, id := range []string{"good", "bad"} {
		at := h.started(p, id)
		h.ended(p, at)
		got := b.get(at)
		if !got.has("onerror=alert(1)") || got.has("<img") || got.has("<script src=//") || got.has("<b>") || strings.Count(got.text, "<script") != 1 {
			t.Errorf("%s: %s", id, got.text)
		}
		if events := b.get(at + "/events"); !strings.HasPrefix(events.header.Get("Content-Type"), "text/event-stream") || events.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: its events are %v", id, events.header)
		}
	}
	if got := b.do("POST", "/login", url.Values{"email": {`"><img src=x>`}, "next": {`"><img src=x>`}}); got.status != 401 || got.has("<img") {
		t.Errorf("the form: %d %s", got.status, got.text)
	}
}

func TestPagesAreFramedAndKeptByNobody(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	b := newBrowser(t, h.URL).must(h.person(""))
	for _, path := range []string{"/", "/login", "/runs/x"} {
		got := b.get(path).header
		csp := got.Get("Content-Security-Policy")
		for _, rule := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "script-src 'self'"} {
			if !strings.Contains(csp, rule) || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: %s", path, csp)
			}
		}
		if got.Get("Cache-Control") != "no-store" || got.Get("X-Frame-Options") != "DENY" || got.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, got)
		}
	}
	if made := b.cookie(); made == nil || !strings.HasPrefix(made.Name, "keyward_") {
		t.Errorf("the cookie on loopback: %v", made)
	}
	set := newBrowser(t, h.URL).signIn(h.person(""), "").header.Get("Set-Cookie")
	if !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Lax") || strings.Contains(set, "Domain") {
		t.Errorf("the cookie on loopback: %s", set[strings.Index(set, ";"):])
	}
}

func TestNoOtherSiteSignsSomebodyInOrOut(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	for name, headers := range map[string][]string{
		"another site":        {"Sec-Fetch-Site: cross-site"},
		"a neighbour":         {"Sec-Fetch-Site: same-site"},
		"an old browser":      {"Sec-Fetch-Site: ", "Origin: https://evil.example"},
		"a sandboxed frame":   {"Sec-Fetch-Site: ", "Origin: null"},
		"another port of his": {"Sec-Fetch-Site: ", "Origin: http://127.0.0.1:1"},
	} {
		b := newBrowser(t, h.URL)
		if got := b.signIn(p, "", headers...); got.status != 403 || !got.has("CROSS_ORIGIN_REQUEST") || b.cookie() != nil {
			t.Errorf("signed in by %s: %d", name, got.status)
		}
		b.must(p)
		if got := b.do("POST", "/logout", url.Values{}, headers...); got.status != 403 || !b.signedIn() {
			t.Errorf("signed out by %s: %d", name, got.status)
		}
	}
	b := newBrowser(t, h.URL).must(p)
	for _, path := range []string{"/login", "/logout"} {
		if got := b.get(path); path == "/logout" && got.status != 405 || !b.signedIn() {
			t.Errorf("GET %s: %d", path, got.status)
		}
	}
}

func TestACookieIsNobodysBeforeItIsMade(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p, eve := h.person(""), h.person("")
	u, _ := url.Parse(h.URL)
	e := newBrowser(t, h.URL).must(eve)
	planted := e.cookie()

	// What somebody else knows is not what one is signed in with.
	b := newBrowser(t, h.URL)
	b.client.Jar.SetCookies(u, []*http.Cookie{planted})
	b.must(p)
	if got := b.cookie(); got.Value == planted.Value || !b.get("/login").has(p.email) {
		t.Error("the planted cookie was kept")
	}
	if e.signedIn() {
		t.Error("who planted it is still signed in with it")
	}
	// Two of one name are nobody's.
	first := b.cookie()
	got := b.get("/login", "Cookie: "+first.Name+"="+planted.Value)
	if got.has("You are signed in") {
		t.Error("two cookies are taken for one")
	}
	// Signing in once more makes another one and ends the one before.
	b.must(p)
	if again := b.cookie(); again.Value == first.Value {
		t.Error("the cookie is the same")
	}
	c := newBrowser(t, h.URL)
	c.client.Jar.SetCookies(u, []*http.Cookie{first})
	if c.signedIn() || !b.signedIn() {
		t.Error("the cookie before is still good, or the one after is not")
	}
}

func TestACookieIsNoTokenAndATokenNoCookie(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	b := newBrowser(t, h.URL).must(p)
	c := b.cookie()
	h.refused(401, "INVALID_ACCESS_TOKEN", "GET", "/auth/me", nil, "Authorization: Bearer "+c.Value)
	h.refused(401, "INVALID_API_KEY", "GET", "/v1/runs", nil, "Authorization: Bearer "+c.Value)
	h.refused(401, "INVALID_REFRESH_TOKEN", "POST", "/auth/token/refresh", map[string]any{"refreshToken": c.Value})
	h.refused(401, "INVALID_API_KEY", "GET", "/v1/runs", nil, "Cookie: "+c.Name+"="+c.Value)
	u, _ := url.Parse(h.URL)
	for _, value := range []string{p.refresh, p.access, p.key, c.Value[:67] + "!", strings.ToUpper(c.Value), ""} {
		s := newBrowser(t, h.URL)
		s.client.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: value}})
		if s.signedIn() {
			t.Error("something else is a cookie")
		}
	}
	if !b.signedIn() {
		t.Error("the cookie is good for nothing any more")
	}
}

func TestPagesAnswerAtThePublicAddressAlone(t *testing.T) {
	h := keywardtest.Start(t, keywardtest.Options{Settings: map[string]string{"url": "https://keys.example.com"}})
	_, address, _ := strings.Cut(h.Said(), "listening on ")
	address = strings.TrimSpace(address)
	if status, _, text := get(t, address+"/login"); status != 421 || !strings.Contains(text, "MISDIRECTED_REQUEST") {
		t.Errorf("/login elsewhere: %d %s", status, text)
	}
	for _, path := range []string{"/healthz", "/", "/style.css", "/run.js", "/openapi.json"} {
		if status, _, _ := get(t, address+path); status != 200 {
			t.Errorf("%s elsewhere: %d", path, status)
		}
	}
	b := newBrowser(t, address)
	for _, host := range []string{"evil.example", "keys.example.com.evil.example", "keys.example.com:8443"} {
		for _, path := range []string{"/login", "/runs/x", "/runs/x/events"} {
			if got := b.get(path, "Host: "+host); got.status != 421 || !got.has("MISDIRECTED_REQUEST") {
				t.Errorf("%s at %s: %d", path, host, got.status)
			}
		}
	}
	const host = "Host: Keys.Example.com:443"
	if got := b.get("/login", host); got.status != 200 {
		t.Errorf("at its own: %d %s", got.status, got.text)
	}
	p := person{email: "jane@example.com", password: "correct horse"}
	made, err := http.Post(address+"/auth/register", "application/json", strings.NewReader(`{"name":"Jane","email":"jane@example.com","password":"correct horse"}`))
	if err != nil || made.StatusCode != 201 {
		t.Fatalf("register: %v", err)
	}
	got := b.signIn(p, "", host)
	set := got.header.Get("Set-Cookie")
	if got.status != 303 || !strings.HasPrefix(set, "__Host-keyward=") || !strings.HasSuffix(set, "; Path=/; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("the cookie by https: %d", got.status)
	}
	cookie, _, _ := strings.Cut(set, ";")
	if got := b.get("/login", host, "Cookie: "+cookie); !got.has("You are signed in") {
		t.Errorf("with it: %d %s", got.status, got.text)
	}
}

func TestAPasswordIsNotTypedIntoAPageInTheClear(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	b := newBrowser(t, h.URL)
	for _, host := range []string{"10.0.0.5:8080", "keyward.lan", "localhost.evil.example", "127.0.0.1.evil.example"} {
		if got := b.get("/login", "Host: "+host); got.status != 403 || !got.has("HTTPS_REQUIRED") || got.has("<form") {
			t.Errorf("%s: %d", host, got.status)
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:8080", "127.0.0.2", "[::1]:8080"} {
		if got := b.get("/login", "Host: "+host); got.status != 200 {
			t.Errorf("%s: %d", host, got.status)
		}
	}
}

func TestSigningInLeadsToPagesOfOursAlone(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	b := newBrowser(t, h.URL)
	for _, next := range []string{
		"https://evil.example/", "//evil.example", `/\evil.example`, "/runs//evil.example", "/runs/../..//evil.example", "javascript:alert(1)", "/runs/x\n", "/runs/x?y", "/runs/",
		"/runs/%2e%2e", "http:/runs/x", "/logout", " /runs/x", "/\t/evil.example", "/runs/x\x00", strings.Repeat("/runs/x", 100),
	} {
		if got := b.signIn(p, next); got.status != 303 || got.location() != "/login" {
			t.Errorf("%q leads to %q", next, got.location())
		}
		if got := b.get("/login?next=" + url.QueryEscape(next)); got.status == 303 {
			t.Errorf("%q leads to %q", next, got.location())
		}
	}
	if got := b.signIn(p, "/runs/01890000-0000-7000-8000-000000000000"); got.location() != "/runs/01890000-0000-7000-8000-000000000000" {
		t.Errorf("a run leads to %q", got.location())
	}
}

func TestWhoGuessesPasswordsAtThePageWaits(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.must(204, "POST", "/auth/logout", map[string]any{"refreshToken": p.refresh})
	wrong, b := p, newBrowser(t, h.URL)
	wrong.email, wrong.password = "nobody@example.com", "battery staple"
	for i := range 6 {
		got := b.signIn(wrong, "")
		if want := map[bool]int{true: 401, false: 429}[i < 5]; got.status != want || b.cookie() != nil {
			t.Fatalf("try %d: %d %s", i+1, got.status, got.text)
		}
		if i == 5 && (got.header.Get("Retry-After") == "" || !got.has("Too many tries")) {
			t.Errorf("%v %s", got.header, got.text)
		}
	}
	if got := b.do("POST", "/login", url.Values{"email": {strings.Repeat("x", 20<<10)}}); got.status != 413 {
		t.Errorf("a large form: %d", got.status)
	}
	if got := b.do("POST", "/login", url.Values{"email": {"\xff"}, "password": {"\x00"}}); got.status != 401 {
		t.Errorf("a form that no browser sends: %d", got.status)
	}
}

// What ends a sign-in ends its cookie when it answers, and who watches a run then
// sees no more of it.
func TestWhatEndsASignInEndsWhatItsBrowserSees(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		for name, end := range map[string]func(p person, b *browser){
			"signing out": func(_ person, b *browser) {
				if got := b.do("POST", "/logout", url.Values{}); got.status != 303 || got.location() != "/login" || b.cookie() != nil {
					t.Errorf("signing out: %d %s", got.status, got.location())
				}
			},
			"another password": func(p person, _ *browser) {
				h.must(204, "POST", "/auth/password", map[string]any{"currentPassword": p.password, "newPassword": "another one"}, p.bearer())
			},
			"no account": func(p person, _ *browser) {
				h.must(204, "DELETE", "/auth/me", map[string]any{"password": p.password}, p.bearer())
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := h.person("")
				b := newBrowser(t, h.URL).must(p)
				c := b.cookie()
				end(p, b)
				s := newBrowser(t, h.URL)
				u, _ := url.Parse(h.URL)
				s.client.Jar.SetCookies(u, []*http.Cookie{c})
				if s.signedIn() {
					t.Error("the cookie is still good")
				}
			})
		}
	})
}

// talker starts a server with an agent that says a line every 100 ms until stop
// is called, and a run of it that somebody watches.
func talker(t *testing.T) (h *house, b *browser, at string, lines *bufio.Scanner, stop func()) {
	t.Helper()
	dir := t.TempDir()
	h = newHouse(t, keywardtest.Options{File: commands(map[string]string{
		"talks": `read -r in; n=0; while [ ! -e ` + filepath.Join(dir, "stop") + ` ]; do n=$((n+1)); echo line $n >&2; sleep 0.1; done; printf '{"output":1}\n'`,
	})})
	p := h.person(h.SetupCode(t))
	b = newBrowser(t, h.URL).must(p)
	at = h.started(p, "talks")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", h.URL+at+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { got.Body.Close() })
	lines = bufio.NewScanner(got.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "line 3") {
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return h, b, at, lines, func() {
		if err := os.WriteFile(filepath.Join(dir, "stop"), nil, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// within says that a log that is open ends soon.
func within(t *testing.T, lines *bufio.Scanner) {
	t.Helper()
	for began := time.Now(); lines.Scan(); {
		if time.Since(began) > 5*time.Second {
			t.Fatal("the log goes on")
		}
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

func TestWhoSignsOutSeesNoMoreOfALogThatIsOpen(t *testing.T) {
	_, b, at, lines, stop := talker(t)
	defer stop()
	if page := b.get(at); !page.has("running") || !page.has("line 3") || !page.has("so far") {
		t.Errorf("the page meanwhile: %s", page.text)
	}
	b.do("POST", "/logout", url.Values{})
	within(t, lines)
}

func TestALogThatIsOpenHoldsNoServerUp(t *testing.T) {
	h, _, _, lines, stop := talker(t)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		h.Stop(t)
	}()
	within(t, lines) // while the run goes on
	stop()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("the server goes on")
	}
}
