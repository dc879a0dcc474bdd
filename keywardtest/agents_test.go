package keywardtest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyward/keyward/keywardtest"
)

func TestAnAgentSaysHowItMayBeRun(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	runner := map[string]any{"type": "http", "url": h.runner(func(map[string]any) string { return `{"output":1}` })}
	made := h.must(201, "POST", "/v1/agents", map[string]any{"id": "a", "name": "A", "runner": runner, "idempotent": true, "max_concurrent": 2}, p.withKey())
	changed := h.must(200, "PATCH", "/v1/agents/a", map[string]any{"idempotent": false, "max_concurrent": 0}, p.withKey())
	if made.get("idempotent") != true || made.get("max_concurrent") != 2.0 || changed.get("idempotent") != false || changed.get("max_concurrent") != 0.0 {
		t.Errorf("%s, then %s", made.Text, changed.Text)
	}
	runner["limits"] = map[string]any{"memory_mb": 100}
	refused := h.refused(400, "INVALID_REQUEST", "PATCH", "/v1/agents/a", map[string]any{"runner": runner}, p.withKey())
	if refused.text("error.details.field") != "runner.limits" {
		t.Error(refused.Text)
	}
}

func TestHealthTellsWhetherAndNotWhere(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	owner, other := h.person(h.SetupCode(t)), h.person("")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }))
	defer s.Close()
	h.must(201, "POST", "/v1/agents", map[string]any{"id": "a", "name": "A", "visibility": "public", "runner": map[string]any{"type": "http", "url": s.URL + "/?token=in-the-url"}}, owner.withKey())
	if a := h.must(200, "GET", "/v1/agents/a/health", nil, owner.withKey()); a.text("status") != "ok" || a.text("checked_at") == "" || a.get("reason") != nil {
		t.Error(a.Text)
	}
	s.Close()
	a := h.must(200, "GET", "/v1/agents/public%2Fa/health", nil, other.withKey())
	if a.text("status") != "unreachable" || a.text("reason") == "" || strings.Contains(a.Text, "127.0.0.1") || strings.Contains(a.Text, "in-the-url") {
		t.Error(a.Text)
	}
	h.refused(404, "AGENT_NOT_FOUND", "GET", "/v1/agents/a/health", nil, other.withKey())
}
