// Package deploy_test runs the gateways of this folder's examples: the real
// programs, between real clients, a real Keyward and a service.
package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/keywardtest"
)

// gateway is a program that stands between clients and the service.
type gateway struct {
	name  string
	start func(t *testing.T, w *world) // sets w.url
}

var gateways = []gateway{{"nginx", startNginx}, {"caddy", startCaddy}}

// world is a gateway with all that is around it.
type world struct {
	t        *testing.T
	keyward  *keywardtest.Server
	service  *httptest.Server
	url      string // the gateway's
	relay    *relay // between the gateway and Keyward
	org      string
	signedIn string

	mu   sync.Mutex
	seen []seen
}

// seen is a request as the service got it.
type seen struct {
	Method, Target, Body string
	Header               http.Header
}

// each runs f with each gateway.
func each(t *testing.T, f func(t *testing.T, w *world)) {
	for _, g := range gateways {
		t.Run(g.name, func(t *testing.T) {
			w := &world{t: t}
			w.keyward = keywardtest.Start(t, keywardtest.Options{Settings: map[string]string{"trusted_proxies": "127.0.0.1"}})
			w.service = httptest.NewServer(http.HandlerFunc(w.serve))
			t.Cleanup(w.service.Close)
			w.relay = startRelay(t, strings.TrimPrefix(w.keyward.URL, "http://"))
			w.register()
			g.start(t, w)
			f(t, w)
		})
	}
}

// serve is the service. It refuses what begins with a status, as services do.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.seen = append(w.seen, seen{r.Method, r.RequestURI, string(body), r.Header.Clone()})
	w.mu.Unlock()
	rw.Header().Set("X-RateLimit-Remaining", "the service's own")
	for _, status := range []int{401, 403, 500, 503} {
		if strings.HasPrefix(r.URL.Path, fmt.Sprintf("/%d", status)) {
			rw.WriteHeader(status)
		}
	}
	fmt.Fprint(rw, "the service")
}

// passed returns what the service got since it was asked last.
func (w *world) passed() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.seen
	w.seen = nil
	return all
}

func (w *world) register() {
	w.t.Helper()
	w.call(201, "POST", "/auth/register", "", map[string]any{"name": "Jane", "email": "jane@example.com", "password": "correct horse"})
	w.signIn()
	me := w.call(200, "GET", "/auth/me", w.signedIn, nil)
	w.org = me["organizations"].([]any)[0].(map[string]any)["id"].(string)
}

func (w *world) signIn() {
	w.t.Helper()
	w.signedIn = w.call(200, "POST", "/auth/token", "", map[string]any{"email": "jane@example.com", "password": "correct horse"})["accessToken"].(string)
}

// restart starts Keyward again on the same data, where the gateway does not know
// of it.
func (w *world) restart() {
	w.t.Helper()
	w.keyward = keywardtest.Start(w.t, keywardtest.Options{Data: w.keyward.Data})
	w.signIn()
}

// call calls Keyward itself.
func (w *world) call(status int, method, path, bearer string, body any) map[string]any {
	w.t.Helper()
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.keyward.URL+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer got.Body.Close()
	all, _ := io.ReadAll(got.Body)
	var out map[string]any
	_ = json.Unmarshal(all, &out) // a 204 has none
	if got.StatusCode != status {
		w.t.Fatalf("%s %s: %d %s", method, path, got.StatusCode, all)
	}
	return out
}

type key struct {
	id   int64
	text string
}

// key makes a key with these settings.
func (w *world) key(settings map[string]any) key {
	w.t.Helper()
	made := w.call(201, "POST", "/v1/keys", w.signedIn, settings)
	return key{int64(made["id"].(float64)), made["key"].(string)}
}

// answer is what the gateway answered.
type answer struct {
	status int
	header http.Header
	text   string
	err    struct {
		Code      string
		Status    int
		RequestID string `json:"request_id"`
	}
}

// send sends a request to the gateway, from an address of this machine. Headers
// come as "Name: value".
func (w *world) send(from, method, target, body string, headers ...string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header[name] = append(r.Header[name], value) // as it is written
	}
	c := &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext, DisableKeepAlives: true,
	}}
	got, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer got.Body.Close()
	all, err := io.ReadAll(got.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: got.StatusCode, header: got.Header, text: string(all)}
	_ = json.Unmarshal(all, &struct{ Error any }{&a.err}) // the service answers with a text
	return a
}

// refused checks an answer that Keyward's refusal must be.
func (w *world) refused(what string, a answer, status int, code string) {
	w.t.Helper()
	if a.status != status || a.err.Code != code || a.err.Status != status {
		w.t.Errorf("%s: %d %s, want %d %s", what, a.status, a.text, status, code)
	}
	if a.header.Get("Content-Type") != "application/json" || a.err.RequestID == "" || a.header.Get("X-Request-Id") != a.err.RequestID {
		w.t.Errorf("%s: the headers are %v, the body %s", what, a.header, a.text)
	}
	if (a.header.Get("Www-Authenticate") != "") != (status == 401) {
		w.t.Errorf("%s: WWW-Authenticate: %q", what, a.header.Get("Www-Authenticate"))
	}
	for name, values := range a.header {
		if len(values) > 1 || strings.HasPrefix(name, "X-Deny-") {
			w.t.Errorf("%s: %s: %q", what, name, values)
		}
	}
	if got := w.passed(); len(got) != 0 {
		w.t.Errorf("%s: the service got %v", what, got)
	}
}

