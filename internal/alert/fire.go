package alert

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

const (
	// maxWaiting is how many crossings wait to be written.
	maxWaiting = 1024
	// maxRemembered bounds the keys whose crossing is remembered: twice as many at
	// most. One that is forgotten is handed over again, and found in the database.
	maxRemembered = 1 << 16
	// tries is how often a crossing is tried to be written, with a second between.
	tries = 5
	// lastWords is how long a server that stops goes on with what it has begun.
	lastWords = 2 * time.Second
)

// crossing is that a key's use has come to the threshold of its alert.
type crossing struct {
	keyID          int64
	organizationID string
	span           Span
	window         time.Time
	used, of       int64
}

// crossings remembers which were seen, and hands on the others. The zero one has
// seen none.
type crossings struct {
	mu          sync.Mutex
	now, before map[limitOf]int64 // the window of the last crossing, in microseconds
	waiting     chan crossing
}

type limitOf struct {
	keyID int64
	span  Span
}

func (c *crossings) queue() chan crossing {
	if c.waiting == nil {
		c.waiting = make(chan crossing, maxWaiting)
	}
	return c.waiting
}

// add reports whether x is known or has been handed on.
func (c *crossings) add(x crossing) bool {
	limit, window := limitOf{x.keyID, x.span}, x.window.UnixMicro()
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.now[limit]; ok && w == window {
		return true
	}
	if w, ok := c.before[limit]; !ok || w != window {
		select {
		case c.queue() <- x:
		default:
			return false
		}
	}
	if len(c.now) >= maxRemembered {
		c.before, c.now = c.now, nil
	}
	if c.now == nil {
		c.now = map[limitOf]int64{}
	}
	c.now[limit] = window
	return true
}

// forget makes x one that was not seen.
func (c *crossings) forget(x crossing) {
	limit := limitOf{x.keyID, x.span}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.now, limit)
	delete(c.before, limit)
}

func (c *crossings) receive() <-chan crossing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue()
}

// Crossed says that used of the limit of has come to the threshold of the key's
// alert, in the window of its hour or month that began at window. It is for a
// request's path: it looks into memory and never waits. If it is false nothing
// was noted, and the next request should say it again.
func (s *Store) Crossed(keyID int64, organizationID string, span Span, window time.Time, used, of int64) bool {
	return of <= 0 || s.crossed.add(crossing{keyID, organizationID, span, window, used, of})
}

// Fire writes what Crossed has noted, until ctx ends, and then what is left.
func (s *Store) Fire(ctx context.Context) error {
	noted := s.crossed.receive()
	for {
		select {
		case <-ctx.Done():
			return s.fireRest(context.WithoutCancel(ctx), noted)
		case x := <-noted:
			s.fireSurely(ctx, x)
		}
	}
}

func (s *Store) fireRest(ctx context.Context, noted <-chan crossing) error {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case x := <-noted:
			if err := s.fire(ctx, x); err != nil {
				s.Log.Error("an alert was not fired since the server stops", "key_id", x.keyID, "err", err)
			}
		default:
			return nil
		}
	}
	return nil
}

// fireSurely fires an alert, also if the database fails for a moment. If it
// fails for longer, the next request with the key says again what it has used.
func (s *Store) fireSurely(ctx context.Context, x crossing) {
	for try := 1; ; try++ {
		err := s.fireInTime(ctx, x)
		f := fault.Of(err)
		switch {
		case err == nil || f.Kind == fault.NotFound: // or its key is gone
			return
		case errors.Is(err, seal.ErrTag):
			// It would fail again in the same way; once a window is enough.
			s.Log.Error("an alert can't fire", "key_id", x.keyID, "err", err)
			return
		case try == tries || ctx.Err() != nil:
			s.Log.Error("an alert can't fire now; it is tried again at the next request", "key_id", x.keyID, "err", err)
			s.crossed.forget(x)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// fireInTime fires an alert also while the server stops, if it is quick.
func (s *Store) fireInTime(ctx context.Context, x crossing) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.fire(ctx, x)
}

// fire writes a firing and its deliveries, if there is none for the window yet.
func (s *Store) fire(ctx context.Context, x crossing) error {
	a, err := s.read(ctx, s.DB, x.organizationID, x.keyID)
	if errors.Is(err, ErrNotFound) || err == nil && 100*x.used < a.Threshold*x.of {
		// It was removed or raised meanwhile, and may be set again in this window.
		s.crossed.forget(x)
		return nil
	} else if err != nil {
		return err
	}
	_, name, err := s.LimitsOf(ctx, x.organizationID, x.keyID)
	if err != nil {
		return fmt.Errorf("the limits of a key: %w", err)
	}
	f := Firing{
		ID: db.NewID(), KeyID: x.keyID, OrganizationID: x.organizationID, KeyName: name, Span: x.span, Window: db.Time(db.Micros(x.window)),
		Threshold: a.Threshold, Used: x.used, Of: x.of, FiredAt: db.Time(db.Micros(s.Now())),
	}
	if err := s.address(ctx, a, &f); err != nil {
		return err
	}
	fired := false
	err = s.DB.Tx(ctx, func(tx *db.Tx) (err error) {
		fired, err = s.insertFiring(ctx, tx, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("fire an alert: %w", err)
	}
	if fired {
		if s.OnFired != nil {
			s.OnFired()
		}
		s.under.wake()
	}
	return nil
}

// address gives f its deliveries.
func (s *Store) address(ctx context.Context, a Alert, f *Firing) error {
	var emails []string
	switch {
	case a.Email != "":
		emails = []string{a.Email}
	case a.ToOwners():
		var err error
		if emails, err = s.OwnerEmails(ctx, a.OrganizationID); err != nil {
			return fmt.Errorf("the e-mails of an organization's owners: %w", err)
		}
	}
	add := func(c Channel, target string) {
		f.Deliveries = append(f.Deliveries, Delivery{ID: db.NewID(), Channel: c, Target: target, Status: Pending, NextAt: f.FiredAt})
	}
	if a.WebhookURL != "" {
		add(Webhook, host(a.WebhookURL))
	}
	for _, email := range emails {
		add(Email, email)
	}
	return nil
}

// insertFiring reports whether f is the first of its window.
func (s *Store) insertFiring(ctx context.Context, tx *db.Tx, f Firing) (bool, error) {
	n, err := tx.Exec(ctx, `
		INSERT INTO alert_firings (id, key_id, organization_id, key_name, span, window_at, threshold, used, of, fired_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
		f.ID, f.KeyID, f.OrganizationID, f.KeyName, string(f.Span), db.Micros(f.Window), f.Threshold, f.Used, f.Of, db.Micros(f.FiredAt))
	if err != nil || n == 0 {
		return false, err
	}
	for _, d := range f.Deliveries {
		version, tag := s.Root.Tag(seal.AlertRow, d.fields(f)...)
		if _, err := tx.Exec(ctx, `
			INSERT INTO alert_deliveries (id, firing_id, channel, target, status, attempts, next_at, delivered_at, last_error, root_version, tag)
			VALUES ($1, $2, $3, $4, $5, 0, $6, 0, '', $7, $8)`,
			d.ID, f.ID, string(d.Channel), d.Target, string(d.Status), db.Micros(d.NextAt), version, tag); err != nil {
			return false, err
		}
	}
	return true, nil
}
