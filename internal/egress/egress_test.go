package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/keyward/keyward/internal/fault"
)

func rules(t *testing.T, items ...string) []Rule {
	t.Helper()
	rules, err := ParseRules(items)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// server is a web service on loopback that counts its connections.
type server struct {
	*httptest.Server
	port        string
	connections atomic.Int64
}

func newServer(t *testing.T, tls bool, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{Server: httptest.NewUnstartedServer(handler)}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	_, s.port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return s
}

func (s *server) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func ok(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "reached") }

// names is a DNS server on loopback. What a name is found to be can change
// between two look-ups.
type names struct {
	mu      sync.Mutex
	known   map[string]string
	lookups atomic.Int64
}

func newNames(t *testing.T, known map[string]string) (*names, *net.Resolver) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n := &names{known: known}
	go func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := n.answer(buf[:size]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return n, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (n *names) set(name, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[name] = address
}

func (n *names) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	n.lookups.Add(1)
	q := m.Questions[0]
	n.mu.Lock()
	address := n.known[strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))]
	n.mu.Unlock()
	m.Response, m.Additionals = true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
	switch ip, err := netip.ParseAddr(address); {
	case err != nil:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA && ip.Is4():
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}}}
	case q.Type == dnsmessage.TypeAAAA && ip.Is6():
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}}}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// call posts to url and returns the answer's body.
func call(t *testing.T, p *Policy, operator bool, url string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := p.Client(operator).Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.Status + " " + string(body), err
}

func wantReached(t *testing.T, p *Policy, operator bool, url string) {
	t.Helper()
	if _, err := p.CheckURL(url, operator); err != nil {
		t.Errorf("CheckURL(%s): %v", url, err)
	}
	if got, err := call(t, p, operator, url); got != "200 OK reached" {
		t.Errorf("%s: got %q, %v", url, got, err)
	}
}

func wantRefused(t *testing.T, p *Policy, operator bool, url string) {
	t.Helper()
	got, err := call(t, p, operator, url)
	if !errors.Is(err, ErrRefused) {
		t.Errorf("%s: got %q, %v, want a refusal", url, got, err)
		return
	}
	f := fault.Of(err)
	if f.Code != "DESTINATION_REFUSED" || f.Details["setting"] != "runners.allow" || !strings.Contains(f.Message, "runners.allow") {
		t.Errorf("%s: the refusal is %+v", url, f)
	}
}

func TestOnlyTheOperatorReachesAnAllowedAddress(t *testing.T) {
	plain, tls := newServer(t, false, ok), newServer(t, true, ok)
	p := &Policy{Allow: rules(t, "127.0.0.1:"+plain.port, "127.0.0.0/8:"+tls.port), roots: tls.roots()}
	wantReached(t, p, true, plain.URL)
	wantReached(t, p, true, tls.URL)

	before := plain.connections.Load() + tls.connections.Load()
	wantRefused(t, p, false, plain.URL)
	wantRefused(t, p, false, tls.URL)
	strict := &Policy{roots: tls.roots()}
	for _, operator := range []bool{true, false} {
		wantRefused(t, strict, operator, plain.URL)
		wantRefused(t, strict, operator, tls.URL)
	}
	if got := plain.connections.Load() + tls.connections.Load(); got != before {
		t.Errorf("a refused call made %d connections", got-before)
	}
}

func TestALaptopReachesLoopbackAndNoMore(t *testing.T) {
	plain := newServer(t, false, ok)
	n, resolver := newNames(t, map[string]string{"app.localhost": "127.0.0.1", "intranet.example.com": "10.0.0.1"})
	p := &Policy{Laptop: true, Resolver: resolver}
	for _, operator := range []bool{true, false} {
		wantReached(t, p, operator, plain.URL)
		wantReached(t, p, operator, "http://app.localhost:"+plain.port)
		for _, url := range []string{
			"https://10.0.0.1/", "http://10.0.0.1/", "https://169.254.169.254/", "https://0.0.0.0:" + plain.port,
			"http://example.com/", "https://intranet.example.com/", "https://[fd00::1]/",
		} {
			wantRefused(t, p, operator, url)
		}
	}
	n.set("app.localhost", "10.0.0.1")
	p.Client(false).CloseIdleConnections()
	wantRefused(t, p, false, "http://app.localhost:"+plain.port)
}

