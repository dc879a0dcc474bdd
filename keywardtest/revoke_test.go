package keywardtest_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/keywardtest"
)

// check is one check of a key in a history: when it was asked and how it ended.
type check struct {
	key    int64
	asked  time.Time
	status int
}

// history asks servers about keys, hot, from several clients, until end is
// called, and returns every check that there was.
func history(t *testing.T, urls []string, organization string, keys map[int64]string, clients int) (end func() []check) {
	t.Helper()
	var all [][]check
	var mu sync.Mutex
	var wg sync.WaitGroup
	var stop atomic.Bool
	for c := range clients {
		wg.Go(func() {
			var seen []check
			client := &http.Client{Transport: &http.Transport{}}
			for n := c; !stop.Load(); n++ {
				for id, key := range keys {
					r, err := http.NewRequest("GET", urls[n%len(urls)]+"/v1/verify?organization="+organization, nil)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("X-API-Key", key)
					at := time.Now()
					got, err := client.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					got.Body.Close()
					seen = append(seen, check{id, at, got.StatusCode})
				}
			}
			client.CloseIdleConnections()
			mu.Lock()
			all = append(all, seen)
			mu.Unlock()
		})
	}
	return func() (checks []check) {
		stop.Store(true)
		wg.Wait()
		for _, seen := range all {
			checks = append(checks, seen...)
		}
		return checks
	}
}

// TestARevokedKeyIsRefusedFromThenOn reads a history: every check that was asked
// after a DELETE had answered must have been refused, on every server, while
// many were checking the same keys.
func TestARevokedKeyIsRefusedFromThenOn(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		urls := []string{h.URL}
		if o.RootKey != "" { // PostgreSQL: a second server on the same database
			urls = append(urls, keywardtest.Start(t, o).URL)
		}
		p := h.person("")
		org := h.must(200, "GET", "/auth/me", nil, p.bearer()).JSON["organizations"].([]any)[0].(map[string]any)["id"].(string)
		keys := map[int64]string{}
		var ids []int64
		for n := range 8 {
			made := h.must(201, "POST", "/v1/keys", map[string]any{"name": fmt.Sprint("k", n)}, p.bearer())
			id := int64(made.get("id").(float64))
			keys[id] = made.text("key")
			ids = append(ids, id)
		}
		end := history(t, urls, org, keys, 6)
		ended := map[int64]time.Time{}
		for n, id := range ids {
			time.Sleep(60 * time.Millisecond) // the keys are hot
			switch n % 4 {
			case 0, 1:
				h.must(204, "DELETE", fmt.Sprint("/v1/keys/", id), nil, p.bearer())
			case 2:
				h.must(204, "DELETE", "/v1/keys/self", nil, "Authorization: Bearer "+keys[id])
			case 3:
				h.must(200, "DELETE", fmt.Sprint("/auth/api-keys/", id), nil, p.bearer())
			}
			ended[id] = time.Now()
		}
		time.Sleep(60 * time.Millisecond)
		before, after := 0, 0
		for _, c := range end() {
			switch late := c.asked.After(ended[c.key]); {
			case !late && c.status == 200:
				before++
			case late && c.status == 401:
				after++
			case late:
				t.Errorf("a check that was asked %v after the key's end had answered got %d", c.asked.Sub(ended[c.key]), c.status)
			}
		}
		if before < 100 || after < 100 {
			t.Errorf("only %d checks before and %d after: that proves little", before, after)
		}
	})
}

// What is true of a revocation is true of everything that closes a door.
func TestWhatClosesAKeyHoldsFromItsAnswerOnOnEveryServer(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		h := newHouse(t, o)
		urls := []string{h.URL}
		if o.RootKey != "" {
			urls = append(urls, keywardtest.Start(t, o).URL)
		}
		operator := h.person(h.SetupCode(t))
		for name, test := range map[string]struct {
			shut func(h *house, p person, id, key string)
			code string
		}{
			"the key is disabled": {func(h *house, p person, id, key string) {
				h.must(200, "PATCH", "/v1/keys/"+id, map[string]any{"enabled": false}, p.bearer())
			}, "DISABLED_API_KEY"},
			"the key is moved to another address": {func(h *house, p person, id, key string) {
				h.must(200, "PATCH", "/v1/keys/"+id, map[string]any{"allowed_ips": []string{"192.0.2.1"}}, p.bearer())
			}, "IP_NOT_ALLOWED"},
			"the key's value is rotated": {func(h *house, p person, id, key string) {
				h.must(200, "POST", "/v1/keys/"+id+"/rotate", map[string]any{}, p.bearer())
			}, "REVOKED_API_KEY"},
			"the key loses the scope": {func(h *house, p person, id, key string) {
				h.must(200, "PATCH", "/v1/keys/"+id, map[string]any{"scopes": []string{"agents:run"}}, p.bearer())
			}, "INSUFFICIENT_SCOPE"},
			"the account is deleted": {func(h *house, p person, id, key string) {
				h.must(204, "DELETE", "/auth/me", map[string]any{"password": p.password}, p.bearer())
			}, "INVALID_API_KEY"},
			"the organization's limit is lowered": {func(h *house, p person, id, key string) {
				org := h.organization(p)
				h.must(200, "PATCH", "/v1/organizations/"+org, map[string]any{"limits": map[string]any{"requests_per_hour": 1}}, operator.bearer())
				h.must(200, "GET", "/v1/agents", nil, "X-API-Key: "+key) // the one of the hour
			}, "RATE_LIMITED"},
		} {
			t.Run(name, func(t *testing.T) {
				h := *h
				h.t = t
				p := h.person("")
				made := h.must(201, "POST", "/v1/keys", map[string]any{"name": "k", "type": "personal", "scopes": []string{"agents:read"}}, p.bearer())
				id := fmt.Sprint(int64(made.get("id").(float64)))
				key := made.text("key")
				for range 2 {
					for _, url := range urls {
						if status, _, body := ask(t, url+"/v1/agents", key); status != 200 {
							t.Fatalf("before: %d %s", status, body)
						}
					}
				}
				test.shut(&h, p, id, key)
				for _, url := range urls {
					if _, code, body := ask(t, url+"/v1/agents", key); code != test.code {
						t.Errorf("%s answers %s, want %s", url, body, test.code)
					}
				}
			})
		}
	})
}
