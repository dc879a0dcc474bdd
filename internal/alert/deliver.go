package alert

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// delays are how long after each failed attempt the next one is made; the last
// one goes on. None is made later than giveUp after the firing, but for a first
// one: a server that was away for long still tries once.
var delays = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour,
}

const (
	giveUp = 24 * time.Hour
	// pause is how long deliveries that are due may have to wait to be found.
	pause = time.Second
)

// lane bounds how much of one channel is under way at once, in all and for one
// organization, so that those who wait for a slow receiver leave room for the
// others. The lease is how long an attempt may take before it counts as lost,
// and is longer than it can take.
type lane struct {
	channel         Channel
	all, each       int
	lease, patience time.Duration
}

var lanes = []lane{
	{channel: Webhook, all: 32, each: 4, lease: time.Minute, patience: 10 * time.Second},
	{channel: Email, all: 8, each: 2, lease: 5 * time.Minute, patience: time.Minute},
}

// underWay counts the attempts that this server makes just now.
type underWay struct {
	mu     sync.Mutex
	all    map[Channel]int
	each   map[Channel]map[string]int // by organization
	signal chan struct{}
	wg     sync.WaitGroup
}

// woken is signalled when there may be something to begin.
func (u *underWay) woken() chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.signal == nil {
		u.signal = make(chan struct{}, 1)
	}
	return u.signal
}

func (u *underWay) wake() {
	select {
	case u.woken() <- struct{}{}:
	default:
	}
}

// enter counts one attempt more if there is room for it.
func (u *underWay) enter(l lane, organizationID string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all, u.each = map[Channel]int{}, map[Channel]map[string]int{Webhook: {}, Email: {}}
	}
	if u.all[l.channel] >= l.all || u.each[l.channel][organizationID] >= l.each {
		return false
	}
	u.all[l.channel]++
	u.each[l.channel][organizationID]++
	return true
}

func (u *underWay) leave(l lane, organizationID string) {
	u.mu.Lock()
	u.all[l.channel]--
	if u.each[l.channel][organizationID]--; u.each[l.channel][organizationID] == 0 {
		delete(u.each[l.channel], organizationID)
	}
	u.mu.Unlock()
	u.wake()
}

func (u *underWay) full(l lane) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all[l.channel] >= l.all
}

// Deliver makes the deliveries that are due, until ctx ends. Then those that are
// under way have a moment to end.
func (s *Store) Deliver(ctx context.Context) error {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		stop := time.AfterFunc(lastWords, cancel)
		s.under.wg.Wait()
		stop.Stop()
		cancel()
	}()
	woken, reported := s.under.woken(), ""
	for {
		err := s.begin(working)
		if err == nil {
			reported = ""
		} else if err.Error() != reported {
			reported = err.Error()
			s.Log.Error("deliveries of alerts can't be begun and are tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-time.After(pause):
		}
	}
}

// begin starts what is due and has room.
func (s *Store) begin(ctx context.Context) error {
	for _, l := range lanes {
		if s.under.full(l) {
			continue
		}
		due, err := s.due(ctx, l)
		if err != nil {
			return fmt.Errorf("find deliveries that are due: %w", err)
		}
		for _, d := range due {
			if !s.under.enter(l, d.organizationID) {
				continue
			}
			claimed, err := s.claim(ctx, l, &d)
			if err != nil || !claimed {
				s.under.leave(l, d.organizationID)
			}
			if err != nil {
				return fmt.Errorf("begin a delivery: %w", err)
			}
			if claimed {
				s.under.wg.Go(func() {
					defer s.under.leave(l, d.organizationID)
					s.attempt(ctx, l, d)
				})
			}
		}
	}
	return nil
}

// job is a delivery that is due.
type job struct {
	id, organizationID string
	nextAt             int64
}

