package alert

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/mail"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/throttle"
	"github.com/keyward/keyward/internal/webhook"
)

// Store keeps the alerts, and delivers what fires.
type Store struct {
	Acts *access.Acts
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time
	Log  *slog.Logger

	// OperatorID is the operator's organization, whose webhooks may be where
	// others' may not.
	OperatorID string

	// CheckURL reads the address of a webhook, in one form for equal ones, or says
	// why none may be there. Client calls it.
	CheckURL func(address string, operator bool) (*url.URL, error)
	Client   func(operator bool) *http.Client

	// Mail sends an e-mail; nil: this server sends none.
	Mail func(ctx context.Context, m mail.Message) error

	// LimitsOf returns what holds for a key of the organization, its own limits and
	// the organization's taken together, and what people call it. For a key that
	// is not there, or is revoked, it is a fault of the kind NotFound.
	LimitsOf func(ctx context.Context, organizationID string, keyID int64) (limits access.Limits, name string, err error)

	// OwnerEmails returns where the owners of an organization get e-mail.
	OwnerEmails func(ctx context.Context, organizationID string) ([]string, error)

	// OnFired and OnDelivery are told what happened, for the metrics; each may be
	// nil. The result of an attempt is delivered, retried or failed.
	OnFired    func()
	OnDelivery func(channel, result string)

	crossed crossings
	under   underWay

	// How often this server sends e-mail, for an organization and to an address.
	from, to throttle.Throttle
}

const columns = `a.key_id, a.organization_id, a.threshold, a.webhook_url, a.email, a.secret, a.created_at, a.updated_at, a.root_version, a.tag`

// scan reads a row of columns and checks its tag.
func (s *Store) scan(row interface{ Scan(...any) error }) (Alert, error) {
	var a Alert
	var created, updated int64
	err := row.Scan(&a.KeyID, &a.OrganizationID, &a.Threshold, &a.WebhookURL, &a.Email, &a.secret, &created, &updated, &a.version, &a.tag)
	if err != nil {
		return Alert{}, err
	}
	a.CreatedAt, a.UpdatedAt = db.Time(created), db.Time(updated)
	if err := s.Root.CheckTag(seal.AlertRow, a.version, a.tag, a.fields()...); err != nil {
		return Alert{}, fmt.Errorf("alert of key %d: %w", a.KeyID, err)
	}
	return a, nil
}

// read returns the alert of a key of the organization, or ErrNotFound.
func (s *Store) read(ctx context.Context, q db.Querier, organizationID string, keyID int64) (Alert, error) {
	a, err := s.scan(q.QueryRow(ctx, `SELECT `+columns+` FROM alerts a WHERE a.key_id = $1 AND a.organization_id = $2`, keyID, organizationID))
	if errors.Is(err, sql.ErrNoRows) {
		return Alert{}, ErrNotFound
	}
	return a, err
}

// Get returns the alert of a key of who's organization.
func (s *Store) Get(ctx context.Context, who access.Caller, keyID int64) (Alert, error) {
	if err := who.May(access.ReadAlerts); err != nil {
		return Alert{}, err
	}
	if _, _, err := s.LimitsOf(ctx, who.OrganizationID, keyID); err != nil {
		return Alert{}, err
	}
	return s.read(ctx, s.DB, who.OrganizationID, keyID)
}

// Threshold returns at which percent of its limit a key's alert fires; 0 is that
// it has none.
func (s *Store) Threshold(ctx context.Context, keyID int64) (int64, error) {
	a, err := s.scan(s.DB.QueryRow(ctx, `SELECT `+columns+` FROM alerts a WHERE a.key_id = $1`, keyID))
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return a.Threshold, err
}

// Set makes the alert of a key of who's organization what r says. With a webhook
// that it did not have before comes a new secret, which can't be had again; else
// the secret is empty.
func (s *Store) Set(ctx context.Context, who access.Caller, keyID int64, r Request) (Alert, seal.Secret, error) {
	if err := who.May(access.SetAlert); err != nil {
		return Alert{}, seal.Secret{}, err
	}
	if err := s.settle(who, &r); err != nil {
		return Alert{}, seal.Secret{}, err
	}
	limits, name, err := s.LimitsOf(ctx, who.OrganizationID, keyID)
	if err != nil {
		return Alert{}, seal.Secret{}, err
	}
	if limits.PerHour == 0 && limits.PerMonth == 0 {
		return Alert{}, seal.Secret{}, ErrNoLimit
	}
	now := db.Time(db.Micros(s.Now())) // as exact as it is kept
	var a Alert
	var secret seal.Secret
	err = s.Acts.Do(ctx, who, access.SetAlert, func(tx *db.Tx, act *access.Act) error {
		act.On("key", strconv.FormatInt(keyID, 10), name)
		act.Note("threshold", strconv.FormatInt(r.Threshold, 10))
		act.Closes(access.KeyClosed, strconv.FormatInt(keyID, 10)) // the threshold is remembered with it
		old, err := s.read(ctx, tx, who.OrganizationID, keyID)
		isNew := errors.Is(err, ErrNotFound)
		if err != nil && !isNew {
			return err
		}
		a = Alert{Request: r, KeyID: keyID, OrganizationID: who.OrganizationID, CreatedAt: now, UpdatedAt: now}
		secret = seal.Secret{}
		if !isNew {
			a.CreatedAt = old.CreatedAt
		}
		switch {
		case r.WebhookURL == "":
		case r.WebhookURL == old.WebhookURL:
			a.secret = old.secret
		default:
			secret = webhook.NewSecret()
			if a.secret, err = s.Root.Seal(seal.AtRest, secret.Bytes(), a.secretPlace()...); err != nil {
				return err
			}
		}
		if err := s.vouch(&a); err != nil {
			return err
		}
		if isNew {
			return s.insert(ctx, tx, a)
		}
		return s.update(ctx, tx, a, old.tag)
	})
	return a, secret, err
}

