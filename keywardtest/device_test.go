package keywardtest_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/keyward/keyward/keywardtest"
)

const sessionSecret = "Zm9yIHRoaXMgbG9naW4gYWxvbmU"

// waitingProgram is a program that waits for somebody to approve it.
type waitingProgram struct {
	h          *house
	deviceCode string
	userCode   string
}

func (h *house) program(name string, body map[string]any) waitingProgram {
	h.t.Helper()
	if body == nil {
		body = map[string]any{}
	}
	body["session_secret"] = sessionSecret
	begun := h.must(200, "POST", "/api/v1/auth/device/initiate", body, "User-Agent: "+name)
	if begun.text("verification_uri") != h.URL+"/device" || begun.get("expires_in") != 600.0 || begun.get("interval") != 5.0 || len(begun.JSON) != 5 {
		h.t.Errorf("it begins with %s", begun.Text)
	}
	if !regexp.MustCompile(`^[A-Z]{8}$`).MatchString(begun.text("user_code")) {
		h.t.Errorf("the code is %s", begun.text("user_code"))
	}
	return waitingProgram{h, begun.text("device_code"), begun.text("user_code")}
}

// poll asks with the program's own secret, and returns the key if it is told it.
func (p waitingProgram) poll(status string) (key string) {
	p.h.t.Helper()
	got := p.h.must(200, "GET", "/api/v1/auth/device/poll?device_code="+p.deviceCode, nil, "X-Session-Secret: "+sessionSecret)
	if got.text("status") != status || (got.text("api_key") != "") != (status == "completed") {
		p.h.t.Errorf("a poll is told %s, want %s", got.text("status"), status)
	}
	return got.text("api_key")
}

func (b *browser) types(code string, headers ...string) page {
	b.t.Helper()
	return b.do("POST", "/device", url.Values{"code": {code}}, headers...)
}

func (b *browser) answers(code, answer string, headers ...string) page {
	b.t.Helper()
	return b.do("POST", "/device/answer", url.Values{"code": {code}, "answer": {answer}}, headers...)
}

// listed returns a key as its organization's list shows it.
func (h *house) listed(p person, name string) (key map[string]any) {
	h.t.Helper()
	all, _ := h.must(200, "GET", "/v1/keys?limit=100", nil, p.bearer()).get("data").([]any)
	for _, one := range all {
		if k := one.(map[string]any); strings.HasPrefix(k["name"].(string), name) {
			key = k
		}
	}
	return key
}

func TestAProgramIsGivenAKeyByWhoTypesItsCode(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person(h.SetupCode(t))
		b := newBrowser(t, h.URL)
		if got := b.get("/device"); got.status != 303 || got.location() != "/login?next=%2Fdevice" {
			t.Errorf("a stranger: %d %s", got.status, got.location())
		}
		if got := b.signIn(p, "/device"); got.location() != "/device" {
			t.Fatalf("signing in leads to %s", got.location())
		}
		w := h.program(`evil/1.0 <script>"x"</script>`, map[string]any{"extra": 1})
		w.poll("pending")
		got := b.types(" " + strings.ToLower(w.userCode[:4]) + "-" + w.userCode[4:])
		for _, text := range []string{"evil/1.0 &lt;script&gt;", "127.0.0.1", "the same as your browser", w.userCode[:4] + "-" + w.userCode[4:], "all that there are", "keys:write", "30 days", "Approve", "Deny", p.email} {
			if got.status != 200 || !got.has(text) {
				t.Errorf("%d, without %s: %s", got.status, text, got.text)
			}
		}
		if got.has("<script>") || strings.Count(got.text, "<script") != 0 {
			t.Errorf("what the program calls itself is a part of the page: %s", got.text)
		}
		w.poll("pending")
		if h.listed(p, "device login") != nil {
			t.Error("there is a key before it was approved")
		}
		for range 2 { // as with a second click
			if got := b.answers(w.userCode, "approve"); got.status != 200 || !got.has("<h1>Approved</h1>") {
				t.Errorf("approving: %d %s", got.status, got.text)
			}
		}
		if h.listed(p, "device login") != nil {
			t.Error("there is a key before the program has come for it")
		}
		key := w.poll("completed")
		w.poll("pending")
		if !strings.HasPrefix(key, "ra_temp_") {
			t.Fatalf("the key begins with %.8s", key)
		}
		k := h.listed(p, "device login")
		scopes, _ := k["scopes"].([]any)
		from, _ := json.Marshal(k["metadata"])
		ends, err := time.Parse(time.RFC3339, fmt.Sprint(k["expires_at"]))
		if k["type"] != "temporary" || len(scopes) != 10 || err != nil || time.Until(ends).Round(time.Hour) != 30*24*time.Hour || !strings.Contains(string(from), "127.0.0.1") {
			t.Errorf("the key: %v", k)
		}
		valid := h.must(200, "POST", "/api/v1/tokens/validate?token="+key, map[string]any{})
		if valid.get("data.valid") != true || valid.text("data.user_email") != p.email {
			t.Errorf("with the key: %s", valid.Text)
		}
		audit := h.must(200, "GET", "/v1/audit", nil, p.bearer()).Text
		for _, text := range []string{`"device.approve"`, `"device_login"`, `"program_address":"127.0.0.1"`} {
			if !strings.Contains(audit, text) {
				t.Errorf("the audit log has no %s: %s", text, audit)
			}
		}
	})
}

