package keywardtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/keywardtest"
)

// TestTheGuideToKeysRunsAsPrinted pastes the blocks of docs/keys.md into a shell
// and reads what they show: on a new server with its default limits.
func TestTheGuideToKeysRunsAsPrinted(t *testing.T) {
	for _, program := range []string{"bash", "curl", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			if dbtest.Required() {
				t.Fatalf("%s is not installed", program)
			}
			t.Skipf("%s is not installed", program)
		}
	}
	text, err := os.ReadFile("../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"default_tier": "free"}})
	p := h.person("")
	dir := t.TempDir()
	python := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(text)
	if python == nil {
		t.Fatal("the guide has no Python")
	}
	if err := os.WriteFile(filepath.Join(dir, "sign.py"), python[1], 0o600); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllSubmatch(text, -1)
	for _, block := range blocks {
		script.Write(block[1])
	}
	run := exec.CommandContext(t.Context(), "bash", "-eu")
	run.Dir, run.Stdin = dir, strings.NewReader(script.String())
	run.Env = append(os.Environ(), "server="+h.URL, "access_token="+p.access)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The statuses, in the order of the calls.
	got := regexp.MustCompile(`(?m)^[1-5][0-9]{2}$`).FindAllString(string(out), -1)
	want := "201 200 200 " + // made, used
		"201 403 201 201 200 403 200 " + // scopes, agents, addresses
		"200 " + // limits
		"200 200 200 " + // rotate
		"201 401 200 " + // sign
		"200 200 200 " + // usage and alerts
		"204 401 204 401 " + // end
		"201 200" // verify
	if s := strings.Join(got, " "); s != want {
		t.Errorf("the calls are answered\n%s, want\n%s\n%s", s, want, out)
	}
	for _, code := range []string{"INSUFFICIENT_SCOPE", "IP_NOT_ALLOWED", "SIGNATURE_REQUIRED", "REVOKED_API_KEY", `"plan":"pro"`, `"valid":true`} {
		if !strings.Contains(string(out), code) {
			t.Errorf("it does not show %s", code)
		}
	}
}