// vouch gives a the tag that it has to be written with. Its box is brought under
// the same root key: they share the column that says which.
func (s *Store) vouch(a *Alert) (err error) {
	for {
		if len(a.secret) > 0 && seal.BoxVersion(a.secret) != s.Root.Active() {
			if a.secret, err = s.Root.Reseal(seal.AtRest, a.secret, a.secretPlace()...); err != nil {
				return fmt.Errorf("webhook secret of key %d: %w", a.KeyID, err)
			}
		}
		a.version, a.tag = s.Root.Tag(seal.AlertRow, a.fields()...)
		if len(a.secret) == 0 || seal.BoxVersion(a.secret) == a.version {
			return nil
		} // else another root key became active between the two
	}
}

func (s *Store) insert(ctx context.Context, tx *db.Tx, a Alert) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO alerts (key_id, organization_id, threshold, webhook_url, email, secret, created_at, updated_at, root_version, tag)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
		a.KeyID, a.OrganizationID, a.Threshold, a.WebhookURL, a.Email, a.secret, db.Micros(a.CreatedAt), db.Micros(a.UpdatedAt), a.version, a.tag)
	if err == nil && n == 0 {
		return db.ErrConflict // somebody else has just made it
	}
	return err
}

func (s *Store) update(ctx context.Context, tx *db.Tx, a Alert, oldTag []byte) error {
	n, err := tx.Exec(ctx, `
		UPDATE alerts SET threshold = $1, webhook_url = $2, email = $3, secret = $4, updated_at = $5, root_version = $6, tag = $7
		WHERE key_id = $8 AND tag = $9`,
		a.Threshold, a.WebhookURL, a.Email, a.secret, db.Micros(a.UpdatedAt), a.version, a.tag, a.KeyID, oldTag)
	if err == nil && n == 0 {
		return db.ErrConflict
	}
	return err
}

// webhookSecret returns what the alert's webhook is signed with.
func (s *Store) webhookSecret(a Alert) (seal.Secret, error) {
	secret, err := s.Root.Open(seal.AtRest, a.secret, a.secretPlace()...)
	if err != nil {
		return seal.Secret{}, fmt.Errorf("webhook secret of key %d: %w", a.KeyID, err)
	}
	defer clear(secret)
	return seal.NewSecret(secret), nil
}

const (
	saysRemoved = "The alert was removed before it was delivered."
	saysChanged = "The alert was changed before it was delivered, and does not go there any more."
	saysNoKey   = "The API key was deleted before the alert was delivered."
)

// Remove removes the alert of a key of who's organization. What it was still to
// deliver is not delivered any more.
func (s *Store) Remove(ctx context.Context, who access.Caller, keyID int64) error {
	if err := who.May(access.RemoveAlert); err != nil {
		return err
	}
	_, name, err := s.LimitsOf(ctx, who.OrganizationID, keyID)
	if err != nil {
		return err
	}
	return s.Acts.Do(ctx, who, access.RemoveAlert, func(tx *db.Tx, act *access.Act) error {
		// Its tag is not asked for: one that was tampered with can be removed.
		n, err := tx.Exec(ctx, `DELETE FROM alerts WHERE key_id = $1 AND organization_id = $2`, keyID, who.OrganizationID)
		switch {
		case err != nil:
			return err
		case n == 0:
			return ErrNotFound
		}
		act.On("key", strconv.FormatInt(keyID, 10), name)
		act.Closes(access.KeyClosed, strconv.FormatInt(keyID, 10))
		_, err = tx.Exec(ctx, `
			UPDATE alert_deliveries SET status = 'failed', last_error = $1
			WHERE status = 'pending' AND firing_id IN (SELECT id FROM alert_firings WHERE key_id = $2)`, saysRemoved, keyID)
		return err
	})
}
