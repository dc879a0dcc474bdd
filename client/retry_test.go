package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/client"
)

// network answers requests in a test whose time is not real.
type network func(n int, r *http.Request) (*http.Response, error)

// sent is what a network was sent.
type sent struct {
	mu sync.Mutex
	at []time.Time
	r  []*http.Request
	b  []string
}

func (s *sent) n() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.r)
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// through returns an option to send everything to answer, and what was sent.
func through(answer network) (client.Option, *sent) {
	s := &sent{}
	return client.WithHTTPClient(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		var body []byte
		if r.Body != nil {
			body, _ = io.ReadAll(r.Body)
		}
		s.mu.Lock()
		s.at, s.r, s.b = append(s.at, time.Now()), append(s.r, r), append(s.b, string(body))
		n := len(s.r)
		s.mu.Unlock()
		a, err := answer(n, r)
		if a != nil {
			a.Request = r
		}
		return a, err
	})}), s
}

func answer(status int, body string, headers ...string) *http.Response {
	a := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		a.Header.Set(name, value)
	}
	return a
}

func refuse(status int, code string, headers ...string) *http.Response {
	return answer(status, fmt.Sprintf(`{"error":{"code":%q,"message":"No.","status":%d,"request_id":"r1"}}`, code, status), headers...)
}

