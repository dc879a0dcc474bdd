package deploy_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const here, elsewhere = "127.0.0.1", "127.0.0.2"

func TestTheServiceLearnsWhoseTheKeyIsFromKeywardAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		forged := []string{
			"X-Key-Id: 1", "X-Key-Name: root", "X-Organization-Id: theirs", "X-Account-Id: theirs", "X-Key-Scopes: *",
			"x-key-id: 2", "X_Key_Id: 3", "X_Account_Id: 3", "x-account-id: 4", "X-Request-Id: mine", "Connection: X-Key-Id, X-Organization-Id",
		}
		k := w.key(map[string]any{"name": "a service's", "type": "service", "scopes": []string{"run"}, "limits": map[string]any{"requests_per_hour": 50}})
		a := w.send(here, "GET", "/page?a=b", "", append(forged, "Authorization: bearer "+k.text)...)
		got := w.passed()
		if a.status != 200 || a.text != "the service" || len(got) != 1 {
			t.Fatalf("%d %s, the service got %v", a.status, a.text, got)
		}
		for name, want := range map[string]string{
			"X-Key-Id": fmt.Sprint(k.id), "X-Key-Name": "a service's", "X-Organization-Id": w.org, "X-Key-Scopes": "agents:run",
			"X-Account-Id": "", "X-Request-Id": "mine", "X-Forwarded-For": here,
		} {
			if v := got[0].Header.Values(name); strings.Join(v, "|") != want {
				t.Errorf("the service got %s: %q, want %q", name, v, want)
			}
		}
		for name := range got[0].Header {
			if strings.Contains(name, "_") {
				t.Errorf("the service got %s", name)
			}
		}
		for name, want := range map[string]string{
			"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "49", "RateLimit-Policy": `"hour";q=50;w=3600`, "X-Request-Id": "mine",
		} {
			if v := a.header.Values(name); len(v) != 1 || v[0] != want {
				t.Errorf("the client got %s: %q, want %q", name, v, want)
			}
		}
		if a.header.Get("X-RateLimit-Reset") == "" || a.header.Get("Ratelimit") == "" || a.header.Get("X-Key-Id") != "" {
			t.Errorf("the client got %v", a.header)
		}

		// What the service refuses is the service's.
		for _, status := range []int{401, 403, 500, 503} {
			if a := w.send(here, "GET", fmt.Sprintf("/%d", status), "", "X-API-Key: "+k.text); a.status != status || a.text != "the service" {
				t.Errorf("the service's %d: %d %s", status, a.status, a.text)
			}
		}
		for _, s := range w.passed() {
			if s.Header.Get("X-API-Key") != "" {
				t.Error("the key was passed on")
			}
		}
	})
}

