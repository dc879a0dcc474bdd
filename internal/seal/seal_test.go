package seal

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const (
	organization = "2b1d0c9e-7f0a-4c53-9a51-0d5f2c7a1e01"
	agent        = "2b1d0c9e-7f0a-4c53-9a51-0d5f2c7a1e02"
	profile      = "2b1d0c9e-7f0a-4c53-9a51-0d5f2c7a1e03"
)

func parse(tb testing.TB, text string) *Root {
	tb.Helper()
	root, err := ParseRoot([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// Every test of this package runs once more where Go panics or fails at
// whatever FIPS 140-3 does not approve.
func TestAllPassesUnderFIPS140Only(t *testing.T) {
	if fips140.Enforced() {
		return // this is that run
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.skip=IndependentReader")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestVectorsOfBoxes") {
		t.Fatalf("the tests were not run:\n%s", out)
	}
}
