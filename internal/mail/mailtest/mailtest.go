// Package mailtest runs a real mail server inside a test.
package mailtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Server is a mail server on a free port of loopback.
type Server struct {
	Addr  string         // host:port
	Roots *x509.CertPool // with which its certificate is valid

	mu       sync.Mutex
	user     string
	password string
	refuse   func(to string) error
	hold     chan struct{}
	messages []Message
	signIns  []string
}

// Message is one that the server took.
type Message struct {
	From string
	To   []string
	Text string // as it came: header, empty line, body
}

// How says how a server is reached.
type How int

// The ways.
const (
	Plain How = iota
	StartTLS
	TLS
)

// Start runs a server until t ends. With a user it takes messages from whoever
// signs in as that user alone.
func Start(t testing.TB, how How, user, password string) *Server {
	t.Helper()
	s := &Server{user: user, password: password, Roots: x509.NewCertPool()}
	web := httptest.NewTLSServer(nil) // for its certificate
	certificates := web.TLS.Certificates
	s.Roots.AddCert(web.Certificate())
	web.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = l.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: s}, nil }))
	server.Domain = "mail.test"
	server.ErrorLog = log.New(io.Discard, "", 0)
	config := &tls.Config{Certificates: certificates}
	switch how {
	case StartTLS:
		server.TLSConfig = config
	case TLS:
		l = tls.NewListener(l, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return s
}

// Refuse makes the server answer err to each recipient for whom refuse returns
// one; nil takes all.
func (s *Server) Refuse(refuse func(to string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// Hold makes the server wait before it takes a message, until what is returned
// is called.
func (s *Server) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hold := make(chan struct{})
	s.hold = hold
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hold = nil
		close(hold)
	}
}

// Messages returns what the server took, in the order in which it came.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.messages...)
}

// SignIns returns the passwords that were presented.
func (s *Server) SignIns() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.signIns...)
}

type session struct {
	server *Server
	in     bool
	now    Message
}

func (x *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (x *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s := x.server
		s.mu.Lock()
		defer s.mu.Unlock()
		s.signIns = append(s.signIns, password)
		if s.user == "" || user != s.user || password != s.password {
			return smtp.ErrAuthFailed
		}
		x.in = true
		return nil
	}), nil
}

func (x *session) Mail(from string, _ *smtp.MailOptions) error {
	if x.server.user != "" && !x.in {
		return smtp.ErrAuthRequired
	}
	x.now = Message{From: from}
	return nil
}

func (x *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	x.server.mu.Lock()
	refuse := x.server.refuse
	x.server.mu.Unlock()
	if refuse != nil {
		if err := refuse(to); err != nil {
			return err
		}
	}
	x.now.To = append(x.now.To, to)
	return nil
}

func (x *session) Data(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return err
	}
	s := x.server
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	x.now.Text = string(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, x.now)
	return nil
}

func (x *session) Reset()        { x.now = Message{} }
func (x *session) Logout() error { return nil }

// Refusal is an answer of a mail server that refuses for good (5xx) or for now
// (4xx).
func Refusal(code int, text string) error {
	if code < 400 || code > 599 {
		return errors.New("mailtest: not a refusal")
	}
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: text}
}
