package egress

import (
	"net/netip"

	"code.dny.dev/ssrf"

	"github.com/keyward/keyward/internal/fault"
)

// ErrRefused says that a URL leads to where this server does not go.
var ErrRefused = fault.New(fault.Invalid, "DESTINATION_REFUSED",
	"The URL leads to an address that is not public. Use a public https address. "+
		"The operator of this server can allow others, for agents of the operator's own, with the setting runners.allow.").
	With(fault.Details{"setting": "runners.allow"})

// errPlain is ErrRefused for http.
var errPlain = ErrRefused.Say("The URL must begin with https://. " +
	"The operator of this server can allow http, for agents of the operator's own, with the setting runners.allow.")

// public knows the addresses of the special purpose registries.
var public = ssrf.New(ssrf.WithAnyPort())

// never are addresses that no rule opens: they name nobody, or everybody, or
// hold another address that would have to be checked in its own form.
var never = prefixes(
	"0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32",
	"::/128", "ff00::/8",
	"::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", // translated IPv4
	"2001::/32", "2002::/16", // Teredo, 6to4
)

// metadata are the addresses at which clouds tell a machine its own secrets,
// and the link-local ones, most of which are the same. A rule opens one only if
// it names that one address.
var metadata = prefixes(
	"169.254.0.0/16", "fe80::/10",
	"100.100.100.200/32", // Alibaba
	"168.63.129.16/32",   // Azure, a public address
	"192.0.0.192/32",     // Oracle
	"fd00:ec2::/32",      // Amazon
	"fd20:ce::254/128",   // Google
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func in(list []netip.Prefix, ip netip.Addr) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// neverDialled also finds IPv4 in IPv6 form, which no prefix contains, and the
// old form ::a.b.c.d, among which ::1 is loopback.
func neverDialled(ip netip.Addr) bool {
	old := netip.MustParsePrefix("::/96")
	return ip.Is4In6() || in(never, ip) || old.Contains(ip) && !ip.IsLoopback()
}

// checkDial refuses a connection to an address that host was found to be.
func (p *Policy) checkDial(operator, plain bool, host, network, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return ErrRefused
	}
	return p.check(operator, plain, host, at.Addr(), at.Port())
}

// check is the one rule for addresses. The host is "" where the URL holds the
// address itself.
func (p *Policy) check(operator, plain bool, host string, ip netip.Addr, port uint16) error {
	ip = ip.WithZone("")
	switch {
	case neverDialled(ip):
		return ErrRefused
	case p.Laptop && ip.IsLoopback():
		return nil
	case operator && p.allows(host, ip, port):
		return nil
	case plain:
		return errPlain
	case in(metadata, ip):
		return ErrRefused
	}
	if err := public.SafeAddr(ip); err != nil {
		return ErrRefused.Because(err)
	}
	return nil
}

func (p *Policy) allows(host string, ip netip.Addr, port uint16) bool {
	for _, r := range p.Allow {
		if r.port == port && r.covers(host, ip) {
			return true
		}
	}
	return false
}
