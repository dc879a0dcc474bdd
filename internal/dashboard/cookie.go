package dashboard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/seal"
)

// The cookie has no age: it goes with the browser's session, and what it is good
// for says its sign-in (package account).
//
// By https its name has the prefix that makes browsers take it from this host
// alone, for all of it, and only there. On plain HTTP they would not take such a
// one. There it is for loopback, and has the port in its name: to browsers, all
// servers of one machine are one host.

func (p *pages) encrypted() bool { return strings.HasPrefix(p.URL(), "https://") }

func (p *pages) cookieName() string {
	if p.encrypted() {
		return "__Host-keyward"
	}
	if u, err := url.Parse(p.URL()); err == nil && u.Port() != "" {
		return "keyward_" + u.Port()
	}
	return "keyward"
}

func (p *pages) setCookie(w http.ResponseWriter, value seal.Secret) {
	c := &http.Cookie{
		Name: p.cookieName(), Value: value.Reveal(), Path: "/",
		HttpOnly: true, Secure: p.encrypted(), SameSite: http.SameSiteLaxMode,
	}
	if c.Value == "" {
		c.MaxAge = -1 // away with it
	}
	http.SetCookie(w, c)
}

// cookie returns the cookie of r. Of two, one is somebody else's who wants it to
// be taken for ours, so neither counts.
func (p *pages) cookie(r *http.Request) seal.Secret {
	if found := r.CookiesNamed(p.cookieName()); len(found) == 1 {
		return seal.NewSecret(found[0].Value)
	}
	return seal.Secret{}
}

// visit returns who sent r.
func (p *pages) visit(w http.ResponseWriter, r *http.Request) (account.Visit, error) {
	from := p.api.Client(w, r)
	return p.Accounts.CheckCookie(r.Context(), p.cookie(r), from.Address, from.RequestID)
}

// mayType returns nil if a password may be sent to where r was sent.
func (p *pages) mayType(r *http.Request) error {
	if p.encrypted() || isLoopback(r.Host) {
		return nil
	}
	return errNotEncrypted
}

func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}
