package keywardtest_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/keyward/keyward/keywardtest"
)

// chromium starts a real browser. It is skipped where there is none.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("KEYWARD_TEST_REQUIRE") == "all" {
		t.Fatal("chromium is missing: it is the Debian package of that name")
	} else if err != nil {
		t.Skip("chromium is missing")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, // as root in a container it has none
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Somebody opens a run's address, signs in, reads its log while it is written,
// signs out, and goes back.
func TestARunIsWatchedInARealBrowser(t *testing.T) {
	dir := t.TempDir()
	step := func(name string) string { return filepath.Join(dir, name) }
	wait := func(name string) string { return `while [ ! -e ` + step(name) + ` ]; do sleep 0.05; done; ` }
	h := newHouse(t, keywardtest.Options{File: commands(map[string]string{
		"talks": `read -r in; echo 'first <b id=evil>line</b>' >&2; ` + wait("second") + `echo second line >&2; echo '{"chunk":"a part"}'; ` +
			wait("last") + `printf '{"output":{"said":"<b id=evil>everything</b>"}}\n'`,
	})})
	p := h.person(h.SetupCode(t))
	ctx := chromium(t)
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
			t.Fatalf("%s: %v\n%s", what, err, text)
		}
	}
	// A page that is being left has no text, and says so with an error.
	see := func(text string) {
		t.Helper()
		eventually(t, text, func() bool {
			seen, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
			return err == nil && strings.Contains(seen, text)
		})
	}
	touch := func(name string) {
		t.Helper()
		if err := os.WriteFile(step(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	css := func(s string) chromedp.CSS { return chromedp.CSS(s) }

	at := h.started(p, "talks")
	do("open the run", chromedp.Navigate(h.URL+at), chromedp.WaitVisible(css(`input[name=password]`)))
	do("sign in", chromedp.SendKeys(css(`input[name=email]`), p.email), chromedp.SendKeys(css(`input[name=password]`), p.password),
		chromedp.Click(css(`form.card button`)), chromedp.WaitVisible(css(`#live`)))
	see("first <b id=evil>line</b>")
	see("running")

	// From here on the page is not loaded again until the run ends.
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.loaded = true`)); err != nil {
		t.Fatal(err)
	}
	touch("second")
	see("second line")
	see("a part")
	if same, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.loaded === true`)); err != nil || !same {
		t.Errorf("what was seen was loaded, not sent: %v", err)
	}
	touch("last")
	see("succeeded")
	see(`"said": "<b id=evil>everything</b>"`)
	if evil, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll("#evil").length`)); err != nil || evil != 0 {
		t.Errorf("what the agent said became a part of the page: %d, %v", evil, err)
	}
	if seen, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.cookie`)); err != nil || seen != "" {
		t.Errorf("a script sees the cookie: %v", err)
	}

	do("sign out", chromedp.Click(css(`header button`)), chromedp.WaitVisible(css(`input[name=password]`)))
	do("go back", chromedp.NavigateBack())
	do("the form again", chromedp.WaitVisible(css(`input[name=password]`)))
	if text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML")); err != nil || strings.Contains(text, "everything") || strings.Contains(text, "second line") {
		t.Errorf("the back button shows the run: %v\n%s", err, text)
	}
}
