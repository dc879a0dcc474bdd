package dashboard

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/seal"
)

// Who left a browser open is not who approves a program in it.
func TestWhoSignedInTenMinutesAgoSignsInAgainBeforeAProgramIsAnswered(t *testing.T) {
	d := dbtest.SQLite(t)
	root, _ := seal.NewRoot()
	var passed atomic.Int64
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(passed.Load())) }
	acts := &access.Acts{DB: d, Root: root, Now: now}
	accounts := &account.Store{
		Acts: acts, DB: d, Root: root, Now: now, Log: slog.New(slog.DiscardHandler), SignupOpen: true, DefaultTier: "free",
	}
	visitor := access.NewVisitor(netip.MustParseAddr("192.0.2.1"), "")
	if _, err := accounts.Register(t.Context(), visitor, account.Registration{Name: "Jane", Email: "jane@example.com", Password: seal.NewSecret("correct horse")}); err != nil {
		t.Fatal(err)
	}
	devices := &device.Store{Acts: acts, DB: d, Root: root, Now: now}
	begin := func() string {
		t.Helper()
		begun, err := devices.Begin(t.Context(), visitor, device.Request{SessionSecret: seal.NewSecret("sixteen letters!"), Program: "a program"})
		if err != nil {
			t.Fatal(err)
		}
		return begun.UserCode
	}
	a := api.New(api.Config{Log: slog.New(slog.DiscardHandler)})
	Register(a, Parts{URL: func() string { return "http://localhost" }, Now: now, Accounts: accounts, Devices: devices})

	cookie := ""
	send := func(method, path string, form url.Values) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Accept", "text/html")
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if set := w.Result().Cookies(); len(set) == 1 {
			cookie = set[0].Name + "=" + set[0].Value
		}
		return w
	}
	leads := func(what string, w *httptest.ResponseRecorder, where string) {
		t.Helper()
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != where || strings.Contains(w.Body.String(), "a program") {
			t.Errorf("%s: %d to %q, want %q", what, w.Code, w.Header().Get("Location"), where)
		}
	}
	shows := func(what string, w *httptest.ResponseRecorder, text string) {
		t.Helper()
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: %d without %q: %s", what, w.Code, text, w.Body)
		}
	}
	signIn := func() {
		t.Helper()
		leads("signing in", send("POST", "/login", url.Values{"email": {"jane@example.com"}, "password": {"correct horse"}, "next": {"/device"}}), "/device")
	}
	const again = "/login?next=%2Fdevice"

	signIn()
	shows("the page", send("GET", "/device", nil), `name="code"`)
	code := url.Values{"code": {begin()}}
	shows("the program", send("POST", "/device", code), "a program")

	passed.Add(int64(10 * time.Minute))
	code = url.Values{"code": {begin()}}
	leads("the page later", send("GET", "/device", nil), again)
	leads("the program later", send("POST", "/device", code), again)
	for _, answer := range []string{"approve", "deny"} {
		leads(answer+" later", send("POST", "/device/answer", url.Values{"code": code["code"], "answer": {answer}}), again)
	}
	form := send("GET", again, nil)
	shows("the form", form, "Sign in again")
	shows("the form", form, `value="jane@example.com"`)
	shows("elsewhere he is signed in", send("GET", "/login", nil), "You are signed in")

	signIn()
	shows("the program after that", send("POST", "/device", code), "a program")
	code.Set("answer", "approve")
	shows("approving it", send("POST", "/device/answer", code), "Approved")
}
