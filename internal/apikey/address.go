package apikey

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/keyward/keyward/internal/fault"
)

// parseIPs reads addresses and networks, each in its one form and once. An
// IPv4-mapped address is the IPv4 address that it maps.
func parseIPs(field string, texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for i, text := range texts {
		p, wrong := parseIP(text)
		if wrong != "" {
			return nil, entry(field, i, wrong)
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all, nil
}

// settleIPs is parseIPs for all that a key is to have.
func settleIPs(texts []string) ([]netip.Prefix, error) {
	if texts == nil {
		return nil, nil
	}
	if len(texts) < 1 || len(texts) > MaxAllowedIPs {
		return nil, fault.Field("allowed_ips", "must have 1 to 100 entries; leave it out for a key that may be used from anywhere")
	}
	return parseIPs("allowed_ips", texts)
}

// parseIP reads an address or a network, or says what is wrong with it without
// repeating it.
func parseIP(text string) (p netip.Prefix, wrong string) {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")
	if len(text) > longest {
		return p, "is neither an address nor a network"
	}
	if strings.Contains(text, "%") {
		return p, "has a zone, which means something on one machine alone; leave it out"
	}
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return p, "is neither an address, like 192.0.2.1 or 2001:db8::1, nor a network, like 192.0.2.0/24"
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, "is neither an address, like 192.0.2.1 or 2001:db8::1, nor a network, like 192.0.2.0/24"
	}
	if p.Masked() != p {
		return p, "is a network whose address has bits beyond its length; set them to 0, as in 192.0.2.0/24, or make the length that of one address"
	}
	if p.Addr().Is4In6() {
		// Without bits beyond it, a network of mapped addresses has its length
		// within the part that is the IPv4 address.
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), ""
	}
	return p, ""
}

// IPText is an entry of a key's addresses as people write it.
func IPText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
