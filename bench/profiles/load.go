package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyward/keyward/bench/lab"
)

const (
	manyClients  = 16
	valuesOfEach = 10
	agentID      = "shop"
)

// owner is an account with a key and an agent, made over HTTP as anybody would.
type owner struct {
	address string
	key     string
	token   string // of the sign-in
}

func signUp(ctx context.Context, address string) (*owner, error) {
	const email, password = "bench@example.com", "a long enough password"
	o := &owner{address: address}
	var signedIn struct{ AccessToken string }
	var key struct{ Key string }
	for _, step := range []struct {
		path string
		body any
		into any
	}{
		{"/auth/register", map[string]string{"name": "Bench", "email": email, "password": password}, nil},
		{"/auth/token", map[string]string{"email": email, "password": password}, &signedIn},
		{"/auth/api-keys", map[string]string{"nickname": "bench"}, &key},
		{"/v1/agents", agentDefinition(), nil},
	} {
		o.token = signedIn.AccessToken
		if err := lab.Call(ctx, o.address, o.token, step.path, step.body, step.into); err != nil {
			return nil, fmt.Errorf("%s: %w", step.path, err)
		}
	}
	o.key = key.Key
	return o, nil
}

func agentDefinition() any {
	type argument struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	var arguments []argument
	for i := range valuesOfEach {
		arguments = append(arguments, argument{fieldName(i), "string"})
	}
	return map[string]any{
		"id": agentID, "name": "Shop", "input_arguments": arguments,
		"runner": map[string]string{"type": "http", "url": "http://127.0.0.1:9/run"},
	}
}

func fieldName(i int) string { return fmt.Sprintf("field_%d", i) }

// connection is a client that costs as little as it can: it shares the machine
// with the server that it measures.
type connection struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
	body    []byte
}

func dial(address string) (*connection, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn: conn, answers: bufio.NewReader(conn)}, nil
}

// createProfile makes profile number n, and returns when it was answered.
func (c *connection) createProfile(o *owner, n int64) error {
	c.body = fmt.Appendf(c.body[:0], `{"api_key":"%s","agent_id":"%s","name":"customer-%08d","auth_data":{`, o.key, agentID, n)
	for i := range valuesOfEach {
		if i > 0 {
			c.body = append(c.body, ',')
		}
		c.body = fmt.Appendf(c.body, `"field_%d":"correct horse battery %06d"`, i, n%1_000_000)
	}
	c.body = append(c.body, "}}"...)
	c.request = fmt.Appendf(c.request[:0],
		"POST /api/create_agent_auth_profile HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		o.address, len(c.body), c.body)
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"auth_token":"kwt1`)) {
		return fmt.Errorf("create a profile: %s: %s", res.Status, answer)
	}
	return nil
}

// load creates profiles from number first up to before last, with clients
// connections, and says how many were answered. The first failure ends it.
func (o *owner) load(clients int, first, last int64) (answered int64, err error) {
	var next, done atomic.Int64
	next.Store(first)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := dial(o.address)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.conn.Close()
			for {
				n := next.Add(1) - 1
				if n >= last {
					return
				}
				if errs[i] = c.createProfile(o, n); errs[i] != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return done.Load(), errors.Join(errs...)
}

// warm is how many profiles are made before the clock starts: statements get
// prepared, and the heap finds its size.
const warm = 300

// overHTTP creates profiles on a new server, and says how many in a second.
func (b *bench) overHTTP(ctx context.Context, program []string, folder string, clients int) (perSecond float64, err error) {
	s, err := start(program, folder)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	o, err := signUp(ctx, s.Address)
	if err != nil {
		return 0, err
	}
	if _, err := o.load(clients, 0, warm); err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = o.load(clients, warm, warm+int64(b.each))
	return float64(b.each) / time.Since(began).Seconds(), err
}
