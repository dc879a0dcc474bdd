package api

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/keyward/keyward/internal/fault"
)

// Failures of the way to an operation.
var (
	ErrRouteNotFound    = fault.New(fault.NotFound, "ROUTE_NOT_FOUND", "There is nothing at this address. /openapi.json lists what there is.")
	ErrMethodNotAllowed = fault.New(fault.MethodNotAllowed, "METHOD_NOT_ALLOWED", "This address does not take this method. The Allow header names those that it takes.")
)

// requestID returns the id that the caller gave the request, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get(requestIDHeader)
	if len(id) < 1 || len(id) > 64 {
		return rand.Text()
	}
	for _, c := range []byte(id) {
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("._-", c) >= 0) {
			return rand.Text()
		}
	}
	return id
}

// checkTarget refuses what no text of a request may hold, in the path and in
// the query.
func checkTarget(u *url.URL) error {
	if !cleanText(u.Path) {
		return fault.ErrInvalidRequest.Say("The path of the request is not valid UTF-8, or has U+0000 in it.")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fault.ErrInvalidRequest.Say("The query of the request is not well formed.")
	}
	for name, values := range query {
		if !cleanText(name) || !cleanText(strings.Join(values, "")) {
			return fault.ErrInvalidRequest.Say("The query of the request is not valid UTF-8, or has U+0000 in it.")
		}
	}
	return nil
}

// cleanText reports whether s may be a text of a request: SQLite would keep a
// U+0000 and PostgreSQL would not.
func cleanText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// route serves r, or says why nothing does. Left to itself the mux would answer
// that in plain text, and send a request for //v1/keys on to /v1/keys.
func (a *API) route(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.EscapedPath(); !isTidy(p) {
		a.Fail(w, r, ErrRouteNotFound)
		return
	}
	h, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}

	miss := &missed{header: http.Header{}}
	h.ServeHTTP(miss, r)
	if miss.status != http.StatusMethodNotAllowed {
		a.Fail(w, r, ErrRouteNotFound)
		return
	}
	w.Header().Set("Allow", miss.header.Get("Allow")+", OPTIONS")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	a.Fail(w, r, ErrMethodNotAllowed)
}

func isTidy(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/")
}

// missed takes what the mux answers to a request that nothing serves.
type missed struct {
	header http.Header
	status int
}

func (m *missed) Header() http.Header         { return m.header }
func (m *missed) WriteHeader(status int)      { m.status = status }
func (m *missed) Write(b []byte) (int, error) { return len(b), nil }
