// Package demo tells Keyward's story on a terminal: it starts a server, a web
// site to sign in to and an agent, in this process and on loopback, and shows
// every request and every answer, from signing up to signing out.
//
// Its laws:
//   - No answer is taken on trust: one that is not as expected ends the story
//     with an error that says what was expected.
//   - Of a secret only the beginning is shown, in errors too.
//   - Nothing stays behind, however the story ends.
//
// The web site and the agent are examples/portal and examples/invoices-agent.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/keyward/keyward/examples/portal"
)

var errStopped = errors.New("the demo was stopped before its end")

// Run tells the story to out, and returns nil if every answer was as expected.
// It keeps everything in a temporary folder, which is gone when it returns.
func Run(ctx context.Context, out io.Writer, colours bool, version string) (err error) {
	folder, err := os.MkdirTemp("", "keyward-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()

	return newStory(folder, version, &paper{out: out, colours: colours}).play(ctx)
}

// play tells the whole story and stops what it started.
func (s *story) play(ctx context.Context) error {
	err := errors.Join(s.tell(ctx), s.close())
	switch {
	case ctx.Err() != nil:
		return errStopped
	case err != nil:
		s.showLog()
		return errors.New(s.paper.shorten(err.Error()))
	}
	s.paper.title("The end")
	s.paper.say("The server has stopped, and %s is removed now.", s.folder)
	return s.paper.err
}

// story is what has happened so far.
type story struct {
	folder  string
	version string
	paper   *paper
	client  *http.Client

	portal    *portal.Portal
	portalURL string
	agent     net.Listener // the agent serves on it once it has its secret
	server    *server
	ending    []io.Closer

	password string // of the account
	jane     login  // at the portal
	tokens   tokens // of the account's sign-in
	key      string // the API key
	token    string // the auth token of the profile
}

type login struct{ user, password, totp string }

func newStory(folder, version string, p *paper) *story {
	s := &story{
		folder: folder, version: version, paper: p,
		client:   &http.Client{Transport: &http.Transport{Proxy: nil}, Timeout: time.Minute},
		password: rand.Text(),
		jane:     login{"jane@acme.example", rand.Text(), rand.Text()},
	}
	for _, secret := range []string{s.password, s.jane.password, s.jane.totp} {
		p.hide(secret, 4)
	}
	return s
}

func (s *story) data() string { return filepath.Join(s.folder, "data") }
func (s *story) log() string  { return filepath.Join(s.folder, "server.log") }

// tell sets the stage and goes through the chapters.
func (s *story) tell(ctx context.Context) error {
	if err := s.setStage(ctx); err != nil {
		return err
	}
	s.paper.title("Keyward's story")
	s.paper.say("A server, a web site to sign in to and an agent, all in this process and on this machine alone.")
	s.paper.note("server  %s   data in %s", s.server.url, s.data())
	s.paper.note("portal  %s   a web site with a sign-in form, and invoices behind it", s.portalURL)
	s.paper.note("agent   http://%s   a program that fetches invoices for others", s.agent.Addr())

	for i, c := range s.chapters() {
		s.paper.title("%d. %s", i+1, c.title)
		s.paper.say("%s", c.why)
		if err := c.happen(ctx); err != nil {
			return err
		}
		if s.paper.err != nil {
			return s.paper.err
		}
	}
	return nil
}

// setStage starts the portal and the server, and takes an address for the agent.
func (s *story) setStage(ctx context.Context) (err error) {
	s.portal, err = portal.New(portal.Account{User: s.jane.user, Password: s.jane.password, TOTP: s.jane.totp})
	if err != nil {
		return err
	}
	site, err := listen()
	if err != nil {
		return err
	}
	s.host(site, s.portal)
	s.portalURL = "http://" + site.Addr().String()
	if s.agent, err = listen(); err != nil {
		return err
	}
	s.ending = append(s.ending, s.agent)
	return s.startServer(ctx, "127.0.0.1:0")
}

func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// host serves h on l until the story ends.
func (s *story) host(l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	s.ending = append(s.ending, srv)
	go srv.Serve(l)
}

// close stops all that was started.
func (s *story) close() error {
	s.client.CloseIdleConnections()
	for _, e := range s.ending {
		e.Close() // what fails here is closed already
	}
	return s.server.stop()
}

// showLog shows what the server had to say about a story that went wrong.
func (s *story) showLog() {
	text, err := os.ReadFile(s.log())
	if err != nil || len(text) == 0 {
		return
	}
	s.paper.title("The server's log")
	s.paper.say("%s", text)
}
