package verify

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/gate"
)

// forward answers a gateway that asks whether to let a request in.
//
// Whatever the request's sender can write is its key and its signature. The
// query is the gateway's own: what is there twice, or is not known, is refused,
// so that a gateway which passes a stranger's query on by mistake lets nobody in.
func (s *surface) forward(w http.ResponseWriter, r *http.Request) {
	deny := false
	err := s.admit(w, r, &deny)
	switch {
	case err == nil:
		w.Header()["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusOK)
	case deny:
		s.api.Fail(&denial{ResponseWriter: w}, r, err)
	default:
		s.api.Fail(w, r, err)
	}
}

// denial turns a failure into one that nginx can pass on: 403, with what it is in
// headers.
type denial struct {
	http.ResponseWriter
	status int
}

func (d *denial) WriteHeader(status int) { d.status = status }

func (d *denial) Write(body []byte) (int, error) {
	h := d.Header()
	h["X-Deny-Status"] = []string{strconv.Itoa(d.status)}
	h["X-Deny-Body"] = []string{string(body)}
	d.ResponseWriter.WriteHeader(http.StatusForbidden)
	return d.ResponseWriter.Write(body)
}

// settings are what a gateway's configuration says.
type settings struct {
	organization string
	scopes       access.Scopes
	agentID      string
	deny         bool // as 403
}

// known is a query that has been read.
type known struct {
	query string
	settings
}

// settings reads a query. A gateway sends the same one each time, so the last
// good one is kept.
func (s *surface) settings(query string) (settings, error) {
	if last := s.last.Load(); last != nil && last.query == query {
		return last.settings, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return settings{}, fault.ErrInvalidRequest.Say("The query of the request is not well formed.")
	}
	set, err := readSettings(values)
	set.deny = values.Get("deny") == "403"
	if err == nil {
		s.last.Store(&known{strings.Clone(query), set})
	}
	return set, err
}

// admit checks the key of r and writes the headers of the answer.
func (s *surface) admit(w http.ResponseWriter, r *http.Request, deny *bool) error {
	set, err := s.settings(r.URL.RawQuery)
	*deny = set.deny
	if err != nil {
		return err
	}
	if set.organization == Any {
		if !s.isGateway(r) {
			return fault.ErrNotAllowed.Say("This address may not ask about the keys of all organizations: the setting gateways names those that may.")
		}
		set.organization = ""
	}
	key, err := s.key(r.Header)
	if err != nil {
		return err
	}
	from := s.api.Client(w, r)
	q := gate.Question{
		Organization: set.organization, Scopes: set.scopes, AgentID: set.agentID, AgentAsked: true, Cost: 1,
		Address: from.Address, RequestID: from.RequestID,
	}
	var a gate.Answer
	err = s.gate.Check(r.Context(), []byte(key), &q, &a)
	headers := a.RateHeaders(make([]string, 0, 20), s.gate.Now())
	if err == nil {
		headers = append(headers,
			"X-Key-Id", strconv.FormatInt(a.KeyID, 10), "X-Key-Name", headerText(a.Name()), "X-Organization-Id", a.OrganizationID,
			"X-Account-Id", a.AccountID, "X-Key-Scopes", a.Scopes.Text())
	}
	api.Headers(headers).Set(w.Header())
	return err
}

// readSettings reads the query that a gateway's configuration gives.
func readSettings(query url.Values) (set settings, err error) {
	for name, values := range query {
		if len(values) > 1 {
			return set, fault.ErrInvalidRequest.Say("The query has a setting twice. It is the gateway's own, and must not hold what its clients send.")
		}
		value := values[0]
		switch name {
		case "organization":
			if value == "" {
				return set, fault.Field("organization", "must not be empty")
			}
			set.organization = value
		case "scope":
			if set.scopes, err = access.ParseScopes(strings.FieldsFunc(value, isSeparator), access.AllScopes); err != nil || set.scopes == 0 {
				return set, fault.Field("scope", "must hold scopes, separated by commas: "+strings.Join(access.ScopeNames(), ", "))
			}
		case "agent_id":
			if value == "" {
				return set, fault.Field("agent_id", "must not be empty")
			}
			set.agentID = value
		case "deny":
			if value != "403" {
				return set, fault.Field("deny", "must be 403")
			}
		default:
			return set, fault.ErrUnknownField.Say("The query has a setting that this call does not know. It takes organization, scope, agent_id and deny.")
		}
	}
	if set.organization == "" {
		return set, fault.ErrMissingField.Say("organization: the gateway must say whose keys it lets in.").With(fault.Details{"field": "organization"})
	}
	return set, nil
}

func isSeparator(r rune) bool { return r == ',' || r == ' ' }

// isGateway reports whether r comes from an address of the setting gateways. The
// connection's own address counts, whatever a header says.
func (s *surface) isGateway(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	at := peer.Addr().Unmap().WithZone("")
	for _, g := range s.gateways {
		if g.Contains(at) {
			return true
		}
	}
	return false
}

// key returns the one API key that a request holds. What else stands in its
// Authorization is the business of the service behind the gateway.
func (s *surface) key(header http.Header) (string, error) {
	key := ""
	see := func(text string) error {
		text = strings.TrimSpace(text)
		if !gate.IsKey(text) || text == key {
			return nil
		}
		if key != "" {
			return api.ErrTwoCredentials
		}
		key = text
		return nil
	}
	for _, value := range header["Authorization"] {
		if scheme, rest, ok := strings.Cut(strings.TrimSpace(value), " "); ok && strings.EqualFold(scheme, "bearer") {
			if err := see(rest); err != nil {
				return "", err
			}
		}
	}
	for _, value := range header["X-Api-Key"] {
		if err := see(value); err != nil {
			return "", err
		}
	}
	if key == "" {
		return "", apikey.ErrInvalid
	}
	return key, nil
}

// headerText returns text as a header can hold it: printable ASCII stands for
// itself, but for %, and all else is percent-encoded UTF-8.
func headerText(text string) string {
	plain := true
	for i := range len(text) {
		plain = plain && text[i] >= ' ' && text[i] < 0x7f && text[i] != '%'
	}
	if plain {
		return text
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c < 0x7f && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
