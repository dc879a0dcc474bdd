package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

const maxForm = 16 << 10

// ownPage is what may come after signing in: pages of ours, by their form and not
// by what an address could mean to a browser. A run's id is a UUID.
var ownPage = regexp.MustCompile(`^(/runs/[0-9a-f-]{36}|` + devicePath + `)$`)

// nextPage returns where somebody wants to go, if it is a page of ours.
func nextPage(wanted string) string {
	if ownPage.MatchString(wanted) {
		return wanted
	}
	return "/login"
}

// login is the form for signing in, as it is shown.
type login struct {
	Next    string
	Email   string
	Problem string
	Again   bool // he is signed in, and for too long for where he goes
}

// loginPage asks who somebody is, or says who he is.
func (p *pages) loginPage(w http.ResponseWriter, r *http.Request) error {
	if err := p.mayType(r); err != nil {
		return err
	}
	next := nextPage(r.URL.Query().Get("next"))
	visit, err := p.visit(w, r)
	switch {
	case errors.Is(err, account.ErrNotSignedIn):
		p.write(w, http.StatusOK, "login.html", view{Body: login{Next: next}})
	case err != nil:
		return err
	case next == devicePath && p.isStale(visit):
		p.write(w, http.StatusOK, "login.html", view{Visit: &visit, Body: login{Next: next, Email: visit.Account.Email, Again: true}})
	case next != "/login":
		http.Redirect(w, r, next, http.StatusSeeOther)
	default:
		p.write(w, http.StatusOK, "signedin.html", view{Visit: &visit})
	}
	return nil
}

// login signs somebody in. The cookie is a new one whatever the browser sent, so
// that nobody is given one that somebody else knows.
func (p *pages) login(w http.ResponseWriter, r *http.Request) error {
	if err := p.mayType(r); err != nil {
		return err
	}
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	from := p.api.Client(w, r)
	next, email := nextPage(form.Get("next")), form.Get("email")
	cookie, err := p.Accounts.SignInBrowser(r.Context(), access.NewVisitor(from.Address, from.RequestID),
		email, seal.NewSecret(form.Get("password")), p.cookie(r))
	if f := fault.Of(err); err != nil && f.Kind != fault.Internal {
		p.refuse(w, r, err, login{Next: next, Email: email})
		return nil
	} else if err != nil {
		return err
	}
	p.setCookie(w, cookie)
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

// refuse shows the form again and says why.
func (p *pages) refuse(w http.ResponseWriter, r *http.Request, err error, again login) {
	f, status := p.api.Report(w, r, err)
	again.Problem = f.Message
	if f.RetryAfter > 0 {
		seconds := int((f.RetryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		again.Problem = "Too many tries. Wait " + (time.Duration(seconds) * time.Second).String() + " and try again."
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Cookie realm="keyward"`) // no browser has a window of its own for it
	}
	p.write(w, status, "login.html", view{Body: again})
}

// logout ends the sign-in of the cookie, and has the browser forget it.
func (p *pages) logout(w http.ResponseWriter, r *http.Request) error {
	from := p.api.Client(w, r)
	if err := p.Accounts.SignOutBrowser(r.Context(), access.NewVisitor(from.Address, from.RequestID), p.cookie(r)); err != nil {
		return err
	}
	p.setCookie(w, seal.Secret{})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}

func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			return nil, errFormTooLarge
		}
		return nil, errFormUnread
	}
	return r.PostForm, nil
}
