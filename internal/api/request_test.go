package api_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/keyward/keyward/internal/api"
)

func TestEveryFailureHasTheOneShape(t *testing.T) {
	c := newSurface(t).start(t)
	re := c.do("POST", "/v1/things", `{"name":"taken"}`, key, "X-Request-Id: my-id.1_A")
	want := `{"error":{"code":"DUPLICATE_NAME","message":"There is one of this name already.","status":409,"request_id":"my-id.1_A","details":{"field":"name"}}}`
	if re.text != want {
		t.Errorf("answer %s\nwant   %s", re.text, want)
	}
	for name, want := range map[string]string{
		"X-Request-Id": "my-id.1_A", "Content-Type": "application/json",
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := re.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	re = c.do("GET", "/v1/things/busy", "", key)
	if re.fault.RetryAfter != 2 || re.Header.Get("Retry-After") != "2" {
		t.Errorf("retry after %q: %s, want 2 seconds", re.Header.Get("Retry-After"), re.text)
	}
}

func TestTheRequestIdIsTheCallersOrANewOne(t *testing.T) {
	c := newSurface(t).start(t)
	for id, kept := range map[string]bool{
		"a": true, "A-b_c.9": true, strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false, "": false, "a b": false, "a/b": false, "é": false, "a\"b": false, "<script>": false,
	} {
		re := c.do("GET", "/v1/things/1", "", key, "X-Request-Id: "+id)
		got := re.Header.Get("X-Request-Id")
		if kept != (got == id) || len(got) < 1 || len(got) > 64 {
			t.Errorf("X-Request-Id %q came back as %q", id, got)
		}
	}
}

func TestInternalErrorsAreForTheLogAlone(t *testing.T) {
	s := newSurface(t)
	c := s.start(t)
	for _, id := range []string{"broken", "panic", "unwritable"} {
		re := c.do("GET", "/v1/things/"+id+"?", "", key, "X-Request-Id: find-me-"+id)
		if !re.wants(t, 500, "INTERNAL_ERROR", "") || strings.Contains(re.text, "hunter2") || strings.Contains(re.text, "boom") {
			t.Errorf("%s: %s", id, re.text)
		}
	}
	log := s.log.String()
	for _, want := range []string{
		`level=ERROR msg="request failed" route="GET /v1/things/{id}" code=INTERNAL_ERROR status=500 request_id=find-me-broken err="pq: the password is hunter2"`,
		`request_id=find-me-panic err="panic: boom with panic\ngoroutine`,
		`request_id=find-me-unwritable err=`,
	} {
		if strings.Count(log, want) != 1 {
			t.Errorf("the log has not one time %s:\n%s", want, log)
		}
	}
	if n := strings.Count(log, "\n"); n != 3 {
		t.Errorf("the log has %d lines for 3 failures:\n%s", n, log)
	}
}

func TestAFailureIsLoggedOnceAndWithoutWhatWasSent(t *testing.T) {
	s := newSurface(t)
	c := s.start(t)
	c.do("GET", "/v1/things?cursor=hunter2", "", key)
	c.do("GET", "/v1/things/1?token=hunter2", "", "Authorization: Bearer hunter2")
	c.do("GET", "/hunter2?token=hunter2", "")
	c.do("POST", "/v1/things", `{"hunter2":"hunter2"}`, key)
	log := s.log.String()
	if strings.Contains(log, "hunter2") {
		t.Errorf("the log repeats what was sent:\n%s", log)
	}
	if n := strings.Count(log, "level=INFO msg=\"request failed\" route="); n != 4 || strings.Count(log, "\n") != 4 {
		t.Errorf("the log has %d lines for 4 failures:\n%s", n, log)
	}
}

func TestAPanicInTheMiddleOfAnAnswerCutsTheConnection(t *testing.T) {
	s := newSurface(t)
	s.Raw(api.Operation{Method: "GET", Path: "/half"}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic("in the middle")
	}))
	c := s.start(t)
	res, err := http.Get(c.url + "/half")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("half an answer was taken for a whole one")
	}
	if !strings.Contains(s.log.String(), "in the middle") {
		t.Error("the panic is not in the log")
	}
}

