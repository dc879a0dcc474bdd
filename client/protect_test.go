package client_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/keywardtest"
)

func ExampleProtect() {
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _ := client.VerifiedKey(r.Context())
		fmt.Fprintf(w, "the orders of %s\n", key.ExternalID)
	})
	gate := client.Protect(orders, client.Guard{
		Server: "https://keys.example.com",
		APIKey: "ra_live_…", // a service key with the scope keys:verify, from the service's environment
		Scopes: []string{"agents:run"},
		Failed: func(r *http.Request, err error) { log.Print("check a key: ", err) },
	})

	// A request without a key does not get to the orders.
	answer := httptest.NewRecorder()
	gate.ServeHTTP(answer, httptest.NewRequest("GET", "/orders", nil))
	fmt.Println(answer.Code, answer.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer realm="keyward"
}

// house is a server with one person.
type house struct {
	*keywardtest.Server
	t        *testing.T
	signedIn string
}

func newHouse(t *testing.T) *house {
	h := &house{Server: keywardtest.Start(t, keywardtest.Options{}), t: t}
	who := map[string]any{"email": "jane@example.com", "password": "correct horse"}
	h.call(201, "POST", "/auth/register", map[string]any{"name": "Jane", "email": who["email"], "password": who["password"]})
	h.signedIn = h.call(200, "POST", "/auth/token", who)["accessToken"].(string)
	return h
}

func (h *house) call(status int, method, path string, body any) map[string]any {
	h.t.Helper()
	text, _ := json.Marshal(body)
	if body == nil {
		text = nil
	}
	r, _ := http.NewRequestWithContext(h.t.Context(), method, h.URL+path, bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	if h.signedIn != "" {
		r.Header.Set("Authorization", "Bearer "+h.signedIn)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer got.Body.Close()
	all, _ := io.ReadAll(got.Body)
	if got.StatusCode != status {
		h.t.Fatalf("%s %s: %d %s", method, path, got.StatusCode, all)
	}
	var out map[string]any
	_ = json.Unmarshal(all, &out) // a 204 has none
	return out
}

// key makes a key with the settings, which are JSON.
func (h *house) key(settings string) (id int64, text, signing string) {
	h.t.Helper()
	made := h.call(201, "POST", "/v1/keys", json.RawMessage(settings))
	signing, _ = made["signing_secret"].(string)
	return int64(made["id"].(float64)), made["key"].(string), signing
}

// service is a service behind Protect, which answers with what it got.
func (h *house) service(change func(*client.Guard)) *httptest.Server {
	h.t.Helper()
	_, own, _ := h.key(fmt.Sprintf(`{"name": "service %d", "scopes": ["keys:verify"]}`, time.Now().UnixNano()))
	g := client.Guard{Server: h.URL, APIKey: own}
	if change != nil {
		change(&g)
	}
	s := httptest.NewServer(client.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, ok := client.VerifiedKey(r.Context())
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%t %s [%s] %v %q %q", ok, v.Name, body, err, r.Header.Values("Authorization"), r.Header.Values("X-Api-Key"))
	}), g))
	h.t.Cleanup(s.Close)
	return s
}

type got struct {
	status int
	header http.Header
	text   string
	err    client.Error
}

// send sends a request; headers come as "Name: value".
func send(t *testing.T, method, url, body string, headers ...string) got {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	all, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	var failed struct{ Error client.Error }
	_ = json.Unmarshal(all, &failed) // the service answers with a text
	return got{a.StatusCode, a.Header, string(all), failed.Error}
}

func (a got) is(t *testing.T, what string, status int, code string) {
	t.Helper()
	if a.status != status || a.err.Code != code || code != "" && (a.err.Status != status || (a.err.RequestID == "" || a.header.Get("X-Request-Id") != a.err.RequestID)) {
		t.Errorf("%s: %d %s, want %d %s", what, a.status, a.text, status, code)
	}
	if (a.header.Get("WWW-Authenticate") != "") != (status == 401) {
		t.Errorf("%s: WWW-Authenticate %q", what, a.header.Get("WWW-Authenticate"))
	}
}