func TestAProgramOfFewScopesGetsThemAlone(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	h.speaker(p, "a")
	w := h.program("few/1.0", map[string]any{"scopes": []string{"run"}})
	b := newBrowser(t, h.URL).must(p)
	if got := b.types(w.userCode); !got.has("agents:run") || got.has("agents:read") || got.has("all that there are") {
		t.Errorf("what is to be approved: %s", got.text)
	}
	b.answers(w.userCode, "approve")
	key := w.poll("completed")
	h.refused(403, "INSUFFICIENT_SCOPE", "GET", "/v1/agents", nil, "Authorization: Bearer "+key)

	// The older Go SDK goes on with it.
	c := sdk(h, "a", "main", key)
	if err := c.Initialize(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Run(t.Context(), map[string]any{"say": `{"output":"done"}`}); err != nil || got != "done" {
		t.Errorf("it ran and got %v, %v", got, err)
	}
}

func TestAKeyIsToldOnceByAllServersTogether(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		servers := []*house{h}
		if o.RootKey != "" {
			servers = append(servers, newHouse(t, o))
		}
		p := h.person("")
		b := newBrowser(t, h.URL).must(p)
		for range 5 {
			w := h.program("one/1.0", nil)
			b.answers(w.userCode, "approve")
			var mu sync.Mutex
			var keys []string
			var wg sync.WaitGroup
			for i := range 6 {
				at := servers[i%len(servers)]
				wg.Go(func() {
					got := at.send("GET", "/api/v1/auth/device/poll?device_code="+w.deviceCode, nil, "X-Session-Secret: "+sessionSecret)
					mu.Lock()
					defer mu.Unlock()
					if key := got.text("api_key"); key != "" && got.text("status") == "completed" {
						keys = append(keys, key)
					} else if got.text("status") != "pending" {
						t.Errorf("%d %s", got.Status, got.Text)
					}
				})
			}
			wg.Wait()
			if len(keys) != 1 {
				t.Fatalf("%d polls were told a key", len(keys))
			}
			h.must(200, "GET", "/v1/agents", nil, "Authorization: Bearer "+keys[0])
		}
		if all, _ := h.must(200, "GET", "/v1/keys?limit=100", nil, p.bearer()).get("data").([]any); len(all) != 1+5 {
			t.Errorf("there are %d keys", len(all))
		}
	})
}

func TestNoKeyComesOfACodeThatIsDeniedOrOfSomebodyElse(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p, gone := h.person(""), h.person("")
	b := newBrowser(t, h.URL).must(p)
	w := h.program("denied/1.0", nil)
	if got := b.answers(w.userCode, "deny"); got.status != 200 || !got.has("<h1>Denied</h1>") {
		t.Errorf("denying: %d %s", got.status, got.text)
	}
	w.poll("access_denied")
	if got := b.answers(w.userCode, "approve"); got.status != 404 || !got.has("No program waits with this code") {
		t.Errorf("approving after that: %d %s", got.status, got.text)
	}

	w = h.program("orphan/1.0", nil)
	newBrowser(t, h.URL).must(gone).answers(w.userCode, "approve")
	h.must(204, "DELETE", "/auth/me", map[string]any{"password": gone.password}, gone.bearer())
	w.poll("access_denied")

	for name, headers := range map[string][]string{"another secret": {"X-Session-Secret: " + sessionSecret + "x"}, "the right one": {"X-Session-Secret: " + sessionSecret}} {
		code := h.program("other/1.0", nil).deviceCode
		if name == "the right one" {
			code += "x"
		}
		if got := h.must(200, "GET", "/api/v1/auth/device/poll?device_code="+code, nil, headers...); got.Text != `{"status":"expired"}` {
			t.Errorf("with %s: %s", name, got.Text)
		}
	}
	h.refused(400, "MISSING_REQUIRED_FIELD", "GET", "/api/v1/auth/device/poll?device_code=x", nil)
	h.refused(400, "MISSING_REQUIRED_FIELD", "GET", "/api/v1/auth/device/poll", nil, "X-Session-Secret: "+sessionSecret)
	h.refused(400, "MISSING_REQUIRED_FIELD", "POST", "/api/v1/auth/device/initiate", map[string]any{})
	h.refused(400, "INVALID_REQUEST", "POST", "/api/v1/auth/device/initiate", map[string]any{"session_secret": "short"})
	h.refused(400, "INVALID_REQUEST", "POST", "/api/v1/auth/device/initiate", map[string]any{"session_secret": sessionSecret, "scopes": []string{"everything"}})
}

