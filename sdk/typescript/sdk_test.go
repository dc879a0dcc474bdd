// Package typescript_test runs the tests of the TypeScript SDK, which are in
// JavaScript, with node's own runner, against the program as it is delivered.
package typescript_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestTheSDKDoesAsItsTestsClaim(t *testing.T) {
	t.Parallel()
	node := program(t, "node", "nodejs")
	keyward := filepath.Join(t.TempDir(), "keyward")
	if out, err := exec.Command("go", "build", "-o", keyward, "../../cmd/keyward").CombinedOutput(); err != nil {
		t.Fatalf("build keyward: %v\n%s", err, out)
	}
	files, err := filepath.Glob("test/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d tests, %v", len(files), err)
	}
	out, err := run(t, []string{"KEYWARD_PROGRAM=" + keyward}, node, append([]string{"--test"}, files...)...)
	if err != nil {
		t.Errorf("node: %v\n%s", err, out)
	}
}

// Debian's compiler is older than what users have: what it takes, all take.
func TestTheTypesAreSound(t *testing.T) {
	t.Parallel()
	if out, err := run(t, nil, program(t, "tsc", "node-typescript"), "-p", "."); err != nil {
		t.Errorf("tsc: %v\n%s", err, out)
	}
}

func TestTheProgramOfTheREADMEIsSoundTypeScript(t *testing.T) {
	t.Parallel()
	tsc := program(t, "tsc", "node-typescript")
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```js\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1) {
		text.WriteString(block[1])
	}
	folder := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "node_modules"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(here, filepath.Join(folder, "node_modules", "keyward")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "program.mts")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, nil, tsc, "--noEmit", "--strict", "--target", "ES2022", "--module", "Node16", "--moduleResolution", "Node16", "--lib", "ES2022,DOM", file)
	if err != nil {
		t.Errorf("tsc: %v\n%s", err, out)
	}
}

func run(t *testing.T, environ []string, name string, args ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	for _, variable := range os.Environ() {
		// A developer's own server is not for tests.
		if !strings.HasPrefix(variable, "KEYWARD_") && !strings.HasPrefix(variable, "RUNAGENT_") {
			c.Env = append(c.Env, variable)
		}
	}
	c.Env = append(c.Env, environ...)
	c.WaitDelay = 5 * time.Second
	return c.CombinedOutput()
}

// program returns where a program is. It skips the test if it is missing, where
// everything need not be there.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case !errors.Is(err, exec.ErrNotFound):
		t.Fatal(err)
	case os.Getenv("KEYWARD_TEST_REQUIRE") == "all":
		t.Fatalf("%s is missing (Debian: %s)", name, debian)
	default:
		t.Skipf("%s is missing (Debian: %s)", name, debian)
	}
	return path
}
