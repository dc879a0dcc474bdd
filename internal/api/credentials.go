package api

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Security is what an operation asks of whoever calls it.
type Security int

// The kinds of security. The zero is none of them, so that it is not forgotten.
const (
	// Public asks for nothing; credentials are not looked at.
	Public Security = iota + 1
	// KeyOrToken asks for an API key or an access token, as Authorization:
	// Bearer or as X-API-Key.
	KeyOrToken
	// AccessToken asks for an access token, as Authorization: Bearer.
	AccessToken
	// KeyInBody asks for an API key, as the field api_key of the body or where
	// KeyOrToken has it. The input does not declare the field.
	KeyInBody
	// KeyInURL asks for what KeyOrToken does, which may also stand in the query,
	// as token. It is for raw handlers: see [API.Identify].
	KeyInURL
	// Password takes an e-mail and a password as Authorization: Basic, or none:
	// the input embeds [BasicAuth], and the handler decides.
	Password
)

// Credentials are what a request shows of who sends it.
type Credentials struct {
	Accepts   Security      // KeyOrToken, AccessToken or KeyInBody; KeyInURL is KeyOrToken here
	Secret    seal.Secret   // as it was sent, whatever it is; empty if nothing was
	Action    access.Action // what the request wants; "" if its operation names none
	Free      bool          // the request does not count against the key's limits
	Again     bool          // the request was let in, and goes on: only whether it still may is asked
	Signature Signature
}

// Signature is what a request holds to prove that the sender of its key sent
// all of it, and what it proves that of.
type Signature struct {
	Value     string // X-Signature; "" if there is none
	Timestamp string // X-Timestamp
	Method    string
	Target    string // path and query as they were sent
	Body      []byte
}

const (
	signatureHeader = "X-Signature"
	timestampHeader = "X-Timestamp"
)

// signature returns what r holds of a signature, without the body.
func signature(r *http.Request) (Signature, error) {
	for _, name := range []string{signatureHeader, timestampHeader} {
		if len(r.Header[name]) > 1 {
			return Signature{}, fault.ErrInvalidRequest.Say("The request holds the header %s twice. Send one.", name)
		}
	}
	return Signature{
		Value: r.Header.Get(signatureHeader), Timestamp: r.Header.Get(timestampHeader), Method: r.Method, Target: r.RequestURI,
	}, nil
}

// BasicAuth is what a request holds as Authorization: Basic. An operation with
// the security Password embeds it in its input.
type BasicAuth struct {
	Given    bool
	User     string
	Password seal.Secret
}

func (b *BasicAuth) setBasicAuth(from BasicAuth) { *b = from }

// Failures of credentials, before anybody looks at what they are worth.
var (
	// ErrTwoCredentials refuses a request that holds different credentials of ours.
	ErrTwoCredentials = fault.ErrInvalidRequest.Say("The request holds two different credentials. Send one.")
	errBasicAuth      = fault.Field("Authorization", "is not Basic credentials: base64 of email:password in UTF-8")
)

// Credential returns the one credential that a request for security s holds, or
// "": for direct handlers.
func (a *API) Credential(s Security, header http.Header) (string, error) {
	return a.credential(s, header, "")
}

// credential returns the one credential that a request for security s holds,
// or "". Body is the api_key of its body.
//
// The same one in two places is fine, and one that is not ours is passed over
// beside one that is: a gateway in front may have sent its own.
func (a *API) credential(s Security, header http.Header, body string) (string, error) {
	if sent := header["Authorization"]; len(sent) == 1 && len(header["X-Api-Key"]) == 0 && body == "" {
		// As almost always. There is nothing to choose from.
		rest, _ := after("bearer", sent[0])
		return strings.TrimSpace(rest), nil
	}
	bearer := authorization(header, "bearer")
	all := slices.Concat(bearer, header.Values("X-API-Key"), []string{body})
	ours := unique(all, a.isOurs)
	if len(ours) > 1 {
		return "", ErrTwoCredentials
	}
	if s == AccessToken {
		all = bearer
		ours = unique(bearer, a.isOurs)
	}
	if len(ours) == 1 {
		return ours[0], nil
	}
	if any := unique(all, func(string) bool { return true }); len(any) > 0 {
		return any[0], nil
	}
	return "", nil
}

func (a *API) isOurs(credential string) bool {
	return a.config.IsOurs == nil || a.config.IsOurs(credential)
}

// unique returns the different texts of all that are wanted, trimmed. Empty
// ones count as not sent.
func unique(all []string, wanted func(string) bool) []string {
	var kept []string
	for _, s := range all {
		if s = strings.TrimSpace(s); s != "" && !slices.Contains(kept, s) && wanted(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// authorization returns what stands after the scheme in each Authorization
// header that has it, in any letter case.
func authorization(header http.Header, scheme string) []string {
	var found []string
	for _, v := range header.Values("Authorization") {
		if rest, ok := after(scheme, v); ok {
			found = append(found, rest)
		}
	}
	return found
}

// after returns what stands after the scheme in an Authorization header.
func after(scheme, value string) (rest string, ok bool) {
	got, rest, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok || !strings.EqualFold(got, scheme) {
		return "", false
	}
	return rest, true
}

// basicAuth returns what a request holds as Authorization: Basic.
func basicAuth(header http.Header) (BasicAuth, error) {
	sent := unique(authorization(header, "basic"), func(string) bool { return true })
	switch len(sent) {
	case 0:
		return BasicAuth{}, nil
	case 1:
	default:
		return BasicAuth{}, ErrTwoCredentials
	}
	text, err := base64.StdEncoding.Strict().DecodeString(sent[0])
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok || !cleanText(string(text)) || strings.ContainsFunc(string(text), unicode.IsControl) {
		return BasicAuth{}, errBasicAuth
	}
	return BasicAuth{Given: true, User: user, Password: seal.NewSecret(password)}, nil
}