func TestAddressesThatAreNotThere(t *testing.T) {
	c := newSurface(t).start(t)
	for _, tt := range []struct {
		method, path, code string
		status             int
		allow              string
	}{
		{"GET", "/", "ROUTE_NOT_FOUND", 404, ""},
		{"GET", "/v1", "ROUTE_NOT_FOUND", 404, ""},
		{"GET", "/v1/things/", "ROUTE_NOT_FOUND", 404, ""},
		{"POST", "/v1/things/", "ROUTE_NOT_FOUND", 404, ""},
		{"POST", "//v1/things", "ROUTE_NOT_FOUND", 404, ""},
		{"POST", "/v1//things", "ROUTE_NOT_FOUND", 404, ""},
		{"POST", "/v1/./things", "ROUTE_NOT_FOUND", 404, ""},
		{"POST", "/x/../v1/things", "ROUTE_NOT_FOUND", 404, ""},
		{"GET", "/V1/things", "ROUTE_NOT_FOUND", 404, ""},
		{"GET", "/v1/things/a/b", "ROUTE_NOT_FOUND", 404, ""},
		{"OPTIONS", "/v1/nothing", "ROUTE_NOT_FOUND", 404, ""},
		{"GET", "/v1/things/%00", "INVALID_REQUEST", 400, ""},
		{"GET", "/v1/things/%ff", "INVALID_REQUEST", 400, ""},
		{"GET", "/nothing/%00", "INVALID_REQUEST", 400, ""},
		{"PUT", "/v1/things", "METHOD_NOT_ALLOWED", 405, "GET, HEAD, POST, OPTIONS"},
		{"DELETE", "/v1/things/1", "METHOD_NOT_ALLOWED", 405, "GET, HEAD, OPTIONS"},
		{"GET", "/run_agent", "METHOD_NOT_ALLOWED", 405, "POST, OPTIONS"},
		{"BREW", "/v1/things", "METHOD_NOT_ALLOWED", 405, "GET, HEAD, POST, OPTIONS"},
		{"TRACE", "/v1/things", "METHOD_NOT_ALLOWED", 405, "GET, HEAD, POST, OPTIONS"},
	} {
		re := c.do(tt.method, tt.path, "", key)
		if !re.wants(t, tt.status, tt.code, "") || re.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d, Allow %q, want %d, %q", tt.method, tt.path, re.StatusCode, re.Header.Get("Allow"), tt.status, tt.allow)
		}
	}
	if re := c.do("OPTIONS", "/v1/things", ""); re.StatusCode != 204 || re.Header.Get("Allow") != "GET, HEAD, POST, OPTIONS" {
		t.Errorf("OPTIONS: %d, Allow %q", re.StatusCode, re.Header.Get("Allow"))
	}
}

func TestHeadAnswersAsGetDoesWithoutABody(t *testing.T) {
	c := newSurface(t).start(t)
	get := c.do("GET", "/v1/things?limit=100", "", key)
	head := c.do("HEAD", "/v1/things?limit=100", "", key)
	if head.StatusCode != 200 || head.text != "" || head.Header.Get("Content-Type") != "application/json" ||
		head.ContentLength != int64(len(get.text)) {
		t.Errorf("HEAD: %d %q %v, want what GET has: %q", head.StatusCode, head.text, head.Header, get.text)
	}
	if head := c.do("HEAD", "/v1/things/1", ""); head.StatusCode != 401 {
		t.Errorf("HEAD without a key: %d", head.StatusCode)
	}
}

func TestAnIdInAPathKeepsItsSlash(t *testing.T) {
	c := newSurface(t).start(t)
	for path, id := range map[string]string{"public%2Finvoices": "public/invoices", "a%2e": "a.", "%2e%2e": "..", "é%20": "é "} {
		if re := c.do("GET", "/v1/things/"+path, "", key); re.StatusCode != 200 || !strings.Contains(re.text, `"id":"`+id+`"`) {
			t.Errorf("%s: %d %s", path, re.StatusCode, re.text)
		}
	}
}

