package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

// The program in docs/go.md says what the page says, and all else that is Go there
// stands in an example that runs.
func TestTheGuideIsRight(t *testing.T) {
	text, err := os.ReadFile("../docs/go.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples string
	for _, file := range []string{"example_test.go", "../keywardtest/example_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples += string(text)
	}
	blocks := regexp.MustCompile("(?s)```(go)?\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	program, want := "", ""
	for i, b := range blocks {
		switch code := b[2]; {
		case strings.HasPrefix(code, "package main"):
			program, want = code, blocks[i+1][2]
		case b[1] == "go" && !strings.Contains(examples, code):
			t.Errorf("no example has\n%s", code)
		}
	}
	if program == "" {
		t.Fatal("there is no program")
	}
	if testing.Short() {
		t.Skip("the program is built")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	s := keywardtest.Start(t)
	c := s.SignUp(t).Client
	key, err := c.Keys.Create(t.Context(), client.CreateKey{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", file)
	cmd.Env = append(os.Environ(), "KEYWARD_SERVER="+s.URL, "KEYWARD_API_KEY="+key.Secret)
	said, err := cmd.CombinedOutput()
	if err != nil || string(said) != want {
		t.Errorf("it says\n%s(%v), want\n%s", said, err, want)
	}
}
