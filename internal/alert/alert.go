// Package alert owns alerts: telling somebody that a part of a key's limit is
// used up, by webhook or e-mail, once in a window of that limit.
//
// Its laws:
//
//   - An alert fires once a window, whatever many servers see it and however often
//     they start: the database has one row for a key, a span and a window.
//   - A firing and its deliveries are written together. From then on each is made
//     until it succeeds, through restarts, with growing delays, for a day. A
//     receiver may get a delivery twice, with the same id.
//   - Nothing here is in a request's path but [Store.Crossed], which looks into
//     memory and never waits.
//   - Where something goes is read from rows whose tags have been checked. A row
//     that does not fit its tag is not followed.
//   - What is said of a failed delivery is in our own words, and says neither the
//     path of a URL nor what a receiver answered.
//
// What is used of a limit is package limit's, how a message travels package
// mail's and egress's.
package alert

import (
	"net/url"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/mail"
	"github.com/keyward/keyward/internal/seal"
)

// The ways in which an alert is refused or not found.
var (
	ErrNotFound = fault.New(fault.NotFound, "ALERT_NOT_FOUND", "The API key has no alert.")
	ErrNoLimit  = fault.New(fault.Invalid, "INVALID_REQUEST", "The API key has no limit by the hour or the month, so there is nothing to have a threshold of. Give it one of these limits first.").
			With(fault.Details{"field": "threshold", "reason": "the key has no limit by the hour or the month"})

	// ErrDestination says that a webhook is where this server does not go.
	ErrDestination = egress.ErrRefused

	errNoMail = fault.ErrInvalidRequest.Say("This server sends no e-mail, since its operator has not set smtp.host. Give a webhook_url alone.").
			With(fault.Details{"field": "email", "setting": "smtp.host", "reason": "this server sends no e-mail: smtp.host is not set"})
)

// Request is what an alert is asked to be. Without a webhook and an e-mail it
// goes to the organization's owners.
type Request struct {
	Threshold  int64 // percent, 1 to 100
	WebhookURL string
	Email      string
}

// settle writes r in its one form, or returns the fault of it.
func (s *Store) settle(who access.Caller, r *Request) error {
	if r.Threshold < 1 || r.Threshold > 100 {
		return fault.Field("threshold", "must be a whole number of percent from 1 to 100")
	}
	if r.WebhookURL != "" {
		u, err := s.CheckURL(r.WebhookURL, who.Operator)
		if f := fault.Of(err); err != nil && f.Kind != fault.Internal {
			return f.With(fault.Details{"field": "webhook_url"})
		} else if err != nil {
			return err
		}
		r.WebhookURL = u.String()
	}
	if r.Email != "" {
		if reason := mail.CheckAddress(r.Email); reason != "" {
			return fault.Field("email", reason)
		}
	}
	if s.Mail == nil && (r.Email != "" || r.WebhookURL == "") {
		return errNoMail
	}
	return nil
}

// Alert is an alert that is kept.
type Alert struct {
	Request
	KeyID          int64
	OrganizationID string
	CreatedAt      time.Time
	UpdatedAt      time.Time

	secret  []byte // the box of the webhook's; empty without one
	version uint32
	tag     []byte
}

// fields is what the tag of a's row vouches for. The box is in it: an older one
// of the same alert does not fit.
func (a Alert) fields() [][]byte {
	return [][]byte{
		seal.Text("alert"), seal.Int(a.KeyID), seal.Text(a.OrganizationID), seal.Int(a.Threshold), seal.Text(a.WebhookURL), seal.Text(a.Email),
		a.secret, seal.Int(db.Micros(a.CreatedAt)),
	}
}

// secretPlace is the context of the box that the webhook's secret is in.
func (a Alert) secretPlace() [][]byte {
	return [][]byte{seal.Text("alert-secret"), seal.Text(a.OrganizationID), seal.Int(a.KeyID)}
}

// Channel is a way to tell somebody.
type Channel string

// The channels.
const (
	Webhook Channel = "webhook"
	Email   Channel = "email"
)

// sendsTo reports whether the alert, as it is now, is told to target.
func (a Alert) sendsTo(c Channel, target string) bool {
	if c == Webhook {
		return a.WebhookURL != "" && host(a.WebhookURL) == target
	}
	return a.Email == target || a.ToOwners()
}

// ToOwners reports whether the alert goes to the organization's owners.
func (a Alert) ToOwners() bool { return a.Email == "" && a.WebhookURL == "" }

// host is what people are shown of a URL: the rest may be a secret.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// Span is which limit of a key an alert is about.
type Span string

// The spans.
const (
	Hour  Span = "hour"
	Month Span = "month"
)

// resets returns when a window ends that began at window.
func (sp Span) resets(window time.Time) time.Time {
	if sp == Month {
		return window.AddDate(0, 1, 0)
	}
	return window.Add(time.Hour)
}

// Firing is an alert that fired.
type Firing struct {
	ID             string
	KeyID          int64
	OrganizationID string
	KeyName        string
	Span           Span
	Window         time.Time // when the window began
	Threshold      int64
	Used, Of       int64
	FiredAt        time.Time

	Deliveries []Delivery
}

// Percent is how much of the limit was used, down to a tenth: it is 100 only when
// all of it was.
func (f Firing) Percent() float64 { return float64(1000*f.Used/max(f.Of, 1)) / 10 }

// ResetsAt is when the window ends.
func (f Firing) ResetsAt() time.Time { return f.Span.resets(f.Window) }

// Status is how a delivery stands.
type Status string

// The states of a delivery. It begins as Pending; the others are its end.
const (
	Pending   Status = "pending"
	Delivered Status = "delivered"
	Failed    Status = "failed"
)

// Delivery is that one recipient is told of a firing.
type Delivery struct {
	ID          string
	Channel     Channel
	Target      string // the host of a webhook, or an e-mail
	Status      Status
	Attempts    int64
	NextAt      time.Time // of one that is pending: when it is tried next
	DeliveredAt time.Time // zero: not delivered
	LastError   string    // "": none

	version uint32
	tag     []byte
}

// fields is what the tag of d's row vouches for: all that is told, and to whom.
func (d Delivery) fields(f Firing) [][]byte {
	return [][]byte{
		seal.Text("delivery"), seal.Text(d.ID), seal.Text(string(d.Channel)), seal.Text(d.Target),
		seal.Text(f.ID), seal.Int(f.KeyID), seal.Text(f.OrganizationID), seal.Text(f.KeyName), seal.Text(string(f.Span)), seal.Int(db.Micros(f.Window)),
		seal.Int(f.Threshold), seal.Int(f.Used), seal.Int(f.Of), seal.Int(db.Micros(f.FiredAt)),
	}
}
