package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/mail/mailtest"
)

func TestAnAlertFiresOnceAWindowHoweverManySayIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		servers := []*house{h, h.another(t, d), h.another(t, d)}
		secret := h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
		for window := range 3 {
			at := start.Add(time.Duration(window) * time.Hour)
			var wg sync.WaitGroup
			for _, s := range servers {
				wg.Go(func() {
					for used := int64(80); used <= 100; used++ {
						if !s.Crossed(production, "org", Hour, at, used, 100) {
							t.Error("not noted")
						}
					}
					s.settleFirings(t)
				})
			}
			wg.Wait()
			for _, s := range servers {
				s.round(t)
			}
			got := x.received()
			if len(got) != window+1 {
				t.Fatalf("%d deliveries after %d windows", len(got), window+1)
			}
			got[window].verified(t, secret)
		}
		// A server that starts anew does not know what was said before.
		again := h.another(t, d)
		again.crossed(t, production, Hour, start.Add(2*time.Hour), 100, 100)
		again.round(t)
		// The month's limit is another one.
		h.crossed(t, production, Month, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 4000, 5000)
		h.round(t)
		if got := x.received(); len(got) != 4 {
			t.Errorf("%d deliveries in the end, want 4", len(got))
		}
		fired := 0
		for _, s := range append(servers, again) {
			fired += s.fired
		}
		if fired != 4 {
			t.Errorf("%d fired, want 4", fired)
		}
	})
}

func TestTwoServersDeliverOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		other := h.another(t, d)
		const keys = 12
		for i := range int64(keys) {
			h.insertKey(t, d, 100+i, key{"org", fmt.Sprint("key ", i), access.Limits{PerHour: 10}})
			h.set(t, 100+i, Request{Threshold: 50, WebhookURL: x.URL})
			h.crossed(t, 100+i, Hour, start, 5, 10)
		}
		for range 4 {
			var wg sync.WaitGroup
			for _, s := range []*house{h, other} {
				wg.Go(func() { s.round(t) })
			}
			wg.Wait()
		}
		ids := map[string]bool{}
		for _, r := range x.received() {
			ids[r.header.Get("webhook-id")] = true
		}
		if len(x.received()) != keys || len(ids) != keys {
			t.Errorf("%d deliveries of %d, want %d of each", len(x.received()), len(ids), keys)
		}
	})
}

func TestAWebhookGetsAllThereIsToKnow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		secret := h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL + "/hook?a=b"})
		h.clock.pass(30 * time.Minute)
		h.crossed(t, production, Hour, start, 81, 100)
		h.clock.pass(time.Second)
		h.round(t)
		got := x.received()
		if len(got) != 1 {
			t.Fatalf("%d deliveries", len(got))
		}
		got[0].verified(t, secret)
		want := `{"type":"key.limit_threshold","timestamp":"2026-01-02T03:34:05.000Z","data":{"key_id":7,"key_name":"production","organization_id":"org",` +
			`"threshold":80,"span":"hour","used":81,"limit":100,"percent_used":81,"window_started_at":"2026-01-02T03:04:05.000Z","resets_at":"2026-01-02T04:04:05.000Z"}}`
		if string(got[0].body) != want || !json.Valid(got[0].body) {
			t.Errorf("body %s\nwant %s", got[0].body, want)
		}
		delivery := h.delivery(t)
		header := got[0].header
		if header.Get("webhook-id") != delivery.ID || header.Get("webhook-timestamp") != fmt.Sprint(h.clock.now().Unix()) || header.Get("Content-Type") != "application/json" {
			t.Errorf("header %v", header)
		}
		if delivery.Status != Delivered || delivery.Attempts != 1 || delivery.LastError != "" || delivery.Target != strings.TrimPrefix(x.URL, "http://") ||
			!delivery.DeliveredAt.Equal(h.clock.now()) {
			t.Errorf("delivery %+v", delivery)
		}
		if !slices.Equal(h.results, []string{"webhook delivered"}) {
			t.Errorf("told %v", h.results)
		}
	})
}