func TestProtectLetsInWhomKeywardLetsIn(t *testing.T) {
	h := newHouse(t)
	s := h.service(func(g *client.Guard) {
		g.Scopes = []string{"agents:run"}
		g.AgentID = func(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, "/") }
		g.ClientIP = func(r *http.Request) netip.Addr { a, _ := netip.ParseAddr(r.Header.Get("X-Test-Address")); return a }
	})
	h.call(201, "POST", "/v1/agents", map[string]any{"id": "invoices", "name": "Invoices", "runner": map[string]any{"type": "http", "url": "https://agents.example.com"}})
	id, good, _ := h.key(`{"name": "good"}`)
	_, other, _ := h.key(`{"name": "other"}`)
	_, reader, _ := h.key(`{"name": "reader", "scopes": ["read"]}`)
	_, agents, _ := h.key(`{"name": "agents", "agent_ids": ["invoices"]}`)
	_, bound, _ := h.key(`{"name": "bound", "allowed_ips": ["192.0.2.0/24"]}`)
	_, few, _ := h.key(`{"name": "few", "limits": {"requests_per_hour": 2}}`)
	off, disabled, _ := h.key(`{"name": "disabled"}`)
	h.call(200, "PATCH", fmt.Sprint("/v1/keys/", off), map[string]any{"enabled": false})

	for _, header := range []string{"Authorization: Bearer " + good, "authorization: bEARER  " + good, "X-API-Key: " + good} {
		a := send(t, "POST", s.URL, "a body", header)
		a.is(t, "a good key", 200, "")
		if !strings.HasPrefix(a.text, "true good [a body] <nil>") || !strings.Contains(a.text, good) {
			t.Errorf("the service got %s", a.text)
		}
	}
	send(t, "GET", s.URL, "", "X-API-Key: "+good, "Authorization: Bearer "+good).is(t, "the same twice", 200, "")
	send(t, "GET", s.URL, "", "X-API-Key: "+good, "Authorization: Basic YTpi").is(t, "a foreign Authorization", 200, "")
	send(t, "GET", s.URL, "", "X-API-Key: "+good, "Authorization: Bearer theirs").is(t, "a foreign Bearer", 200, "")
	send(t, "GET", s.URL, "", "X-API-Key: "+good, "Authorization: Bearer "+other).is(t, "two keys", 400, "INVALID_REQUEST")
	send(t, "GET", s.URL, "").is(t, "no key", 401, "INVALID_API_KEY")
	send(t, "GET", s.URL, "", "X-API-Key: "+good[:len(good)-1]+"0").is(t, "a wrong checksum", 401, "INVALID_API_KEY")
	send(t, "GET", s.URL, "", "X-API-Key: ra_live_00000000000000000000000000000000"+"0000").is(t, "a short one", 401, "INVALID_API_KEY")
	send(t, "GET", s.URL, "", "X-API-Key: "+disabled).is(t, "a disabled key", 401, "DISABLED_API_KEY")
	send(t, "GET", s.URL, "", "X-API-Key: "+reader).is(t, "a scope too few", 403, "INSUFFICIENT_SCOPE")
	send(t, "GET", s.URL+"/invoices", "", "X-API-Key: "+agents).is(t, "its agent", 200, "")
	send(t, "GET", s.URL+"/other", "", "X-API-Key: "+agents).is(t, "another agent", 403, "AGENT_NOT_ALLOWED")
	send(t, "GET", s.URL, "", "X-API-Key: "+agents).is(t, "no agent", 403, "AGENT_NOT_ALLOWED")
	send(t, "GET", s.URL, "", "X-API-Key: "+bound, "X-Test-Address: ::ffff:192.0.2.7").is(t, "its address", 200, "")
	send(t, "GET", s.URL, "", "X-API-Key: "+bound, "X-Test-Address: 192.0.3.7").is(t, "another address", 403, "IP_NOT_ALLOWED")
	send(t, "GET", s.URL, "", "X-API-Key: "+bound).is(t, "no address", 403, "IP_NOT_ALLOWED")
	for left := range 2 {
		a := send(t, "GET", s.URL, "", "X-API-Key: "+few)
		if a.status != 200 || a.header.Get("X-RateLimit-Limit") != "2" || a.header.Get("X-RateLimit-Remaining") != fmt.Sprint(1-left) || a.header.Get("RateLimit") == "" {
			t.Errorf("request %d: %d %v", left+1, a.status, a.header)
		}
	}
	a := send(t, "GET", s.URL, "", "X-API-Key: "+few, "X-Request-Id: mine")
	a.is(t, "the third of two", 429, "RATE_LIMITED")
	if a.header.Get("Retry-After") != fmt.Sprint(a.err.RetryAfter) || a.err.RetryAfter < 3500 || a.header.Get("X-RateLimit-Remaining") != "0" || a.err.RequestID != "mine" {
		t.Errorf("a 429: %v %s", a.header, a.text)
	}
	h.call(204, "DELETE", fmt.Sprint("/v1/keys/", id), nil)
	send(t, "GET", s.URL, "", "X-API-Key: "+good).is(t, "revoked", 401, "REVOKED_API_KEY")
}

