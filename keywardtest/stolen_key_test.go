package keywardtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyward/keyward/keywardtest"
)

// Whoever stole a key is out when its revocation answers, also by what he gave
// to other keys and by what he made with that, whatever servers remember.
func TestAStolenKeyLeavesNoWayIn(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		with := func(a answer) string { return "X-API-Key: " + a.text("key") }
		path := func(a answer) string { return fmt.Sprintf("/v1/keys/%.0f", a.get("id")) }
		stolen := h.must(201, "POST", "/v1/keys", map[string]any{"name": "stolen"}, p.bearer())
		other := h.must(201, "POST", "/v1/keys", map[string]any{"name": "other"}, p.bearer())
		third := h.must(201, "POST", "/v1/keys", map[string]any{"name": "third", "scopes": []string{"read"}}, p.bearer())
		grace := map[string]any{"grace_period": 86400}
		given := h.must(200, "POST", path(other)+"/rotate", grace, with(stolen))
		further := h.must(200, "POST", path(third)+"/rotate", grace, with(given))
		made := h.must(201, "POST", "/v1/keys", map[string]any{"name": "made"}, with(given))
		own := h.must(201, "POST", "/v1/keys", map[string]any{"name": "own"}, with(other))
		for range 2 {
			for _, a := range []answer{stolen, given, further, made, other, third, own} {
				h.must(200, "GET", "/v1/keys/self", nil, with(a))
			}
		}
		h.must(204, "DELETE", path(stolen), nil, p.bearer())
		for _, a := range []answer{stolen, given, further, made} {
			h.refused(401, "REVOKED_API_KEY", "GET", "/v1/keys/self", nil, with(a))
		}
		for _, a := range []answer{other, third, own} {
			h.must(200, "GET", "/v1/keys/self", nil, with(a))
		}
	})
}

// Odd settings are refused, or mean what they say.
func TestOddSettingsOfKeysWidenNothing(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		p := h.person("")
		for name, body := range map[string]string{
			"a life beyond all numbers":   `"expires_in":9223372036854775807`,
			"a life that overflows":       `"expires_in":9300000000`,
			"a life of a part":            `"expires_in":1.5`,
			"a life as text":              `"expires_in":"60"`,
			"no life":                     `"expires_in":0`,
			"a limit of 0":                `"limits":{"requests_per_hour":0}`,
			"a limit beyond":              `"limits":{"burst":1000000000001}`,
			"a limit twice":               `"limits":{"burst":1,"burst":1000}`,
			"scopes twice":                `"scopes":["agents:read"],"scopes":["*"]`,
			"scopes of another case":      `"scopes":["agents:read"],"Scopes":["*"]`,
			"scopes as text":              `"scopes":"read"`,
			"no scopes":                   `"scopes":[]`,
			"an empty scope":              `"scopes":[""]`,
			"no scope but nothing":        `"scopes":[null]`,
			"no agents":                   `"agent_ids":[]`,
			"an agent of nothing":         `"agent_ids":[null]`,
			"agents in one":               `"agent_ids":["a,b"]`,
			"no addresses":                `"allowed_ips":[]`,
			"a network beyond mapped":     `"allowed_ips":["::ffff:0:0/95"]`,
			"a network with bits":         `"allowed_ips":["::ffff:10.0.0.1/104"]`,
			"101 addresses":               `"allowed_ips":["` + strings.Repeat(`10.0.0.1","`, 100) + `10.0.0.1"]`,
			"metadata with a name twice":  `"metadata":{"a":1,"a":2}`,
			"metadata that is a list":     `"metadata":[]`,
			"metadata without end":        `"metadata":{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
			"metadata with U+0000":        `"metadata":{"a":"\u0000"}`,
			"metadata that is none":       `"metadata":"{}"`,
			"an id with a line":           `"external_id":"a\nb"`,
			"an id that turns about":      `"external_id":"a\u202eb"`,
			"a name of half a character":  `"external_id":"\ud800"`,
			"a service key with keys":     `"type":"service","scopes":["keys:write"]`,
			"a service key without":       `"type":"service"`,
			"a setting that there is not": `"made_by_key":1`,
			"an account":                  `"account_id":"x"`,
			"enabled as text":             `"enabled":"true"`,
		} {
			if got := h.send("POST", "/v1/keys", `{"name":"odd",`+body+`}`, p.bearer()); got.Status != 400 {
				t.Errorf("%s: %d %s", name, got.Status, got.Text)
			}
		}
		for body, want := range map[string]string{
			`"allowed_ips":["::ffff:0:0/96"]`:                    `["0.0.0.0/0"] null`,
			`"allowed_ips":["::ffff:10.0.0.0/104","10.0.0.0/8"]`: `["10.0.0.0/8"] null`,
			`"allowed_ips":["10.0.0.0/8","10.1.0.0/16"]`:         `["10.0.0.0/8","10.1.0.0/16"] null`,
			`"metadata":{"\u00e9":[[[[[[[[[[{}]]]]]]]]]]}`:       `null {"é":[[[[[[[[[[{}]]]]]]]]]]}`,
		} {
			made := h.must(201, "POST", "/v1/keys", `{"name":"odd",`+body+`}`, p.bearer())
			path := fmt.Sprintf("/v1/keys/%.0f", made.get("id"))
			if got := h.must(200, "GET", path, nil, p.bearer()).parts(t, "allowed_ips", "metadata"); got != want {
				t.Errorf("%s is %s", body, got)
			}
			h.must(204, "DELETE", path, nil, p.bearer())
		}
	})
}
