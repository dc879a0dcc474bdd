package v1

import (
	"context"
	"net/http"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/alert"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/fault"
)

type alertSurface struct {
	alerts *alert.Store
}

// RegisterAlerts adds the calls for the alerts of API keys to a.
func RegisterAlerts(a *api.API, alerts *alert.Store) {
	s := &alertSurface{alerts}
	const tag = "Alerts"
	api.Register(a, api.Operation{
		Method: http.MethodPut, Path: "/v1/keys/{id}/alert", Name: "setAlert", Tag: tag, Security: api.KeyOrToken, Action: access.SetAlert,
		Summary: "Set the alert of an API key",
		Description: "It fires once in a window, when so much of the key's limit is used: of its limit an hour, or of that a month where there is none an hour. " +
			"It replaces the alert that the key had. A webhook gets a signed message (Standard Webhooks); its secret is shown when the webhook is new or another one, this once.",
		Errors: []*fault.Fault{apikey.ErrNotFound, alert.ErrDestination},
	}, s.set)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/keys/{id}/alert", Name: "getAlert", Tag: tag, Security: api.KeyOrToken, Action: access.ReadAlerts,
		Summary: "Show the alert of an API key",
		Errors:  []*fault.Fault{apikey.ErrNotFound, alert.ErrNotFound},
	}, s.get)
	api.Register(a, api.Operation{
		Method: http.MethodDelete, Path: "/v1/keys/{id}/alert", Name: "removeAlert", Tag: tag, Security: api.KeyOrToken, Action: access.RemoveAlert, Status: http.StatusNoContent,
		Summary: "Remove the alert of an API key", Description: "What it has not delivered yet is not delivered any more.",
		Errors: []*fault.Fault{apikey.ErrNotFound, alert.ErrNotFound},
	}, s.remove)
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/alerts", Name: "listAlerts", Tag: tag, Security: api.KeyOrToken, Action: access.ReadAlerts,
		Summary: "List the alerts that fired, and how they were delivered", Description: "Newest first. They are kept for 90 days.",
	}, s.list)
}

func alertJSON(a alert.Alert) client.Alert {
	return client.Alert{
		KeyID: a.KeyID, Threshold: a.Threshold, WebhookURL: a.WebhookURL, Email: a.Email, ToOwners: a.ToOwners(),
		CreatedAt: client.NewTime(a.CreatedAt), UpdatedAt: client.NewTime(a.UpdatedAt),
	}
}

type setAlertIn struct {
	KeyPath
	Body client.SetAlert
}

func (s *alertSurface) set(ctx context.Context, who access.Caller, in *setAlertIn) (client.AlertSet, error) {
	a, secret, err := s.alerts.Set(ctx, who, in.ID, alert.Request{Threshold: in.Body.Threshold, WebhookURL: in.Body.WebhookURL, Email: in.Body.Email})
	if err != nil {
		return client.AlertSet{}, err
	}
	return client.AlertSet{Alert: alertJSON(a), WebhookSecret: secret.Reveal()}, nil
}

func (s *alertSurface) get(ctx context.Context, who access.Caller, in *KeyPath) (client.Alert, error) {
	a, err := s.alerts.Get(ctx, who, in.ID)
	if err != nil {
		return client.Alert{}, err
	}
	return alertJSON(a), nil
}

func (s *alertSurface) remove(ctx context.Context, who access.Caller, in *KeyPath) (api.Nothing, error) {
	return api.Nothing{}, s.alerts.Remove(ctx, who, in.ID)
}

type listAlertsIn struct {
	api.Cursored
	KeyID int64 `query:"key_id" minimum:"1" maximum:"9007199254740991"`
}

func (s *alertSurface) list(ctx context.Context, who access.Caller, in *listAlertsIn) (client.List[client.FiredAlert], error) {
	after, err := afterID(in.Cursored)
	if err != nil {
		return client.List[client.FiredAlert]{}, err
	}
	found, err := s.alerts.List(ctx, who, alert.Filter{KeyID: in.KeyID, After: after, Limit: int64(in.Limit) + 1})
	if err != nil {
		return client.List[client.FiredAlert]{}, err
	}
	return convert(api.NewList(in.Cursored, found, func(f alert.Firing) []string { return []string{f.ID} }), firedJSON), nil
}

func firedJSON(f alert.Firing) client.FiredAlert {
	out := client.FiredAlert{
		ID: f.ID, KeyID: f.KeyID, KeyName: f.KeyName, Threshold: f.Threshold, Span: string(f.Span), Used: f.Used, Limit: f.Of, PercentUsed: f.Percent(),
		WindowStartedAt: client.NewTime(f.Window), ResetsAt: client.NewTime(f.ResetsAt()), FiredAt: client.NewTime(f.FiredAt),
		Deliveries: make([]client.AlertDelivery, len(f.Deliveries)),
	}
	for i, d := range f.Deliveries {
		out.Deliveries[i] = client.AlertDelivery{
			ID: d.ID, Channel: string(d.Channel), Target: d.Target, Status: string(d.Status), Attempts: d.Attempts,
			DeliveredAt: client.NewTime(d.DeliveredAt), LastError: d.LastError,
		}
		if d.Status == alert.Pending {
			out.Deliveries[i].NextAttemptAt = client.NewTime(d.NextAt)
		}
	}
	return out
}
