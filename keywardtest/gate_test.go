package keywardtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

// organization returns the id of p's organization.
func (h *house) organization(p person) string {
	h.t.Helper()
	return h.must(200, "GET", "/auth/me", nil, p.bearer()).JSON["organizations"].([]any)[0].(map[string]any)["id"].(string)
}

// ask sends a GET with a key and returns what came of it.
func ask(t *testing.T, url, key string) (status int, code, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	var failed struct{ Error struct{ Code string } }
	_ = json.Unmarshal(text, &failed)
	return got.StatusCode, failed.Error.Code, string(text)
}

// sign is the seed's sign_request.
func sign(method, path, body, secret string, at time.Time) []string {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s", method, path, timestamp, body)
	return []string{"X-Timestamp: " + timestamp, "X-Signature: " + hex.EncodeToString(mac.Sum(nil))}
}

func TestSignedRequests(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		made := h.must(201, "POST", "/v1/keys", map[string]any{"name": "signed", "require_signature": true}, p.bearer())
		key, secret := "Authorization: Bearer "+made.text("key"), made.text("signing_secret")
		if secret == "" {
			t.Fatalf("no signing secret: %s", made.Text)
		}
		// What was signed before the server's start may have been used then.
		time.Sleep(1100 * time.Millisecond)
		now := time.Now()
		const get, list = "GET", "/v1/agents?limit=5"
		with := func(lines []string, more ...string) []string { return append(append([]string{key}, lines...), more...) }

		h.must(200, get, list, nil, with(sign(get, list, "", secret, now))...)
		h.must(200, get, list, nil, with(sign(get, list, "", secret, now))...) // a GET may come twice
		h.refused(401, "SIGNATURE_REQUIRED", get, list, nil, key)
		h.refused(401, "INVALID_SIGNATURE", get, list, nil, with(sign(get, "/v1/agents", "", secret, now))...)
		h.refused(401, "INVALID_SIGNATURE", get, list, nil, with(sign("POST", list, "", secret, now))...)
		h.refused(401, "INVALID_SIGNATURE", get, list, nil, with(sign(get, list, "x", secret, now))...)
		h.refused(401, "INVALID_SIGNATURE", get, list, nil, with(sign(get, list, "", secret+"x", now))...)
		h.refused(401, "SIGNATURE_EXPIRED", get, list, nil, with(sign(get, list, "", secret, now.Add(-310*time.Second)))...)
		h.refused(401, "SIGNATURE_EXPIRED", get, list, nil, with(sign(get, list, "", secret, now.Add(310*time.Second)))...)
		good := sign(get, list, "", secret, now)
		for _, bad := range []string{"", "00", good[1][len("X-Signature: "):] + "00", strings.ToUpper(good[1][len("X-Signature: "):]), strings.Repeat("zz", 32)} {
			if a := h.send(get, list, nil, key, good[0], "X-Signature: "+bad); a.Status != 401 {
				t.Errorf("the signature %q: %d", bad, a.Status)
			}
		}
		for _, bad := range []string{"", "x", "-1", "1e9", "9223372036854775807", "-9223372036854775808", "99999999999999999999", " 1", "01"} {
			lines := sign(get, list, "", secret, now)
			if a := h.send(get, list, nil, key, "X-Timestamp: "+bad, lines[1]); a.Status != 401 {
				t.Errorf("the timestamp %q: %d", bad, a.Status)
			}
		}

		body := `{"name":"made by a signed request","type":"temporary","require_signature":true}`
		post := with(sign("POST", "/v1/keys", body, secret, now))
		h.must(201, "POST", "/v1/keys", body, post...)
		h.refused(401, "SIGNATURE_REPLAYED", "POST", "/v1/keys", body, post...)
		h.refused(401, "INVALID_SIGNATURE", "POST", "/v1/keys", strings.Replace(body, "signed", "forged", 1), post...)
		// A body of the wrong type is refused after its signature was checked.
		bad := `{"name":7}`
		h.refused(400, "INVALID_FIELD_TYPE", "POST", "/v1/keys", bad, with(sign("POST", "/v1/keys", bad, secret, now))...)
		// A gateway shows no body, so it can't show that it was signed.
		h.refused(401, "SIGNATURE_REQUIRED", get, "/v1/verify?organization="+h.organization(p), nil, with(good)...)

		// A service shows the request to POST /v1/keys/verify.
		theirs := sign("PUT", "/their/path?q=1", "their body", secret, now)
		question := map[string]any{"key": made.text("key"), "signature": map[string]any{
			"method": "PUT", "path": "/their/path?q=1", "timestamp": theirs[0][len("X-Timestamp: "):], "value": theirs[1][len("X-Signature: "):], "body": []byte("their body"),
		}}
		if a := h.must(200, "POST", "/v1/keys/verify", question, p.bearer()); a.text("code") != "VALID" {
			t.Errorf("a signed request of theirs: %s", a.Text)
		}
		if a := h.must(200, "POST", "/v1/keys/verify", question, p.bearer()); a.text("code") != "SIGNATURE_REPLAYED" {
			t.Errorf("the same again: %s", a.Text)
		}
		// What is signed is four lines: a path with a line in it would make two
		// requests of one signature.
		split := sign("PUT", "/their/path", "\nbody", secret, now)
		question["signature"] = map[string]any{
			"method": "PUT", "path": "/their/path", "timestamp": split[0][len("X-Timestamp: "):], "value": split[1][len("X-Signature: "):], "body": []byte("\nbody"),
		}
		if a := h.must(200, "POST", "/v1/keys/verify", question, p.bearer()); a.text("code") != "VALID" {
			t.Errorf("a body that begins with a line feed: %s", a.Text)
		}
		joined := sign("PUT\n/their", "/path", "", secret, now)
		question["signature"] = map[string]any{
			"method": "PUT\n/their", "path": "/path", "timestamp": joined[0][len("X-Timestamp: "):], "value": joined[1][len("X-Signature: "):],
		}
		if a := h.must(200, "POST", "/v1/keys/verify", question, p.bearer()); a.text("code") != "INVALID_SIGNATURE" {
			t.Errorf("a method with a line feed: %s", a.Text)
		}
		delete(question, "signature")
		if a := h.must(200, "POST", "/v1/keys/verify", question, p.bearer()); a.text("code") != "SIGNATURE_REQUIRED" {
			t.Errorf("without the signature: %s", a.Text)
		}
	})
}