// run runs a program until the test ends, under a shell that ends it when this
// process's end of a pipe closes, so that a test that is killed leaves nothing
// running.
func run(t *testing.T, log string, program string, args ...string) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", `"$@" & pid=$!; cat >/dev/null; kill -TERM $pid; wait $pid`, "sh", program}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(log), "XDG_DATA_HOME="+filepath.Dir(log), "XDG_CONFIG_HOME="+filepath.Dir(log))
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pipe.Close()
		_ = cmd.Wait() // of a program that was told to end
		out.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("the log of %s:\n%s", program, text)
		}
	})
}

// find returns where a program is, or skips the test; where KEYWARD_TEST_REQUIRE
// is "all" it fails.
func find(t *testing.T, program string, places ...string) string {
	t.Helper()
	for _, place := range append([]string{program}, places...) {
		if found, err := exec.LookPath(place); err == nil {
			return found
		} else if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if dbtest.Required() {
		t.Fatalf("%s is not installed here", program)
	}
	t.Skipf("%s is not installed here (Debian: apt-get install %s)", program, program)
	return ""
}

// adapt writes an example into a folder, with each text replaced that must be
// there, once or more.
func adapt(t *testing.T, example, to string, replace ...string) {
	t.Helper()
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	s := string(text)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(s, replace[i]) {
			t.Fatalf("%s does not have %q", example, replace[i])
		}
		s = strings.ReplaceAll(s, replace[i], replace[i+1])
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await waits until somebody listens at address.
func await(t *testing.T, address, log string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
	}
	text, _ := os.ReadFile(log)
	t.Fatalf("nobody listens at %s:\n%s", address, text)
}

// relay passes connections on to Keyward and counts them.
type relay struct {
	address string
	mu      sync.Mutex
	count   int
	stalled bool
}

// stall lets new connections wait for ever.
func (r *relay) stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = true
}

func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &relay{address: l.Addr().String()}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.count++
			stalled := r.stalled
			r.mu.Unlock()
			go func() {
				defer in.Close()
				if stalled {
					_, _ = io.Copy(io.Discard, in) // until the gateway gives up
					return
				}
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				go func() {
					defer out.Close()
					_, _ = io.Copy(out, in)
				}()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return r
}

func startNginx(t *testing.T, w *world) {
	nginx := find(t, "nginx", "/usr/sbin/nginx")
	dir, address := t.TempDir(), freeAddress(t)
	main := `daemon off; pid nginx.pid; error_log stderr warn; worker_processes 2;
events { worker_connections 256; }
http {
	client_body_temp_path tmp-body; proxy_temp_path tmp-proxy; fastcgi_temp_path tmp-fastcgi; uwsgi_temp_path tmp-uwsgi; scgi_temp_path tmp-scgi;
	access_log off; default_type text/plain; types { text/html html; }
	# What somebody's own nginx may have, and what must not open the gate.
	error_page 500 502 503 504 =200 /sorry.html;
	include conf.d/*.conf;
}
`
	if os.Geteuid() == 0 {
		main = "user root;\n" + main // whose the temporary folder is
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	adapt(t, "nginx/keyward.conf", filepath.Join(dir, "conf.d/keyward.conf"),
		"listen 80;", "listen "+address+";", "127.0.0.1:8080", w.relay.address,
		"127.0.0.1:9000", strings.TrimPrefix(w.service.URL, "http://"), "YOUR-ORGANIZATION-ID", w.org,
		"\t# location /run/", "\tlocation /run/", "\t# \tauth_request", "\tauth_request", "\t# \tinclude", "\tinclude",
		"\t# \tproxy_pass http://service", "\tproxy_pass http://service", "\t\t# location = /_keyward/run", "\t\tlocation = /_keyward/run",
		"\t\t# \tinternal", "\t\tinternal", "\t\t# \tproxy_pass", "\t\tproxy_pass", "\t\t# }", "\t\t}", "\t# }", "\t}")
	adapt(t, "nginx/keyward-protect.conf", filepath.Join(dir, "snippets/keyward-protect.conf"))
	log := filepath.Join(dir, "log")
	run(t, log, nginx, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	await(t, address, log)
	w.url = "http://" + address
}

func startCaddy(t *testing.T, w *world) {
	caddy := find(t, "caddy")
	dir, address := t.TempDir(), freeAddress(t)
	adapt(t, "caddy/Caddyfile", filepath.Join(dir, "Caddyfile"),
		":80 {", "{\n\tadmin off\n}\n\nhttp://"+address+" {", "127.0.0.1:8080", w.relay.address,
		"127.0.0.1:9000", strings.TrimPrefix(w.service.URL, "http://"), "YOUR-ORGANIZATION-ID", w.org)
	log := filepath.Join(dir, "log")
	run(t, log, caddy, "run", "--adapter", "caddyfile", "--config", filepath.Join(dir, "Caddyfile"))
	await(t, address, log)
	w.url = "http://" + address
}
