package client

// SetAlert asks to be told when a part of an API key's limit is used: of its
// limit an hour, or of that a month where there is none an hour.
type SetAlert struct {
	Threshold  int64  `json:"threshold" minimum:"1" maximum:"100" doc:"Percent of the limit" example:"80"`
	WebhookURL string `json:"webhook_url,omitzero" minLength:"1" maxLength:"2048" doc:"Where to post the alert. Left out together with email: the organization's owners get an e-mail" example:"https://example.com/hooks/keyward"`
	Email      string `json:"email,omitzero" minLength:"3" maxLength:"254" doc:"Whom to send the alert" example:"ops@example.com"`
}

// Alert is the alert that an API key has.
type Alert struct {
	KeyID      int64  `json:"key_id"`
	Threshold  int64  `json:"threshold" doc:"Percent of the limit" example:"80"`
	WebhookURL string `json:"webhook_url,omitzero"`
	Email      string `json:"email,omitzero"`
	ToOwners   bool   `json:"to_owners" doc:"It has neither a webhook nor an e-mail, and goes to the organization's owners"`
	CreatedAt  Time   `json:"created_at"`
	UpdatedAt  Time   `json:"updated_at"`
}

// AlertSet is an alert that was just set, and the secret of its webhook if that
// is a new one: it is shown this once.
type AlertSet struct {
	Alert
	WebhookSecret string `json:"webhook_secret,omitzero" doc:"What the webhook is signed with, as Standard Webhooks has it. It is there if the webhook is new or another one, and can't be had again" example:"whsec_…"`
}

// FiredAlert is an alert that fired: once in a window of the key's limit.
type FiredAlert struct {
	ID              string          `json:"id"`
	KeyID           int64           `json:"key_id"`
	KeyName         string          `json:"key_name" doc:"As the key was called then" example:"production-2024"`
	Threshold       int64           `json:"threshold"`
	Span            string          `json:"span" enum:"hour,month" doc:"Which limit it was about"`
	Used            int64           `json:"used" doc:"Requests in the window until then"`
	Limit           int64           `json:"limit"`
	PercentUsed     float64         `json:"percent_used" example:"80.5"`
	WindowStartedAt Time            `json:"window_started_at"`
	ResetsAt        Time            `json:"resets_at" doc:"When the window ends"`
	FiredAt         Time            `json:"fired_at"`
	Deliveries      []AlertDelivery `json:"deliveries" doc:"One for each recipient"`
}

// AlertDelivery says how it goes to tell one recipient of a FiredAlert.
type AlertDelivery struct {
	ID            string `json:"id" doc:"The webhook-id of a webhook, and in the Message-ID of an e-mail; the same at each attempt"`
	Channel       string `json:"channel" enum:"webhook,email"`
	Target        string `json:"target" doc:"The host of the webhook, or the e-mail" example:"example.com"`
	Status        string `json:"status" enum:"pending,delivered,failed"`
	Attempts      int64  `json:"attempts"`
	NextAttemptAt Time   `json:"next_attempt_at,omitzero" doc:"Left out: there is none"`
	DeliveredAt   Time   `json:"delivered_at,omitzero"`
	LastError     string `json:"last_error,omitzero" doc:"Why the last attempt failed" example:"The receiver answered with HTTP status 503."`
}
