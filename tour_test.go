package keyward_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tour of the README is pasted into a shell as it is printed. The shell
// reads it from a pipe as it would from a terminal, so a command that swallows
// what comes after it is found out too.
func TestTheTourRunsAsItIsPrinted(t *testing.T) {
	program(t, "curl")
	tour := tourOf(t)
	shells := []string{"sh", "bash", "zsh"}
	if testing.Short() {
		shells = shells[:1]
	}
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			program(t, shell)
			output, left := paste(t, shell, tour)

			statuses := regexp.MustCompile(`(?m)^\d{3}$`).FindAllString(output, -1)
			want := []string{
				"201", "200", // sign up, sign in
				"201", "201", "200", // key, agent, profile
				"200", "200", "404", // a run, another, a wrong token
				"202",                      // a run that is queued
				"201", "200", "204", "401", // the second key: made, good, revoked, refused
				"200",               // a run after kill -9
				"200", "204", "401", // audit, sign out, refused
			}
			if !slices.Equal(statuses, want) {
				t.Errorf("the calls are answered with %v, want %v", statuses, want)
			}
			signedIn := regexp.MustCompile(`"signed_in_with": ?"(\w+)"`).FindAllString(output, -1)
			want = []string{`"signed_in_with":"password"`, `"signed_in_with":"session"`, `"signed_in_with":"session"`, `"signed_in_with":"session"`}
			if !slices.Equal(signedIn, want) {
				t.Errorf("the runs signed in with %v, want %v", signedIn, want)
			}
			for _, text := range []string{`"type":"create"`, `"HS-`, `REVOKED_API_KEY`, `"key.revoke"`, "event: start", "event: chunk", "event: done", `INVALID_ACCESS_TOKEN`} {
				if !strings.Contains(output, text) {
					t.Errorf("the output has no %s", text)
				}
			}
			if len(left) > 0 {
				t.Errorf("the tour leaves %v behind", left)
			}
			if t.Failed() {
				t.Logf("the output:\n%s", output)
			}
		})
	}
}

// tourOf is the shell blocks of the README's tour.
func tourOf(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(readme), "\n## The tour\n")
	tour, _, _ = strings.Cut(tour, "\n## ")
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(tour, -1) {
		script.WriteString(block[1])
	}
	if script.Len() == 0 {
		t.Fatal("the README has no tour")
	}
	return script.String()
}

// paste gives script to a shell in this folder, with addresses and a folder for
// temporary files of its own. It returns what the shell printed and what it
// left: files, and addresses that somebody still listens on.
func paste(t *testing.T, shell, script string) (output string, left []string) {
	t.Helper()
	temporary := t.TempDir()
	addresses := []string{freeAddress(t), freeAddress(t), freeAddress(t)}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "KEYWARD_") })
	cmd.Env = append(cmd.Env, "TMPDIR="+temporary, "SERVER="+addresses[0], "PORTAL="+addresses[1], "AGENT="+addresses[2])
	cmd.Stdin = strings.NewReader(script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// What a broken tour leaves running is in the shell's process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", shell, err)
	}

	files, err := filepath.Glob(filepath.Join(temporary, "*"))
	if err != nil {
		t.Fatal(err)
	}
	left = append(left, files...)
	for _, address := range addresses {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			left = append(left, address)
		}
	}
	return out.String(), left
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// program skips the test if a program is missing, where everything need not be
// there.
func program(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("KEYWARD_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is missing", name)
	}
	t.Skipf("%s is missing", name)
}
