package portal_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/examples/portal"
)

var (
	jane = portal.Account{User: "jane", Password: "correct horse battery staple", TOTP: "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}
	omar = portal.Account{User: "omar", Password: "another long password", TOTP: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"}
)

// visit is one browser on a portal of its own, whose clock stands still.
type visit struct {
	t      *testing.T
	portal *portal.Portal
	url    string
	client *http.Client
	clock  *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) Advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

func newVisit(t *testing.T) *visit {
	p, err := portal.New(jane, omar)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	p.Now = c.Now
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	v := &visit{t: t, portal: p, url: server.URL, clock: c}
	v.client = v.browser()
	return v
}

// browser keeps cookies and shows redirects instead of following them.
func (v *visit) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (v *visit) do(r *http.Request, err error) answer {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func (v *visit) get(path string) answer {
	v.t.Helper()
	return v.do(http.NewRequest("GET", v.url+path, nil))
}

func (v *visit) post(path string, form url.Values, header ...string) answer {
	v.t.Helper()
	r, err := http.NewRequest("POST", v.url+path, strings.NewReader(form.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
	}
	return v.do(r, err)
}

var formToken = regexp.MustCompile(`name="form_token" value="([A-Z0-9]+)"`)

func (v *visit) form(a portal.Account, code string) url.Values {
	v.t.Helper()
	found := formToken.FindStringSubmatch(v.get("/login").body)
	if found == nil {
		v.t.Fatal("the sign-in form has no token")
	}
	return url.Values{"form_token": {found[1]}, "username": {a.User}, "password": {a.Password}, "code": {code}}
}

func (v *visit) code(a portal.Account, drift time.Duration) string {
	v.t.Helper()
	code, err := portal.Code(a.TOTP, v.clock.Now().Add(drift))
	if err != nil {
		v.t.Fatal(err)
	}
	return code
}

func (v *visit) signIn(a portal.Account) answer {
	v.t.Helper()
	return v.post("/login", v.form(a, v.code(a, 0)))
}

func wantStatus(t *testing.T, what string, got answer, status int) {
	t.Helper()
	if got.status != status {
		t.Errorf("%s: status %d, want %d", what, got.status, status)
	}
}

func TestSignInOpensTheInvoices(t *testing.T) {
	v := newVisit(t)
	if got := v.get("/invoices"); got.status != http.StatusSeeOther || got.header.Get("Location") != "/login" {
		t.Errorf("invoices before signing in: %d to %q, want 303 to /login", got.status, got.header.Get("Location"))
	}
	wantStatus(t, "invoices.json before signing in", v.get("/invoices.json"), http.StatusUnauthorized)

	if got := v.signIn(jane); got.status != http.StatusSeeOther || got.header.Get("Location") != "/invoices" {
		t.Fatalf("sign-in: %d to %q, want 303 to /invoices", got.status, got.header.Get("Location"))
	}
	var list struct{ Invoices []portal.Invoice }
	if err := json.Unmarshal([]byte(v.get("/invoices.json").body), &list); err != nil || len(list.Invoices) == 0 {
		t.Fatalf("invoices.json has %d invoices, %v", len(list.Invoices), err)
	}
	page := v.get("/invoices").body
	for _, in := range list.Invoices {
		if !strings.Contains(page, in.Number) {
			t.Errorf("the page does not show %s", in.Number)
		}
		file := v.get("/invoices/" + in.Number + ".txt")
		wantStatus(t, in.Number, file, http.StatusOK)
		if !strings.HasPrefix(file.header.Get("Content-Disposition"), "attachment") || !strings.Contains(file.body, in.Total) {
			t.Errorf("%s is no file with its total", in.Number)
		}
	}
}

func TestWrongCredentialsAreRefusedAlike(t *testing.T) {
	v := newVisit(t)
	wrong := map[string]portal.Account{
		"user":     {User: "nobody", Password: jane.Password},
		"password": {User: jane.User, Password: "wrong"},
		"empty":    {},
		"other's":  {User: jane.User, Password: omar.Password},
	}
	bodies := make(map[string]bool)
	refused := func(what string, got answer) {
		t.Helper()
		wantStatus(t, what, got, http.StatusUnauthorized)
		bodies[got.body] = true
	}
	for what, a := range wrong {
		refused("wrong "+what, v.post("/login", v.form(a, v.code(jane, 0))))
	}
	for _, code := range []string{"", "000000", "12345", v.code(jane, -time.Hour), v.code(omar, 0)} {
		refused("wrong code", v.post("/login", v.form(jane, code)))
	}
	if len(bodies) != 1 {
		t.Errorf("the refusals have %d texts, want one", len(bodies))
	}
	if got := v.signIn(jane); got.status != http.StatusSeeOther {
		t.Errorf("a right sign-in after the wrong ones: %d, want 303", got.status)
	}
}

func TestACodeIsGoodOneStepAroundAndOnce(t *testing.T) {
	for drift, status := range map[time.Duration]int{
		-60 * time.Second: http.StatusUnauthorized,
		-30 * time.Second: http.StatusSeeOther,
		0:                 http.StatusSeeOther,
		30 * time.Second:  http.StatusSeeOther,
		60 * time.Second:  http.StatusUnauthorized,
	} {
		v := newVisit(t)
		code := v.code(jane, drift)
		wantStatus(t, "code "+drift.String(), v.post("/login", v.form(jane, code)), status)
		v.client = v.browser()
		wantStatus(t, "the same code again", v.post("/login", v.form(jane, code)), http.StatusUnauthorized)
	}
}

func TestAnOlderCodeIsRefusedAfterANewerOne(t *testing.T) {
	v := newVisit(t)
	wantStatus(t, "next step's code", v.post("/login", v.form(jane, v.code(jane, 30*time.Second))), http.StatusSeeOther)
	v.client = v.browser()
	wantStatus(t, "this step's code", v.signIn(jane), http.StatusUnauthorized)
	v.clock.Advance(time.Minute)
	wantStatus(t, "a newer code", v.signIn(jane), http.StatusSeeOther)
}

func TestACodeOpensOneSessionHoweverManyUseItAtOnce(t *testing.T) {
	v := newVisit(t)
	form, code := v.form(jane, v.code(jane, 0)), make(chan int)
	for range 20 {
		go func() {
			r, _ := http.NewRequest("POST", v.url+"/login", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.AddCookie(&http.Cookie{Name: "portal_form", Value: form.Get("form_token")})
			resp, err := v.browser().Do(r)
			if err != nil {
				code <- 0
				return
			}
			resp.Body.Close()
			code <- resp.StatusCode
		}()
	}
	var got []int
	for range 20 {
		got = append(got, <-code)
	}
	slices.Sort(got)
	if got[0] != http.StatusSeeOther || got[1] != http.StatusUnauthorized || got[19] != http.StatusUnauthorized {
		t.Errorf("statuses %v, want one 303 and 401 for the others", got)
	}
}

func TestAFormFromElsewhereIsRefused(t *testing.T) {
	v := newVisit(t)
	good := v.form(jane, v.code(jane, 0))

	for _, token := range []string{"", "GUESSED"} {
		form := url.Values{"form_token": {token}, "username": {jane.User}, "password": {jane.Password}, "code": {good.Get("code")}}
		wantStatus(t, "form token "+token, v.post("/login", form), http.StatusForbidden)
	}
	wantStatus(t, "another origin's form", v.post("/login", good, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	wantStatus(t, "another origin's form in an old browser", v.post("/login", good, "Origin", "https://elsewhere.example"), http.StatusForbidden)

	mine := v.client
	v.client = v.browser()
	wantStatus(t, "form without its cookie", v.post("/login", good), http.StatusForbidden)
	wantStatus(t, "empty form without a cookie", v.post("/login", nil), http.StatusForbidden)
	wantStatus(t, "empty form with an empty cookie", v.post("/login", nil, "Cookie", "portal_form="), http.StatusForbidden)
	v.client = mine

	wantStatus(t, "the form itself", v.post("/login", good), http.StatusSeeOther)
	wantStatus(t, "another origin's sign-out", v.post("/logout", nil, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	wantStatus(t, "invoices after it", v.get("/invoices.json"), http.StatusOK)
}

func TestSignOutEndsTheSessionOnTheServer(t *testing.T) {
	v := newVisit(t)
	v.signIn(jane)
	address, _ := url.Parse(v.url)
	kept := v.client.Jar.Cookies(address)

	if got := v.post("/logout", nil); got.status != http.StatusSeeOther {
		t.Fatalf("sign-out: %d, want 303", got.status)
	}
	v.client.Jar.SetCookies(address, kept)
	wantStatus(t, "a kept cookie after signing out", v.get("/invoices.json"), http.StatusUnauthorized)
}

func TestASessionExpires(t *testing.T) {
	v := newVisit(t)
	v.signIn(jane)
	v.clock.Advance(v.portal.SessionLifetime - time.Second)
	wantStatus(t, "just before", v.get("/invoices.json"), http.StatusOK)
	v.clock.Advance(time.Second)
	wantStatus(t, "at its end", v.get("/invoices.json"), http.StatusUnauthorized)
}

func TestTheCookieIsForThisSiteAlone(t *testing.T) {
	v := newVisit(t)
	for _, line := range v.signIn(jane).header["Set-Cookie"] {
		cookie, err := http.ParseSetCookie(line)
		if err != nil || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" {
			t.Errorf("cookie %q is open to scripts or to other sites", cookie.Name)
		}
		if cookie.Name == "portal_session" && len(cookie.Value) < 26 {
			t.Errorf("the session is %d characters, which can be guessed", len(cookie.Value))
		}
	}
}

func TestInvoicesAreTheUsersOwn(t *testing.T) {
	v := newVisit(t)
	v.signIn(jane)
	janes := v.get("/invoices.json").body
	number := regexp.MustCompile(`HS-\d+-\d+`).FindString(janes)

	v.client = v.browser()
	v.signIn(omar)
	wantStatus(t, "another user's invoice", v.get("/invoices/"+number+".txt"), http.StatusNotFound)
	if v.get("/invoices.json").body == janes {
		t.Error("two users have the same invoices")
	}
}

func TestThePasswordFormIsCounted(t *testing.T) {
	v := newVisit(t)
	v.post("/login", v.form(portal.Account{User: "nobody"}, ""))
	v.signIn(jane)
	v.get("/invoices")
	v.get("/invoices.json")
	if got := v.portal.PasswordSubmissions(); got != 2 {
		t.Errorf("%d submissions, want 2", got)
	}
}

func TestPagesHaveNoScriptAndShowNoInput(t *testing.T) {
	v := newVisit(t)
	hostile := portal.Account{User: `"><b>me</b>`, Password: "hunter2-hunter2"}
	for what, got := range map[string]answer{
		"form":    v.get("/login?signed-out"),
		"refused": v.post("/login", v.form(hostile, "123456")),
		"unknown": v.get("/nowhere"),
	} {
		if strings.Contains(got.body, "<script") || strings.Contains(got.body, "hunter2") || strings.Contains(got.body, "me</b>") {
			t.Errorf("page %q has a script or repeats what was sent", what)
		}
		if !strings.HasPrefix(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("page %q has no content security policy", what)
		}
	}
	if got := v.get("/portal.css"); !strings.HasPrefix(got.header.Get("Content-Type"), "text/css") {
		t.Errorf("the stylesheet is %q", got.header.Get("Content-Type"))
	}
}

func TestBadAccountsAreRefusedWithoutTheirValues(t *testing.T) {
	for what, accounts := range map[string][]portal.Account{
		"no user":        {{Password: "swordfish", TOTP: jane.TOTP}},
		"no password":    {{User: "swordfish", TOTP: jane.TOTP}},
		"no secret":      {{User: "a", Password: "swordfish"}},
		"bad secret":     {{User: "a", Password: "swordfish", TOTP: "swordfish!"}},
		"the same twice": {jane, jane},
	} {
		_, err := portal.New(accounts...)
		if err == nil {
			t.Errorf("%s: accepted", what)
		} else if strings.Contains(err.Error(), "swordfish") || strings.Contains(err.Error(), jane.TOTP) {
			t.Errorf("%s: the error tells the value", what)
		}
	}
}

// The secret and the last six of the eight digits are those of RFC 6238,
// appendix B, SHA-1.
func TestCodesAreThoseOfTheRFC(t *testing.T) {
	for at, want := range map[int64]string{
		59:          "287082",
		1111111109:  "081804",
		1111111111:  "050471",
		1234567890:  "005924",
		2000000000:  "279037",
		20000000000: "353130",
	} {
		for _, secret := range []string{jane.TOTP, strings.ToLower(jane.TOTP), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"} {
			if got, err := portal.Code(secret, time.Unix(at, 0)); got != want {
				t.Errorf("code at %d: %s, want %s (%v)", at, got, want, err)
			}
		}
	}
}