// due finds deliveries to begin with. No organization has more of them than it
// may have under way, and first attempts go before others, so that no heap of
// failing ones is in the way.
func (s *Store) due(ctx context.Context, l lane) ([]job, error) {
	rows, err := s.DB.Query(ctx, `
		SELECT id, organization_id, next_at FROM (
			SELECT d.id, f.organization_id, d.attempts, d.next_at,
			       ROW_NUMBER() OVER (PARTITION BY f.organization_id ORDER BY d.attempts, d.next_at, d.id) AS place
			FROM alert_deliveries d JOIN alert_firings f ON f.id = d.firing_id
			WHERE d.status = 'pending' AND d.next_at <= $1 AND d.channel = $2
		) due WHERE place <= $3 ORDER BY attempts, next_at, id LIMIT 500`,
		db.Micros(s.Now()), string(l.channel), l.each)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var due []job
	for rows.Next() {
		var j job
		if err := rows.Scan(&j.id, &j.organizationID, &j.nextAt); err != nil {
			return nil, err
		}
		due = append(due, j)
	}
	return due, rows.Err()
}

// claim takes a delivery for this server: until the lease ends no other begins
// it. It reports whether nobody was quicker.
func (s *Store) claim(ctx context.Context, l lane, j *job) (claimed bool, err error) {
	until := db.Micros(s.Now().Add(l.lease))
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `
			UPDATE alert_deliveries SET attempts = attempts + 1, next_at = $1 WHERE id = $2 AND status = 'pending' AND next_at = $3`,
			until, j.id, j.nextAt)
		claimed = n == 1
		return err
	})
	if claimed && err == nil {
		j.nextAt = until
	}
	return claimed, err
}

// outcome is how an attempt went. The zero outcome is one that was delivered.
type outcome struct {
	says  string // why it was not delivered
	final bool   // it is not tried again
	cause error  // for the log
}

// attempt makes one attempt and writes how it went.
func (s *Store) attempt(ctx context.Context, l lane, j job) {
	f, d, err := s.load(ctx, j.id)
	out := unprepared(err)
	if err == nil {
		out = s.carry(ctx, l, f, d)
	}
	result, err := s.record(context.WithoutCancel(ctx), f, d, j, out)
	if err != nil {
		// The lease will end, and it is delivered once more.
		s.Log.Error("how the delivery of an alert went can't be kept", "delivery", j.id, "err", err)
	}
	if out.cause != nil {
		s.Log.Warn("an alert was not delivered", "delivery", j.id, "channel", l.channel, "result", result, "says", out.says, "err", out.cause)
	}
	if s.OnDelivery != nil && result != "" {
		s.OnDelivery(string(l.channel), result)
	}
}

func unprepared(err error) outcome {
	switch {
	case err == nil:
		return outcome{}
	case errors.Is(err, seal.ErrTag):
		return outcome{says: "A row of the alert was changed in the database by somebody else than this server, so it was not used.", final: true, cause: err}
	}
	return outcome{says: "The server could not prepare the message. Its log says why.", cause: err}
}

// load reads a delivery and what it tells, if they fit their tag.
func (s *Store) load(ctx context.Context, id string) (Firing, Delivery, error) {
	f, d, err := s.scanDelivery(s.DB.QueryRow(ctx, `
		SELECT `+firingColumns+`, `+deliveryColumns+` FROM alert_deliveries d JOIN alert_firings f ON f.id = d.firing_id WHERE d.id = $1`, id))
	if err != nil {
		return Firing{}, Delivery{}, fmt.Errorf("read a delivery: %w", err)
	}
	return f, d, nil
}