const aKey, aRun = `{"id":1,"name":"a"}`, `{"id":"r","agent_id":"a","status":"queued"}`

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// What is tried again, and what is not.
func TestOnlyWhatIsSafeIsTriedAgain(t *testing.T) {
	reads := func(ctx context.Context, c *client.Client) error { _, err := c.Keys.Get(ctx, 1); return err }
	makes := func(ctx context.Context, c *client.Client) error {
		_, err := c.Keys.Create(ctx, client.CreateKey{Name: "a"})
		return err
	}
	changes := func(ctx context.Context, c *client.Client) error {
		_, err := c.Keys.Change(ctx, 1, client.ChangeKey{})
		return err
	}
	alerts := func(ctx context.Context, c *client.Client) error {
		_, err := c.Alerts.Set(ctx, 1, client.SetAlert{Threshold: 1})
		return err
	}
	deletes := func(ctx context.Context, c *client.Client) error { return c.Keys.Revoke(ctx, 1) }
	starts := func(ctx context.Context, c *client.Client) error {
		_, err := c.Runs.Start(ctx, "a", client.RunInput{})
		return err
	}
	all := map[string]func(context.Context, *client.Client) error{"reads": reads, "makes": makes, "changes": changes, "alerts": alerts, "deletes": deletes, "starts": starts}
	const safe, every, none = "reads deletes starts", "reads makes changes alerts deletes starts", ""

	for what, test := range map[string]struct {
		first func(r *http.Request) (*http.Response, error)
		again string
	}{
		"nothing listens":         {func(*http.Request) (*http.Response, error) { return nil, errRefused }, every},
		"the connection is reset": {func(*http.Request) (*http.Response, error) { return nil, errReset }, safe},
		"half an answer": {func(*http.Request) (*http.Response, error) {
			a := answer(200, "")
			a.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"id":`), &failing{errReset}))
			return a, nil
		}, safe},
		"too slow":                   {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, safe},
		"a limit":                    {func(*http.Request) (*http.Response, error) { return refuse(429, "RATE_LIMITED", "Retry-After: 1"), nil }, every},
		"busy":                       {func(*http.Request) (*http.Response, error) { return refuse(503, "UNAVAILABLE", "Retry-After: 1"), nil }, every},
		"busy, it does not say when": {func(*http.Request) (*http.Response, error) { return refuse(503, "UNAVAILABLE"), nil }, none},
		"a limit far away": {func(*http.Request) (*http.Response, error) {
			return refuse(429, "RATE_LIMITED", "Retry-After: 3600"), nil
		}, none},
		"a failure": {func(*http.Request) (*http.Response, error) { return refuse(500, "INTERNAL_ERROR"), nil }, none},
		"a refusal": {func(*http.Request) (*http.Response, error) {
			return refuse(403, "INSUFFICIENT_SCOPE", "Retry-After: 1"), nil
		}, none},
		"a run that took too long": {func(*http.Request) (*http.Response, error) { return refuse(504, "RUN_TIMED_OUT"), nil }, none},
		"a gateway without its server": {func(*http.Request) (*http.Response, error) {
			return answer(502, "<html>", "Content-Type: text/html"), nil
		}, safe},
		"a gateway that is busy": {func(*http.Request) (*http.Response, error) {
			return answer(503, "<html>", "Content-Type: text/html", "Retry-After: 1"), nil
		}, safe},
		"a page": {func(*http.Request) (*http.Response, error) {
			return answer(200, "<html>", "Content-Type: text/html"), nil
		}, none},
		"a page that is not there": {func(*http.Request) (*http.Response, error) {
			return answer(404, "<html>", "Content-Type: text/html"), nil
		}, none},
		"a certificate of nobody": {func(*http.Request) (*http.Response, error) {
			return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
		}, none},
	} {
		t.Run(what, func(t *testing.T) {
			for kind, call := range all {
				synctest.Test(t, func(t *testing.T) {
					o, s := through(func(n int, r *http.Request) (*http.Response, error) {
						switch {
						case n == 1:
							return test.first(r)
						case r.Method == http.MethodDelete:
							return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, nil
						case strings.HasSuffix(r.URL.Path, "/runs"):
							return answer(202, aRun), nil
						case strings.HasSuffix(r.URL.Path, "/alert"):
							return answer(200, `{"key_id":1}`), nil
						}
						return answer(200, aKey), nil
					})
					err := call(t.Context(), connect(t, "https://keys.example.com", o))
					if again := strings.Contains(test.again, kind); again != (err == nil) || again != (s.n() == 2) {
						t.Errorf("%s: %v after %d requests", kind, err, s.n())
					}
					if err != nil && strings.Contains(err.Error(), someKey) {
						t.Errorf("%s: the error has the key: %v", kind, err)
					}
				})
			}
		})
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestWaitsAreRandomGrowAndAreNeverShorterThanTold(t *testing.T) {
	var waits [3]map[time.Duration]bool
	for i := range waits {
		waits[i] = map[time.Duration]bool{}
	}
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			o, s := through(func(int, *http.Request) (*http.Response, error) { return nil, errReset })
			if _, err := connect(t, "https://keys.example.com", o).Keys.Self(t.Context()); !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("in the end: %v", err)
			}
			if s.n() != 4 {
				t.Fatalf("it was sent %d times", s.n())
			}
			for i := range waits {
				wait := s.at[i+1].Sub(s.at[i])
				if most := 250 * time.Millisecond << i; wait >= most {
					t.Errorf("wait %d is %v", i+1, wait)
				}
				waits[i][wait] = true
			}
		})
	}
	for i, w := range waits {
		if len(w) < 15 {
			t.Errorf("wait %d was one of only %d", i+1, len(w))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		o, s := through(func(n int, _ *http.Request) (*http.Response, error) {
			return refuse(429, "RATE_LIMITED", "Retry-After: "+fmt.Sprint(7*n)), nil
		})
		_, err := connect(t, "https://keys.example.com", o).Keys.Self(t.Context())
		var refused *client.Error
		if !errors.As(err, &refused) || refused.RetryAfter != 28 || s.n() != 4 {
			t.Errorf("told to wait: %+v after %d requests", refused, s.n())
		}
		for i := range 3 {
			if wait, told := s.at[i+1].Sub(s.at[i]), time.Duration(7*(i+1))*time.Second; wait < told || wait > told+2*time.Second {
				t.Errorf("told %v it waited %v", told, wait)
			}
		}
	})
}

func TestNothingIsWaitedForThatTheContextDoesNotLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := through(func(int, *http.Request) (*http.Response, error) {
			return refuse(429, "RATE_LIMITED", "Retry-After: 9"), nil
		})
		c := connect(t, "https://keys.example.com", o)
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := c.Keys.Self(ctx); !errors.Is(err, client.ErrRateLimited) || s.n() != 1 || time.Since(began) != 0 {
			t.Errorf("%v after %d requests and %v", err, s.n(), time.Since(began))
		}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(4*time.Second, stop)
		if _, err := c.Keys.Self(ctx); err == nil || time.Since(began) != 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := c.Keys.Self(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
			t.Errorf("with a context that has ended: %v", err)
		}
	})
}

func TestARunIsStartedOnceHoweverOftenItIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := through(func(n int, _ *http.Request) (*http.Response, error) {
			if n%3 != 0 {
				return nil, errReset
			}
			return answer(200, `{"result":1,"metadata":{"run_id":"r"}}`), nil
		})
		c := connect(t, "https://keys.example.com", o)
		for range 2 {
			if _, err := c.Runs.Invoke(t.Context(), "a", client.RunInput{Parameters: map[string]any{"b": "<>"}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Runs.Invoke(t.Context(), "a", client.RunInput{IdempotencyKey: "mine"}); err != nil {
			t.Fatal(err)
		}
		key := func(i int) string { return s.r[i].Header.Get("Idempotency-Key") }
		if key(0) == "" || key(0) != key(1) || key(1) != key(2) || key(3) == key(2) || key(6) != "mine" || key(8) != "mine" {
			t.Error("the Idempotency-Keys are not those of the calls")
		}
		if s.b[0] != s.b[2] || s.b[0] != `{"parameters":{"b":"<>"}}` {
			t.Errorf("the bodies are %s", s.b)
		}
	})
}

func TestADeletionWhoseAnswerWasLostIsDone(t *testing.T) {
	for code, done := range map[string]bool{"KEY_NOT_FOUND": true, "ROUTE_NOT_FOUND": false, "INVALID_API_KEY": false} {
		for _, first := range []error{errReset, errRefused} {
			synctest.Test(t, func(t *testing.T) {
				o, _ := through(func(n int, _ *http.Request) (*http.Response, error) {
					if n == 1 {
						return nil, first
					}
					return refuse(404, code), nil
				})
				err := connect(t, "https://keys.example.com", o).Keys.Revoke(t.Context(), 1)
				if lost := first == errReset; (err == nil) != (done && lost) {
					t.Errorf("%s after %v: %v", code, first, err)
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		o, _ := through(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return nil, errReset
			}
			return refuse(401, "REVOKED_API_KEY"), nil
		})
		if err := connect(t, "https://keys.example.com", o).Keys.RevokeSelf(t.Context()); err != nil {
			t.Errorf("its own key: %v", err)
		}
	})
}

func TestRetriesCanBeSwitchedOff(t *testing.T) {
	o, s := through(func(int, *http.Request) (*http.Response, error) { return nil, errRefused })
	if err := connect(t, "https://keys.example.com", o, client.WithRetries(0)).Health(t.Context()); !errors.Is(err, client.ErrUnreachable) || s.n() != 1 {
		t.Errorf("%v after %d requests", err, s.n())
	}
}

// Tries of one call have each a signature of their own.
func TestEveryTryIsSignedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := through(func(n int, r *http.Request) (*http.Response, error) {
			if n%2 == 1 {
				return refuse(429, "RATE_LIMITED"), nil
			}
			if r.Method == http.MethodDelete {
				return refuse(401, "SIGNATURE_REPLAYED"), nil
			}
			return answer(200, aKey), nil
		})
		c := connect(t, "https://keys.example.com/prefix", o, client.WithSigningSecret("rs_secret"))
		if _, err := c.Keys.Create(t.Context(), client.CreateKey{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		if s.r[0].Header.Get("X-Signature") == s.r[1].Header.Get("X-Signature") {
			t.Error("two tries have one signature")
		}
		var in client.CreateKey
		if err := json.Unmarshal([]byte(s.b[1]), &in); err != nil || in.Name != "a" {
			t.Errorf("the body is %q", s.b[1])
		}
		if err := c.Keys.Revoke(t.Context(), 1); !errors.Is(err, client.ErrSignatureReplayed) || s.n() != 6 {
			t.Errorf("%v after %d requests", err, s.n())
		}
		if gap := s.at[5].Sub(s.at[4]); s.r[3].Header.Get("X-Timestamp") == s.r[4].Header.Get("X-Timestamp") && gap < time.Second {
			t.Error("what was taken for a replay was not sent in another second")
		}
	})
}

// issuer answers whoever has the last access token that it gave.
type issuer struct {
	good, refreshed atomic.Int64
}

func (i *issuer) answer(_ int, r *http.Request) (*http.Response, error) {
	shown := r.Header.Get("Authorization")
	time.Sleep(time.Second) // so that all who come at once are answered at once
	if r.URL.Path == "/auth/token/refresh" {
		i.refreshed.Add(1)
		n := i.good.Add(1)
		return answer(200, fmt.Sprintf(`{"accessToken":"access-%d","refreshToken":"refresh-%d"}`, n, n)), nil
	}
	if shown != fmt.Sprintf("Bearer access-%d", i.good.Load()) {
		return refuse(401, "EXPIRED_ACCESS_TOKEN"), nil
	}
	return answer(200, `{"id":"me"}`), nil
}

func TestASignInGoesOnByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server issuer
		var kept []client.Tokens
		o, _ := through(server.answer)
		c := connect(t, "https://keys.example.com", o, client.WithSignIn(client.Tokens{RefreshToken: "refresh-0"}, func(t client.Tokens) error { kept = append(kept, t); return nil }))
		other, err := c.With(client.WithRetries(0))
		if err != nil {
			t.Fatal(err)
		}
		for round := range 3 {
			var all sync.WaitGroup
			for i := range 16 {
				all.Go(func() {
					if _, err := []*client.Client{c, other}[i%2].Auth.Me(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if len(kept) != round+1 || int64(len(kept)) != server.refreshed.Load() || kept[round].RefreshToken != fmt.Sprintf("refresh-%d", server.good.Load()) {
				t.Errorf("round %d: refreshed %d times, kept %v", round, server.refreshed.Load(), kept)
			}
			server.good.Add(10) // the token is good no more
		}
	})
}

func TestASignInThatIsSharedIsRenewedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server issuer
		var lock sync.Mutex
		file := client.Tokens{AccessToken: "access-old", RefreshToken: "refresh-old"}
		var programs sync.WaitGroup
		for range 5 {
			o, _ := through(server.answer)
			c := connect(t, "https://keys.example.com", o, client.WithSharedSignIn(file,
				func(ctx context.Context, old client.Tokens, refresh func(context.Context, client.Tokens) (client.Tokens, error)) (client.Tokens, error) {
					for !lock.TryLock() {
						time.Sleep(time.Millisecond)
					}
					defer lock.Unlock()
					if file.AccessToken != old.AccessToken {
						return file, nil
					}
					t, err := refresh(ctx, file)
					file = t
					return t, err
				}))
			programs.Go(func() {
				if _, err := c.Auth.Me(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		programs.Wait()
		if server.refreshed.Load() != 1 {
			t.Errorf("it was refreshed %d times", server.refreshed.Load())
		}
	})
}

func TestASignInThatCantGoOnSaysSo(t *testing.T) {
	for what, test := range map[string]struct {
		refresh *http.Response
		keep    error
		want    error
	}{
		"spent":    {refuse(401, "REFRESH_TOKEN_REUSED"), nil, client.ErrRefreshTokenReused},
		"not kept": {answer(200, `{"accessToken":"access","refreshToken":"hidden"}`), io.ErrShortWrite, io.ErrShortWrite},
	} {
		o, _ := through(func(_ int, r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/auth/token/refresh" {
				return test.refresh, nil
			}
			return refuse(401, "EXPIRED_ACCESS_TOKEN"), nil
		})
		c := connect(t, "https://keys.example.com", o, client.WithSignIn(client.Tokens{AccessToken: "hidden", RefreshToken: "hidden"}, func(client.Tokens) error { return test.keep }))
		if _, err := c.Auth.Me(t.Context()); !errors.Is(err, test.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