func TestAReceiverThatFailsGetsItLaterWithTheSameID(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		secret := h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
		h.crossed(t, production, Hour, start, 80, 100)
		for i, code := range []int{500, 302, 404} {
			x.answers(status(code))
			h.round(t)
			got := h.delivery(t)
			if got.Status != Pending || got.Attempts != int64(i+1) || !strings.Contains(got.LastError, fmt.Sprint(code)) {
				t.Errorf("after %d: %+v", code, got)
			}
			wait, delay := got.NextAt.Sub(h.clock.now()), delays[i]
			if wait < delay*8/10 || wait > delay*12/10 {
				t.Errorf("attempt %d comes after %v, want about %v", i+2, wait, delay)
			}
			h.clock.pass(wait - time.Microsecond)
			h.round(t)
			if n := len(x.received()); n != i+1 {
				t.Errorf("%d deliveries before the time of the next", n)
			}
			h.clock.pass(time.Microsecond)
		}
		x.answers(nil)
		// The server that takes over knows what the first one knew.
		again := h.another(t, d)
		again.round(t)
		got := h.delivery(t)
		if got.Status != Delivered || got.Attempts != 4 || got.LastError != "" {
			t.Errorf("in the end: %+v", got)
		}
		for _, r := range x.received() {
			r.verified(t, secret)
			if r.header.Get("webhook-id") != got.ID {
				t.Error("an attempt has another id")
			}
		}
		h.clock.pass(48 * time.Hour)
		h.round(t)
		if n := len(x.received()); n != 4 {
			t.Errorf("%d deliveries, want 4", n)
		}
	})
}

func TestAServerThatEndsInTheMiddleLeavesTheDeliveryToOthers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
		h.crossed(t, production, Hour, start, 80, 100)
		// It has claimed the delivery, and is gone.
		due, err := h.due(t.Context(), lanes[0])
		if err != nil || len(due) != 1 {
			t.Fatal(due, err)
		}
		if claimed, err := h.claim(t.Context(), lanes[0], &due[0]); !claimed || err != nil {
			t.Fatal(claimed, err)
		}
		other := h.another(t, d)
		other.round(t)
		if len(x.received()) != 0 {
			t.Error("two servers make one attempt")
		}
		h.clock.pass(lanes[0].lease)
		other.round(t)
		if got := h.delivery(t); len(x.received()) != 1 || got.Status != Delivered || got.Attempts != 2 {
			t.Errorf("%d deliveries, %+v", len(x.received()), got)
		}
	})
}

func TestAfterADayItIsGivenUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
		x.answers(status(503))
		h.crossed(t, production, Hour, start, 80, 100)
		for {
			h.round(t)
			got := h.delivery(t)
			if got.Status == Failed {
				break
			}
			if len(x.received()) > 30 {
				t.Fatal("it does not end")
			}
			h.clock.pass(got.NextAt.Sub(h.clock.now()))
		}
		if took := h.clock.now().Sub(start); took != giveUp {
			t.Errorf("given up after %v", took)
		}
		if n := len(x.received()); n < 11 || n > 16 {
			t.Errorf("%d attempts in a day", n)
		}
		if h.results[len(h.results)-1] != "webhook failed" || h.results[0] != "webhook retried" {
			t.Errorf("told %v", h.results)
		}

		// A server that was away for days tries once.
		x.answers(nil)
		h.crossed(t, production, Hour, start.Add(24*time.Hour), 80, 100)
		h.clock.pass(72 * time.Hour)
		h.round(t)
		if got := h.delivery(t); got.Status != Delivered {
			t.Errorf("after days: %+v", got)
		}
	})
}

func TestGoneIsGone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
		x.answers(status(http.StatusGone))
		h.crossed(t, production, Hour, start, 80, 100)
		h.round(t)
		h.clock.pass(time.Hour)
		h.round(t)
		if got := h.delivery(t); got.Status != Failed || got.Attempts != 1 || !strings.Contains(got.LastError, "410") || len(x.received()) != 1 {
			t.Errorf("%d deliveries, %+v", len(x.received()), got)
		}
	})
}

func TestASlowReceiverHoldsUpNobodyElse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, slow, quick := newHouse(t, d), newReceiver(t), newReceiver(t)
		release := make(chan struct{})
		slow.answers(func(http.ResponseWriter, *http.Request) { <-release })
		const many = 40 // more than there is room for at all
		for i := range int64(many) {
			h.insertKey(t, d, 100+i, key{"org", fmt.Sprint("key ", i), access.Limits{PerHour: 10}})
			h.set(t, 100+i, Request{Threshold: 50, WebhookURL: slow.URL})
			h.crossed(t, 100+i, Hour, start, 5, 10)
		}
		if err := h.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.set(t, production, Request{Threshold: 50, Email: "jane@example.com"})
		if _, _, err := h.Set(t.Context(), h.bob, bobs, Request{Threshold: 50, WebhookURL: quick.URL}); err != nil {
			t.Fatal(err)
		}
		h.crossed(t, production, Hour, start, 50, 100)
		h.crossed(t, bobs, Hour, start, 5, 10)
		ctx, cancel := context.WithCancel(t.Context())
		var deliver sync.WaitGroup
		deliver.Go(func() { _ = h.Deliver(ctx) })
		within(t, "others' deliveries", func() bool { return len(quick.received()) == 1 && len(h.mailbox.Messages()) == 1 })
		if n := len(slow.received()); n > lanes[0].each {
			t.Errorf("one organization has %d under way", n)
		}
		close(release)
		within(t, "the slow ones", func() bool { return len(slow.received()) == many })
		cancel()
		deliver.Wait()
		for _, f := range h.list(t) {
			if f.Deliveries[0].Status != Delivered || f.Deliveries[0].Attempts != 1 {
				t.Errorf("%+v", f)
			}
		}
	})
}