func TestThePathParameterHasItsType(t *testing.T) {
	c := newSurface(t).start(t)
	const token = "Authorization: Bearer token"
	c.do("DELETE", "/auth/keys/x", "", token).wants(t, 400, "INVALID_FIELD_TYPE", "id")
	c.do("DELETE", "/auth/keys/0", "", token).wants(t, 400, "INVALID_REQUEST", "id")
	c.do("DELETE", "/auth/keys/99999999999999999999", "", token).wants(t, 400, "INVALID_REQUEST", "id")
	if re := c.do("DELETE", "/auth/keys/7", "", token); re.StatusCode != 204 || re.text != "" {
		t.Errorf("%d %q", re.StatusCode, re.text)
	}
}

func TestAKeyIsReadWhereverItMayStand(t *testing.T) {
	c := newSurface(t).start(t)
	for _, headers := range [][]string{
		{"Authorization: Bearer ra_key"},
		{"Authorization: bearer ra_key"},
		{"Authorization: BEARER   ra_key "},
		{"X-API-Key: ra_key"},
		{"x-api-key:  ra_key"},
		{"Authorization: Bearer ra_key", "X-API-Key: ra_key"},
		{"Authorization: Bearer ra_key", "Authorization: Bearer ra_key"},
		{"Authorization: Basic eDp5", "X-API-Key: ra_key"},
		{"Authorization: Bearer ", "X-API-Key: ra_key"},
		{"Authorization: Bearer ra_key", "X-API-Key: "},
		{"Authorization: Bearer token"},
	} {
		if re := c.do("GET", "/v1/things/1", "", headers...); re.StatusCode != 200 {
			t.Errorf("%q: %d %s", headers, re.StatusCode, re.text)
		}
	}
	for _, headers := range [][]string{
		nil, {"Authorization: ra_key"}, {"Authorization: Bearer"}, {"Authorization: Bearer ra_other"},
		{"Authorization: Token ra_key"}, {"Authorization: Basic eDp5"}, {"Authorization: Bearer ra_key ra_key"},
		{"X-API-Key: "}, {"Authorization: Bearer " + strings.Repeat("x", 100_000)}, {"Authorization: Bearer,ra_key"},
	} {
		re := c.do("GET", "/v1/things/1", "", headers...)
		re.wants(t, 401, "INVALID_API_KEY", "")
		if got := re.Header.Values("WWW-Authenticate"); len(got) != 1 || got[0] != `Bearer realm="keyward"` {
			t.Errorf("WWW-Authenticate: %q", got)
		}
	}
}

func TestTwoDifferentCredentialsAreRefused(t *testing.T) {
	s := newSurface(t)
	c := s.start(t)
	for _, headers := range [][]string{
		{"Authorization: Bearer ra_key", "X-API-Key: ra_other"},
		{"Authorization: Bearer ra_key", "Authorization: Bearer ra_other"},
		{"X-API-Key: ra_key", "X-API-Key: ra_other"},
		{"Authorization: Bearer token", "X-API-Key: ra_key"},
	} {
		c.do("GET", "/v1/things/1", "", headers...).wants(t, 400, "INVALID_REQUEST", "")
		c.do("DELETE", "/auth/keys/7", "", headers...).wants(t, 400, "INVALID_REQUEST", "")
	}
	c.do("POST", "/run_agent", `{"api_key":"ra_key","agent_id":"a","auth_data":{}}`, "X-API-Key: ra_other").wants(t, 400, "INVALID_REQUEST", "")
	if s.calls != 0 {
		t.Errorf("%d of the credentials were looked at", s.calls)
	}
}

