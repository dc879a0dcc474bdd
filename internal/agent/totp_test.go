package agent_test

import (
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/fault"
)

// RFC 6238, appendix B, gives codes of 8 digits; these are their last 6.
func TestCodesAreThoseOfTheRFC(t *testing.T) {
	a := with(agent.Argument{Name: "code", Type: agent.TOTP})
	stored := values{"code": jsontext.Value(`"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"`)}
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		got, err := a.Complete(nil, stored, unix(at))
		if fips140.Enforced() {
			if !errors.Is(err, fault.ErrInvalidRequest) {
				t.Errorf("where SHA-1 is refused: %v", err)
			}
			continue
		}
		if want := `{"code":"` + code + `"}`; err != nil || string(got.JSON) != want {
			t.Errorf("at %d: %s, %v, want %s", at, got.JSON, err, want)
		}
	}
}

func TestWhereSHA1IsRefusedTOTPIsAClearError(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestCodesAreThoseOfTheRFC$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