// carry takes a message to where it goes, if it still goes there.
func (s *Store) carry(ctx context.Context, l lane, f Firing, d Delivery) (out outcome) {
	defer func() {
		if p := recover(); p != nil {
			out = unprepared(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	a, err := s.read(ctx, s.DB, f.OrganizationID, f.KeyID)
	switch {
	case errors.Is(err, ErrNotFound):
		return outcome{says: saysRemoved, final: true}
	case err != nil:
		return unprepared(err)
	case !a.sendsTo(d.Channel, d.Target):
		return outcome{says: saysChanged, final: true}
	}
	if _, _, err := s.LimitsOf(ctx, f.OrganizationID, f.KeyID); err != nil {
		if fault.Of(err).Kind == fault.NotFound {
			return outcome{says: saysNoKey, final: true}
		}
		return unprepared(err)
	}
	if d.Channel == Webhook {
		return s.post(ctx, a, f, d)
	}
	return s.mail(ctx, f, d)
}

// record writes how an attempt went and says what has become of the delivery:
// delivered, retried, failed, or "" if it was ended meanwhile.
func (s *Store) record(ctx context.Context, f Firing, d Delivery, j job, out outcome) (result string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	now := s.Now()
	status, next, deliveredAt := Pending, j.nextAt, int64(0)
	switch {
	case out.says == "":
		status, result, deliveredAt = Delivered, "delivered", db.Micros(now)
	case out.final || !f.FiredAt.IsZero() && !now.Before(f.FiredAt.Add(giveUp)):
		status, result = Failed, "failed"
	default:
		result = "retried"
		next = db.Micros(nextAttempt(now, f.FiredAt, d.Attempts))
	}
	var n int64
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		// A lease that has ended does not undo that it was delivered; of a failure
		// the one who has the lease now will know better.
		n, err = tx.Exec(ctx, `
			UPDATE alert_deliveries SET status = $1, next_at = $2, delivered_at = $3, last_error = $4
			WHERE id = $5 AND status = 'pending' AND (next_at = $6 OR $1 = 'delivered')`,
			string(status), next, deliveredAt, out.says, j.id, j.nextAt)
		return err
	})
	if err != nil || n == 0 {
		result = ""
	}
	return result, err
}

// nextAttempt is when a delivery is tried again that has failed at now for the
// nth time. Those that failed together do not come again together.
func nextAttempt(now, fired time.Time, n int64) time.Time {
	delay := delays[min(max(int(n), 1), len(delays))-1]
	delay += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(delay))
	next, last := now.Add(delay), fired.Add(giveUp)
	if !fired.IsZero() && next.After(last) && last.After(now) {
		next = last
	}
	return next
}

const (
	firingColumns   = `f.id, f.key_id, f.organization_id, f.key_name, f.span, f.window_at, f.threshold, f.used, f.of, f.fired_at`
	deliveryColumns = `d.id, d.channel, d.target, d.status, d.attempts, d.next_at, d.delivered_at, d.last_error, d.root_version, d.tag`
)

// into returns where the columns of a firing go.
func (f *Firing) into(window, fired *int64) []any {
	return []any{&f.ID, &f.KeyID, &f.OrganizationID, &f.KeyName, &f.Span, window, &f.Threshold, &f.Used, &f.Of, fired}
}

// scanDelivery reads a firing with one of its deliveries and checks their tag.
func (s *Store) scanDelivery(row interface{ Scan(...any) error }) (Firing, Delivery, error) {
	var f Firing
	var d Delivery
	var window, fired, next, delivered int64
	err := row.Scan(append(f.into(&window, &fired),
		&d.ID, &d.Channel, &d.Target, &d.Status, &d.Attempts, &next, &delivered, &d.LastError, &d.version, &d.tag)...)
	if err != nil {
		return Firing{}, Delivery{}, err
	}
	f.Window, f.FiredAt, d.NextAt, d.DeliveredAt = db.Time(window), db.Time(fired), db.Time(next), db.Time(delivered)
	if err := s.Root.CheckTag(seal.AlertRow, d.version, d.tag, d.fields(f)...); err != nil {
		return Firing{}, Delivery{}, fmt.Errorf("delivery %s of an alert: %w", d.ID, err)
	}
	return f, d, nil
}
