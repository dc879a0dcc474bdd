package egress

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/keyward/keyward/internal/fault"
)

// ErrURL says that a URL is not of a kind that can be called.
var ErrURL = fault.New(fault.Invalid, "INVALID_REQUEST", "The URL can't be called.")

// maxURL is what a URL may be long.
const maxURL = 2048

// CheckURL reads a URL that is to be called later and refuses what can be seen
// to be wrong already: ErrURL or ErrRefused, with a sentence that repeats none
// of it. A name may still lead to a refused address: that is checked at every
// call. The result has its scheme and host in the one form that equal ones
// share: lower case, no port that goes without saying.
func (p *Policy) CheckURL(raw string, operator bool) (*url.URL, error) {
	// What is not plain ASCII reads differently to different readers.
	if len(raw) > maxURL || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return nil, ErrURL.Say("The URL must be at most %d ASCII letters without spaces; write others in %%XX form.", maxURL)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "":
		return nil, ErrURL.Say("The URL is not well formed.")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, ErrURL.Say("The URL must begin with https://.")
	case u.User != nil:
		return nil, ErrURL.Say("The URL must not hold a user name or password.")
	case strings.Contains(raw, "#"):
		return nil, ErrURL.Say("The URL must not have a fragment.")
	}
	plain := u.Scheme == "http"
	port := map[bool]uint16{true: 80, false: 443}[plain]
	suffix := ""
	if text := u.Port(); text != "" || strings.HasSuffix(u.Host, ":") {
		given, err := parsePort(text)
		if err != nil {
			return nil, ErrURL.Say("The URL %v.", err)
		}
		if given != port {
			suffix = ":" + text
		}
		port = given
	}

	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if ip.Zone() != "" || ip.Is6() != strings.HasPrefix(u.Host, "[") {
			return nil, ErrURL.Say("The URL must have an address without a zone, in brackets if and only if it is IPv6.")
		}
		if err := p.check(operator, plain, "", ip, port); err != nil {
			return nil, err
		}
		u.Host = ip.String() + suffix
		if ip.Is6() {
			u.Host = "[" + ip.String() + "]" + suffix
		}
		return u, nil
	}

	// In brackets there is no name; with them, parseName refuses it.
	host, err := parseName(strings.TrimSuffix(u.Host, ":"+u.Port()))
	if err != nil {
		return nil, ErrURL.Say("The URL %v.", err)
	}
	if err := p.checkName(operator, plain, host, port); err != nil {
		return nil, err
	}
	u.Host = host + suffix
	return u, nil
}

// checkName refuses a name that can't lead to an allowed address, whatever it
// is found to be.
func (p *Policy) checkName(operator, plain bool, host string, port uint16) error {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		err := p.check(operator, plain, host, netip.MustParseAddr("127.0.0.1"), port)
		if err != nil {
			err = p.check(operator, plain, host, netip.IPv6Loopback(), port)
		}
		return err
	}
	if plain && !(operator && p.mayAllow(host, port)) {
		return errPlain
	}
	return nil
}

// mayAllow reports whether a rule may cover the addresses of host.
func (p *Policy) mayAllow(host string, port uint16) bool {
	for _, r := range p.Allow {
		if r.port == port && (r.network.IsValid() || r.host == host) {
			return true
		}
	}
	return false
}