func TestACredentialOfSomebodyElseIsPassedOverBesideOurs(t *testing.T) {
	c := newSurface(t, func(config *api.Config) {
		config.IsOurs = func(s string) bool { return strings.HasPrefix(s, "ra_") || s == "token" }
	}).start(t)
	if re := c.do("GET", "/v1/things/1", "", "Authorization: Bearer theirs", "X-API-Key: ra_key"); re.StatusCode != 200 {
		t.Errorf("%d %s", re.StatusCode, re.text)
	}
	if re := c.do("POST", "/run_agent", `{"api_key":"ra_key","agent_id":"a","auth_data":{}}`, "Authorization: Bearer theirs"); re.StatusCode != 200 {
		t.Errorf("%d %s", re.StatusCode, re.text)
	}
	c.do("GET", "/v1/things/1", "", "Authorization: Bearer theirs").wants(t, 401, "INVALID_API_KEY", "")
	c.do("GET", "/v1/things/1", "", "Authorization: Bearer ra_key", "X-API-Key: ra_other").wants(t, 400, "INVALID_REQUEST", "")
}

func TestAnAccessTokenStandsInTheBearerHeaderAlone(t *testing.T) {
	c := newSurface(t).start(t)
	c.do("DELETE", "/auth/keys/7", "", "X-API-Key: token").wants(t, 401, "INVALID_ACCESS_TOKEN", "")
	c.do("DELETE", "/auth/keys/7", "", "Authorization: Bearer ra_key").wants(t, 401, "INVALID_ACCESS_TOKEN", "")
	c.do("DELETE", "/auth/keys/7", "").wants(t, 401, "INVALID_ACCESS_TOKEN", "")
}

func TestWhoAsksComesBeforeWhatIsWrongWithTheQuestion(t *testing.T) {
	c := newSurface(t).start(t)
	c.do("POST", "/v1/things", `{"nme":`).wants(t, 401, "INVALID_API_KEY", "")
	c.do("POST", "/v1/things", strings.Repeat("x", 2<<20), "Content-Type: text/plain").wants(t, 401, "INVALID_API_KEY", "")
	c.do("GET", "/v1/things?limit=x&y=z", "").wants(t, 401, "INVALID_API_KEY", "")
	c.do("DELETE", "/auth/keys/x", "").wants(t, 401, "INVALID_ACCESS_TOKEN", "")
	c.do("POST", "/run_agent", `{"api_key":"ra_other"}`).wants(t, 401, "INVALID_API_KEY", "")
	c.do("POST", "/run_agent", `{"api_key":"","agent_id":1}`).wants(t, 401, "INVALID_API_KEY", "")
	c.do("POST", "/run_agent", `{"agent_id":1}`, "X-API-Key: ra_other").wants(t, 401, "INVALID_API_KEY", "")
	// What is no JSON holds no key.
	c.do("POST", "/run_agent", `{"api_key":"ra_other"`).wants(t, 400, "INVALID_REQUEST", "")
}

func TestTheKeyInABody(t *testing.T) {
	c := newSurface(t).start(t)
	for body, headers := range map[string][]string{
		`{"api_key":"ra_key","agent_id":"a","auth_data":{}}`:  nil,
		`{"agent_id":"a","auth_data":{},"api_key":" ra_key"}`: nil,
		`{"agent_id":"a","auth_data":{}}`:                     {key},
		`{"api_key":null,"agent_id":"a","auth_data":{}}`:      {"X-API-Key: ra_key"},
		`{"api_key":"","agent_id":"a","auth_data":{ }}`:       {key},
		`{"api_key":"ra_key","agent_id":"b","auth_data":{}}`:  {key},
	} {
		if re := c.do("POST", "/run_agent", body, headers...); re.StatusCode != 200 {
			t.Errorf("%s: %d %s", body, re.StatusCode, re.text)
		}
	}
	c.do("POST", "/run_agent", `{"agent_id":"a","auth_data":{}}`).wants(t, 400, "MISSING_REQUIRED_FIELD", "api_key")
	c.do("POST", "/run_agent", `{"api_key":null,"agent_id":"a","auth_data":{}}`).wants(t, 400, "MISSING_REQUIRED_FIELD", "api_key")
	c.do("POST", "/run_agent", `{"api_key":1,"agent_id":"a","auth_data":{}}`).wants(t, 400, "INVALID_FIELD_TYPE", "api_key")
	c.do("POST", "/run_agent", `{"agent_id":1,"api_key":["ra_key"]}`).wants(t, 400, "INVALID_FIELD_TYPE", "api_key")
	c.do("POST", "/run_agent", `{"api_key":1,"agent_id":"a","auth_data":{}}`, key).wants(t, 400, "INVALID_FIELD_TYPE", "api_key")
	c.do("POST", "/run_agent", `{"agent_id":"a","auth_data":{"api_key":"ra_key"}}`).wants(t, 400, "MISSING_REQUIRED_FIELD", "api_key")
	c.do("POST", "/run_agent", `["api_key","ra_key"]`).wants(t, 400, "INVALID_REQUEST", "")
	c.do("POST", "/run_agent", `"ra_key"`).wants(t, 400, "INVALID_REQUEST", "")
}

