package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/client"
)

// What answers need not be Keyward, or not this Keyward.
func TestWhatIsNotKeywardIsToldApart(t *testing.T) {
	long := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for range 40 {
			fmt.Fprint(w, strings.Repeat(" ", 1<<20))
		}
	}
	says := func(status int, kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			fmt.Fprint(w, strings.ReplaceAll(text, "KEY", r.Header.Get("Authorization")))
		}
	}
	for what, h := range map[string]http.HandlerFunc{
		"a page":                          says(200, "text/html", "<html>KEY"),
		"a page that is not there":        says(404, "text/html; charset=utf-8", "<html>KEY"),
		"a type with a key in it":         says(500, someKey, "KEY"),
		"JSON of something else":          says(200, "application/json", `{"status":"ok","key":"KEY"}`),
		"JSON that is no object":          says(200, "application/json", `["KEY"]`),
		"no JSON":                         says(200, "application/json", `{"id":KEY`),
		"an id of another type":           says(200, "application/json", `{"id":"KEY"}`),
		"a time of another form":          says(200, "application/json", `{"id":1,"created_at":"KEY"}`),
		"an error of something else":      says(400, "application/json", `{"error":"KEY"}`),
		"an error without a code":         says(400, "application/json", `{"error":{"message":"KEY"}}`),
		"nothing, where something should": says(204, "", ""),
		"an empty answer":                 says(200, "application/json", ""),
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://keys.example.com/"+someKey, http.StatusFound)
		},
		"more than can be": long,
	} {
		s := answers(t, h)
		_, err := connect(t, s.URL, client.WithRetries(0)).Keys.Get(t.Context(), 1)
		if !errors.Is(err, client.ErrNotKeyward) || !strings.Contains(err.Error(), s.URL) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if said := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(said, someKey) {
			t.Errorf("%s: the error has the key: %s", what, said)
		}
	}
	for _, h := range []http.HandlerFunc{says(200, "text/html", "<html>"), says(200, "application/json", "{}"), says(202, "application/json", "{}")} {
		if err := connect(t, answers(t, h).URL).Keys.RevokeSelf(t.Context()); !errors.Is(err, client.ErrNotKeyward) {
			t.Errorf("something where nothing should be: %v", err)
		}
	}
}

func TestAnErrorHasNoKeyEvenIfTheAnswerHas(t *testing.T) {
	s := answers(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":{"code":"X","message":"sent %s","details":{"sent":%q}}}`, r.Header.Get("Authorization"), r.Header.Get("Authorization"))
	})
	_, err := connect(t, s.URL).Keys.Self(t.Context())
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 400 || strings.Contains(fmt.Sprintf("%v %+v", err, *e), someKey) {
		t.Errorf("%v", err)
	}
}

// A redirect would take the key to another server.
func TestRedirectsAreNotFollowed(t *testing.T) {
	hit := false
	other := answers(t, func(http.ResponseWriter, *http.Request) { hit = true })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := answers(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) })
		_, err := connect(t, s.URL, client.WithHTTPClient(&http.Client{})).Keys.Create(t.Context(), client.CreateKey{Name: "a"})
		if hit || !errors.Is(err, client.ErrNotKeyward) || !strings.Contains(err.Error(), other.URL) {
			t.Errorf("%d: %v, followed: %t", status, err, hit)
		}
	}
}

func TestAServerThatIsDownOrSlowIsToldApart(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	slow := answers(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	err := connect(t, gone.URL, client.WithRetries(0)).Ready(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !strings.HasPrefix(err.Error(), "keyward: no answer from "+gone.URL+": dial tcp") {
		t.Errorf("down: %v", err)
	}
	err = connect(t, slow.URL, client.WithRetries(0), client.WithTimeout(20*time.Millisecond)).Ready(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || err.Error() != "keyward: no answer from "+slow.URL+" within 20ms" {
		t.Errorf("slow: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err = connect(t, slow.URL).Ready(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("a deadline of the caller: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err = connect(t, slow.URL, client.WithTimeout(time.Millisecond), client.WithRetries(0)).Runs.Invoke(ctx, "a", client.RunInput{}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("a call that waits for a run: %v", err)
	}
}

func TestAnotherVersionIsUnderstoodAsFarAsItGoes(t *testing.T) {
	s := answers(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.Header().Set("X-Request-Id", "r1")
			w.WriteHeader(404)
			fmt.Fprint(w, `{"error":{"code":"ROUTE_NOT_FOUND","message":"There is no such address."}}`)
			return
		}
		fmt.Fprint(w, `{"id":1,"name":"a","new":{"field":[1]}}`)
	})
	c := connect(t, s.URL)
	if k, err := c.Keys.Get(t.Context(), 1); err != nil || k.Name != "a" {
		t.Errorf("a later one: %+v, %v", k, err)
	}
	if _, err := c.Keys.Verify(t.Context(), client.VerifyKey{Key: "a"}); !errors.Is(err, client.ErrRouteNotFound) || !strings.Contains(err.Error(), "r1") {
		t.Errorf("an earlier one: %v", err)
	}
}

func TestAnIDCantMakeACallAnotherOne(t *testing.T) {
	var asked string
	s := answers(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.RequestURI
		w.WriteHeader(204)
	})
	c := connect(t, s.URL)
	for _, id := range []string{"", ".", ".."} {
		if err := c.Agents.Delete(t.Context(), id); !errors.Is(err, client.ErrInvalidRequest) || asked != "" {
			t.Errorf("%q: %v, asked for %s", id, err, asked)
		}
	}
	for id, want := range map[string]string{"a/../b?c#d": "/v1/agents/a%2F..%2Fb%3Fc%23d", "public/echo": "/v1/agents/public%2Fecho", "{id}": "/v1/agents/%7Bid%7D", "ü %": "/v1/agents/%C3%BC%20%25"} {
		if err := c.Agents.Delete(t.Context(), id); err != nil || asked != want {
			t.Errorf("%q: %v, asked for %s", id, err, asked)
		}
	}
}

func TestAWalkEnds(t *testing.T) {
	n := 0
	s := answers(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Content-Type", "application/json")
		switch cursor := r.URL.Query().Get("cursor"); cursor {
		case "", "b":
			fmt.Fprint(w, `{"data":[{"id":1},{"id":2}],"pagination":{"limit":2,"next_cursor":"a"}}`)
		case "a":
			fmt.Fprint(w, `{"data":[{"id":3}],"pagination":{"limit":2,"next_cursor":"a"}}`)
		}
	})
	c := connect(t, s.URL)
	seen := 0
	var last error
	for _, err := range c.Keys.All(t.Context(), client.KeyFilter{}) {
		if last = err; err == nil {
			seen++
		}
	}
	if seen != 3 || !errors.Is(last, client.ErrNotKeyward) || n != 2 {
		t.Errorf("a list without an end: %d entries, %d requests, %v", seen, n, last)
	}
	n = 0
	for range c.Keys.All(t.Context(), client.KeyFilter{}) {
		break
	}
	if n != 1 {
		t.Errorf("%d pages for one entry", n)
	}
}