func TestLimitsAreToldAndHoldThroughARestart(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Data = t.TempDir()
		h := newHouse(t, o)
		p := h.person("")
		made := h.must(201, "POST", "/v1/keys", map[string]any{"name": "few", "type": "personal", "scopes": []string{"read"}, "limits": map[string]any{"requests_per_hour": 5, "burst": 4}}, p.bearer())
		key := "X-API-Key: " + made.text("key")
		for n := range 3 {
			a := h.must(200, "GET", "/v1/agents", nil, key)
			for name, want := range map[string]string{
				"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": fmt.Sprint(4 - n), "RateLimit-Policy": `"hour";q=5;w=3600, "burst";q=4;w=1`,
			} {
				if got := a.Header.Get(name); got != want {
					t.Errorf("request %d: %s: %q, want %q", n+1, name, got, want)
				}
			}
			reset, _ := strconv.ParseInt(a.Header.Get("X-RateLimit-Reset"), 10, 64)
			if d := time.Until(time.Unix(reset, 0)); d < 3590*time.Second || d > 3601*time.Second {
				t.Errorf("the window ends in %v", d)
			}
		}
		h.Stop(t)
		h = newHouse(t, o)
		// What is refused for another reason is not counted, and told the limit.
		if a := h.refused(403, "INSUFFICIENT_SCOPE", "DELETE", "/v1/agents/a", nil, key); a.Header.Get("X-RateLimit-Remaining") != "2" {
			t.Errorf("after the restart %q remain, want 2", a.Header.Get("X-RateLimit-Remaining"))
		}
		h.must(200, "GET", "/v1/agents", nil, key)
		h.must(200, "GET", "/v1/agents", nil, key)
		for range 3 {
			a := h.refused(429, "RATE_LIMITED", "GET", "/v1/agents", nil, key)
			wait, _ := strconv.Atoi(a.Header.Get("Retry-After"))
			if wait < 3500 || wait > 3600 || a.get("error.retry_after") != float64(wait) || a.text("error.message") != "Too many requests" {
				t.Errorf("refused with Retry-After %q: %s", a.Header.Get("Retry-After"), a.Text)
			}
			if a.Header.Get("X-RateLimit-Remaining") != "0" {
				t.Errorf("refused with %q remaining", a.Header.Get("X-RateLimit-Remaining"))
			}
		}
		// Whoever holds a key may end it, also when it is used up.
		h.must(204, "DELETE", "/v1/keys/self", nil, key)
		if a := h.send("GET", "/v1/agents", nil, p.bearer()); a.Header.Get("X-RateLimit-Limit") != "" {
			t.Error("a sign-in has a limit")
		}
	})
}

