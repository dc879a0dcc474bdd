// Package dashboard has the pages that a browser sees. So far these are two:
// what stands at the root, and what a run's address opens. Neither reads a
// cookie nor shows anything of anybody.
package dashboard

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
)

//go:embed pages
var pages embed.FS

var templates = template.Must(template.ParseFS(pages, "pages/*.html"))

// Pages are the pages of one server. URL is its public address, by which the
// commands on them are spelled.
type Pages struct{ URL func() string }

// Home says what this server is and how to begin.
func (p Pages) Home(w http.ResponseWriter, _ *http.Request) {
	p.write(w, "home.html", map[string]string{"URL": p.URL()})
}

// Run says how to read the run in the address. It does not say whether there is
// such a run, since it does not know who asks.
func (p Pages) Run(w http.ResponseWriter, r *http.Request) {
	p.write(w, "run.html", map[string]string{"URL": p.URL(), "ID": r.PathValue("id")})
}

// Style is the style sheet of all pages.
func (p Pages) Style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=3600")
	http.ServeFileFS(w, r, pages, "pages/style.css")
}

func (p Pages) write(w http.ResponseWriter, name string, values map[string]string) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, values); err != nil {
		panic(err) // the templates are constants, and so are the names in them
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(page.Bytes())
}
