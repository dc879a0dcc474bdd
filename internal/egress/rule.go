package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Rule is one entry of the setting runners.allow: an address, a network or a
// name, and a port. A name covers whatever public or private address it has,
// but not a link-local one or a cloud's metadata.
type Rule struct {
	network netip.Prefix // the zero Prefix: a rule for host
	host    string
	port    uint16
}

// ParseRules reads the setting runners.allow. An error says which item is wrong
// and repeats none of it.
func ParseRules(items []string) ([]Rule, error) {
	var rules []Rule
	for i, item := range items {
		rule, err := ParseRule(item)
		if err != nil {
			return nil, fmt.Errorf("item %d %w", i+1, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// ParseRule reads one Rule: "127.0.0.1:9000", "10.2.0.0/16:443", "[::1]:9000",
// "[fd00::/8]:443", "runner.internal:8443".
func ParseRule(text string) (Rule, error) {
	target, port, err := net.SplitHostPort(text)
	if err != nil {
		return Rule{}, errors.New("must be ADDRESS:PORT, NETWORK:PORT or NAME:PORT, an IPv6 one in brackets: 127.0.0.1:9000, 10.2.0.0/16:443, [fd00::/8]:443")
	}
	r := Rule{}
	if r.port, err = parsePort(port); err != nil {
		return Rule{}, err
	}
	bracketed := strings.HasPrefix(text, "[")
	ip, ipErr := netip.ParseAddr(target)
	network, networkErr := netip.ParsePrefix(target)
	switch {
	case ipErr == nil && ip.Zone() == "":
		r.network = netip.PrefixFrom(ip, ip.BitLen())
	case networkErr == nil:
		r.network = network
	case bracketed || strings.ContainsAny(target, "/%"):
		return Rule{}, errors.New("is no address and no network")
	default:
		r.host, err = parseName(target)
		return r, err
	}
	switch {
	case bracketed != r.network.Addr().Is6():
		return Rule{}, errors.New("has brackets around what is not IPv6")
	case r.network != r.network.Masked():
		return Rule{}, errors.New("has bits beyond its length: write the first address of the network")
	case r.network.Addr().Is4In6() || covered(r.network):
		return Rule{}, errors.New("is of a kind that is never called: unspecified, multicast, or IPv4 in IPv6 form")
	}
	return r, nil
}

// covered reports whether all of network is never dialled.
func covered(network netip.Prefix) bool {
	for _, p := range never {
		if p.Bits() <= network.Bits() && p.Contains(network.Addr()) {
			return true
		}
	}
	return network.IsSingleIP() && neverDialled(network.Addr())
}

// String returns r in the form that ParseRule reads.
func (r Rule) String() string {
	target := r.host
	if r.network.IsValid() {
		target = r.network.String()
		if r.network.IsSingleIP() {
			target = r.network.Addr().String()
		}
	}
	return net.JoinHostPort(target, strconv.Itoa(int(r.port)))
}

// covers reports whether r is for a host that was found at ip.
func (r Rule) covers(host string, ip netip.Addr) bool {
	if !r.network.IsValid() {
		return r.host == host && !in(metadata, ip)
	}
	return r.network.Contains(ip) && (r.network.IsSingleIP() || !in(metadata, ip))
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' || text[0] == '+' {
		return 0, errors.New("must have a port from 1 to 65535")
	}
	return uint16(port), nil
}

var nameForm = regexp.MustCompile(`^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$`)

// numberForm is the last part of a name that programs read as an IPv4 address
// in an odd form: 127.1, 0x7f.1, 2130706433.
var numberForm = regexp.MustCompile(`(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$`)

// parseName returns a host name in lower case. It takes none that a look-up
// could read as an address, or as another name than is written.
func parseName(text string) (string, error) {
	name := strings.ToLower(text)
	switch {
	case len(name) > 253 || !nameForm.MatchString(name):
		return "", errors.New("must have a host name of letters, digits, hyphens and dots (another script in its xn-- form)")
	case numberForm.MatchString(name):
		return "", errors.New("must write an IPv4 address as four decimal numbers")
	}
	return name, nil
}
