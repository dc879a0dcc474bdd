package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// passedOn are the variables of a script that a dialogue's command has.
var passedOn = []string{
	"PATH", "HOME", "TMPDIR", "WORK", "NO_COLOR", "TERM", "LANG", "KEYWARD_SERVER", "KEYWARD_API_KEY", "RUNAGENT_API_KEY", "KEYWARD_CONFIG_DIR",
	"KEYWARD_KEYCHAIN", "KEYWARD_AUTH_TOKEN", "GOCOVERDIR",
}

var moves = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// dialogue runs a command on a terminal of its own. Each line of FILE that begins
// with "> " is typed once all of what stands before it is on the screen; after
// ">* " it is typed as well, and must never be seen. What the screen showed is in
// the file screen, and as it was sent in the file screen.raw.
func dialogue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: dialogue CODE FILE COMMAND…")
	}
	c := exec.Command(args[2], args[3:]...)
	c.Dir = ts.MkAbs(".")
	for _, name := range passedOn {
		if v := ts.Getenv(name); v != "" {
			c.Env = append(c.Env, name+"="+v)
		}
	}
	tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 40, Cols: 120})
	ts.Check(err)
	defer tty.Close()
	var mu sync.Mutex
	var raw bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		piece := make([]byte, 4096)
		for {
			n, err := tty.Read(piece)
			mu.Lock()
			raw.Write(piece[:n])
			mu.Unlock()
			if err != nil {
				return // the command has gone
			}
		}
	}()
	screen := func() string {
		mu.Lock()
		defer mu.Unlock()
		return moves.ReplaceAllString(strings.ReplaceAll(raw.String(), "\r", ""), "")
	}
	seen := 0
	see := func(text string) {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if at := strings.Index(screen()[seen:], text); at >= 0 {
				seen += at + len(text)
				return
			}
			select {
			case <-read:
				deadline = time.Now().Add(-time.Second)
			default:
			}
			if at := strings.Index(screen()[seen:], text); at < 0 && time.Now().After(deadline) {
				_ = c.Process.Kill()
				ts.Fatalf("%q does not come; the screen:\n%s", text, screen())
			}
		}
	}
	var secrets []string
	var shown []string
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		line = os.Expand(strings.TrimSuffix(line, "\n"), ts.Getenv)
		typed, types := strings.CutPrefix(line, "> ")
		hidden, hides := strings.CutPrefix(line, ">* ")
		if line == ">" {
			typed, types = "", true
		}
		if !types && !hides {
			shown = append(shown, line)
			continue
		}
		see(strings.Join(shown, "\n"))
		shown = nil
		if hides {
			typed = hidden
			secrets = append(secrets, hidden)
			// The question is there a moment before what follows is hidden.
			for end := time.Now().Add(10 * time.Second); echoes(tty) && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
		}
		_, err := io.WriteString(tty, typed+"\n")
		ts.Check(err)
	}
	see(strings.Join(shown, "\n"))
	err = c.Wait()
	<-read
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	text := screen()
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(text), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("screen.raw"), raw.Bytes(), 0o600))
	ts.Logf("%s", text)
	for _, s := range secrets {
		if strings.Contains(text, s) {
			ts.Fatalf("%q is seen", s)
		}
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// set keeps what the last command printed, or a field of its JSON, in a variable.
func set(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: set NAME [FIELD]")
	}
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		read := json.NewDecoder(strings.NewReader(text))
		read.UseNumber()
		var v map[string]any
		ts.Check(read.Decode(&v))
		if v[args[1]] == nil {
			ts.Fatalf("there is no %s", args[1])
		}
		text = fmt.Sprint(v[args[1]])
	}
	ts.Setenv(args[0], text)
}

// approve types the code that is in a file into the server's page, as
// jane@example.com, and gives the answer: approve or deny.
func approve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: approve FILE approve|deny")
	}
	var code string
	for deadline := time.Now().Add(30 * time.Second); code == ""; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		if found := regexp.MustCompile(`(?m)^  ([A-Z-]{8,9})$`).FindSubmatch(text); found != nil {
			code = string(found[1])
		}
		if time.Now().After(deadline) {
			ts.Fatalf("there is no code: %s", text)
		}
	}
	jar, err := cookiejar.New(nil)
	ts.Check(err)
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	submit := func(path string, form url.Values) {
		r, err := http.NewRequest(http.MethodPost, ts.Getenv("URL")+path, strings.NewReader(form.Encode()))
		ts.Check(err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		got, err := browser.Do(r)
		ts.Check(err)
		defer got.Body.Close()
		if text, _ := io.ReadAll(got.Body); got.StatusCode >= 400 {
			ts.Fatalf("%s: %s\n%s", path, got.Status, text)
		}
	}
	submit("/login", url.Values{"email": {"jane@example.com"}, "password": {"correct horse"}})
	submit("/device", url.Values{"code": {code}})
	submit("/device/answer", url.Values{"code": {code}, "answer": {args[1]}})
}