func TestWhoPollsWithoutAPauseWaits(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	w := h.program("hasty/1.0", nil)
	var last answer
	for range 8 {
		last = h.send("GET", "/api/v1/auth/device/poll?device_code="+w.deviceCode, nil, "X-Session-Secret: "+sessionSecret)
	}
	if last.Status != 429 || last.code() != "RATE_LIMITED" || last.Header.Get("Retry-After") == "" || last.get("success") != false {
		t.Errorf("%d %s", last.Status, last.Text)
	}
}

func TestACodeIsTypedByHandAndNoOtherSiteAnswersIt(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	b := newBrowser(t, h.URL).must(p)
	w := h.program("page/1.0", nil)
	for _, query := range []string{"?code=" + w.userCode, "?user_code=" + w.userCode, "?code=" + w.userCode + "&answer=approve"} {
		if got := b.get("/device" + query); got.status != 200 || got.has(w.userCode) || got.has(w.userCode[:4]+"-") || got.has("page/1.0") {
			t.Errorf("a link fills the form in: %s", got.text)
		}
		if got := b.do("POST", "/device"+query, url.Values{}); got.status != 404 || got.has("page/1.0") {
			t.Errorf("a link finds the program: %d %s", got.status, got.text)
		}
	}
	for _, path := range []string{"/device/answer", "/device/answer?code=" + w.userCode + "&answer=approve"} {
		if got := b.get(path); got.status != 405 {
			t.Errorf("GET %s: %d", path, got.status)
		}
	}
	for name, headers := range map[string][]string{
		"another site":   {"Sec-Fetch-Site: cross-site"},
		"a neighbour":    {"Sec-Fetch-Site: same-site"},
		"an old browser": {"Sec-Fetch-Site: ", "Origin: https://evil.example"},
	} {
		if got := b.types(w.userCode, headers...); got.status != 403 || !got.has("CROSS_ORIGIN_REQUEST") || got.has("page/1.0") {
			t.Errorf("typed by %s: %d", name, got.status)
		}
		if got := b.answers(w.userCode, "approve", headers...); got.status != 403 || !got.has("CROSS_ORIGIN_REQUEST") {
			t.Errorf("approved by %s: %d", name, got.status)
		}
	}
	stranger := newBrowser(t, h.URL)
	for _, got := range []page{stranger.types(w.userCode), stranger.answers(w.userCode, "approve"), stranger.answers(w.userCode, "approve", p.bearer(), "X-API-Key: "+p.key)} {
		if got.status != 303 || got.location() != "/login?next=%2Fdevice" || got.has("page/1.0") {
			t.Errorf("a stranger: %d %s", got.status, got.text)
		}
	}
	if got := b.answers(w.userCode, "perhaps"); got.status != 400 {
		t.Errorf("another answer: %d", got.status)
	}
	if got := b.do("POST", "/device", url.Values{"code": {strings.Repeat("x", 20<<10)}}); got.status != 413 {
		t.Errorf("a large form: %d", got.status)
	}
	got := b.get("/device").header
	if got.Get("Cache-Control") != "no-store" || got.Get("X-Frame-Options") != "DENY" || !strings.Contains(got.Get("Content-Security-Policy"), "form-action 'self'") {
		t.Errorf("%v", got)
	}
	for _, host := range []string{"10.0.0.5:8080", "keyward.lan"} {
		if got := b.get("/device", "Host: "+host); got.status != 403 || !got.has("HTTPS_REQUIRED") {
			t.Errorf("%s: %d", host, got.status)
		}
	}
	w.poll("pending")
}

func TestWhoTypesWrongCodesWaits(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	b := newBrowser(t, h.URL).must(h.person(""))
	w := h.program("guessed/1.0", nil)
	for i := range 5 {
		if got := b.types(fmt.Sprintf("BCDFGHJ%c", "KMNPQ"[i])); got.status != 404 || !got.has("No program waits with this code") || !got.has(`name="code"`) {
			t.Errorf("try %d: %d %s", i+1, got.status, got.text)
		}
	}
	for name, got := range map[string]page{"the right one": b.types(w.userCode), "approving it": b.answers(w.userCode, "approve")} {
		if got.status != 429 || got.header.Get("Retry-After") == "" || !got.has("Too many wrong codes") || got.has("guessed/1.0") {
			t.Errorf("%s after five: %d %s", name, got.status, got.text)
		}
	}
	w.poll("pending")
}

