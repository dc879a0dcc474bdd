package serve

import (
	"context"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/alert"
	"github.com/keyward/keyward/internal/mail"
)

// mailer returns what sends an e-mail, or nil where the settings name no mail
// server.
func (s *server) mailer() func(context.Context, mail.Message) error {
	c := s.Config.SMTP
	if c.Host == "" {
		return nil
	}
	sender := &mail.Sender{Host: c.Host, User: c.User, Password: c.Password, From: c.From, TLS: mail.TLS(c.TLS), Now: time.Now}
	return sender.Send
}

// limitsOf returns the limits that hold for a key, and its name.
func (s *server) limitsOf(ctx context.Context, organizationID string, keyID int64) (access.Limits, string, error) {
	k, err := s.keys.Of(ctx, organizationID, keyID)
	if err != nil {
		return access.Limits{}, "", err
	}
	owner, err := s.accounts.ServiceCaller(ctx, organizationID)
	return owner.Limits.Lowered(k.Limits), k.Name, err
}

// crossed tells the alerts what the gate has seen. If they have no room for it,
// the gate sees it again at the next request.
func (s *server) crossed(keyID int64, organizationID, span string, window time.Time, used, of int64) {
	s.alerts.Crossed(keyID, organizationID, alert.Span(span), window, used, of)
}
