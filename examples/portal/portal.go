// Package portal is a small customer portal: a sign-in form that asks for user
// name, password and one-time code, a session cookie, and a page of invoices
// behind it. It is the web site of Keyward's story, the one that an agent signs
// in to with somebody else's credentials.
//
// It keeps everything in memory: a restart ends every session. It does not slow
// down whoever guesses passwords, which a portal on the internet would have to.
package portal

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	sessionCookie = "portal_session"
	formCookie    = "portal_form"
	maxForm       = 16 << 10
)

// Account is somebody who may sign in. TOTP is the secret in base32, as
// authenticator apps take it.
type Account struct {
	User     string `json:"user"`
	Password string `json:"password"`
	TOTP     string `json:"totp"`
}

// Portal is the web site. Set its fields before it serves.
type Portal struct {
	Now             func() time.Time
	SessionLifetime time.Duration

	handler     http.Handler
	submissions atomic.Int64

	mu       sync.Mutex // guards sessions and every account's lastStep
	accounts map[string]*account
	nobody   *account // stands in for an unknown user, so that checking takes as long
	sessions map[string]session
}

type account struct {
	user     string
	password [sha256.Size]byte
	secret   []byte
	lastStep int64 // the step of the newest code that was accepted
}

type session struct {
	user      string
	expiresAt time.Time
}

// New is a portal with these accounts, whose sessions last eight hours.
func New(accounts ...Account) (*Portal, error) {
	p := &Portal{
		Now:             time.Now,
		SessionLifetime: 8 * time.Hour,
		accounts:        make(map[string]*account),
		nobody:          &account{password: sha256.Sum256([]byte(rand.Text())), secret: []byte(rand.Text())},
		sessions:        make(map[string]session),
	}
	for i, a := range accounts {
		secret, err := parseSecret(a.TOTP)
		switch {
		case a.User == "" || a.Password == "":
			return nil, fmt.Errorf("account %d needs a user and a password", i+1)
		case err != nil:
			return nil, fmt.Errorf("account %d: %w", i+1, err)
		case p.accounts[a.User] != nil:
			return nil, fmt.Errorf("account %d has the user name of another", i+1)
		}
		p.accounts[a.User] = &account{user: a.User, password: sha256.Sum256([]byte(a.Password)), secret: secret}
	}
	p.handler = p.routes()
	return p, nil
}

// PasswordSubmissions is how often the sign-in form was sent in, with right or
// wrong values.
func (p *Portal) PasswordSubmissions() int64 { return p.submissions.Load() }

// ServeHTTP serves the site.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	p.handler.ServeHTTP(w, r)
}

func (p *Portal) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler("/invoices", http.StatusSeeOther))
	mux.HandleFunc("GET /portal.css", serveStyle)
	mux.HandleFunc("GET /login", p.serveForm)
	mux.HandleFunc("POST /login", p.serveSignIn)
	mux.HandleFunc("POST /logout", p.serveSignOut)
	mux.HandleFunc("GET /invoices", p.serveInvoices)
	mux.HandleFunc("GET /invoices.json", p.serveInvoicesJSON)
	mux.HandleFunc("GET /invoices/{file}", p.serveInvoice)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		showError(w, http.StatusNotFound, "Page not found", "There is no page at this address.")
	})

	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(refuseForm))
	return sameOrigin.Handler(mux)
}

// serveForm shows the sign-in form. Its token stands in the form and in a
// cookie: another site can make a browser send the cookie, but cannot read it
// to fill in the form, and so cannot sign a visitor in to an account of its own.
func (p *Portal) serveForm(w http.ResponseWriter, r *http.Request) {
	if _, ok := p.session(r); ok {
		http.Redirect(w, r, "/invoices", http.StatusSeeOther)
		return
	}
	token := rand.Text()
	setCookie(w, r, formCookie, token, 0)
	show(w, http.StatusOK, "login", page{Title: "Sign in", Token: token, SignedOut: r.URL.Query().Has("signed-out")})
}