func TestVerifyAnswersForOneOrganization(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		o.Settings = setting(o.Settings, "gateways", "127.0.0.1")
		h := newHouse(t, o)
		operator, jane, bob := h.person(h.SetupCode(t)), h.person(""), h.person("")
		ours, theirs := h.organization(jane), h.organization(bob)
		limited := h.must(201, "POST", "/v1/keys", map[string]any{
			"name": "limited", "limits": map[string]any{"requests_per_hour": 3}, "external_id": "customer 7", "metadata": map[string]any{"plan": "b"},
			"type": "service", "scopes": []string{"run"}, "allowed_ips": []string{"192.0.2.0/24"},
		}, jane.bearer()).text("key")
		verify := func(who person, question map[string]any) answer {
			t.Helper()
			return h.must(200, "POST", "/v1/keys/verify", question, who.withKey())
		}
		good := map[string]any{"key": limited, "ip": "192.0.2.9", "scopes": []string{"run"}}
		a := verify(jane, good)
		if a.get("valid") != true || a.text("code") != "VALID" || a.text("external_id") != "customer 7" || a.text("metadata.plan") != "b" ||
			a.text("organization_id") != ours || a.get("account_id") != nil || a.get("ratelimit.remaining") != 2.0 || a.text("type") != "service" {
			t.Errorf("a good key: %s", a.Text)
		}
		for name, test := range map[string]struct {
			who  person
			in   map[string]any
			code string
		}{
			"another organization":          {bob, good, "INVALID_API_KEY"},
			"garbage":                       {jane, map[string]any{"key": "nonsense"}, "INVALID_API_KEY"},
			"without the address":           {jane, map[string]any{"key": limited}, "IP_NOT_ALLOWED"},
			"from elsewhere":                {jane, map[string]any{"key": limited, "ip": "192.0.3.9"}, "IP_NOT_ALLOWED"},
			"an IPv4 address as an IPv6":    {jane, map[string]any{"key": limited, "ip": "::ffff:192.0.2.9"}, "VALID"},
			"a scope that it has not":       {jane, map[string]any{"key": limited, "ip": "192.0.2.9", "scopes": []string{"agents:read"}}, "INSUFFICIENT_SCOPE"},
			"the operator, of any":          {operator, map[string]any{"key": limited, "ip": "192.0.2.9", "organization": "any", "cost": 0}, "VALID"},
			"the operator, of its own":      {operator, good, "INVALID_API_KEY"},
			"more than is left, and no sum": {jane, map[string]any{"key": limited, "ip": "192.0.2.9", "cost": 3}, "RATE_LIMITED"},
		} {
			in := map[string]any{"cost": 0}
			for k, v := range test.in {
				in[k] = v
			}
			if got := verify(test.who, in); got.text("code") != test.code || got.get("valid") != (test.code == "VALID") {
				t.Errorf("%s: %s, want %s", name, got.Text, test.code)
			}
		}
		// Nothing of that was counted.
		if a := verify(jane, map[string]any{"key": limited, "ip": "192.0.2.9", "cost": 0}); a.get("ratelimit.remaining") != 2.0 {
			t.Errorf("%v remain, want 2", a.get("ratelimit.remaining"))
		}
		h.refused(403, "NOT_ALLOWED", "POST", "/v1/keys/verify", map[string]any{"key": limited, "organization": "any"}, jane.withKey())
		h.refused(403, "NOT_ALLOWED", "POST", "/v1/keys/verify", map[string]any{"key": limited, "organization": theirs}, jane.withKey())
		h.refused(403, "INSUFFICIENT_SCOPE", "POST", "/v1/keys/verify", good, "X-API-Key: "+
			h.must(201, "POST", "/v1/keys", map[string]any{"name": "reader", "scopes": []string{"read"}}, jane.bearer()).text("key"))
		for name, bad := range map[string]map[string]any{
			"a negative cost": {"key": limited, "cost": -1}, "an empty key": {"key": ""}, "no key": {}, "an unknown scope": {"key": limited, "scopes": []string{"root"}},
			"no address": {"key": limited, "ip": "somewhere"}, "an unknown field": {"key": limited, "ipp": "192.0.2.9"}, "an empty organization": {"key": limited, "organization": ""},
			"a zone": {"key": limited, "ip": "fe80::1%eth0"},
		} {
			if a := h.send("POST", "/v1/keys/verify", bad, jane.withKey()); a.Status != 400 {
				t.Errorf("%s: %d %s", name, a.Status, a.Text)
			}
		}

		// The same for a gateway.
		mine := "Authorization: bearer " + jane.key
		a = h.must(200, "HEAD", "/v1/verify?organization="+ours+"&scope=agents:read,keys:write", nil, mine, "X-Forwarded-For: 192.0.2.1")
		if a.Header.Get("X-Key-Id") != fmt.Sprint(jane.keyID) || a.Header.Get("X-Organization-Id") != ours || a.Header.Get("X-Key-Name") != "first" ||
			!strings.Contains(a.Header.Get("X-Key-Scopes"), "agents:run") || a.Header.Get("X-Account-Id") == "" {
			t.Errorf("a gateway's answer: %v", a.Header)
		}
		at := "/v1/verify?organization=" + ours
		h.must(200, "GET", at, nil, "Authorization: Basic YTpi", "X-API-Key: "+jane.key)
		for _, method := range []string{"DELETE", "POST", "PROPFIND"} {
			r, _ := http.NewRequestWithContext(t.Context(), method, h.URL+at, strings.NewReader(""))
			r.Header.Set("X-API-Key", jane.key)
			if got, err := http.DefaultClient.Do(r); err != nil || got.StatusCode != 200 {
				t.Errorf("%s: %v, %v", method, got, err)
			}
		}
		h.must(200, "GET", "/v1/verify?organization=any", nil, "X-API-Key: "+bob.key)
		h.refused(401, "INVALID_API_KEY", "GET", at, nil, "X-API-Key: "+bob.key)
		h.refused(401, "INVALID_API_KEY", "GET", at, nil)
		h.refused(403, "IP_NOT_ALLOWED", "GET", at, nil, "X-API-Key: "+limited, "X-Forwarded-For: 192.0.2.9", "X-Real-IP: 192.0.2.9")
		h.refused(400, "INVALID_REQUEST", "GET", at, nil, "X-API-Key: "+jane.key, "Authorization: Bearer "+bob.key)
		h.refused(400, "MISSING_REQUIRED_FIELD", "GET", "/v1/verify", nil, mine)
		h.refused(400, "INVALID_REQUEST", "GET", at+"&organization="+theirs, nil, mine)
		for _, scope := range []string{"root", "", ",", "%20"} { // what a gateway's unset variable leaves asks for something, too
			h.refused(400, "INVALID_REQUEST", "GET", at+"&scope="+scope, nil, mine)
		}
		h.refused(400, "UNKNOWN_FIELD", "GET", at+"&q=their+query", nil, mine)
		status, header, text := get(t, h.URL+at+"&deny=403")
		if status != 403 || header.Get("X-Deny-Status") != "401" || header.Get("X-Deny-Body") != text || !strings.Contains(text, `"INVALID_API_KEY"`) {
			t.Errorf("a denial: %d %v %s", status, header, text)
		}
	})
}

