package invoices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const maxPage = 4 << 20

const (
	errUnreachable = failure("The portal cannot be reached.")
	errRefused     = failure("The portal did not accept the user name, the password or the code.")
	errForm        = failure("The portal's sign-in page is not the one this agent knows.")
	errList        = failure("The portal's list of invoices could not be read.")
	errSignedOut   = failure("The portal signed the agent out at once.")
)

// session is what the agent wants to find again at its next run.
type session struct {
	Cookies map[string]string `json:"cookies"`
}

var (
	cookieName  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	cookieValue = regexp.MustCompile(`^[!#-+\--:<-\[\]-~]+$`)
)

// parseSession is the cookies of a session. One that is not of this agent's
// making is as good as none: the password is there.
func parseSession(raw json.RawMessage) map[string]string {
	var s session
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	for name, value := range s.Cookies {
		if !cookieName.MatchString(name) || !cookieValue.MatchString(value) {
			return nil
		}
	}
	return s.Cookies
}

func parsePortal(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the portal's address is not of the form https://HOST")
	}
	return u, nil
}

// newClient follows no redirect and uses no proxy: the credentials go to the
// portal that the agent was told, and nowhere else.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       15 * time.Second,
		Transport:     &http.Transport{Proxy: nil, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// visit is one stay on the portal, with the cookies it was given there.
type visit struct {
	ctx     context.Context
	client  *http.Client
	portal  *url.URL
	cookies map[string]string
	log     io.Writer
}

var formToken = regexp.MustCompile(`name="form_token" value="([0-9A-Za-z_-]+)"`)

// signIn fills in the sign-in form.
func (v *visit) signIn(arguments map[string]any) error {
	form := url.Values{}
	for argument, field := range map[string]string{"username": "username", "password": "password", "totp": "code"} {
		value, ok := arguments[argument].(string)
		if !ok || value == "" {
			return failure("The arguments username, password and totp are needed, as text.")
		}
		form.Set(field, value)
	}

	status, page, err := v.ask(http.MethodGet, "/login", nil)
	if err != nil {
		return err
	}
	token := formToken.FindSubmatch(page)
	if status != http.StatusOK || token == nil {
		return errForm
	}
	form.Set("form_token", string(token[1]))

	switch status, _, err = v.ask(http.MethodPost, "/login", form); {
	case err != nil:
		return err
	case status == http.StatusUnauthorized:
		return errRefused
	case status != http.StatusSeeOther:
		return unexpected(status)
	}
	return nil
}

// invoices is the list behind the sign-in, or errSignedOut.
func (v *visit) invoices() ([]json.RawMessage, error) {
	status, body, err := v.ask(http.MethodGet, "/invoices.json", nil)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusUnauthorized:
		return nil, errSignedOut
	case status != http.StatusOK:
		return nil, unexpected(status)
	}
	var list struct {
		Invoices []json.RawMessage `json:"invoices"`
	}
	if json.Unmarshal(body, &list) != nil || list.Invoices == nil {
		return nil, errList
	}
	return list.Invoices, nil
}

func unexpected(status int) error {
	return failure(fmt.Sprintf("The portal answered with status %d.", status))
}

// ask makes one request, with a form if there is one, and keeps the cookies
// that come back.
func (v *visit) ask(method, path string, form url.Values) (status int, body []byte, err error) {
	r, err := http.NewRequestWithContext(v.ctx, method, v.portal.JoinPath(path).String(), strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, fmt.Errorf("ask the portal: %w", err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}

	began := time.Now()
	resp, err := v.client.Do(r)
	if err != nil {
		return 0, nil, errUnreachable
	}
	fmt.Fprintf(v.log, "%s %s: status %d after %d ms\n", method, path, resp.StatusCode, time.Since(began).Milliseconds())
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxPage)); err != nil {
		return 0, nil, errUnreachable
	}
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 || c.Value == "" {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c.Value
		}
	}
	return resp.StatusCode, body, nil
}
