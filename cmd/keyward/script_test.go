package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// tests are the tests of this package, and the end of what they share.
type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if built {
		if path, err := program(); err == nil {
			os.RemoveAll(filepath.Dir(path))
		}
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"keyward": main})
}

// The scripts read like the manual. Beyond testscript's own commands they have
//
//	exits CODE COMMAND…   run a command that must end with that exit code
//	serving FILE          wait until the server whose output is in FILE serves; $URL is its address
//	post PATH JSON [KEY]  send that to the server; the answer is in the file answer
//	keep NAME FIELD       $NAME is that field of the answer
//	set NAME [FIELD]      $NAME is what the last command printed, or a field of its JSON
//	dialogue CODE FILE COMMAND…   run a command on a terminal; FILE is what is seen and typed
//	approve FILE approve|deny     answer a device login whose code is in FILE
//	between               $BETWEEN is the server, but that access tokens expire as soon as they were used
//
// $RUNNER is a web service that runs agents, and $STRANGE servers that are none of ours.
func TestTheManual(t *testing.T) {
	runner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return // asked whether it is there
		}
		var got struct{ Arguments map[string]string }
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Errorf("the runner: %v", err)
		}
		fmt.Fprintf(w, `{"output":{"letters":%d}}`, len(got.Arguments["password"]))
	}))
	t.Cleanup(runner.Close) // the scripts run after this func
	others := httptest.NewServer(http.HandlerFunc(strange))
	t.Cleanup(others.Close)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("RUNNER", runner.URL)
			env.Setenv("STRANGE", others.URL)
			env.Setenv("KEYWARD_ADDR", "127.0.0.1:0")
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("KEYWARD_KEYCHAIN", "off") // of whoever runs the tests
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "serving": serving, "post": post, "keep": keep,
			"set": set, "dialogue": dialogue, "approve": approve, "between": between,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func serving(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serving FILE")
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(ts.MkAbs(args[0])) // not there before the server is
		if _, address, ok := strings.Cut(string(text), "listening on "); ok && strings.HasSuffix(address, "\n") {
			ts.Setenv("URL", strings.TrimSpace(address))
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the server does not serve: %s", text)
		}
	}
}

func post(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: post PATH JSON [KEY]")
	}
	r, err := http.NewRequest(http.MethodPost, ts.Getenv("URL")+args[0], strings.NewReader(args[1]))
	ts.Check(err)
	r.Header.Set("Content-Type", "application/json")
	if len(args) == 3 {
		r.Header.Set("Authorization", "Bearer "+args[2])
	}
	answer, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	if failed := answer.StatusCode >= 300; failed != neg {
		ts.Fatalf("%s: %s\n%s", args[0], answer.Status, text)
	}
	ts.Check(os.WriteFile(ts.MkAbs("answer"), bytes.TrimSpace(text), 0o600))
}

func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep NAME FIELD")
	}
	var answer map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("answer")), &answer))
	value, ok := answer[args[1]].(string)
	if !ok {
		ts.Fatalf("the answer has no %s: %v", args[1], answer)
	}
	ts.Setenv(args[0], value)
}

// Every command explains itself, and shows how it is called.
func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, c := range all(command()) {
		if c.Parent() == nil {
			continue // its text says where to begin
		}
		if c.Short == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
	}
}

// What the guide shows is there: the commands, and their flags.
func TestTheGuideNamesWhatThereIs(t *testing.T) {
	text, err := os.ReadFile("../../docs/terminal.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, line := range regexp.MustCompile(`keyward ([a-z][^\n`+"`"+`|#;]*)`).FindAllStringSubmatch(string(text), -1) {
		words := strings.Fields(line[1])
		c, rest, err := command().Find(words)
		if err != nil || c.Parent() == nil {
			continue // a sentence that begins with the name
		}
		found++
		if c.HasSubCommands() && len(rest) > 0 && regexp.MustCompile(`^[a-z-]+$`).MatchString(rest[0]) && rest[0] != "of" {
			t.Errorf("keyward %s: %s has no %s", line[1], c.CommandPath(), rest[0])
		}
		for _, word := range rest {
			name, long := strings.CutPrefix(strings.TrimRight(word, ".,)"), "--")
			name, _, _ = strings.Cut(name, "=")
			if long && name != "help" && c.Flags().Lookup(name) == nil {
				t.Errorf("keyward %s: %s has no --%s", line[1], c.CommandPath(), name)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d commands were found", found)
	}
}