// within waits for what other goroutines do.
func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestStoppingLetsAnAttemptEndAndForgetsNone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		gone := make(chan struct{})
		x.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); close(gone) })
		h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
		ctx, cancel := context.WithCancel(t.Context())
		var loops sync.WaitGroup
		loops.Go(func() { _ = h.Fire(ctx) })
		loops.Go(func() { _ = h.Deliver(ctx) })
		h.Crossed(production, "org", Hour, start, 80, 100)
		within(t, "the attempt", func() bool { return len(x.received()) == 1 })
		began := time.Now()
		cancel()
		loops.Wait()
		<-gone
		if took := time.Since(began); took > lastWords+3*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if got := h.delivery(t); got.Status != Pending || got.LastError != "The server stopped before the receiver had answered." {
			t.Errorf("%+v", got)
		}
		x.answers(nil)
		h.clock.pass(time.Minute)
		h.another(t, d).round(t)
		if got := h.delivery(t); got.Status != Delivered {
			t.Errorf("after the restart: %+v", got)
		}
	})
}

func TestWhatIsRemovedIsNotDeliveredAnyMore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, tt := range map[string]struct {
			end  func(h *house)
			want string
		}{
			"the alert is removed": {func(h *house) {
				if err := h.Remove(t.Context(), h.jane, production); err != nil {
					t.Fatal(err)
				}
			}, saysRemoved},
			"the alert goes elsewhere": {func(h *house) { h.set(t, production, Request{Threshold: 80, Email: "ops@example.com"}) }, saysChanged},
			"the key is revoked":       {func(h *house) { h.mu.Lock(); defer h.mu.Unlock(); delete(h.keys, production) }, saysNoKey},
		} {
			h, x := newHouseAgain(t, d), newReceiver(t)
			h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
			x.answers(status(500))
			h.crossed(t, production, Hour, start, 80, 100)
			h.round(t)
			x.answers(nil)
			tt.end(h)
			h.clock.pass(time.Minute)
			h.round(t)
			if got := h.delivery(t); got.Status != Failed || got.LastError != tt.want || len(x.received()) != 1 {
				t.Errorf("%s: %d deliveries, %+v", name, len(x.received()), got)
			}
		}
		// With its key's row everything goes.
		h := newHouseAgain(t, d)
		h.crossed(t, production, Hour, start, 80, 100)
		change(t, d, `DELETE FROM api_keys WHERE id = 7`)
		h.round(t)
		if got := h.list(t); len(got) != 0 || len(h.mailbox.Messages()) != 0 {
			t.Errorf("after the purge of the key: %+v", got)
		}
	})
}

func TestAnAlertThatWasRaisedOrRemovedCanFireLaterInTheWindow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.crossed(t, production, Hour, start, 80, 100) // its alert was removed when it was said
		h.set(t, production, Request{Threshold: 90, Email: "ops@example.com"})
		h.crossed(t, production, Hour, start, 85, 100) // the gate had the old threshold
		if got := h.list(t); len(got) != 0 {
			t.Fatalf("fired %+v", got)
		}
		h.crossed(t, production, Hour, start, 90, 100)
		if got := h.list(t); len(got) != 1 || got[0].Used != 90 {
			t.Errorf("fired %+v", got)
		}
	})
}

