package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// address returns where r comes from: its peer, or, if that is a trusted
// proxy, the right-most hop of the one header that is not a trusted proxy.
//
// Only what a trusted proxy wrote is believed. What stands further left was
// sent by the client, who may write there what he likes.
func (a *API) address(r *http.Request) netip.Addr {
	at := hop(r.RemoteAddr)
	if !a.trusts(at) {
		return at
	}
	hops := strings.Split(strings.Join(r.Header.Values(a.config.ClientIPHeader), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.trusts(at); i-- {
		next := hop(hops[i])
		if !next.IsValid() {
			break
		}
		at = next
	}
	return at
}

func (a *API) trusts(addr netip.Addr) bool {
	for _, p := range a.config.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// hop reads an address as proxies write it: with or without a port, an IPv6
// one in brackets or not. IPv4 inside IPv6 becomes IPv4, and a zone, which
// means something on one machine alone, is dropped.
func hop(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone("")
	}
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text = text[1 : len(text)-1]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// unmapped returns proxies with IPv4 prefixes that are written as IPv6 in
// their own form, as addresses are compared in.
func unmapped(proxies []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(proxies))
	for _, p := range proxies {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		all = append(all, p)
	}
	return all
}