func TestANameIsCheckedEachTimeItIsDialled(t *testing.T) {
	tls, plain := newServer(t, true, ok), newServer(t, false, ok)
	n, resolver := newNames(t, map[string]string{"example.com": "127.0.0.1"})
	p := &Policy{Allow: rules(t, "127.0.0.1:"+tls.port, "127.0.0.1:"+plain.port), Resolver: resolver, roots: tls.roots()}
	url := "https://example.com:" + tls.port

	// The name passes when the agent is made, and means loopback when it runs.
	if _, err := p.CheckURL(url, false); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, p, false, url)
	n.set("example.com", "::ffff:127.0.0.1")
	wantRefused(t, p, false, url)
	if got := tls.connections.Load(); got != 0 {
		t.Errorf("%d connections were made", got)
	}
	n.set("example.com", "127.0.0.1")

	// The operator's may go there, until it means something else.
	wantReached(t, p, true, url)
	wantReached(t, p, true, "http://example.com:"+plain.port)
	for _, address := range []string{"10.0.0.1", "169.254.169.254", "127.0.0.2", "0.0.0.0", "::ffff:10.0.0.1"} {
		n.set("example.com", address)
		p.Client(true).CloseIdleConnections()
		wantRefused(t, p, true, url)
		wantRefused(t, p, true, "http://example.com:"+plain.port)
	}
	// Without TLS not to a public address either.
	n.set("example.com", "93.184.216.34")
	p.Client(true).CloseIdleConnections()
	wantRefused(t, p, true, "http://example.com:"+plain.port)
	if n.lookups.Load() == 0 {
		t.Error("the resolver was never asked")
	}
}

func TestANameRuleCoversWhatTheNameIsButNotMetadata(t *testing.T) {
	plain := newServer(t, false, ok)
	n, resolver := newNames(t, map[string]string{"runner.internal": "127.0.0.1", "other.internal": "127.0.0.1"})
	p := &Policy{Allow: rules(t, "Runner.Internal:"+plain.port), Resolver: resolver}
	wantReached(t, p, true, "http://RUNNER.internal:"+plain.port)
	wantRefused(t, p, true, "http://other.internal:"+plain.port)
	wantRefused(t, p, true, "https://other.internal:"+plain.port)
	wantRefused(t, p, true, "http://127.0.0.1:"+plain.port)
	wantRefused(t, p, true, "http://runner.internal:1")
	wantRefused(t, p, false, "https://runner.internal:"+plain.port)
	for _, address := range []string{"169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1"} {
		n.set("runner.internal", address)
		p.Client(true).CloseIdleConnections()
		wantRefused(t, p, true, "http://runner.internal:"+plain.port)
	}
}

func TestOperatorAndOthersShareNoConnection(t *testing.T) {
	plain := newServer(t, false, ok)
	p := &Policy{Laptop: true}
	for range 3 {
		wantReached(t, p, true, plain.URL)
		wantReached(t, p, false, plain.URL)
	}
	if got := plain.connections.Load(); got != 2 {
		t.Errorf("%d connections for two kinds of caller, want each to keep one", got)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	target := newServer(t, false, ok)
	plain := newServer(t, false, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	})
	p := &Policy{Laptop: true}
	got, err := call(t, p, false, plain.URL)
	if !strings.HasPrefix(got, "307 ") || target.connections.Load() != 0 {
		t.Errorf("got %q, %v, and %d connections to the target", got, err, target.connections.Load())
	}
}

func TestNoProxyIsAsked(t *testing.T) {
	proxy, plain := newServer(t, false, ok), newServer(t, false, ok)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	p := &Policy{Laptop: true}
	wantReached(t, p, false, plain.URL)
	for _, tr := range []*transport{p.Client(true).Transport.(*transport), p.Client(false).Transport.(*transport)} {
		if tr.plain.Proxy != nil || tr.tls.Proxy != nil {
			t.Error("a transport asks for a proxy")
		}
	}
	if proxy.connections.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestAnUnknownCertificateIsRefused(t *testing.T) {
	tls := newServer(t, true, ok)
	p := &Policy{Laptop: true}
	_, err := call(t, p, false, tls.URL)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
}

func TestAnEndlessHeaderIsCutOff(t *testing.T) {
	plain := newServer(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
	})
	_, err := call(t, &Policy{Laptop: true}, false, plain.URL)
	if err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("got %v", err)
	}
}