func TestProtectShowsSignedRequestsWhole(t *testing.T) {
	h := newHouse(t)
	s := h.service(nil)
	_, key, secret := h.key(`{"name": "signed", "require_signature": true}`)
	time.Sleep(1100 * time.Millisecond) // what was signed before the server's start may have been used then
	sign := func(method, path, body string) []string {
		stamp := strconv.FormatInt(time.Now().Unix(), 10)
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "%s\n%s\n%s\n%s", method, path, stamp, body)
		return []string{"X-API-Key: " + key, "X-Timestamp: " + stamp, "X-Signature: " + hex.EncodeToString(mac.Sum(nil))}
	}
	const path = "/a%2Fb?c=<d>&e"
	body := strings.Repeat("x\x00\xff", client.MaxSignedBody/3)
	lines := sign("PUT", path, body)
	a := send(t, "PUT", s.URL+path, body, lines...)
	if a.is(t, "signed", 200, ""); !strings.HasPrefix(a.text, "true signed ["+body+"] <nil>") {
		t.Errorf("the service got %d bytes of another body", len(a.text))
	}
	send(t, "PUT", s.URL+path, body, lines...).is(t, "again", 401, "SIGNATURE_REPLAYED")
	send(t, "PUT", s.URL+path, body+"x", sign("PUT", path, body)...).is(t, "another body", 401, "INVALID_SIGNATURE")
	send(t, "PUT", s.URL+path+"f", body, sign("PUT", path, body)...).is(t, "another path", 401, "INVALID_SIGNATURE")
	send(t, "GET", s.URL, "", "X-API-Key: "+key).is(t, "not signed", 401, "SIGNATURE_REQUIRED")
	send(t, "GET", s.URL, "", "X-API-Key: "+key, "X-Signature: a").is(t, "without a time", 401, "SIGNATURE_REQUIRED")
	send(t, "GET", s.URL, "", append(sign("GET", "/", ""), "X-Signature: a")...).is(t, "two signatures", 400, "INVALID_REQUEST")
	send(t, "PUT", s.URL+path, body+"xxx", lines...).is(t, "a body too large", 413, "BODY_TOO_LARGE")
	long := "/" + strings.Repeat("a", 17<<10)
	send(t, "GET", s.URL+long, "", sign("GET", long, "")...).is(t, "a path too long", 401, "SIGNATURE_REQUIRED")
}

