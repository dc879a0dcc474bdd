package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyward/keyward/bench/lab"
)

const manyClients = 16

// owner is an account with a key, an agent and a profile, made over HTTP as
// anybody would.
type owner struct {
	address string
	key     string
	token   string // of the profile
}

func signUp(ctx context.Context, address, agentURL string) (*owner, error) {
	const email, password = "bench@example.com", "a long enough password"
	o := &owner{address: address}
	var signedIn struct{ AccessToken string }
	var key struct{ Key string }
	var profile struct {
		AuthToken string `json:"auth_token"`
	}
	type argument struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Required bool   `json:"required"`
	}
	for _, step := range []struct {
		path string
		body func() any
		into any
	}{
		{"/auth/register", func() any {
			return map[string]string{"name": "Bench", "email": email, "password": password}
		}, nil},
		{"/auth/token", func() any { return map[string]string{"email": email, "password": password} }, &signedIn},
		{"/auth/api-keys", func() any { return map[string]string{"nickname": "bench"} }, &key},
		{"/v1/agents", func() any {
			return map[string]any{
				"id": "shop", "name": "Shop", "timeout_seconds": 600,
				"input_arguments": []argument{{"item", "string", true}, {"email", "string", false}, {"password", "string", false}},
				"runner":          map[string]string{"type": "http", "url": agentURL},
			}
		}, nil},
		{"/api/create_agent_auth_profile", func() any {
			return map[string]any{"api_key": key.Key, "agent_id": "shop", "name": "customer",
				"auth_data": map[string]string{"email": "jane@shop.example", "password": "correct horse battery"}}
		}, &profile},
	} {
		token := signedIn.AccessToken
		if step.path == "/api/create_agent_auth_profile" {
			token = ""
		}
		if err := lab.Call(ctx, o.address, token, step.path, step.body(), step.into); err != nil {
			return nil, fmt.Errorf("%s: %w", step.path, err)
		}
	}
	o.key, o.token = key.Key, profile.AuthToken
	return o, nil
}

// request is one that starts a run.
func (o *owner) request(profile, async bool) []byte {
	with := ""
	if profile {
		with = fmt.Sprintf(`"auth_token":%q,`, o.token)
	}
	return post(o.address, "/run_agent", fmt.Sprintf(`{"api_key":%q,"agent_id":"shop",%s"parameters":{"item":"blue shoes, size 42"},"run_async":%t}`, o.key, with, async))
}

// What answers have in them.
var (
	ranWell = []byte(`"agent_output":{"order":"A-1000","ok":true}`)
	queued  = []byte(`"session_id":"`)
	agentOK = []byte(`"ok":true`)
)

// measured is what came of a load.
type measured struct {
	perSecond float64
	median    float64 // of the time that a client waited, in milliseconds
}

// load sends request n times, with clients connections that wait for each answer.
// The first failure ends it.
func load(address string, clients, n int, request, want []byte) (measured, error) {
	var next atomic.Int64
	errs, times := make([]error, clients), make([][]time.Duration, clients)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range clients {
		wg.Go(func() {
			c, err := dial(address)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.conn.Close()
			for next.Add(1) <= int64(n) {
				sent := time.Now()
				if errs[i] = c.do(request, want); errs[i] != nil {
					return
				}
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return measured{}, err
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return measured{float64(n) / took.Seconds(), all[len(all)/2].Seconds() * 1e3}, nil
}

// warm is how many runs are made before the clock starts: statements get
// prepared, and the heap finds its size.
const warm = 300

// warmed is load after some that do not count.
func warmed(address string, clients, n int, request, want []byte) (measured, error) {
	if _, err := load(address, clients, warm, request, want); err != nil {
		return measured{}, err
	}
	return load(address, clients, n, request, want)
}
