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

// owner is an account with a key, an agent and its customers' profiles, made over
// HTTP as anybody would.
type owner struct {
	address string
	key     string
	tokens  []string // of the profiles: one for each client
}

func signUp(ctx context.Context, address, agentURL string) (*owner, error) {
	const email, password = "bench@example.com", "a long enough password"
	o := &owner{address: address}
	var signedIn struct{ AccessToken string }
	var key struct{ Key string }
	type argument struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Required bool   `json:"required"`
	}
	for _, step := range []struct {
		path string
		body any
		into any
	}{
		{"/auth/register", map[string]string{"name": "Bench", "email": email, "password": password}, nil},
		{"/auth/token", map[string]string{"email": email, "password": password}, &signedIn},
		{"/auth/api-keys", map[string]string{"nickname": "bench"}, &key},
		{"/v1/agents", map[string]any{
			"id": "shop", "name": "Shop", "timeout_seconds": 600,
			"input_arguments": []argument{{"item", "string", true}, {"email", "string", false}, {"password", "string", false}},
			"runner":          map[string]string{"type": "http", "url": agentURL},
		}, nil},
	} {
		if err := lab.Call(ctx, o.address, signedIn.AccessToken, step.path, step.body, step.into); err != nil {
			return nil, fmt.Errorf("%s: %w", step.path, err)
		}
	}
	o.key = key.Key
	for i := range manyClients {
		var profile struct {
			AuthToken string `json:"auth_token"`
		}
		err := lab.Call(ctx, o.address, "", "/api/create_agent_auth_profile", map[string]any{
			"api_key": key.Key, "agent_id": "shop", "name": fmt.Sprintf("customer %d", i),
			"auth_data": map[string]string{"email": "jane@shop.example", "password": "correct horse battery"},
		}, &profile)
		if err != nil {
			return nil, fmt.Errorf("make a profile: %w", err)
		}
		o.tokens = append(o.tokens, profile.AuthToken)
	}
	return o, nil
}

// request returns what each client sends to start a run, with a profile of its
// customer's.
func (o *owner) request(profile, async bool) func(client int) []byte {
	return func(client int) []byte {
		with := ""
		if profile {
			with = fmt.Sprintf(`"auth_token":%q,`, o.tokens[client])
		}
		return post(o.address, "/run_agent", fmt.Sprintf(`{"api_key":%q,"agent_id":"shop",%s"parameters":{"item":"blue shoes, size 42"},"run_async":%t}`, o.key, with, async))
	}
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
	busy      float64 // of the server's processor time for each run, in microseconds
}

// load sends requests n times, with clients connections that wait for each answer.
// The first failure ends it.
func load(address string, clients, n int, request func(client int) []byte, want []byte) (measured, error) {
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
			request := request(i)
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
	return measured{perSecond: float64(n) / took.Seconds(), median: all[len(all)/2].Seconds() * 1e3}, nil
}

// warm is how many runs are made before the clock starts.
const warm = 300
