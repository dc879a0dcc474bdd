package api

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func addressed(header string) *API {
	return New(Config{ClientIPHeader: header, TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::ffff:172.16.0.0/108"), netip.MustParsePrefix("fd00::/8"),
	}})
}

func TestTheAddressIsTheRightMostHopThatIsNotATrustedProxy(t *testing.T) {
	for _, tt := range []struct{ peer, header, want string }{
		// Nobody is believed but a trusted proxy.
		{"203.0.113.9:1", "", "203.0.113.9"},
		{"203.0.113.9:1", "198.51.100.1", "203.0.113.9"},
		{"[2001:db8::9]:1", "198.51.100.1", "2001:db8::9"},
		{"[::ffff:203.0.113.9]:1", "198.51.100.1", "203.0.113.9"},
		{"[fe80::1%eth0]:1", "", "fe80::1"},

		// Behind one.
		{"10.1.2.3:1", "", "10.1.2.3"},
		{"10.1.2.3:1", "198.51.100.1", "198.51.100.1"},
		{"[::ffff:10.1.2.3]:1", "198.51.100.1", "198.51.100.1"},
		{"172.16.0.1:1", "198.51.100.1", "198.51.100.1"},
		{"[fd00::1]:1", "2001:db8::1", "2001:db8::1"},
		{"10.1.2.3:1", "::ffff:198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:1", " 198.51.100.1:4711 ", "198.51.100.1"},
		{"10.1.2.3:1", "[2001:db8::1]:4711", "2001:db8::1"},
		{"10.1.2.3:1", "[2001:db8::1]", "2001:db8::1"},
		{"10.1.2.3:1", "2001:db8::1%lan", "2001:db8::1"},

		// What stands further left was sent by the client.
		{"10.1.2.3:1", "1.1.1.1, 198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:1", "10.9.9.9,1.1.1.1,198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:1", "garbage, 198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:1", "1.1.1.1\n198.51.100.1", "198.51.100.1"},

		// Behind several.
		{"10.1.2.3:1", "198.51.100.1, 10.4.4.4", "198.51.100.1"},
		{"10.1.2.3:1", "1.1.1.1, 198.51.100.1, fd00::2, 172.17.0.1", "198.51.100.1"},
		{"10.1.2.3:1", "10.5.5.5, 10.4.4.4", "10.5.5.5"},

		// Where it can't be read: the last hop that a trusted proxy told of.
		{"10.1.2.3:1", "garbage", "10.1.2.3"},
		{"10.1.2.3:1", "198.51.100.1, unknown", "10.1.2.3"},
		{"10.1.2.3:1", "198.51.100.1, garbage, 10.4.4.4", "10.4.4.4"},
		{"10.1.2.3:1", "198.51.100.1,", "10.1.2.3"},
		{"10.1.2.3:1", "198.51.100.1, ,10.4.4.4", "10.4.4.4"},
		{"10.1.2.3:1", "198.51.100.1]", "10.1.2.3"},
		{"10.1.2.3:1", "[198.51.100.1", "10.1.2.3"},
		{"10.1.2.3:1", "198.51.100.1:99999", "10.1.2.3"},
		{"10.1.2.3:1", "198.51.100.0/24", "10.1.2.3"},
		{"10.1.2.3:1", "0198.51.100.1", "10.1.2.3"},
		{"@", "198.51.100.1", "invalid IP"},
		{"", "", "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{}}
		for line := range strings.SplitSeq(tt.header, "\n") {
			r.Header.Add("X-Forwarded-For", line)
		}
		if got := addressed("").address(r).String(); got != tt.want {
			t.Errorf("peer %s, header %q: %s, want %s", tt.peer, tt.header, got, tt.want)
		}
	}
}

func TestTheAddressIsReadFromTheOneHeaderThatIsNamed(t *testing.T) {
	r := &http.Request{RemoteAddr: "10.1.2.3:1", Header: http.Header{
		"X-Forwarded-For": {"1.1.1.1"}, "X-Real-Ip": {"198.51.100.1"}, "Forwarded": {"for=1.1.1.2"},
	}}
	if got := addressed("x-real-ip").address(r).String(); got != "198.51.100.1" {
		t.Errorf("address %s, want that of X-Real-IP", got)
	}
	if got := addressed("CF-Connecting-IP").address(r).String(); got != "10.1.2.3" {
		t.Errorf("address %s, want the peer: the header is not there", got)
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("203.0.113.9:1", "1.1.1.1", "198.51.100.1")
	f.Add("10.1.2.3:1", "garbage", "198.51.100.1, 10.4.4.4")
	f.Add("[::ffff:10.1.2.3]:1", "[", "2001:db8::1%x")
	a := addressed("")
	f.Fuzz(func(t *testing.T, peer, left, header string) {
		ask := func(header string) netip.Addr {
			return a.address(&http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {header}}})
		}
		got := ask(header)
		if !a.trusts(hop(peer)) && got != hop(peer) {
			t.Errorf("%q from %q: %s, though the peer is not trusted", header, peer, got)
		}
		if got.Is4In6() || got.Zone() != "" {
			t.Errorf("%q from %q: %s", header, peer, got)
		}
		// A client that writes something to the left of what the proxies wrote
		// changes nothing, once they have told of a client at all.
		if more := ask(left + "," + header); got.IsValid() && !a.trusts(got) && more != got {
			t.Errorf("%q before %q from %q: %s, was %s", left, header, peer, more, got)
		}
	})
}
