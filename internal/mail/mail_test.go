package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/mail/mailtest"
	"github.com/keyward/keyward/internal/seal"
)

var sent = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func sender(s *mailtest.Server, how TLS) *Sender {
	return &Sender{Host: s.Addr, From: "Keyward <keys@example.com>", TLS: how, Now: func() time.Time { return sent }, roots: s.Roots}
}

// read returns a message's header and its text.
func read(t *testing.T, m mailtest.Message) (netmail.Header, string) {
	t.Helper()
	parsed, err := netmail.ReadMessage(strings.NewReader(m.Text))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Header, strings.ReplaceAll(string(body), "\r\n", "\n")
}

func TestAMessageArrivesAsItWasWritten(t *testing.T) {
	server := mailtest.Start(t, mailtest.Plain, "", "")
	text := "Größe: 80 %\n.\nFrom here on.\n" + strings.Repeat("long ", 300) + "\n"
	err := sender(server, Clear).Send(t.Context(), Message{ID: "d-1", To: "jane@example.com", Subject: "Schlüssel: 80 %", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	got := server.Messages()
	if len(got) != 1 || got[0].From != "keys@example.com" || len(got[0].To) != 1 || got[0].To[0] != "jane@example.com" {
		t.Fatalf("took %+v", got)
	}
	header, body := read(t, got[0])
	subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
	if err != nil || subject != "Schlüssel: 80 %" || body != text {
		t.Errorf("subject %q (%v), text %q", subject, err, body)
	}
	for name, want := range map[string]string{
		"From": `"Keyward" <keys@example.com>`, "To": "<jane@example.com>", "Message-Id": "<d-1@example.com>",
		"Date": "Wed, 04 Mar 2026 05:06:07 +0000", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0",
	} {
		if header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, header.Get(name), want)
		}
	}
}

func TestNothingInAMessageBeginsAHeaderOrARecipient(t *testing.T) {
	server := mailtest.Start(t, mailtest.Plain, "", "")
	s := sender(server, Clear)
	for _, name := range []string{
		"a\r\nBcc: eve@evil.example", "a\nBcc: eve@evil.example", "a\rBcc: eve@evil.example", "a\r\n\r\nbody", "a\x00b\x7f", "a\u2028Bcc: e@evil.example",
		"=?utf-8?q?a=0D=0ABcc:_eve@evil.example?=", strings.Repeat("ü", 5000), strings.Repeat("x", 5000), "\xff\r\nBcc: e@evil.example",
	} {
		before := len(server.Messages())
		if err := s.Send(t.Context(), Message{ID: "d", To: "jane@example.com", Subject: "The key " + name, Text: "body\n"}); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		m := server.Messages()[before]
		header, body := read(t, m)
		if len(m.To) != 1 || m.To[0] != "jane@example.com" || header.Get("Bcc") != "" || body != "body\n" {
			t.Errorf("%q: to %q, header %v, body %q", name, m.To, header, body)
		}
		if subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject")); err != nil || strings.ContainsAny(subject, "\r\n\x00") {
			t.Errorf("%q: subject %q, %v", name, subject, err)
		}
	}
	count := len(server.Messages())
	for _, to := range []string{
		"", "jane", "jane@example.com\r\nRCPT TO:<eve@evil.example>", "jane@example.com, eve@evil.example", "Jane <jane@example.com>", "<jane@example.com>",
		"jane@example.com\n", " jane@example.com", "jane@example.com ", "a b@example.com", `"a b"@example.com`, `"a\r\n"@example.com`, "jane@[127.0.0.1]",
		"jane@exa\x00mple.com", "a@b@c", strings.Repeat("a", 250) + "@b.example", "undisclosed:;", "jane@",
	} {
		if CheckAddress(to) == "" {
			t.Errorf("%q is an address", to)
		}
		err := s.Send(t.Context(), Message{ID: "d", To: to, Subject: "s", Text: "t"})
		if f := (*Failure)(nil); !errors.As(err, &f) || to != "" && strings.Contains(f.Says, to) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if len(server.Messages()) != count {
		t.Error("a message to what is no address was sent")
	}
	for _, to := range []string{"jane@example.com", "jane+keys@sub.example.com", "jane.doe@xn--bcher-kva.example", "jane@localhost"} {
		if reason := CheckAddress(to); reason != "" {
			t.Errorf("%s %s", to, reason)
		}
	}
}

func TestAPasswordGoesOverTLSAlone(t *testing.T) {
	message := Message{ID: "d", To: "jane@example.com", Subject: "s", Text: "t\n"}
	for _, tt := range []struct {
		how mailtest.How
		tls TLS
		ok  bool
	}{
		{mailtest.StartTLS, StartTLS, true},
		{mailtest.TLS, Implicit, true},
		{mailtest.Plain, StartTLS, false}, // whoever sits between takes STARTTLS out of the answer
		{mailtest.Plain, Clear, false},
		{mailtest.Plain, Implicit, false},
		{mailtest.StartTLS, Clear, false},
		{mailtest.Plain, "", false},
	} {
		server := mailtest.Start(t, tt.how, "keyward", "hunter2")
		s := sender(server, tt.tls)
		s.User, s.Password = "keyward", seal.NewSecret("hunter2")
		err := s.Send(t.Context(), message)
		if (err == nil) != tt.ok || (len(server.Messages()) == 1) != tt.ok || (len(server.SignIns()) > 0) != tt.ok {
			t.Errorf("%d with %q: %v, %d messages, %d sign-ins", tt.how, tt.tls, err, len(server.Messages()), len(server.SignIns()))
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("an error has the password: %v", err)
		}
	}

	server := mailtest.Start(t, mailtest.StartTLS, "keyward", "hunter2")
	s := sender(server, StartTLS)
	s.User, s.Password, s.roots = "keyward", seal.NewSecret("hunter2"), nil
	if err := s.Send(t.Context(), message); err == nil || len(server.SignIns()) > 0 {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	var printed bytes.Buffer
	fmt.Fprintf(&printed, "%v %+v %#v", s, s, *s)
	if strings.Contains(printed.String(), "hunter2") {
		t.Error("a sender prints its password")
	}
}

func TestAFailureIsSaidInOurOwnWords(t *testing.T) {
	message := Message{ID: "d", To: "jane@example.com", Subject: "s", Text: "t\n"}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	plain, tls := mailtest.Start(t, mailtest.Plain, "", ""), mailtest.Start(t, mailtest.StartTLS, "keyward", "right")
	plain.Refuse(func(string) error { return mailtest.Refusal(550, "jane@example.com is hunter2") })
	stranger, intruder := sender(tls, StartTLS), sender(tls, StartTLS)
	stranger.roots = nil
	intruder.User, intruder.Password = "keyward", seal.NewSecret("wrong")
	for want, s := range map[string]*Sender{
		"The mail server could not be reached: nothing listens at its address.":                   {Host: closed.Addr().String(), TLS: Clear},
		"The mail server could not be reached: the name of its host was not found.":               {Host: "no-such-host.invalid:25", TLS: Clear},
		"The mail server could not be reached: its TLS certificate is not valid for its name.":    stranger,
		"The mail server could not be reached: it does not speak TLS at this address (smtp.tls).": {Host: plain.Addr, TLS: Implicit},
		"The mail server did not let this server sign in (code 535).":                             intruder,
		"The mail server refused the recipient (code 550).":                                       sender(plain, Clear),
		"The mail server refused the sender (code 502).":                                          sender(tls, StartTLS),
		"The address of the mail server is not valid (smtp.host).":                                {Host: "example.com", TLS: Clear},
		"The address that the server sends from is not valid (smtp.from).":                        {Host: plain.Addr, TLS: Clear, From: "no address"},
	} {
		if s.From == "" {
			s.From = "keys@example.com"
		}
		s.Now = time.Now
		err := s.Send(t.Context(), message)
		f := (*Failure)(nil)
		if !errors.As(err, &f) || f.Says != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSendingEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slow := mailtest.Start(t, mailtest.Plain, "", "")
	defer slow.Hold()()
	for _, s := range []*Sender{{Host: silent.Addr().String(), From: "keys@example.com", TLS: Clear, Now: time.Now}, sender(slow, Clear)} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		err := s.Send(ctx, Message{ID: "d", To: "jane@example.com", Subject: "s", Text: "t\n"})
		if f := (*Failure)(nil); !errors.As(err, &f) || f.Says != saysTooSlow || time.Since(began) > 5*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		cancel()
	}
}