func TestARefusalArrivesAsItIs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		good, other := w.key(map[string]any{"name": "good"}), w.key(map[string]any{"name": "other"})
		w.refused("no key", w.send(here, "GET", "/", ""), 401, "INVALID_API_KEY")
		w.refused("a page", w.send(here, "GET", "/index.html", "", "X-Request-Id: a.b-c_1"), 401, "INVALID_API_KEY")
		w.refused("garbage", w.send(here, "GET", "/", "", "X-API-Key: nonsense", "X-Request-Id: not one\"}"), 401, "INVALID_API_KEY")
		w.refused("a body", w.send(here, "POST", "/", strings.Repeat("x", 100_000)), 401, "INVALID_API_KEY")
		w.refused("two in one header", w.send(here, "GET", "/", "", "X-API-Key: "+good.text, "X-API-Key: "+other.text), 400, "INVALID_REQUEST")
		w.refused("two keys", w.send(here, "GET", "/", "", "X-API-Key: "+good.text, "Authorization: Bearer "+other.text), 400, "INVALID_REQUEST")
		if a := w.send(here, "GET", "/", "", "X-API-Key: "+good.text, "Authorization: Basic YTpi"); a.status != 200 {
			t.Errorf("a foreign Authorization: %d %s", a.status, a.text)
		}
		if got := w.passed(); len(got) != 1 || got[0].Header.Get("Authorization") != "Basic YTpi" {
			t.Errorf("the service got %v", got)
		}

		bound := w.key(map[string]any{"name": "bound", "allowed_ips": []string{elsewhere}, "limits": map[string]any{"requests_per_hour": 9}})
		a := w.send(here, "GET", "/", "", "X-API-Key: "+bound.text)
		w.refused("from elsewhere", a, 403, "IP_NOT_ALLOWED")
		if a.header.Get("X-RateLimit-Remaining") != "9" {
			t.Errorf("a refusal has the headers %v", a.header)
		}

		few := w.key(map[string]any{"name": "few", "limits": map[string]any{"requests_per_hour": 2}})
		for left := range 2 {
			if a := w.send(here, "GET", "/", "", "X-API-Key: "+few.text); a.header.Get("X-RateLimit-Remaining") != fmt.Sprint(1-left) {
				t.Errorf("request %d: %d %v", left+1, a.status, a.header)
			}
		}
		w.passed()
		a = w.send(here, "GET", "/", "", "X-API-Key: "+few.text)
		w.refused("the third of two", a, 429, "RATE_LIMITED")
		if a.header.Get("Retry-After") == "" || a.header.Get("X-RateLimit-Limit") != "2" || a.header.Get("X-RateLimit-Remaining") != "0" ||
			a.header.Get("Ratelimit-Policy") == "" || a.header.Get("Ratelimit") == "" {
			t.Errorf("a 429 has the headers %v", a.header)
		}
		if a := w.send(here, "HEAD", "/", "", "X-API-Key: "+few.text); a.status != 429 || a.text != "" {
			t.Errorf("HEAD: %d %s", a.status, a.text)
		}

		w.call(204, "DELETE", fmt.Sprint("/v1/keys/", good.id), w.signedIn, nil)
		w.refused("a revoked key", w.send(here, "GET", "/", "", "X-API-Key: "+good.text), 401, "REVOKED_API_KEY")
		if strings.HasSuffix(t.Name(), "/nginx") {
			for _, inner := range []string{"/_keyward/check", "/_keyward/", "/_keyward/run"} {
				if status := w.send(here, "GET", inner, "", "X-API-Key: "+other.text).status; status != 404 {
					t.Errorf("%s: %d", inner, status)
				}
			}
			scoped := w.key(map[string]any{"name": "reader", "scopes": []string{"read"}})
			w.refused("a scope that is missing", w.send(here, "POST", "/run/x", "", "X-API-Key: "+scoped.text), 403, "INSUFFICIENT_SCOPE")
			if a := w.send(here, "POST", "/run/x", "", "X-API-Key: "+other.text); a.status != 200 {
				t.Errorf("with the scope: %d %s", a.status, a.text)
			}
		}
	})
}

func TestAClientsOwnRequestSetsNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.key(map[string]any{"name": "k"})
		for _, query := range []string{"organization=any", "organization=any&scope=*&deny=200&deny=403", "scope=root&agent_id=", "q=%zz", "%0d%0aX-Key-Id:%201", "?&=;#"} {
			if a := w.send(here, "GET", "/?"+query, "", "X-API-Key: "+k.text); a.status != 200 {
				t.Errorf("?%s: %d %s", query, a.status, a.text)
			}
			if got := w.passed(); len(got) != 1 {
				t.Errorf("?%s: the service got %v", query, got)
			}
			w.refused("without a key, ?"+query, w.send(here, "GET", "/?"+query, ""), 401, "INVALID_API_KEY")
		}
		forged := []string{
			"X-Original-Uri: /v1/verify?organization=any", "X-Forwarded-Uri: /?organization=any", "X-Deny-Status: 200", "X-Original-Method: GET",
			"X-HTTP-Method-Override: GET", "X-Accel-Redirect: /", "Host: other.example.com", "Upgrade: h2c",
		}
		w.refused("forged headers", w.send(here, "GET", "/", "", forged...), 401, "INVALID_API_KEY")

		body := strings.Repeat("0123456789abcdef", 4<<10) // 64 KiB
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "PROPFIND", "OPTIONS"} {
			a := w.send(here, method, "/form?x=1", body, "X-API-Key: "+k.text, "Content-Type: text/plain")
			got := w.passed()
			if a.status != 200 || len(got) != 1 || got[0].Method != method || got[0].Target != "/form?x=1" || got[0].Body != body {
				t.Errorf("%s: %d, %d passed", method, a.status, len(got))
			}
		}
		long := "/" + strings.Repeat("a%2Fb/", 1100) + "?q=" + strings.Repeat("z", 1000)
		if a := w.send(here, "GET", long, "", "X-API-Key: "+k.text); a.status != 200 {
			t.Errorf("a long URL: %d %s", a.status, a.text)
		}
		if got := w.passed(); len(got) != 1 || got[0].Target != long {
			t.Error("a long URL arrived as another")
		}
		if a := w.send(here, "HEAD", "/", "", "X-API-Key: "+k.text); a.status != 200 || a.text != "" {
			t.Errorf("HEAD: %d %s", a.status, a.text)
		}
		if got := w.passed(); len(got) != 1 || got[0].Method != "HEAD" {
			t.Errorf("HEAD: the service got %v", got)
		}
		for _, test := range []struct {
			key  string
			want int
		}{{k.text, 200}, {"nonsense", 401}} {
			if got := old(t, w.url, test.key); got != test.want {
				t.Errorf("HTTP/1.0: %d, want %d", got, test.want)
			}
		}
	})
}

