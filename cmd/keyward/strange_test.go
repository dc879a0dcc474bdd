package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// strange is a server that is not what a command expects: each of its first path
// segments is another.
func strange(w http.ResponseWriter, r *http.Request) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	answer := func(status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
	switch {
	case kind == "slow":
		_, _ = io.Copy(io.Discard, r.Body) // or its end would not be noticed
		<-r.Context().Done()
	case kind == "moved":
		http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusMovedPermanently)
	case rest == "healthz" && kind != "page":
		answer(200, `{"status":"ok"}`)
	case kind == "old":
		answer(404, `{"error":{"code":"ROUTE_NOT_FOUND","message":"There is no such path.","status":404,"request_id":"r1"}}`)
	case kind == "new":
		answer(200, `{"data":[{"id":1,"name":"k","colour":"green","made_by":{"robot":1}}],"pagination":{"limit":100,"next_cursor":null,"more":true},"era":2}`)
	case kind == "other":
		answer(200, `{"status":"success","result":[]}`)
	case kind == "broken":
		answer(500, `{"error":{"code":"INTERNAL_ERROR","message":"Something went wrong here.","status":500,"request_id":"r2"}}`)
	case kind == "evil":
		answer(403, `{"error":{"code":"NOT_ALLOWED","message":"\u001b[2J\u001b]0;evil\u0007\u202eno\u009b31m","status":403}}`)
	default:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<h1>It works!</h1>")
	}
}

// between stands between the commands and the server at $URL, and is $BETWEEN: it
// takes each access token once, and then it has expired.
func between(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: between")
	}
	at, err := url.Parse(ts.Getenv("URL"))
	ts.Check(err)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at) }}
	var mu sync.Mutex
	seen := map[string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		mu.Lock()
		spent := seen[token] && !strings.HasPrefix(token, "Bearer ra_")
		seen[token] = token != ""
		mu.Unlock()
		if spent {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"code":"EXPIRED_ACCESS_TOKEN","message":"The access token has expired","status":401,"request_id":"r3"}}`)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	ts.Defer(s.Close)
	ts.Setenv("BETWEEN", s.URL)
}
