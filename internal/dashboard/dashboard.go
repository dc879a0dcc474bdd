// Package dashboard has the pages that a browser sees: what stands at the root,
// sign-in, what a run's address opens, and where programs are approved.
//
// Its laws:
//
//   - A page that tells anything of anybody reads who asks from a cookie, and the
//     cookie's sign-in from the database, each time (cookie.go). Nobody keeps such
//     a page: not the browser, nor anything between.
//   - Such pages answer at the server's public address alone, if it has one, and
//     take no POST that another site had a browser send.
//   - No script and no style stands in a page, no page stands in a frame, and
//     nothing is loaded from elsewhere. Texts come from anybody: only html/template
//     puts them into a page, and the script sets them as text.
//   - Pages can be read without the script. It adds what happens while one looks.
//
// What there is to see is asked of the packages that own it, as a member of the
// visitor's organization.
package dashboard

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/run"
)

//go:embed pages
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"moment": moment}).ParseFS(files, "pages/*.html"))

// Failures of a page, before what it shows.
var (
	errMisdirected   = fault.New(fault.Misdirected, "MISDIRECTED_REQUEST", "This server's pages are at its public address alone.")
	errCrossOrigin   = fault.New(fault.Forbidden, "CROSS_ORIGIN_REQUEST", "Another site has sent this request. Open the page itself and try again.")
	errNotEncrypted  = fault.New(fault.Forbidden, "HTTPS_REQUIRED", "A password is not sent in the clear. Open this page by https, or on the server's own machine. The operator says with the setting url where that is.")
	errFormTooLarge  = api.ErrBodyTooLarge.Say("The form is larger than 16 KiB.")
	errFormUnread    = fault.ErrInvalidRequest.Say("The form did not arrive whole.")
	contentSecurity  = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	crossOriginCheck = http.NewCrossOriginProtection()
)

// Parts are what the pages are made of.
type Parts struct {
	URL  func() string // the address by which the server is reached
	Host string        // the one at which pages that read cookies answer; "": any
	Now  func() time.Time

	Accounts *account.Store
	Runs     *run.Runs
	Devices  *device.Store

	// AgentName returns what an agent is called, "" if it is gone.
	AgentName func(ctx context.Context, who access.Caller, id string) (string, error)

	// Stopping reports whether the server is about to stop.
	Stopping func() bool
}

// pages are the pages of one server.
type pages struct {
	Parts
	api *api.API
}

// Register adds the pages to a.
func Register(a *api.API, parts Parts) {
	p := &pages{Parts: parts, api: a}
	get := func(path string, h http.Handler) { a.Raw(api.Operation{Method: http.MethodGet, Path: path}, h) }
	post := func(path string, h http.Handler) { a.Raw(api.Operation{Method: http.MethodPost, Path: path}, h) }
	get("/{$}", http.HandlerFunc(p.home))
	get("/style.css", file("pages/style.css"))
	get("/run.js", file("pages/run.js"))
	get("/login", p.guarded(p.loginPage))
	post("/login", p.guarded(p.login))
	post("/logout", p.guarded(p.logout))
	get(devicePath, p.guarded(p.devicePage))
	post(devicePath, p.guarded(p.deviceFound))
	post(devicePath+"/answer", p.guarded(p.deviceAnswered))
	get("/runs/{id}", p.guarded(p.run))
	get("/runs/{id}/events", p.guarded(p.events))
}

// guarded makes a handler of a page that reads cookies.
func (p *pages) guarded(page func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := p.admit(r)
		if err == nil {
			err = page(w, r)
		}
		if err != nil {
			p.fail(w, r, err)
		}
	})
}

func (p *pages) admit(r *http.Request) error {
	if p.Host != "" && host(r) != p.Host {
		return errMisdirected.Say("This server's pages are at %s alone.", p.URL())
	}
	if err := crossOriginCheck.Check(r); err != nil {
		return errCrossOrigin.Because(err)
	}
	return nil
}

// host returns the host that r was sent to, as the setting url has it: in lower
// case, and without the port that goes without saying.
func host(r *http.Request) string {
	h := strings.ToLower(r.Host)
	for _, port := range []string{":443", ":80"} {
		if bare, cut := strings.CutSuffix(h, port); cut {
			return bare
		}
	}
	return h
}

// home says what this server is and how to begin.
func (p *pages) home(w http.ResponseWriter, _ *http.Request) {
	p.write(w, http.StatusOK, "home.html", view{URL: p.URL()})
}

// file serves one of the files beside the pages. They are the same for everybody.
func file(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=300")
		http.ServeFileFS(w, r, files, name)
	})
}

// view is what a page shows.
type view struct {
	URL   string
	Visit *account.Visit // who looks; nil: nobody that we know
	Body  any
}

// write answers with a page.
func (p *pages) write(w http.ResponseWriter, status int, name string, v view) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, v); err != nil {
		panic(err) // the templates are constants, and so are the names in them
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", contentSecurity)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// With no-referrer a browser would not say where a form was sent from.
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

// problem is a failure as a page shows it.
type problem struct {
	Title     string
	Code      string
	Message   string
	RequestID string
}

// fail answers with err: as a page to whoever reads pages, and else as the API
// does.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		p.api.Fail(w, r, err)
		return
	}
	f, status := p.api.Report(w, r, err)
	title := "That did not work"
	switch f.Kind {
	case fault.NotFound:
		title = "Not found"
	case fault.Forbidden:
		title = "Not allowed"
	case fault.Misdirected:
		title = "Another address"
	}
	p.write(w, status, "problem.html", view{Body: problem{title, f.Code, f.Message, w.Header().Get("X-Request-Id")}})
}

// moment is a time as pages write it.
func moment(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }
