// Package mail sends plain-text messages by SMTP, through the mail server that
// the operator names in the settings.
//
// Its laws:
//
//   - A password goes over TLS alone, to a server whose certificate fits its name.
//   - Nothing that stands in a message begins another header, another recipient
//     or another command, whoever wrote it.
//   - What is said of a failure is said in our own words: a mail server's answer
//     may repeat anything, and is for the log.
//
// To whom something is sent, and whether again, is for the caller.
package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"github.com/keyward/keyward/internal/seal"
)

// TLS is how the connection to the mail server is protected.
type TLS string

// The ways. Without StartTLS or Implicit no password is sent.
const (
	StartTLS TLS = "starttls" // begun in the clear, and never gone on with in the clear
	Implicit TLS = "tls"      // from the first byte, as on port 465
	Clear    TLS = "none"
)

const (
	// patience is for each step of a conversation with the mail server.
	patience = 15 * time.Second
	// maxAddress is what RFC 5321 has room for, in bytes.
	maxAddress = 254
	// maxSubject is in characters.
	maxSubject = 200
)

// Sender sends through one mail server. It may be used by several goroutines at
// once.
type Sender struct {
	Host     string // host:port
	User     string // "": without signing in
	Password seal.Secret
	From     string // as in a header: keys@example.com, or Keyward <keys@example.com>
	TLS      TLS
	Now      func() time.Time

	roots *x509.CertPool // nil: the system's
}

// Message is what is sent to one recipient.
type Message struct {
	ID      string // of letters, digits, dots and hyphens; the same whenever it is sent again
	To      string
	Subject string
	Text    string // lines end in \n
}

// Failure says why a message was not sent. Says can be shown to whoever waits
// for the message: it holds no address and nothing that the mail server said.
type Failure struct {
	Says  string
	cause error
}

func (f *Failure) Error() string {
	if f.cause == nil {
		return f.Says
	}
	return f.Says + " " + f.cause.Error()
}

// Unwrap returns what caused f.
func (f *Failure) Unwrap() error { return f.cause }

// CheckAddress returns what is wrong with text as a recipient, "" if nothing is:
// it must be a bare address and no more.
func CheckAddress(text string) (reason string) {
	switch a, err := netmail.ParseAddress(text); {
	case len(text) > maxAddress:
		return "must have at most 254 bytes"
	case err != nil || a.Name != "" || a.Address != text || strings.ContainsAny(text, `[]"\`) || strings.ContainsFunc(text, unprintable):
		return "must be of the form name@example.com"
	}
	return ""
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }

// Send hands m to the mail server, or returns a *Failure. It may fail after the
// server has taken the message: then it is sent twice, with one ID. It returns
// when ctx ends.
func (s *Sender) Send(ctx context.Context, m Message) error {
	if s.TLS == Clear && len(s.Password.Bytes()) > 0 {
		return &Failure{Says: "The password of the mail server may not be sent in the clear (smtp.tls)."}
	}
	message, err := s.compose(m)
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	// The library bounds each step of the conversation and not the whole.
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- &Failure{"The message could not be sent.", fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
			}
		}()
		done <- converse(ctx, client, message)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &Failure{saysTooSlow, ctx.Err()}
	}
}

const saysTooSlow = "The mail server did not answer in time."

func converse(ctx context.Context, client *gomail.Client, message *gomail.Msg) error {
	conversation, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return unreachable(err)
	}
	defer func() { _ = client.CloseWithSMTPClient(conversation) }()
	// What goes wrong once the server has the message is no failure of it.
	if err := client.SendWithSMTPClient(conversation, message); err != nil && !message.IsDelivered() {
		return refused(err)
	}
	return nil
}

func (s *Sender) compose(m Message) (*gomail.Msg, error) {
	from, err := netmail.ParseAddress(s.From)
	if err != nil || CheckAddress(from.Address) != "" {
		return nil, &Failure{Says: "The address that the server sends from is not valid (smtp.from)."}
	}
	if CheckAddress(m.To) != "" {
		return nil, &Failure{Says: "The recipient's address is none that a message can be sent to."}
	}
	message := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	message.FromMailAddress(from)
	message.ToMailAddress(&netmail.Address{Address: m.To})
	message.Subject(line(m.Subject))
	message.SetDateWithValue(s.Now())
	_, domain, _ := strings.Cut(from.Address, "@")
	message.SetMessageIDWithValue(m.ID + "@" + domain)
	message.SetGenHeader("Auto-Submitted", "auto-generated") // nobody's absence answers it (RFC 3834)
	message.SetBodyString(gomail.TypeTextPlain, m.Text)
	return message, nil
}

// line makes one line of text that readers show as it is written: an encoded
// word in it would be shown decoded.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	text = strings.ReplaceAll(text, "=?", "= ?")
	if runes := []rune(text); len(runes) > maxSubject {
		text = string(runes[:maxSubject-1]) + "…"
	}
	return text
}

func (s *Sender) client() (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(s.Host)
	number, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numberErr != nil {
		return nil, &Failure{Says: "The address of the mail server is not valid (smtp.host)."}
	}
	options := []gomail.Option{
		gomail.WithPort(int(number)), gomail.WithTimeout(patience),
		gomail.WithTLSConfig(&tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: s.roots}),
	}
	switch s.TLS {
	case StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case Implicit:
		options = append(options, gomail.WithSSL())
	case Clear:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, &Failure{Says: "It is not said how the mail server is reached (smtp.tls)."}
	}
	if s.User != "" {
		options = append(options, gomail.WithUsername(s.User), gomail.WithPassword(s.Password.Reveal()),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	client, err := gomail.NewClient(host, options...)
	if err != nil {
		return nil, &Failure{Says: "The settings of the mail server do not fit together.", cause: err}
	}
	return client, nil
}

// unreachable says why there is no conversation with the mail server.
func unreachable(err error) error {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout net.Error
	var answer *textproto.Error
	says := "The mail server could not be reached as the settings say (smtp.host, smtp.tls, smtp.user)."
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		says = "The mail server could not be reached: nothing listens at its address."
	case errors.As(err, &dns):
		says = "The mail server could not be reached: the name of its host was not found."
	case errors.As(err, &certificate):
		says = "The mail server could not be reached: its TLS certificate is not valid for its name."
	case errors.As(err, &record):
		says = "The mail server could not be reached: it does not speak TLS at this address (smtp.tls)."
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		says = saysTooSlow
	case errors.As(err, &answer) && (answer.Code == 530 || answer.Code == 534 || answer.Code == 535 || answer.Code == 538):
		says = fmt.Sprintf("The mail server did not let this server sign in (code %d).", answer.Code)
	case errors.As(err, &answer):
		says = fmt.Sprintf("The mail server refused the connection (code %d).", answer.Code)
	}
	return &Failure{says, err}
}

// refused says why the mail server did not take a message.
func refused(err error) error {
	says := "The mail server did not take the message."
	var at *gomail.SendError
	if errors.As(err, &at) {
		what := map[gomail.SendErrReason]string{
			gomail.ErrSMTPMailFrom: "refused the sender", gomail.ErrSMTPRcptTo: "refused the recipient",
			gomail.ErrSMTPData: "refused the message", gomail.ErrSMTPDataClose: "refused the message",
		}[at.Reason]
		if what != "" {
			says = "The mail server " + what + "."
			if code := at.ErrorCode(); code != 0 {
				says = fmt.Sprintf("The mail server %s (code %d).", what, code)
			}
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		says = saysTooSlow
	}
	return &Failure{says, err}
}