func TestAPackedAnswerStaysPacked(t *testing.T) {
	plain := newServer(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "not unpacked, asked for "+strconv.Quote(r.Header.Get("Accept-Encoding")))
	})
	got, err := call(t, &Policy{Laptop: true}, false, plain.URL)
	if got != `200 OK not unpacked, asked for ""` {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestACallNeedsADeadline(t *testing.T) {
	plain := newServer(t, false, ok)
	p := &Policy{Laptop: true}
	r, err := http.NewRequest(http.MethodGet, plain.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Client(false).Do(r); !errors.Is(err, errNoDeadline) || plain.connections.Load() != 0 {
		t.Errorf("got %v and %d connections", err, plain.connections.Load())
	}
}

func TestAStuckServerEndsWithTheDeadline(t *testing.T) {
	stuck := newServer(t, false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, stuck.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Policy{Laptop: true}).Client(false).Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWhichAddressesAreDialled(t *testing.T) {
	refused := []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
		"169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
		"192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255", "168.63.129.16",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
		"100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "fc00::1", "fd00:ec2::254",
		"fd20:ce::254", "fe80::1", "fec0::1", "ff02::1", "4000::1",
	}
	for _, text := range refused {
		ip := netip.MustParseAddr(text)
		for _, operator := range []bool{true, false} {
			if err := (&Policy{}).check(operator, false, "", ip, 443); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	for _, text := range []string{"8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001::1"} {
		ip := netip.MustParseAddr(text)
		if err := (&Policy{}).check(false, false, "", ip, 443); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if err := (&Policy{}).check(true, true, "", ip, 80); !errors.Is(err, ErrRefused) {
			t.Errorf("%s without TLS: %v", text, err)
		}
	}

	// The widest rules there are open neither metadata nor what is never dialled.
	wide := &Policy{Allow: rules(t, "0.0.0.0/0:443", "[::/0]:443", "any.internal:443"), Laptop: true}
	for _, text := range []string{
		"0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.169.254", "100.100.100.200", "168.63.129.16", "::", "::7f00:1",
		"::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd00:ec2::254", "fe80::1", "ff02::1",
	} {
		if err := wide.check(true, false, "any.internal", netip.MustParseAddr(text), 443); !errors.Is(err, ErrRefused) {
			t.Errorf("%s under the widest rules: %v", text, err)
		}
	}
	for _, text := range []string{"10.0.0.1", "127.0.0.1", "fd00::1", "::1"} {
		if err := wide.check(true, true, "", netip.MustParseAddr(text), 443); err != nil {
			t.Errorf("%s under the widest rules: %v", text, err)
		}
	}
	one := &Policy{Allow: rules(t, "169.254.169.254:80", "[fd00:ec2::254]:80")}
	for _, text := range []string{"169.254.169.254", "fd00:ec2::254"} {
		if err := one.check(true, true, "", netip.MustParseAddr(text), 80); err != nil {
			t.Errorf("%s under a rule for it alone: %v", text, err)
		}
		if err := one.check(false, false, "", netip.MustParseAddr(text), 80); !errors.Is(err, ErrRefused) {
			t.Errorf("%s for others: %v", text, err)
		}
	}
}

func TestNoOtherNetworkIsDialled(t *testing.T) {
	p := &Policy{Laptop: true}
	for network, address := range map[string]string{"udp4": "127.0.0.1:1", "unix": "/run/x.sock", "tcp4": "nonsense"} {
		if err := p.checkDial(true, false, "", network, address); !errors.Is(err, ErrRefused) {
			t.Errorf("%s %s: %v", network, address, err)
		}
	}
	if err := p.checkDial(true, false, "", "tcp6", "[::1%lo]:1"); err != nil {
		t.Errorf("a zone: %v", err)
	}
}

func TestCheckURL(t *testing.T) {
	p := &Policy{Allow: rules(t, "127.0.0.1:9000", "10.2.0.0/16:443", "runner.internal:8443")}
	good := map[string]string{ // for anyone
		"https://example.com":                    "https://example.com",
		"HTTPS://EXAMPLE.com:443/A?b=C%20d":      "https://example.com/A?b=C%20d",
		"https://example.com:8443/":              "https://example.com:8443/",
		"https://8.8.8.8/":                       "https://8.8.8.8/",
		"https://[2606:4700:4700:0:0:0:0:1111]/": "https://[2606:4700:4700::1111]/",
		"https://[2606:4700:4700::1111]:9/":      "https://[2606:4700:4700::1111]:9/",
		"https://xn--bcher-kva.example/":         "https://xn--bcher-kva.example/",
		"https://a_b.example.com/%E2%82%AC":      "https://a_b.example.com/%E2%82%AC",
		"https://1password.com/":                 "https://1password.com/",
		"https://1.2.3.example/":                 "https://1.2.3.example/",
	}
	for raw, want := range good {
		for _, operator := range []bool{true, false} {
			if u, err := p.CheckURL(raw, operator); err != nil || u.String() != want {
				t.Errorf("%s: got %v, %v", raw, u, err)
			}
		}
	}
	for _, raw := range []string{
		"http://127.0.0.1:9000/", "https://127.0.0.1:9000/", "https://10.2.3.4/", "http://10.2.3.4:443/",
		"http://runner.internal:8443", "http://Other.internal:9000", "http://localhost:9000",
	} {
		if _, err := p.CheckURL(raw, true); err != nil {
			t.Errorf("%s for the operator: %v", raw, err)
		}
		if _, err := p.CheckURL(raw, false); !errors.Is(err, ErrRefused) {
			t.Errorf("%s for others: %v", raw, err)
		}
	}
	for _, raw := range []string{
		"http://example.com/", "http://8.8.8.8/", "http://localhost/", "https://localhost/", "https://a.localhost/",
		"https://127.0.0.1/", "https://127.0.0.1:9001/", "https://10.3.0.1/", "https://[::1]/", "https://[::]/",
		"https://169.254.169.254/latest", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[64:ff9b::7f00:1]/",
		"https://[2002:7f00:1::]/", "http://runner.internal:8444/", "http://runner.internal/",
	} {
		for _, operator := range []bool{true, false} {
			if _, err := p.CheckURL(raw, operator); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v, want a refusal", raw, err)
			}
		}
	}
	for _, raw := range []string{
		"", "example.com", "//example.com", "/path", "https:", "https://", "https:///path", "https:example.com", "https://:443",
		"ftp://example.com", "file:///etc/passwd", "javascript:alert(1)", "unix:///run/x.sock", "gopher://example.com",
		"https://u@example.com", "https://u:p@example.com", "https://@example.com", "https://:@example.com",
		"https://example.com#", "https://example.com#x", "https://example.com:", "https://example.com:0", "https://example.com:65536",
		"https://example.com:0443", "https://example.com:+443", "https://example.com:x", "https://example.com:1:2",
		"https://0x7f.1", "https://127.1", "https://127.0.1", "https://2130706433", "https://017700000001", "https://0x7f000001",
		"https://0177.0.0.1", "https://127.0.0.01", "https://127.0.0.1.", "https://0", "https://0x", "https://1.2.3.4.5", "https://256.1.1.1",
		"https://a.0x7f", "https://example.com.", "https://.example.com", "https://a..b", "https://-a.example.com", "https://a-.example.com",
		"https://" + strings.Repeat("a", 64) + ".com", "https://" + strings.Repeat("a.", 126) + "aa", "https://*.example.com", "https://a,b.com", "https://a;b",
		"https://bücher.example", "https://１２７.０.０.１", "https://127。0。0。1", "https://ⓔxample.com", "https://%31%32%37.0.0.1", "https://ex%61mple.com",
		"https://[127.0.0.1]", "https://[example.com]", "https://[fe80::1%25eth0]", "https://[::1", "https://::1", "https://[::1]x", "https://[]",
		"https://example.com\\@127.0.0.1", "https://example.com/\n", "https://exa mple.com", "https://example.com/ x", "\thttps://example.com",
		"https://example.com/\x7f", "https://example.com/\x00", "https://example.com/%zz", "https://example.com/\xff",
		"https://example.com/" + strings.Repeat("x", maxURL),
	} {
		for _, operator := range []bool{true, false} {
			u, err := p.CheckURL(raw, operator)
			if !errors.Is(err, ErrURL) {
				t.Errorf("%q: got %v, %v", raw, u, err)
			}
			if f := fault.Of(err); f.Kind != fault.Invalid || !strings.HasSuffix(f.Message, ".") {
				t.Errorf("%q: %+v", raw, f)
			}
		}
	}
}

func TestParseRule(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:9000": "127.0.0.1:9000", "10.2.0.0/16:443": "10.2.0.0/16:443", "[::1]:9000": "[::1]:9000", "[fd00::/8]:443": "[fd00::/8]:443",
		"[0:0::1]:9": "[::1]:9", "Runner.Internal:8443": "runner.internal:8443", "localhost:1": "localhost:1", "10.0.0.1/32:1": "10.0.0.1:1",
		"0.0.0.0/0:1": "0.0.0.0/0:1",
	} {
		if r, err := ParseRule(text); err != nil || r.String() != want {
			t.Errorf("%s: got %v, %v", text, r, err)
		}
	}
	for _, text := range []string{
		"", ":", ":9000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:*", "127.0.0.1:080", "127.0.0.1:http",
		"*:443", "*.internal:443", "http://a:443", "a/b:443", "[a]:443", "[10.0.0.1]:443", "[10.0.0.0/8]:443", "::1:9000", "fd00::/8:443",
		"10.2.3.4/16:443", "10.0.0.0/33:443", "127.1:443", "0x7f.1:443", "2130706433:443", "[fe80::1%eth0]:443", "[fe80::%eth0/64]:443",
		"0.0.0.0:9000", "[::]:9000", "224.0.0.1:1", "239.0.0.0/8:1", "[ff02::1]:1", "[::ffff:10.0.0.1]:1", "[::ffff:0:0/96]:1",
		"[64:ff9b::/96]:443", "[64:ff9b::1]:443", "[2002::/16]:443", "[2002:a00::/24]:443", "[::7f00:1]:1", "bücher.internal:1", "a b:1", "a:1\n",
	} {
		if r, err := ParseRule(text); err == nil {
			t.Errorf("%q: got %v", text, r)
		}
	}
	_, err := ParseRules([]string{"a:1", "hunter2"})
	if err == nil || !strings.HasPrefix(err.Error(), "item 2 must be ") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:9000", "10.2.0.0/16:443", "[::1]:9000", "[fd00::/8]:443", "runner.internal:8443", "127.1:1", "[::ffff:1.2.3.4/120]:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%q is %v, and that is %v, %v", text, r, again, err)
		}
		if r.port == 0 || r.network.IsValid() == (r.host != "") {
			t.Errorf("%q is %+v", text, r)
		}
	})
}