func (p *Portal) serveSignIn(w http.ResponseWriter, r *http.Request) {
	p.submissions.Add(1)
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		showError(w, http.StatusBadRequest, "Sign-in failed", "The form could not be read.")
		return
	}
	cookie, err := r.Cookie(formCookie)
	if err != nil || cookie.Value == "" || !equal(cookie.Value, r.PostForm.Get("form_token")) {
		refuseForm(w, r)
		return
	}
	token, ok := p.signIn(r.PostForm.Get("username"), r.PostForm.Get("password"), r.PostForm.Get("code"))
	if !ok {
		showError(w, http.StatusUnauthorized, "Sign-in failed", "The user name, the password or the code is not right. A code works once.")
		return
	}
	setCookie(w, r, formCookie, "", -1)
	setCookie(w, r, sessionCookie, token, int(p.SessionLifetime/time.Second))
	http.Redirect(w, r, "/invoices", http.StatusSeeOther)
}

// signIn opens a session and answers its token. It does not say which of the
// three values was wrong. A code is used up only together with the right password, or
// a stranger could spend the codes of a user whose name is all he knows.
func (p *Portal) signIn(user, password, code string) (token string, ok bool) {
	now := p.Now()
	p.mu.Lock()
	defer p.mu.Unlock()

	a, known := p.accounts[user]
	if !known {
		a = p.nobody
	}
	given := sha256.Sum256([]byte(password))
	rightPassword := subtle.ConstantTimeCompare(given[:], a.password[:]) == 1
	step, rightCode := findStep(a.secret, strings.ReplaceAll(code, " ", ""), now)
	if !known || !rightPassword || !rightCode || step <= a.lastStep {
		return "", false
	}
	a.lastStep = step

	for token, s := range p.sessions {
		if !now.Before(s.expiresAt) {
			delete(p.sessions, token)
		}
	}
	token = rand.Text()
	p.sessions[token] = session{user: a.user, expiresAt: now.Add(p.SessionLifetime)}
	return token, true
}

// session is the one that r's cookie opens.
func (p *Portal) session(r *http.Request) (session, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return session{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.sessions[cookie.Value]
	return s, ok && p.Now().Before(s.expiresAt)
}

func (p *Portal) serveSignOut(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		p.mu.Lock()
		delete(p.sessions, cookie.Value)
		p.mu.Unlock()
	}
	setCookie(w, r, sessionCookie, "", -1)
	http.Redirect(w, r, "/login?signed-out", http.StatusSeeOther)
}

func (p *Portal) serveInvoices(w http.ResponseWriter, r *http.Request) {
	s, ok := p.session(r)
	if !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	invoices := invoicesOf(s.user)
	show(w, http.StatusOK, "invoices", page{Title: "Invoices", User: s.user, Invoices: invoices, Due: due(invoices)})
}

func (p *Portal) serveInvoicesJSON(w http.ResponseWriter, r *http.Request) {
	s, ok := p.session(r)
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(map[string]string{"error": "Sign in first."})
		return
	}
	json.NewEncoder(w).Encode(map[string][]Invoice{"invoices": invoicesOf(s.user)})
}

func (p *Portal) serveInvoice(w http.ResponseWriter, r *http.Request) {
	s, ok := p.session(r)
	if !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	for _, in := range invoicesOf(s.user) {
		if r.PathValue("file") == in.Number+".txt" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Content-Disposition", `attachment; filename="`+in.Number+`.txt"`)
			in.print(w, s.user)
			return
		}
	}
	showError(w, http.StatusNotFound, "No such invoice", "You have no invoice with this number.")
}

func refuseForm(w http.ResponseWriter, _ *http.Request) {
	showError(w, http.StatusForbidden, "Form refused", "This form did not come from this site, or it is out of date. Open the page again.")
}

// setCookie sets a cookie that no script reads and no other site's form
// carries. maxAge is in seconds: 0 lasts as long as the browser, below it ends now.
func setCookie(w http.ResponseWriter, r *http.Request, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

//go:embed pages
var files embed.FS

var pages = template.Must(template.ParseFS(files, "pages/*.html"))

type page struct {
	Title     string
	User      string // empty: not signed in
	Token     string
	SignedOut bool
	Message   string
	Invoices  []Invoice
	Due       string
}

func show(w http.ResponseWriter, status int, name string, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	pages.ExecuteTemplate(w, name+".html", p)
}

func showError(w http.ResponseWriter, status int, title, message string) {
	show(w, status, "error", page{Title: title, Message: message})
}

func serveStyle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	http.ServeFileFS(w, r, files, "pages/portal.css")
}
