package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A server that is killed again and again while a key is used as fast as it goes
// admits no more than the key's limit in all, and loses a block a time at most.
// Of the statistics it loses a second at most, and nothing when it is stopped.
func TestALimitHoldsThroughKills(t *testing.T) {
	if testing.Short() {
		t.Skip("kills take a while")
	}
	data := filepath.Join(t.TempDir(), "data")
	args := []string{"--addr", "127.0.0.1:0", "--data", data, "--default-tier", "enterprise"}
	p := startProcess(t, nil, args...)
	person := map[string]any{"name": "Jane", "email": "jane@example.com", "password": "long enough"}
	p.must(201, "POST", "/auth/register", "", person)
	delete(person, "name")
	token := p.must(200, "POST", "/auth/token", "", person)["accessToken"].(string)
	const limit, kills = 3000, 6
	made := p.must(201, "POST", "/v1/keys", token, map[string]any{"name": "k", "limits": map[string]any{"requests_per_hour": limit}})
	key, id := made["key"].(string), int64(made["id"].(float64))
	// The address changes at each start, and with it who issues access tokens.
	owner := p.must(201, "POST", "/v1/keys", token, map[string]any{"name": "owner"})["key"].(string)
	org := p.must(200, "GET", "/auth/me", token, nil)["organizations"].([]any)[0].(map[string]any)["id"].(string)

	var admitted, refused atomic.Int64
	use := func(p *process, until func() bool) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				client := &http.Client{Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				for !until() {
					r, _ := http.NewRequest("GET", p.url+"/v1/verify?organization="+org, nil)
					r.Header.Set("X-API-Key", key)
					got, err := client.Do(r)
					if err != nil {
						return // it was killed; what it had admitted without an answer nobody got
					}
					got.Body.Close()
					switch got.StatusCode {
					case 200:
						admitted.Add(1)
					case 429:
						refused.Add(1)
					default:
						t.Errorf("answered %d", got.StatusCode)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	for kill := range kills {
		goal := admitted.Load() + limit/(kills+2)
		var once sync.Once
		use(p, func() bool {
			if admitted.Load() >= goal {
				once.Do(func() { p.signal(syscall.SIGKILL) })
			}
			return refused.Load() > 0
		})
		p.wait()
		if refused.Load() > 0 {
			t.Fatalf("refused before kill %d, after %d", kill+1, admitted.Load())
		}
		p = startProcess(t, nil, args...)
	}
	use(p, func() bool { return refused.Load() >= 50 })
	// A block is 1 % of the hour or a second's worth, and 8 requests were under way.
	if n := admitted.Load(); n > limit || n < limit/4 {
		t.Errorf("%d were admitted of a limit of %d", n, limit)
	}
	t.Logf("%d of %d were admitted through %d kills", admitted.Load(), limit, kills)

	// Everything since the last start is counted once the server was stopped.
	counted := func(p *process) (allowed, limited float64) {
		usage := p.must(200, "GET", fmt.Sprintf("/v1/keys/%d/usage", id), owner, nil)["keys"].([]any)[0].(map[string]any)
		return usage["allowed"].(float64), usage["rate_limited"].(float64)
	}
	allowed, limited := counted(p)
	if limited != float64(refused.Load()) {
		t.Errorf("%v refusals are counted of %d", limited, refused.Load())
	}
	if allowed > float64(admitted.Load())+8*kills {
		t.Errorf("%v are counted of %d that were let in", allowed, admitted.Load())
	}
	p.stop()
	p = startProcess(t, nil, args...)
	if a, l := counted(p); a != allowed || l != limited {
		t.Errorf("after a stop %v and %v are counted, before %v and %v", a, l, allowed, limited)
	}
	time.Sleep(2 * time.Second) // longer than a flush takes
	p.signal(syscall.SIGKILL)
	p.wait()
	p = startProcess(t, nil, args...)
	if a, l := counted(p); a != allowed || l != limited {
		t.Errorf("after a kill %v and %v are counted, two seconds before it %v and %v", a, l, allowed, limited)
	}
	p.stop()
}
