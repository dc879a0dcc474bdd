package alert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/mail"
	"github.com/keyward/keyward/internal/throttle"
	"github.com/keyward/keyward/internal/webhook"
)

// maxAnswer is how much of a receiver's answer is read, so that its connection
// can be used again. Nobody looks at it.
const maxAnswer = 16 << 10

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// event is what a webhook gets.
type event struct {
	Type      string    `json:"type"`
	Timestamp string    `json:"timestamp"`
	Data      eventData `json:"data"`
}

type eventData struct {
	KeyID           int64   `json:"key_id"`
	KeyName         string  `json:"key_name,omitzero"`
	OrganizationID  string  `json:"organization_id"`
	Threshold       int64   `json:"threshold"`
	Span            Span    `json:"span"`
	Used            int64   `json:"used"`
	Limit           int64   `json:"limit"`
	PercentUsed     float64 `json:"percent_used"`
	WindowStartedAt string  `json:"window_started_at"`
	ResetsAt        string  `json:"resets_at"`
}

// body is what a webhook gets, the same at each attempt.
func (f Firing) body() ([]byte, error) {
	return json.Marshal(event{
		Type: "key.limit_threshold", Timestamp: f.FiredAt.Format(timeLayout),
		Data: eventData{
			KeyID: f.KeyID, KeyName: f.KeyName, OrganizationID: f.OrganizationID, Threshold: f.Threshold, Span: f.Span,
			Used: f.Used, Limit: f.Of, PercentUsed: f.Percent(),
			WindowStartedAt: f.Window.Format(timeLayout), ResetsAt: f.ResetsAt().Format(timeLayout),
		},
	}, jsontext.EscapeForHTML(true)) // somebody may put it into a page
}

// post sends a firing to the alert's webhook.
func (s *Store) post(ctx context.Context, a Alert, f Firing, d Delivery) outcome {
	body, err := f.body()
	if err != nil {
		return unprepared(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return unprepared(errors.New("the address of a webhook can't be read"))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "keyward")
	secret, err := s.webhookSecret(a)
	if err != nil {
		return unprepared(err)
	}
	defer secret.Clear()
	if err := webhook.Sign(request.Header, secret, d.ID, s.Now(), body); err != nil {
		return unprepared(err)
	}
	response, err := s.Client(a.OrganizationID == s.OperatorID).Do(request)
	if err != nil {
		return unanswered(ctx, err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	switch code := response.StatusCode; {
	case code/100 == 2:
		return outcome{}
	case code == http.StatusGone:
		return outcome{says: "The receiver answered with HTTP status 410, which says that it is gone for good.", final: true}
	case code/100 == 3:
		return outcome{says: fmt.Sprintf("The receiver answered with a redirect (HTTP status %d), which is not followed.", code)}
	default:
		return outcome{says: fmt.Sprintf("The receiver answered with HTTP status %d.", code)}
	}
}

func unanswered(ctx context.Context, err error) outcome {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err // without the URL, which may hold a secret
	}
	says := egress.Explain("The receiver", err)
	switch ctx.Err() {
	case context.DeadlineExceeded:
		says = "The receiver did not answer in time."
	case context.Canceled:
		says = "The server stopped before the receiver had answered."
	}
	return outcome{says: says, cause: err}
}

// mailPace is how often an organization sends e-mail, and how often one address
// gets any, whoever sends it. Nobody has asked the one who has the address
// whether he wants to be told: alerts must be no way to bury him.
var mailPace = throttle.Pace{Burst: 60, Every: time.Minute}

// mail sends a firing to one person.
func (s *Store) mail(ctx context.Context, f Firing, d Delivery) outcome {
	if s.Mail == nil {
		return outcome{says: "The server sends no e-mail (smtp.host is not set)."}
	}
	switch now := s.Now(); {
	case s.from.Take(mailPace, now, f.OrganizationID) > 0:
		return outcome{says: "The organization has sent as much e-mail as it may for now."}
	case s.to.Take(mailPace, now, strings.ToLower(d.Target)) > 0:
		return outcome{says: "This address has got as much e-mail as it may for now."}
	}
	err := s.Mail(ctx, mail.Message{ID: d.ID, To: d.Target, Subject: f.subject(), Text: f.text()})
	var failure *mail.Failure
	switch {
	case err == nil:
		return outcome{}
	case errors.As(err, &failure):
		return outcome{says: failure.Says, cause: err}
	}
	return unprepared(err)
}

// called is the key as people know it.
func (f Firing) called() string {
	if f.KeyName == "" {
		return fmt.Sprintf("The API key %d", f.KeyID)
	}
	return fmt.Sprintf("The API key %q", f.KeyName)
}

func (f Firing) subject() string {
	return fmt.Sprintf("%s has used %v%% of its limit %s", f.called(), f.Percent(), f.by())
}

func (f Firing) by() string {
	if f.Span == Month {
		return "for the month"
	}
	return "for the hour"
}

func (f Firing) text() string {
	const when = "2006-01-02 15:04:05 UTC"
	var b strings.Builder
	fmt.Fprintf(&b, "%s (id %d) has used %d of the %d requests that it has %s, which is %v%%.\n\n",
		f.called(), f.KeyID, f.Used, f.Of, f.by(), f.Percent())
	fmt.Fprintf(&b, "Counted since  %s\nCounts anew at %s\n\n", f.Window.Format(when), f.ResetsAt().Format(when))
	fmt.Fprintf(&b, "Requests beyond the limit are refused until then.\n\n")
	fmt.Fprintf(&b, "You get this since an alert is set for the key, at %d%%. It is sent once %s. To change\nor remove it, call PUT or DELETE /v1/keys/%d/alert.\n",
		f.Threshold, map[Span]string{Hour: "an hour", Month: "a month"}[f.Span], f.KeyID)
	return b.String()
}
