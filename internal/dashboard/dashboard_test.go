package dashboard

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/run"
)

func TestDurationsAreToldAsPeopleSayThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 0: "0 ms", 320 * time.Millisecond: "320 ms", 1234 * time.Millisecond: "1.2 s",
		64 * time.Second: "1 min 4 s", 2*time.Hour + 3*time.Minute: "2 h 3 min",
	} {
		if got := took(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestEachKindOfEventIsALine(t *testing.T) {
	long := strings.Repeat("é", maxLine)
	for _, test := range []struct {
		kind       run.EventKind
		data, want string
	}{
		{run.StartEvent, `{"run_id":"r","agent_id":"a"}`, "started"},
		{run.LogEvent, `"a \"line\""`, `a "line"`},
		{run.ChunkEvent, `"a part"`, "a part"},
		{run.ChunkEvent, `{"a":[1]}`, `{"a":[1]}`},
		{run.ChunkEvent, `null`, "null"},
		{run.ErrorEvent, `{"status":"failed","message":"why"}`, "why"},
		{run.DoneEvent, `{"status":"failed"}`, "failed"},
		{run.LogEvent, `"` + long + `"`, strings.Repeat("é", maxLine/2) + " … (16384 bytes more)"},
	} {
		got := newLine(run.Event{Kind: test.kind, Data: jsontext.Value(test.data), At: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)})
		if got.Text != test.want || got.At != "03:04:05.006" || got.Kind != test.kind {
			t.Errorf("%s %.40s: %.80q at %s", test.kind, test.data, got.Text, got.At)
		}
	}
}

func TestAPageHoldsTheEndOfALogAlone(t *testing.T) {
	for _, size := range []int{1, maxLine} {
		l, last := &log{}, 0
		for n := range 3 * maxLines {
			l.add(line{At: strconv.Itoa(n), Text: strings.Repeat("x", size)})
			last = n
			total := 0
			for _, one := range l.lines {
				total += len(one.Text)
			}
			if len(l.lines) >= 2*maxLines || total >= 2*maxLog || total != l.size {
				t.Fatalf("after %d lines of %d bytes: %d lines, %d bytes", n+1, size, len(l.lines), total)
			}
		}
		if end := l.lines[len(l.lines)-1].At; end != strconv.Itoa(last) || !l.cut {
			t.Errorf("the last line is number %s; cut: %v", end, l.cut)
		}
	}
}

func TestATextIsCutBetweenItsCharacters(t *testing.T) {
	if got, cut := shorten("aé", 2); got != "a" || !cut {
		t.Errorf("%q, %v", got, cut)
	}
	if got, cut := shorten("aé", 3); got != "aé" || cut {
		t.Errorf("%q, %v", got, cut)
	}
}

func TestACookieByHTTPSIsOfThisHostAlone(t *testing.T) {
	for url, want := range map[string]string{
		"https://keys.example.com": "__Host-keyward", "https://localhost:8443": "__Host-keyward",
		"http://127.0.0.1:8080": "keyward_8080", "http://[::1]:8081": "keyward_8081", "http://localhost": "keyward",
	} {
		p := &pages{Parts: Parts{URL: func() string { return url }}}
		if got := p.cookieName(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", want+"=a; "+want+"=b")
		if p.cookie(r).Reveal() != "" {
			t.Errorf("%s: one of two cookies is taken", url)
		}
	}
}