// old sends a request in HTTP/1.0 and returns the status of the answer.
func old(t *testing.T, url, key string) int {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.0\r\nHost: %s\r\nX-API-Key: %s\r\n\r\n", strings.TrimPrefix(url, "http://"), key)
	got, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	got.Body.Close()
	return got.StatusCode
}

func TestAForgedAddressOpensNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.key(map[string]any{"name": "bound", "allowed_ips": []string{elsewhere}})
		for _, lie := range []string{
			"X-Forwarded-For: " + elsewhere, "x-forwarded-for: " + elsewhere, "X-Forwarded-For: " + elsewhere + ", " + here, "X-Forwarded-For: " + here + "," + elsewhere,
			"X-Real-IP: " + elsewhere, "Forwarded: for=" + elsewhere, "X_Forwarded_For: " + elsewhere, "True-Client-IP: " + elsewhere, "Connection: X-Forwarded-For",
		} {
			w.refused(lie, w.send(here, "GET", "/", "", "X-API-Key: "+k.text, lie), 403, "IP_NOT_ALLOWED")
		}
		if a := w.send(elsewhere, "GET", "/", "", "X-API-Key: "+k.text, "X-Forwarded-For: 192.0.2.1", "Connection: X-API-Key"); a.status != 200 && a.status != 401 {
			t.Errorf("from the right address: %d %s", a.status, a.text)
		}
		if a := w.send(elsewhere, "GET", "/", "", "X-API-Key: "+k.text, "X-Forwarded-For: 192.0.2.1"); a.status != 200 {
			t.Errorf("from the right address: %d %s", a.status, a.text)
		}
	})
}

// Sixteen clients at once use up a limit: each of its requests is let in and
// counted once, and over few connections to Keyward.
func TestARequestIsCountedOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const limit, clients, times = 200, 16, 20
		k := w.key(map[string]any{"name": "counted", "limits": map[string]any{"requests_per_hour": limit}})
		before := w.relay.connections()
		var allowed, refused atomic.Int64
		var wg sync.WaitGroup
		for n := range clients {
			wg.Go(func() {
				for i := range times {
					method, body := "GET", ""
					if (n+i)%2 == 0 {
						method, body = "POST", "a body"
					}
					switch a := w.send(here, method, fmt.Sprintf("/%d/%d", n, i), body, "X-API-Key: "+k.text); a.status {
					case 200:
						allowed.Add(1)
					case 429:
						refused.Add(1)
					default:
						t.Errorf("%d %s", a.status, a.text)
					}
				}
			})
		}
		wg.Wait()
		if allowed.Load() != limit || refused.Load() != clients*times-limit || len(w.passed()) != limit {
			t.Errorf("%d let in and %d refused, of a limit of %d", allowed.Load(), refused.Load(), limit)
		}
		if n := w.relay.connections() - before; n > 2*clients {
			t.Errorf("%d connections to Keyward for %d requests", n, clients*times)
		}
		w.keyward.Stop(t) // which writes down what was counted
		if a := w.send(here, "GET", "/", "", "X-API-Key: "+k.text); true {
			w.refused("while Keyward is down", a, 503, "UNAVAILABLE")
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("the headers %v", a.header)
			}
		}
		w.restart()
		used := w.call(200, "GET", fmt.Sprint("/v1/keys/", k.id, "/usage"), w.signedIn, nil)["keys"].([]any)[0].(map[string]any)
		if used["allowed"] != float64(limit) || used["rate_limited"] != float64(clients*times-limit) || used["denied"] != 0.0 {
			t.Errorf("counted: %v", used)
		}
	})
}

func TestAKeywardThatDoesNotAnswerLetsNobodyIn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.key(map[string]any{"name": "k"})
		w.relay.stall()
		began := time.Now()
		w.refused("while Keyward hangs", w.send(here, "POST", "/", "a body", "X-API-Key: "+k.text), 503, "UNAVAILABLE")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it was waited for %v", took)
		}
	})
}

// A service that is down is not taken for a Keyward that is.
func TestAServiceThatIsDownIsToldApart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		k := w.key(map[string]any{"name": "k"})
		w.service.Close()
		if a := w.send(here, "GET", "/", "", "X-API-Key: "+k.text); a.status != 502 || a.err.Code != "" {
			t.Errorf("%d %s", a.status, a.text)
		}
		w.refused("without a key", w.send(here, "GET", "/", ""), 401, "INVALID_API_KEY")
	})
}
