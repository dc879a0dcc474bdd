package run

import (
	"strings"
	"testing"
)

func TestAMessageHoldsNothingThatATerminalActsOn(t *testing.T) {
	if got := shorten("a\x1b[31mb\x00c\nd"); got != "a [31mb c\nd" {
		t.Errorf("shorten = %q", got)
	}
	if got := []rune(shorten(strings.Repeat("é", maxMessage+1))); len(got) != maxMessage || got[maxMessage-1] != '…' {
		t.Errorf("a long message has %d characters", len(got))
	}
}