func TestEachOwnerGetsAMessageOfHisOwn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.keys[production] = key{"org", "a\r\nBcc: eve@evil.example", access.Limits{PerHour: 100}}
		h.set(t, production, Request{Threshold: 80})
		h.mailbox.Refuse(func(to string) error {
			if to == "joe@example.com" {
				return mailtest.Refusal(450, "joe@example.com is away: hunter2")
			}
			return nil
		})
		h.crossed(t, production, Hour, start, 83, 100)
		h.round(t)
		got := h.list(t)[0].Deliveries
		if len(got) != 2 || got[0].Target != "jane@example.com" || got[0].Status != Delivered || got[1].Status != Pending ||
			got[1].LastError != "The mail server refused the recipient (code 450)." {
			t.Errorf("deliveries %+v", got)
		}
		h.mailbox.Refuse(nil)
		h.clock.pass(time.Minute)
		h.round(t)
		messages := h.mailbox.Messages()
		if len(messages) != 2 || !slices.Equal(messages[0].To, []string{"jane@example.com"}) || !slices.Equal(messages[1].To, []string{"joe@example.com"}) {
			t.Fatalf("messages %+v", messages)
		}
		for _, want := range []string{"has used 83%", "83 of the 100 requests", "2026-01-02 04:04:05 UTC", "/v1/keys/7/alert", got[0].ID} {
			if !strings.Contains(strings.ReplaceAll(messages[0].Text, "=\r\n", ""), want) {
				t.Errorf("%q is not in\n%s", want, messages[0].Text)
			}
		}
		if strings.Contains(messages[0].Text, "\nBcc:") {
			t.Errorf("a name became a header:\n%s", messages[0].Text)
		}
	})
}

func TestAlertsBuryNobodyInMail(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		many := int64(mailPace.Burst) + 5
		for i := range many {
			who, organization := h.jane, "org"
			if i%2 == 1 {
				who, organization = h.bob, "other"
			}
			h.insertKey(t, d, 100+i, key{organization, fmt.Sprint("key ", i), access.Limits{PerHour: 10}})
			if _, _, err := h.Set(t.Context(), who, 100+i, Request{Threshold: 50, Email: []string{"joe@example.com", "Joe@example.com"}[i%2]}); err != nil {
				t.Fatal(err)
			}
			h.crossed(t, 100+i, Hour, start, 5, 10)
		}
		for range many { // a few at a time
			h.round(t)
		}
		if n := len(h.mailbox.Messages()); n != mailPace.Burst {
			t.Fatalf("%d messages at once, want %d", n, mailPace.Burst)
		}
		for range 20 {
			h.clock.pass(10 * time.Minute)
			h.round(t)
		}
		if n := len(h.mailbox.Messages()); n != int(many) {
			t.Errorf("%d messages in the end, want %d", n, many)
		}
	})
}

func TestAnAlertGoesToBothWhereBothAreNamed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		h.set(t, monthly, Request{Threshold: 100, Email: "ops@example.com", WebhookURL: x.URL})
		h.crossed(t, monthly, Month, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 1000, 1000)
		h.round(t)
		if len(x.received()) != 1 || len(h.mailbox.Messages()) != 1 || len(h.list(t)[0].Deliveries) != 2 {
			t.Errorf("%d and %d deliveries, %+v", len(x.received()), len(h.mailbox.Messages()), h.list(t))
		}
		if body := string(x.received()[0].body); !strings.Contains(body, `"resets_at":"2026-02-01T00:00:00.000Z"`) {
			t.Errorf("body %s", body)
		}
	})
}

func TestCrossedNeverWaitsAndSaysWhenItIsFull(t *testing.T) {
	s := &Store{}
	for i := range int64(maxWaiting) {
		for range 2 { // the second one is known, and takes no room
			if !s.Crossed(i+1, "org", Hour, start, 1, 1) {
				t.Fatalf("crossing %d was not noted", i)
			}
		}
	}
	if s.Crossed(-1, "org", Hour, start, 1, 1) {
		t.Error("one more than there is room for was noted")
	}
	if !s.Crossed(5, "org", Hour, start, 1, 1) {
		t.Error("one that was noted is not known any more")
	}
	<-s.crossed.receive()
	if !s.Crossed(-1, "org", Hour, start, 1, 1) {
		t.Error("with room again it was not noted")
	}
}

func TestWhatCrossedRemembersIsBounded(t *testing.T) {
	s := &Store{}
	noted := s.crossed.receive()
	for i := range int64(5 * maxRemembered) {
		if !s.Crossed(i, "org", Hour, start, 1, 1) {
			t.Fatal("not noted")
		}
		<-noted
	}
	if n := len(s.crossed.now) + len(s.crossed.before); n > 2*maxRemembered {
		t.Errorf("%d are remembered", n)
	}
	if allocated := testing.AllocsPerRun(100, func() { s.Crossed(5*maxRemembered-1, "org", Hour, start, 1, 1) }); allocated > 0 {
		t.Errorf("%v allocations for one that is known", allocated)
	}
}
