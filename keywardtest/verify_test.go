package keywardtest_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/keyward/keyward/keywardtest"
)

// The check of a key for a service has a quick way and the way of every
// operation. A signature that nobody asks for chooses the second.
func TestBothWaysOfACheckGiveOneAnswer(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	operator, jane := h.person(h.SetupCode(t)), h.person("")
	reader := h.must(201, "POST", "/v1/keys", map[string]any{"name": "reader", "scopes": []string{"read"}}, operator.bearer()).text("key")
	narrow := h.must(201, "POST", "/v1/keys", map[string]any{
		"name": "narrow", "type": "service", "scopes": []string{"run"}, "allowed_ips": []string{"192.0.2.0/24"},
		"external_id": "ü", "metadata": map[string]any{"b": 1, "a": []any{nil, "x"}},
	}, operator.bearer()).text("key")
	key := `"key":"` + narrow + `","ip":"192.0.2.9","agent_id":"a"`
	bodies := []string{
		``, ` `, `null`, `[]`, `{}`, `1`, `"x"`, `{`, `{"key"}`, "\xff", "{\"key\":\"\xff\"}", `{"key":"x"} x`, `{"key":"x"}{}`, "\xef\xbb\xbf{}",
		`{"key":null}`, `{"key":1}`, `{"key":""}`, `{"key":"x"}`, `{"KEY":"x"}`, `{"Key":"x","key":"y"}`, `{"key":"x","key":"x"}`, `{"k\u0065y":"x"}`,
		`{"k\u0065y":"x","key":"x"}`, `{"key":"\u0000"}`, "{\"key\":\"\x00\"}", `{"key":"\ud800"}`, `{"key":"a\/b"}`, `{"key":"` + strings.Repeat("x", 5000) + `"}`,
		`{"key":"` + strings.Repeat("ü", 100) + `"}`, `{"key":"` + narrow + ` "}`, `{"key":" ` + narrow + `"}`, `{"key":"` + narrow + `\u0000"}`,
		`{"key":"` + narrow + `"}`, `{` + key + `}`, `{` + key + `,"x":1}`, `{` + key + `,"":1}`,
	}
	for name, values := range map[string][]string{
		"cost": {
			`null`, `0`, `-0`, `-1`, `1`, `1.0`, `1.5`, `1e0`, `1e3`, `1E+3`, `1e-1`, `10e-1`, `1000`, `1001`, `1000000`, `1000001`, `9223372036854775807`,
			`9223372036854775808`, `1e400`, `01`, `+1`, `"1"`, `""`, `true`, `[]`, `{}`, `NaN`, ` 1 `, `0x1`,
		},
		"scopes": {
			`null`, `[]`, `[null]`, `[""]`, `["run"]`, `["run","run"]`, `["RUN"]`, `["agents:read"]`, `["read","x"]`, `["*"]`, `"run"`, `[1]`, `[["run"]]`, `{}`,
			`[` + strings.Repeat(`"run",`, 31) + `"run"]`, `[` + strings.Repeat(`"run",`, 32) + `"run"]`, `[` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `]`,
		},
		"organization": {`null`, `""`, `"any"`, `"ANY"`, `" any"`, `"x"`, `1`, `"` + strings.Repeat("x", 64) + `"`, `"` + strings.Repeat("x", 65) + `"`, `"` + h.organization(jane) + `"`, `"` + h.organization(operator) + `"`},
		"signature":    {`null`, `{}`, `""`, `{"method":"POST","path":"/","timestamp":"1","value":"x"}`, `{"method":"POST","path":"/","timestamp":"1","value":"x","body":"!"}`, `{"method":null,"path":"/","timestamp":"1","value":"x"}`},
	} {
		for _, v := range values {
			bodies = append(bodies, `{`+key+`,"`+name+`":`+v+`}`)
		}
	}
	for _, ip := range []string{`null`, `""`, `"192.0.2.9"`, `"::ffff:192.0.2.9"`, `"192.0.2.9:80"`, `"fe80::1%eth0"`, `"192.0.2.09"`, `"x"`, `1`, `"192.0.2.0/24"`, `" 192.0.2.9"`, `"[::1]"`, `"` + strings.Repeat("1", 46) + `"`} {
		bodies = append(bodies, `{"key":"`+narrow+`","ip":`+ip+`}`)
	}
	for _, agent := range []string{`null`, `""`, `"a"`, `1`, `"` + strings.Repeat("x", 200) + `"`, `"` + strings.Repeat("x", 201) + `"`, `"a\u0000"`, `"\ud83d\ude00"`} {
		bodies = append(bodies, `{"key":"`+narrow+`","ip":"192.0.2.9","agent_id":`+agent+`}`)
	}

	id := regexp.MustCompile(`"request_id":"[^"]*"`)
	send := func(query, body string, headers []string) string {
		r, err := http.NewRequestWithContext(t.Context(), "POST", h.URL+"/v1/keys/verify"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			if name == "Content-Type" {
				r.Header.Del(name)
			}
			r.Header.Add(name, value)
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		return got.Status + " " + got.Header.Get("Content-Type") + " " + strings.Join(got.Header["Www-Authenticate"], ",") + " " + id.ReplaceAllString(string(text), "")
	}
	same := func(query, body string, headers ...string) {
		t.Helper()
		quick, slow := send(query, body, headers), send(query, body, append(headers, "X-Signature: unasked"))
		if quick != slow {
			t.Errorf("%s %.200s %.100v\n  is answered with  %s\n  by the operation  %s", query, body, headers, quick, slow)
		}
	}
	mine := operator.withKey()
	for _, body := range bodies {
		same("", body, mine)
	}
	good, bad := `{`+key+`}`, `{"key":1}`
	for _, body := range []string{good, bad, ``} {
		for _, query := range []string{"?", "?x=1", "?organization=any", "?%00", "?a=%zz", "?a;b", "?%ff"} {
			same(query, body, mine)
		}
		for _, headers := range [][]string{
			{}, {"Authorization: Bearer x"}, {"X-API-Key: " + reader}, {operator.bearer()}, {mine, "X-API-Key: " + reader}, {mine, mine},
			{"Authorization: Bearer x", "X-API-Key: " + reader}, {"X-API-Key: " + jane.key}, {mine, "Content-Type: text/plain"}, {mine, "Content-Encoding: gzip"},
			{mine, "X-Timestamp: 1", "X-Timestamp: 2"}, {"Authorization: Bearer eyJ.a.b"}, {"Authorization: Basic YTpi"},
		} {
			same("", body, headers...)
		}
	}
	same("", strings.Repeat(" ", 1<<20)+good, mine)
	if got := send("", strings.Repeat(" ", 1<<20)+good, []string{"Authorization: Bearer x"}); !strings.HasPrefix(got, "401 ") {
		t.Errorf("a large body of a stranger: %s", got)
	}
}