// oddAddress is what inet_aton and browsers take for an IPv4 address.
var oddAddress = regexp.MustCompile(`(?i)^(?:(?:0x[0-9a-f]*|[0-9]+)\.){0,3}(?:0x[0-9a-f]*|[0-9]+)\.?$`)

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b#c", "https://u:p@h", "https://0x7f.1", "https://[::ffff:127.0.0.1]:1/", "http://127.0.0.1:9000", "https://2130706433",
		"https://[fe80::1%25a]", "https://%6c", "https://a\\b", "https://１.2.3.4", "HTTPS://[2606:4700::]:443", "https:opaque", "https://a:1:2",
	} {
		f.Add(seed)
	}
	p := &Policy{}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := p.CheckURL(raw, false)
		if err != nil {
			if !errors.Is(err, ErrURL) && !errors.Is(err, ErrRefused) {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		host := u.Hostname()
		if u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Opaque != "" || host == "" || host != strings.ToLower(host) {
			t.Errorf("%q passed as %+v", raw, u)
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.Is4In6() {
				t.Errorf("%q leads to %v", raw, ip)
			}
		} else if oddAddress.MatchString(host) {
			t.Errorf("%q is an address in disguise", raw)
		}
		again, err := p.CheckURL(u.String(), false)
		if err != nil || again.String() != u.String() {
			t.Errorf("%q is %v, and that is %v, %v", raw, u, again, err)
		}
		// The client that will dial it sees the host that was checked.
		if r, err := http.NewRequest(http.MethodGet, u.String(), nil); err != nil || r.URL.Host != u.Host {
			t.Errorf("%q: net/http sees another host: %v", raw, err)
		}
	})
}
