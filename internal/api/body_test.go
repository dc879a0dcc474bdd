package api_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// sentValue stands in the bodies below, where an answer or the log would show
// it if either repeated what was sent.
const sentValue = "hunter2hunter2"

func TestABadBodyIsRefusedWithItsCodeAndItsField(t *testing.T) {
	s := newSurface(t)
	c := s.start(t)
	long := strings.Repeat("x", 100)
	for _, tt := range []struct{ body, code, field string }{
		// A field that is missing, and null, which is the same.
		{`{}`, "MISSING_REQUIRED_FIELD", "name"},
		{`{"name":null}`, "MISSING_REQUIRED_FIELD", "name"},
		{`{"name":"a","input_arguments":[{"name":"a"},{}]}`, "MISSING_REQUIRED_FIELD", "input_arguments.1.name"},
		{`{"name":"a","input_arguments":[{"name":null}]}`, "MISSING_REQUIRED_FIELD", "input_arguments.0.name"},

		// A field of the wrong type: each type that there is.
		{`{"name":12}`, "INVALID_FIELD_TYPE", "name"},
		{`{"name":true}`, "INVALID_FIELD_TYPE", "name"},
		{`{"name":["hunter2hunter2"]}`, "INVALID_FIELD_TYPE", "name"},
		{`{"name":{"hunter2hunter2":1}}`, "INVALID_FIELD_TYPE", "name"},
		{`{"name":"a","enabled":"hunter2hunter2"}`, "INVALID_FIELD_TYPE", "enabled"},
		{`{"name":"a","enabled":1}`, "INVALID_FIELD_TYPE", "enabled"},
		{`{"name":"a","ratio":"hunter2hunter2"}`, "INVALID_FIELD_TYPE", "ratio"},
		{`{"name":"a","limits":"hunter2hunter2"}`, "INVALID_FIELD_TYPE", "limits"},
		{`{"name":"a","limits":[]}`, "INVALID_FIELD_TYPE", "limits"},
		{`{"name":"a","limits":{"burst":"hunter2hunter2"}}`, "INVALID_FIELD_TYPE", "limits.burst"},
		{`{"name":"a","limits":{"burst":1.5}}`, "INVALID_FIELD_TYPE", "limits.burst"},
		{`{"name":"a","limits":{"burst":1.0}}`, "INVALID_FIELD_TYPE", "limits.burst"},
		{`{"name":"a","limits":{"burst":1e2}}`, "INVALID_FIELD_TYPE", "limits.burst"},
		{`{"name":"a","input_arguments":{}}`, "INVALID_FIELD_TYPE", "input_arguments"},
		{`{"name":"a","input_arguments":["hunter2hunter2"]}`, "INVALID_FIELD_TYPE", "input_arguments.0"},
		{`{"name":"a","input_arguments":[null]}`, "INVALID_FIELD_TYPE", "input_arguments.0"},
		{`{"name":"a","tags":["a",null]}`, "INVALID_FIELD_TYPE", "tags.1"},
		{`{"name":"a","labels":{"k":null}}`, "INVALID_FIELD_TYPE", "labels.k"},
		{`{"name":"a","labels":{"k":1}}`, "INVALID_FIELD_TYPE", "labels.k"},
		{`{"name":"a","until":1704067200}`, "INVALID_FIELD_TYPE", "until"},

		// A name with a dot or a bracket does not lead the next error astray.
		{`{"name":"a","labels":{"a.b":"x","c[0]":"x","k":1}}`, "INVALID_FIELD_TYPE", "labels.k"},
		{`{"name":"a","labels":{"a.b":"x"},"limits":{"burst":0}}`, "INVALID_REQUEST", "limits.burst"},

		// A value that a rule refuses: each rule that there is.
		{`{"name":""}`, "INVALID_REQUEST", "name"},
		{`{"name":"a","limits":{"burst":0}}`, "INVALID_REQUEST", "limits.burst"},
		{`{"name":"a","limits":{"burst":1001}}`, "INVALID_REQUEST", "limits.burst"},
		{`{"name":"a","limits":{"burst":99999999999999999999}}`, "INVALID_REQUEST", "limits.burst"},
		{`{"name":"a","limits":{"small":2147483648}}`, "INVALID_REQUEST", "limits.small"},
		{`{"name":"a","ratio":1.5}`, "INVALID_REQUEST", "ratio"},
		{`{"name":"a","ratio":-1e999}`, "INVALID_REQUEST", "ratio"},
		{`{"name":"a","extra":1e999}`, "INVALID_REQUEST", "extra"},
		{`{"name":"a","tags":[]}`, "INVALID_REQUEST", "tags"},
		{`{"name":"a","input_arguments":[{"name":"a"},{"name":"b"},{"name":"c"}]}`, "INVALID_REQUEST", "input_arguments"},
		{`{"name":"a","input_arguments":[{"name":"hunter2hunter2"}]}`, "INVALID_REQUEST", "input_arguments.0.name"},
		{`{"name":"a","input_arguments":[{"name":"ABC"}]}`, "INVALID_REQUEST", "input_arguments.0.name"},
		{`{"name":"a","input_arguments":[{"name":"a","type":"hunter2hunter2"}]}`, "INVALID_REQUEST", "input_arguments.0.type"},
		{`{"name":"a","labels":{"a":"","b":"","c":""}}`, "INVALID_REQUEST", "labels"},
		{`{"name":"a","until":"hunter2hunter2"}`, "INVALID_REQUEST", "until"},
		{`{"name":"a","until":""}`, "INVALID_REQUEST", "until"},
		// What no schema says, but the Go type does.
		{`{"name":"a","odd":"hunter2hunter2"}`, "INVALID_REQUEST", "odd"},

		// A field that there is not; names are exact.
		{`{"name":"a","allowed_ip":"hunter2hunter2"}`, "UNKNOWN_FIELD", "allowed_ip"},
		{`{"Name":"a"}`, "UNKNOWN_FIELD", "Name"},
		{`{"name":"a","limits":{"Burst":1}}`, "UNKNOWN_FIELD", "limits.Burst"},
		{`{"name":"a","nme":null}`, "UNKNOWN_FIELD", "nme"},
		{`{"name":"a","":1}`, "UNKNOWN_FIELD", `""`},
		{`{"name":"a","api_key":"ra_key"}`, "UNKNOWN_FIELD", "api_key"},
		{`{"name":"a","` + long + `":1}`, "UNKNOWN_FIELD", "…"},
		{`{"name":"a","a\u001b[2J\u2028b":1}`, "UNKNOWN_FIELD", "…"},

		// Not one JSON object.
		{`[]`, "INVALID_REQUEST", ""},
		{`[{"name":"a"}]`, "INVALID_REQUEST", ""},
		{`"hunter2hunter2"`, "INVALID_REQUEST", ""},
		{`12`, "INVALID_REQUEST", ""},
		{`true`, "INVALID_REQUEST", ""},
		{`null`, "INVALID_REQUEST", ""},
		{``, "INVALID_REQUEST", ""},
		{"  \n", "INVALID_REQUEST", ""},
		{`{"name":"a"} {"name":"hunter2hunter2"}`, "INVALID_REQUEST", ""},
		{`{"name":"a"} x`, "INVALID_REQUEST", ""},
		{`{"name":"hunter2hunter2`, "INVALID_REQUEST", ""},
		{`{"name":"hunter2hunter2"`, "INVALID_REQUEST", ""},
		{`{"name":hunter2hunter2}`, "INVALID_REQUEST", "name"},
		{`{name:"hunter2hunter2"}`, "INVALID_REQUEST", ""},
		{`{'name':'hunter2hunter2'}`, "INVALID_REQUEST", ""},
		{`{"name":"a",}`, "INVALID_REQUEST", ""},
		{`{"name":"a","ratio":NaN}`, "INVALID_REQUEST", "ratio"},
		{`{"name":"a"/**/}`, "INVALID_REQUEST", ""},
		{`name=hunter2hunter2`, "INVALID_REQUEST", ""},
		{"\xef\xbb\xbf{}", "INVALID_REQUEST", ""},

		// JSON that decoders disagree about.
		{`{"name":"a","name":"hunter2hunter2"}`, "INVALID_REQUEST", "name"},
		{`{"name":"a","n\u0061me":"hunter2hunter2"}`, "INVALID_REQUEST", "name"},
		{`{"name":"a","limits":{"burst":1,"burst":2}}`, "INVALID_REQUEST", "limits.burst"},
		{`{"name":"a","extra":{"x":{"y":1,"y":2}}}`, "INVALID_REQUEST", "extra.x.y"},
		{"{\"name\":\"hunter2hunter2\xff\"}", "INVALID_REQUEST", "name"},
		{"{\"name\":\"a\",\"\xff\":1}", "INVALID_REQUEST", ""},
		{`{"name":"\ud800"}`, "INVALID_REQUEST", "name"},
		{`{"name":"hunter2hunter2\u0000"}`, "INVALID_REQUEST", "name"},
		{`{"name":"a","extra":{"x":["\u0000"]}}`, "INVALID_REQUEST", "extra.x.0"},
		{`{"name":"a","labels":{"\u0000":"x"}}`, "INVALID_REQUEST", "labels.…"},
		{"{\"name\":\"\x00\"}", "INVALID_REQUEST", "name"},
		{`{"name":"a","extra":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, "INVALID_REQUEST", ""},
		{`{"name":"a","extra":` + strings.Repeat(`{"a":`, 100_000), "INVALID_REQUEST", ""},
	} {
		re := c.do("POST", "/v1/things", tt.body, key)
		if !re.wants(t, 400, tt.code, tt.field) {
			t.Errorf("body: %.200q", tt.body)
		}
		if strings.Contains(re.text, sentValue) {
			t.Errorf("%.200q: the answer repeats what was sent: %s", tt.body, re.text)
		}
		if len(re.text) > 1024 || !utf8.ValidString(re.text) {
			t.Errorf("%.200q: the answer is %q", tt.body, re.text)
		}
	}
	if strings.Contains(s.log.String(), sentValue) {
		t.Error("the log repeats what was sent")
	}
}

func TestAGoodBodyArrives(t *testing.T) {
	c := newSurface(t).start(t)
	for _, body := range []string{
		`{"name":"a"}`,
		` {"name" : "a" } ` + "\r\n",
		`{"name":"a","note":null,"enabled":null,"ratio":null,"limits":null,"input_arguments":null,"tags":null,"labels":null,"extra":null,"until":null,"odd":null}`,
		`{"name":"a","note":"","enabled":true,"ratio":-1e-3,"limits":{"burst":1000,"small":-2147483648},
		  "input_arguments":[{"name":"abc","type":"number"}],"tags":["a"],"labels":{"a.b":"c","":"d"},
		  "extra":{"any":[1,null,"x"]},"until":"2024-01-01T01:00:00+01:00","odd":"odd"}`,
		`{"name":"a","extra":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`,
		`{"name":"\ud83d\ude00 \u00e9"}`,
	} {
		if re := c.do("POST", "/v1/things", body, key); re.StatusCode != 201 {
			t.Errorf("%s: %d %s", body, re.StatusCode, re.text)
		}
	}
}

func TestALooseOperationIgnoresWhatItDoesNotKnow(t *testing.T) {
	c := newSurface(t).start(t)
	for _, path := range []string{"/run_agent", "/api/run_agent?utm=1"} {
		re := c.do("POST", path, `{"api_key":"ra_key","agent_id":"a","auth_data":{"x.y":1,"z":null},"agentId":1,"more":{"deep":true}}`)
		if re.StatusCode != 200 || re.text != `{"fields":2}` {
			t.Errorf("%s: %d %s", path, re.StatusCode, re.text)
		}
		c.do("POST", path, `{"api_key":"ra_key","agent_id":"a"}`).wants(t, 400, "MISSING_REQUIRED_FIELD", "auth_data")
		c.do("POST", path, `{"api_key":"ra_key","agent_id":"a","auth_data":{"x.y":1},"agent_id":""}`).wants(t, 400, "INVALID_REQUEST", "agent_id")
		c.do("POST", path, `{"api_key":"ra_key","auth_data":{"x.y":1},"agent_id":""}`).wants(t, 400, "INVALID_REQUEST", "agent_id")
		c.do("POST", path, `{"api_key":"ra_key","auth_data":[],"agent_id":"a"}`).wants(t, 400, "INVALID_FIELD_TYPE", "auth_data")
	}
}

func TestTheMediaTypeOfABodyIsJSON(t *testing.T) {
	c := newSurface(t).start(t)
	for header, want := range map[string]int{
		"Content-Type: application/json":                   201,
		"Content-Type: Application/JSON":                   201,
		"Content-Type: application/json; charset=utf-8":    201,
		"Content-Type: application/json;Charset=\"UTF-8\"": 201,
		"Content-Type: application/json; profile=x":        201,
		"Content-Type: ":                                  415,
		"Content-Type: text/plain":                        415,
		"Content-Type: application/x-www-form-urlencoded": 415,
		"Content-Type: application/json; charset=latin1":  415,
		"Content-Type: application/problem+json":          415,
		"Content-Type: application/json+x":                415,
		"Content-Type: application/json;;;":               415,
		"Content-Encoding: gzip":                          415,
		"Content-Encoding: identity":                      201,
	} {
		re := c.do("POST", "/v1/things", `{"name":"a"}`, key, header)
		if re.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", header, re.StatusCode, re.text, want)
		}
		if want == 415 && re.fault.Code != "UNSUPPORTED_MEDIA_TYPE" {
			t.Errorf("%s: %s", header, re.text)
		}
	}
	// The first thing that people try.
	re := c.do("POST", "/v1/things", `{"name":"a"}`, key, "Content-Type: application/x-www-form-urlencoded")
	if !strings.Contains(re.fault.Message, "Content-Type: application/json") {
		t.Errorf("the message does not say what to do: %s", re.fault.Message)
	}
}

func TestABodyOfMoreThan1MiBIsRefused(t *testing.T) {
	c := newSurface(t).start(t)
	fits := `{"name":"` + strings.Repeat("x", 1<<20-len(`{"name":""}`)) + `"}`
	for _, chunked := range []bool{false, true} {
		for _, tt := range []struct {
			body   string
			status int
		}{
			{fits, 201}, {fits + " ", 413}, {strings.Repeat("x", 3<<20), 413},
		} {
			var body io.Reader = strings.NewReader(tt.body)
			if chunked {
				body = io.MultiReader(body) // hides the length
			}
			r, err := http.NewRequestWithContext(t.Context(), "POST", c.url+"/v1/things", body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer ra_key")
			r.Header.Set("Content-Type", "application/json")
			re := c.send(r)
			if re.StatusCode != tt.status || tt.status == 413 && re.fault.Code != "BODY_TOO_LARGE" {
				t.Errorf("%d bytes, chunked %t: %d %.200s, want %d", len(tt.body), chunked, re.StatusCode, re.text, tt.status)
			}
		}
	}
}

func TestABodyThatIsCutOffIsRefused(t *testing.T) {
	s := newSurface(t)
	c := s.start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "POST /v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ra_key\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\":"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) || !bytes.Contains(got, []byte(`"INVALID_REQUEST"`)) {
		t.Errorf("%v: %s", err, got)
	}
}

func TestABodyIsOptionalWhereItsFieldIsAPointer(t *testing.T) {
	c := newSurface(t).start(t)
	c.do("POST", "/auth/token", "").wants(t, 401, "INVALID_ACCESS_TOKEN", "")
	c.do("POST", "/auth/token", "null").wants(t, 401, "INVALID_ACCESS_TOKEN", "")
	c.do("POST", "/auth/token", "{}").wants(t, 400, "MISSING_REQUIRED_FIELD", "email")
	c.do("POST", "/v1/things", "", key).wants(t, 400, "INVALID_REQUEST", "")
}