func TestBasicAuthIsReadOrLeftOut(t *testing.T) {
	c := newSurface(t).start(t)
	basic := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, path := range []string{"/auth/token", "/auth/login"} {
		for header, want := range map[string]string{
			"Authorization: Basic " + basic("jane@x.org:pass:word"): `{"email":"jane@x.org","password":"pass:word"}`,
			"Authorization: bASIC  " + basic("jané@x.org:päss"):     `{"email":"jané@x.org","password":"päss"}`,
			"Authorization: Basic " + basic(":"):                    `{"email":"","password":""}`,
			"Authorization: Bearer ra_key":                          `{"email":"e","password":"p"}`,
		} {
			if re := c.do("POST", path, `{"email":"e","password":"p"}`, header); re.StatusCode != 200 || re.text != want {
				t.Errorf("%s: %d %s, want %s", header, re.StatusCode, re.text, want)
			}
		}
	}
	for _, sent := range []string{
		"Basic jane:pass", "Basic " + basic("nocolon"), "Basic " + basic("a:\xff"), "Basic " + basic("a:b\x00"),
		"Basic " + basic("a:b\n"), "Basic " + strings.TrimRight(basic("a:b1"), "=") + "*", "Basic " + basic("a:b") + "=",
	} {
		c.do("POST", "/auth/token", "", "Authorization: "+sent).wants(t, 400, "INVALID_REQUEST", "Authorization")
	}
	c.do("POST", "/auth/token", "", "Authorization: Basic "+basic("a:b"), "Authorization: Basic "+basic("a:c")).wants(t, 400, "INVALID_REQUEST", "")
	re := c.do("POST", "/auth/token", "")
	if got := fmt.Sprint(re.Header.Values("WWW-Authenticate")); got != `[Basic realm="keyward", charset="UTF-8" Bearer realm="keyward"]` {
		t.Errorf("WWW-Authenticate: %s", got)
	}
}

// TestRawBytes sends what no HTTP library would.
func TestRawBytes(t *testing.T) {
	c := newSurface(t).start(t)
	for _, tt := range []struct{ request, want string }{
		{"GET /v1/things/1\x00 HTTP/1.1\r\nHost: x\r\n\r\n", " 400 "},
		{"GET /v1/things/1 HTTP/1.1\r\nHost: x\r\nX-API-Key: a\x00b\r\n\r\n", " 400 "},
		{"POST http://elsewhere/v1/things HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", " 401 "},
		{"GET v1/things HTTP/1.1\r\nHost: x\r\n\r\n", " 400 "},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", " 200 "},
		{"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", " 404 "},
		{"GET /v1/things/1 HTTP/1.0\r\nX-API-Key: ra_key\r\n\r\n", " 200 "},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, tt.request); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if err != nil || !strings.Contains(line, tt.want) {
			t.Errorf("%q: %q, %v, want %s", tt.request, line, err, tt.want)
		}
	}
}
