package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/fault"
)

// complaint is a failure as another surface has it.
type complaint struct {
	Error struct {
		Code   string `json:"code"`
		Status int    `json:"status"`
	} `json:"error"`
	Says      string `json:"says"`
	RequestID string `json:"request_id"`
}

type order struct {
	Count int64 `json:"count" minimum:"1"`
}

// newForeignSurface has a raw handler on a surface that has its own shape of
// failures, and whose key may stand in the URL.
func newForeignSurface(t *testing.T) *surface {
	s := newSurface(t, func(c *api.Config) { c.Refusals[api.KeyInURL] = c.Refusals[api.KeyOrToken] })
	s.Speak("/own/", func(e client.Error) any {
		c := complaint{Says: e.Message, RequestID: e.RequestID}
		c.Error.Code, c.Error.Status = e.Code, e.Status
		return c
	})
	read := api.Messages[order](s.API)
	op := api.Operation{Method: "GET", Path: "/own/{id}", Name: "own", Summary: "Own", Tag: "own", Security: api.KeyInURL, Action: access.ReadAgents,
		Errors: []*fault.Fault{fault.ErrMissingField, fault.ErrFieldType}}
	s.Raw(op, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := s.Identify(w, r, op)
		if err == nil && r.URL.Query().Has("message") {
			_, err = read([]byte(r.URL.Query().Get("message")))
		}
		if err != nil {
			s.Fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(who.AccountID + who.RequestID))
	}), api.Answer{Status: 200, ContentType: "text/plain"})
	return s
}

func TestASurfaceMaySpeakOfFailuresInItsOwnShape(t *testing.T) {
	c := newForeignSurface(t).start(t)
	for path, code := range map[string]string{"/own/1": "INVALID_API_KEY", "/own/none/at/all": "ROUTE_NOT_FOUND", "/own/%00": "INVALID_REQUEST"} {
		if re := c.do("GET", path, ""); !strings.Contains(re.text, `"code":"`+code+`"`) || !strings.Contains(re.text, `"says":`) {
			t.Errorf("%s: %d %s", path, re.StatusCode, re.text)
		}
	}
	if re := c.do("GET", "/v1/things/1", ""); strings.Contains(re.text, `"says":`) {
		t.Errorf("another surface: %s", re.text)
	}
}

func TestAKeyMayStandInTheURLWhereAnOperationSaysSo(t *testing.T) {
	s := newForeignSurface(t)
	c := s.start(t)
	for path, headers := range map[string][]string{
		"/own/1?token=ra_key": nil, "/own/2?token=": {"X-API-Key: ra_key"}, "/own/3?token=ra_key": {"Authorization: Bearer ra_key"},
	} {
		if re := c.do("GET", path, "", append(headers, "X-Request-Id: r1")...); re.StatusCode != 200 || !strings.HasSuffix(re.text, "r1") {
			t.Errorf("%s: %d %s", path, re.StatusCode, re.text)
		}
	}
	c.do("GET", "/own/1?token=ra_other", "").wants(t, 401, "INVALID_API_KEY", "")
	before := s.calls
	c.do("GET", "/own/1?token=ra_key", "", "X-API-Key: ra_other").wants(t, 400, "INVALID_REQUEST", "")
	if s.calls != before {
		t.Error("two different credentials were looked at")
	}
	c.do("GET", "/v1/things/1?token=ra_key", "").wants(t, 401, "INVALID_API_KEY", "")
}

func TestMessagesAreReadAsBodiesAre(t *testing.T) {
	c := newForeignSurface(t).start(t)
	for message, code := range map[string]string{
		`{"count":1,"more":2}`: "", `{"count":0}`: "INVALID_REQUEST", `{"count":"1"}`: "INVALID_FIELD_TYPE", `{}`: "MISSING_REQUIRED_FIELD",
		`{"count":1,"count":1}`: "INVALID_REQUEST", `{"count":1,"more":"\u0000"}`: "INVALID_REQUEST", ``: "INVALID_REQUEST", `null`: "INVALID_REQUEST", `nonsense`: "INVALID_REQUEST",
	} {
		re := c.do("GET", "/own/1?token=ra_key&message="+strings.NewReplacer(`"`, "%22", `\`, "%5C").Replace(message), "")
		if code == "" && re.StatusCode != 200 || code != "" && !strings.Contains(re.text, `"code":"`+code+`"`) {
			t.Errorf("%s: %d %s, want %s", message, re.StatusCode, re.text, code)
		}
	}
}