// setting returns settings with one more.
func setting(settings map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for n, v := range settings {
		all[n] = v
	}
	return all
}

func TestAnyOrganizationIsForNamedGatewaysAlone(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"gateways": "192.0.2.1", "trusted_proxies": "127.0.0.1"}})
	p := h.person("")
	h.refused(403, "NOT_ALLOWED", "GET", "/v1/verify?organization=any", nil, p.withKey(), "X-Forwarded-For: 192.0.2.1")
}

func TestMetricsCountChecksAndNameNoCustomer(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p := h.person("")
	for range 3 {
		h.must(200, "GET", "/v1/verify?organization="+h.organization(p), nil, p.withKey())
	}
	h.refused(401, "INVALID_API_KEY", "GET", "/v1/agents", nil, "X-API-Key: nonsense")
	_, _, text := get(t, h.URL+"/metrics")
	for _, want := range []string{
		`keyward_key_checks_total{code="VALID"} 3`, `keyward_key_checks_total{code="INVALID_API_KEY"} 1`, "keyward_key_cache_misses_total 1", "keyward_key_cache_hits_total 2",
		`keyward_http_request_duration_seconds_count{route="/v1/verify",status="200"} 3`, "keyward_usage_flush_lag_seconds", "keyward_limit_refusals_total",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	for _, secret := range []string{p.key, p.email, h.organization(p), fmt.Sprint(p.keyID)} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics have %q in them", secret)
		}
	}
}

func TestMetricsCanHaveAnAddressOfTheirOwn(t *testing.T) {
	h := newHouse(t, keywardtest.Options{Settings: map[string]string{"metrics_addr": "127.0.0.1:0"}})
	_, rest, said := strings.Cut(h.Said(), "metrics: ")
	if !said {
		t.Fatalf("it does not say where:\n%s", h.Said())
	}
	url, _, _ := strings.Cut(rest, "\n")
	if status, _, text := get(t, url); status != 200 || !strings.Contains(text, "keyward_key_checks_total") {
		t.Errorf("%s: %d", url, status)
	}
	if status, _, _ := get(t, h.URL+"/metrics"); status != 404 {
		t.Errorf("on the server's own address: %d", status)
	}
}