func TestADeviceLoginLeavesNoSecretBehind(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"log_level": "debug"}})
	b := newBrowser(t, h.URL).must(h.person(""))
	s := newSearch(t)
	s.addText("the session secret", []byte(sessionSecret))
	pages := ""
	for _, answer := range []string{"approve", "deny", ""} {
		w := h.program("quiet/1.0", nil)
		s.addDecoded("a device code", w.deviceCode, base64URL)
		s.addText("a user code", []byte(w.userCode))
		pages += b.types(w.userCode).text
		if answer != "" {
			pages += b.answers(w.userCode, answer).text
		}
		status := map[string]string{"approve": "completed", "deny": "access_denied", "": "pending"}[answer]
		if key := w.poll(status); key != "" {
			s.add("the key", key)
		}
		h.send("GET", "/api/v1/auth/device/poll?device_code="+w.deviceCode+"&x=%zz", nil, "X-Session-Secret: "+sessionSecret)
		h.send("GET", "/api/v1/auth/device/poll/?device_code="+w.deviceCode, nil)
	}
	s.in("the log", []byte(h.Log()))
	s.folder(h.Data)
	if strings.Contains(pages, sessionSecret) {
		t.Error("a page shows the session secret")
	}
	h.Stop(t)
	s.in("the log", []byte(h.Log()))
	s.folder(h.Data)
}

// Somebody's program shows a code; he signs in, types it, reads what he approves,
// and the program goes on.
func TestAProgramIsApprovedInARealBrowser(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	ctx := chromium(t)
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
			t.Fatalf("%s: %v\n%s", what, err, text)
		}
	}
	css := func(s string) chromedp.CSS { return chromedp.CSS(s) }
	text := func() string {
		t.Helper()
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	// On a telephone, where nothing may stick out.
	fits := func() {
		t.Helper()
		wide, err := chromedp.Run(ctx, chromedp.Evaluate[int]("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"))
		if err != nil || wide > 390 {
			t.Errorf("the page is %d wide: %v", wide, err)
		}
		if scripts, err := chromedp.Run(ctx, chromedp.Evaluate[int]("document.scripts.length")); err != nil || scripts != 0 {
			t.Errorf("the page has %d scripts: %v", scripts, err)
		}
	}
	w := h.program("long-"+strings.Repeat("x", 80)+"/1.0 <b id=evil>", nil)
	do("open the page", chromedp.EmulateViewport(390, 844), chromedp.Navigate(h.URL+"/device?code="+w.userCode), chromedp.WaitVisible(css(`input[name=password]`)))
	do("sign in", chromedp.SendKeys(css(`input[name=email]`), p.email), chromedp.SendKeys(css(`input[name=password]`), p.password),
		chromedp.Click(css(`form.card button`)), chromedp.WaitVisible(css(`input[name=code]`)))
	fits()
	if value, err := chromedp.Run(ctx, chromedp.Value(css(`input[name=code]`))); err != nil || value != "" {
		t.Errorf("the form is filled in with %q: %v", value, err)
	}
	do("type the code", chromedp.SendKeys(css(`input[name=code]`), strings.ToLower(w.userCode)), chromedp.Click(css(`form.card button`)), chromedp.WaitVisible(css(`.bigcode`)))
	fits()
	seen := text()
	for _, want := range []string{w.userCode[:4] + "-" + w.userCode[4:], "long-xxx", "127.0.0.1", "agents:run", p.email} {
		if !strings.Contains(seen, want) {
			t.Errorf("%s is not seen: %s", want, seen)
		}
	}
	if evil, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll("#evil").length`)); err != nil || evil != 0 {
		t.Errorf("what the program calls itself became a part of the page: %d, %v", evil, err)
	}
	do("approve", chromedp.Click(css(`button[value=approve]`)), chromedp.WaitVisible(css(`main a[href="/device"]`)))
	fits()
	if seen := text(); !strings.Contains(seen, "Approved") {
		t.Errorf("approved: %s", seen)
	}
	key := w.poll("completed")
	h.must(200, "GET", "/v1/agents", nil, "Authorization: Bearer "+key)

	w = h.program("no/1.0", nil)
	do("another", chromedp.Click(css(`main a[href="/device"]`)), chromedp.WaitVisible(css(`input[name=code]`)))
	do("type its code", chromedp.SendKeys(css(`input[name=code]`), w.userCode), chromedp.Click(css(`form.card button`)), chromedp.WaitVisible(css(`.bigcode`)))
	do("deny", chromedp.Click(css(`button[value=deny]`)), chromedp.WaitVisible(css(`main a[href="/device"]`)))
	if seen := text(); !strings.Contains(seen, "Denied") {
		t.Errorf("denied: %s", seen)
	}
	w.poll("access_denied")
	if slices.Contains(strings.Fields(text()), w.userCode) {
		t.Error("the page still shows the code")
	}
}
