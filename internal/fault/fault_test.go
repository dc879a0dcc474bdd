package fault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestEveryKindHasAStatus(t *testing.T) {
	for k := range kinds {
		if got := Status(k); got < 400 || got > 599 {
			t.Errorf("Status(%d) = %d, want an error status", k, got)
		}
	}
}

func TestAFaultIsFoundThroughWrapping(t *testing.T) {
	gone := New(NotFound, "KEY_NOT_FOUND", "There is no such key.")
	err := fmt.Errorf("show key: %w", gone.With(Details{"field": "id"}))
	if !errors.Is(err, gone) {
		t.Error("a wrapped Fault with details is not its declaration")
	}
	if f := Of(err); f.Code != "KEY_NOT_FOUND" || f.Details["field"] != "id" {
		t.Errorf("Of = %+v", f)
	}
}

func TestAnUnknownErrorIsInternalAndKeepsItsTextFromTheCaller(t *testing.T) {
	f := Of(errors.New("pq: password is hunter2"))
	if f.Kind != Internal || strings.Contains(f.Message, "hunter2") {
		t.Errorf("Of = %+v", f)
	}
	if !strings.Contains(f.Error(), "hunter2") {
		t.Error("the log lost the cause")
	}
}

func TestVariantsLeaveTheDeclarationAlone(t *testing.T) {
	decl := New(RateLimited, "RATE_LIMITED", "Too many requests")
	_ = decl.With(Details{"a": 1}).Retry(time.Second).Say("other").Because(errors.New("x"))
	if decl.Details != nil || decl.RetryAfter != 0 || decl.Message != "Too many requests" || decl.Unwrap() != nil {
		t.Errorf("the declaration changed: %+v", decl)
	}
}