func TestProtectFailsClosed(t *testing.T) {
	h := newHouse(t)
	_, good, _ := h.key(`{"name": "good"}`)
	_, own, _ := h.key(`{"name": "without the scope", "scopes": ["read"]}`)
	var mu sync.Mutex
	var failed error
	tell := func(_ *http.Request, err error) { mu.Lock(); failed = err; mu.Unlock() }

	a := send(t, "GET", h.service(func(g *client.Guard) { g.APIKey, g.Failed = own, tell }).URL, "", "X-API-Key: "+good)
	a.is(t, "a service without keys:verify", 503, "UNAVAILABLE")
	var e *client.Error
	if !errors.As(failed, &e) || e.Code != "INSUFFICIENT_SCOPE" || strings.Contains(failed.Error(), good) || strings.Contains(failed.Error(), own) {
		t.Errorf("the service was told %v", failed)
	}

	var hits atomic.Int64
	answers := map[string]http.HandlerFunc{
		"slow":               func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a page":             func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"an empty object":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") },
		"valid without code": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"valid":true}`) },
		"valid and not":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"valid":true,"code":"RATE_LIMITED"}`) },
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"valid":true,"code":"VALID"}`)
		},
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, `{"valid":true,"code":"VALID"}`)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			hits.Add(1)
			http.Redirect(w, r, h.URL+"/v1/keys/verify", http.StatusPermanentRedirect)
		},
	}
	for what, answer := range answers {
		fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			answer(w, r)
		}))
		s := h.service(func(g *client.Guard) { g.Server, g.Timeout, g.Failed = fake.URL, 200*time.Millisecond, tell })
		failed = nil
		a := send(t, "GET", s.URL, "", "X-API-Key: "+good)
		a.is(t, what, 503, "UNAVAILABLE")
		if failed == nil || strings.Contains(failed.Error(), good) || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: told %v, the headers %v", what, failed, a.header)
		}
		fake.Close()
	}
	if hits.Load() != 1 {
		t.Errorf("a redirect was followed %d times", hits.Load()-1)
	}

	for what, g := range map[string]client.Guard{"no server": {APIKey: good}, "no key": {Server: h.URL}, "no address": {Server: "keys.example.com", APIKey: good}} {
		func() {
			defer func() {
				if said := recover(); said == nil || strings.Contains(fmt.Sprint(said), good) {
					t.Errorf("%s: it panicked with %v", what, said)
				}
			}()
			client.Protect(http.NotFoundHandler(), g)
		}()
	}
	if _, ok := client.VerifiedKey(context.Background()); ok {
		t.Error("a key from nowhere")
	}
}

func TestProtectHidesTheKey(t *testing.T) {
	h := newHouse(t)
	_, good, _ := h.key(`{"name": "good"}`)
	s := h.service(func(g *client.Guard) { g.HideKey = true })
	a := send(t, "GET", s.URL, "", "X-API-Key: "+good, "Authorization: bearer "+good, "Authorization: Basic YTpi")
	if a.is(t, "hidden", 200, ""); strings.Contains(a.text, good) || !strings.Contains(a.text, `["Basic YTpi"] []`) {
		t.Errorf("the service got %s", a.text)
	}
}

// Sixteen callers at once never get more than the limit, over a handful of
// connections; a request that costs more is counted as such.
func TestProtectCountsEachRequestOnce(t *testing.T) {
	h := newHouse(t)
	id, key, _ := h.key(`{"name": "counted", "limits": {"requests_per_hour": 100}}`)
	s := h.service(func(g *client.Guard) {
		g.Cost = func(r *http.Request) int64 { n, _ := strconv.ParseInt(r.URL.Query().Get("cost"), 10, 64); return n }
	})
	var in atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				if send(t, "GET", s.URL+"/?cost=1", "", "X-API-Key: "+key).status == 200 {
					in.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if in.Load() != 100 {
		t.Errorf("%d were let in, want 100", in.Load())
	}
	send(t, "GET", s.URL+"/?cost=0", "", "X-API-Key: "+key).is(t, "a look", 200, "")
	send(t, "GET", s.URL+"/?cost=-1", "", "X-API-Key: "+key).is(t, "a negative cost", 503, "UNAVAILABLE")
	used := h.call(200, "GET", fmt.Sprint("/v1/keys/", id, "/usage"), nil)["keys"].([]any)[0].(map[string]any)
	if used["remaining"] != 0.0 {
		t.Errorf("used: %v", used)
	}
}
