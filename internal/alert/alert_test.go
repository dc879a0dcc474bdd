package alert

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestAnAlertIsKeptAsItWasSet(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		if _, err := h.Get(t.Context(), h.jane, production); !errors.Is(err, ErrNotFound) {
			t.Errorf("none: %v", err)
		}
		if n, err := h.Threshold(t.Context(), production); n != 0 || err != nil {
			t.Errorf("threshold of none: %d, %v", n, err)
		}

		set := func(r Request) seal.Secret { t.Helper(); return h.set(t, production, r) }
		first := set(Request{Threshold: 80, WebhookURL: "HTTPS://Example.com:443/hook?token=x"})
		if !strings.HasPrefix(first.Reveal(), "whsec_") {
			t.Error("a new webhook came without a secret")
		}
		if set(Request{Threshold: 90, WebhookURL: "https://example.com/hook?token=x", Email: "ops@example.com"}).Reveal() != "" {
			t.Error("the same webhook got another secret")
		}
		a, err := h.Get(t.Context(), h.jane, production)
		want := Request{Threshold: 90, WebhookURL: "https://example.com/hook?token=x", Email: "ops@example.com"}
		if err != nil || a.Request != want || a.KeyID != production || !a.CreatedAt.Equal(start) {
			t.Errorf("got %+v, %v", a, err)
		}
		if kept, err := h.webhookSecret(a); err != nil || kept.Reveal() != first.Reveal() {
			t.Errorf("its secret: %v", err)
		}
		if n, err := h.Threshold(t.Context(), production); n != 90 || err != nil {
			t.Errorf("threshold %d, %v", n, err)
		}
		if other := set(Request{Threshold: 90, WebhookURL: "https://example.com/other"}); other.Reveal() == "" || other.Reveal() == first.Reveal() {
			t.Error("another webhook has no secret of its own")
		}
		if set(Request{Threshold: 90}).Reveal() != "" {
			t.Error("a secret without a webhook")
		}
		if set(Request{Threshold: 1, WebhookURL: "https://example.com/other"}).Reveal() == "" {
			t.Error("a webhook that comes back has no new secret")
		}
		if err := h.Remove(t.Context(), h.jane, production); err != nil {
			t.Fatal(err)
		}
		if err := h.Remove(t.Context(), h.jane, production); !errors.Is(err, ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}

		if len(h.closed) != 6 || h.closed[0] != (access.Change{Kind: access.KeyClosed, Subject: "7"}) {
			t.Errorf("closed %v: who remembers the key must forget its threshold at each change", h.closed)
		}
		var acts int64
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries WHERE action IN ('alert.set', 'alert.remove') AND subject_id = '7'`).Scan(&acts); err != nil || acts != 6 {
			t.Errorf("%d acts are recorded, %v", acts, err)
		}
	})
}

func TestAnAlertThatCannotWorkIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		good := Request{Threshold: 80, WebhookURL: "https://example.com/"}
		for name, tt := range map[string]struct {
			key   int64
			r     Request
			field string
		}{
			"threshold 0":           {production, Request{Threshold: 0, WebhookURL: good.WebhookURL}, "threshold"},
			"threshold 101":         {production, Request{Threshold: 101, WebhookURL: good.WebhookURL}, "threshold"},
			"threshold below":       {production, Request{Threshold: -1, WebhookURL: good.WebhookURL}, "threshold"},
			"a key without a limit": {free, good, "threshold"},
			"plain http":            {production, Request{Threshold: 80, WebhookURL: "http://example.com/hunter2"}, "webhook_url"},
			"an address inside":     {production, Request{Threshold: 80, WebhookURL: "https://10.0.0.1/hunter2"}, "webhook_url"},
			"no URL":                {production, Request{Threshold: 80, WebhookURL: "hunter2"}, "webhook_url"},
			"a user in the URL":     {production, Request{Threshold: 80, WebhookURL: "https://hunter2@example.com/"}, "webhook_url"},
			"no e-mail":             {production, Request{Threshold: 80, Email: "hunter2"}, "email"},
			"two e-mails":           {production, Request{Threshold: 80, Email: "a@example.com,hunter2@example.com"}, "email"},
			"a header":              {production, Request{Threshold: 80, Email: "a@example.com\r\nBcc: hunter2@example.com"}, "email"},
		} {
			_, _, err := h.Set(t.Context(), h.jane, tt.key, tt.r)
			f := fault.Of(err)
			if f.Kind != fault.Invalid || f.Details["field"] != tt.field || strings.Contains(f.Error(), "hunter2") {
				t.Errorf("%s: %v, %v", name, err, f.Details)
			}
		}
		for _, keyID := range []int64{bobs, 4711} {
			if _, _, err := h.Set(t.Context(), h.jane, keyID, good); !errors.Is(err, errNoKey) {
				t.Errorf("key %d: set: %v", keyID, err)
			}
			if err := h.Remove(t.Context(), h.jane, keyID); !errors.Is(err, errNoKey) {
				t.Errorf("key %d: remove: %v", keyID, err)
			}
			if _, err := h.Get(t.Context(), h.jane, keyID); !errors.Is(err, errNoKey) {
				t.Errorf("key %d: get: %v", keyID, err)
			}
		}
		for name, who := range map[string]access.Caller{
			"nobody": {}, "a key that reads": {OrganizationID: "org", Role: access.Owner, KeyID: 1, Scopes: access.KeysRead},
		} {
			_, _, set := h.Set(t.Context(), who, production, good)
			_, get := h.Get(t.Context(), who, production)
			_, list := h.List(t.Context(), who, Filter{Limit: 1})
			for call, err := range map[string]error{"set": set, "remove": h.Remove(t.Context(), who, production), "get": get, "list": list} {
				if fault.Of(err).Kind != fault.Forbidden {
					t.Errorf("%s: %s: %v", name, call, err)
				}
			}
		}

		h.Mail = nil
		for name, r := range map[string]Request{
			"an e-mail": {Threshold: 80, Email: "a@example.com"}, "the owners": {Threshold: 80}, "both": {Threshold: 80, Email: "a@example.com", WebhookURL: good.WebhookURL},
		} {
			_, _, err := h.Set(t.Context(), h.jane, production, r)
			if f := fault.Of(err); f.Kind != fault.Invalid || f.Details["setting"] != "smtp.host" || !strings.Contains(f.Message, "smtp.host") {
				t.Errorf("%s without a mail server: %v", name, err)
			}
		}
		if _, _, err := h.Set(t.Context(), h.jane, production, good); err != nil {
			t.Errorf("a webhook without a mail server: %v", err)
		}
	})
}

func TestTheSecretIsNowhereInTheOpen(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		secret := h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL + "/hunter2"})
		x.answers(status(500))
		h.crossed(t, production, Hour, start, 80, 100)
		h.round(t)
		x.Close()
		h.clock.pass(time.Minute)
		h.round(t)
		if got := h.delivery(t); got.Attempts != 2 || strings.Contains(got.LastError+got.Target, "hunter2") {
			t.Errorf("got %+v", got)
		}

		open := strings.TrimPrefix(secret.Reveal(), "whsec_")
		for _, table := range []string{"alerts", "alert_firings", "alert_deliveries", "audit_entries"} {
			rows, err := d.Query(t.Context(), `SELECT * FROM `+table)
			if err != nil {
				t.Fatal(err)
			}
			names, _ := rows.Columns()
			for rows.Next() {
				row := make([]any, len(names))
				for i := range row {
					row[i] = new([]byte)
				}
				if err := rows.Scan(row...); err != nil {
					t.Fatal(err)
				}
				for i, v := range row {
					if strings.Contains(string(*v.(*[]byte)), open) {
						t.Errorf("%s.%s has the secret", table, names[i])
					}
				}
			}
			rows.Close()
		}
		for _, hidden := range []string{open, "hunter2"} {
			if strings.Contains(h.log.String(), hidden) {
				t.Errorf("the log has what it must not: %s", h.log)
			}
		}
	})
}

func TestAForgedRowIsNoticedAndNotUsed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, forge := range map[string]string{
			"the alert's webhook":        `UPDATE alerts SET webhook_url = '%EVIL%'`,
			"the alert's e-mail":         `UPDATE alerts SET email = 'eve@evil.example'`,
			"the alert's threshold":      `UPDATE alerts SET threshold = 1`,
			"the delivery's target":      `UPDATE alert_deliveries SET target = '%EVILHOST%'`,
			"the delivery's channel":     `UPDATE alert_deliveries SET channel = 'email', target = 'eve@evil.example'`,
			"what is told of the key":    `UPDATE alert_firings SET key_name = 'click here'`,
			"what is told of its use":    `UPDATE alert_firings SET used = 99`,
			"whose key it is":            `UPDATE alert_firings SET organization_id = 'other'`,
			"another alert's secret box": `UPDATE alerts SET secret = (SELECT b.secret FROM alerts b WHERE b.key_id = 8) WHERE key_id = 7`,
		} {
			change(t, d, `DELETE FROM alerts`)
			change(t, d, `DELETE FROM alert_firings`)
			change(t, d, `DELETE FROM api_keys`)
			change(t, d, `DELETE FROM organizations`)
			h, x, evil := newHouse(t, d), newReceiver(t), newReceiver(t)
			h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL})
			h.set(t, monthly, Request{Threshold: 80, WebhookURL: x.URL})
			h.crossed(t, production, Hour, start, 80, 100)
			change(t, d, strings.NewReplacer("%EVIL%", evil.URL, "%EVILHOST%", host(evil.URL)).Replace(forge))
			for range 3 {
				h.round(t)
				h.clock.pass(time.Minute)
			}
			if len(x.received())+len(evil.received())+len(h.mailbox.Messages()) != 0 {
				t.Errorf("%s: it was delivered", name)
			}
			if !strings.Contains(h.log.String(), "does not fit") && !strings.Contains(h.log.String(), seal.ErrTag.Error()) {
				t.Errorf("%s: the log does not say it: %s", name, h.log)
			}
			var says string
			if err := d.QueryRow(t.Context(), `SELECT last_error FROM alert_deliveries WHERE status = 'failed'`).Scan(&says); err != nil || !strings.Contains(says, "changed in the database") {
				t.Errorf("%s: says %q, %v", name, says, err)
			}
		}

		h := newHouseAgain(t, d)
		change(t, d, `UPDATE alerts SET threshold = 1 WHERE key_id = 7`)
		if n, err := h.Threshold(t.Context(), production); n != 0 || !errors.Is(err, seal.ErrTag) {
			t.Errorf("a forged threshold: %d, %v", n, err)
		}
		if !h.Crossed(production, "org", Hour, start, 5, 100) {
			t.Fatal("not noted")
		}
		h.settleFirings(t)
		if len(h.list(t)) != 0 {
			t.Error("a forged alert fired")
		}
		if err := h.Remove(t.Context(), h.jane, production); err != nil {
			t.Errorf("a forged alert can't be removed: %v", err)
		}
	})
}

// newHouseAgain is a house with one alert on a database that had others.
func newHouseAgain(t *testing.T, d *db.DB) *house {
	t.Helper()
	for _, table := range []string{"alerts", "alert_firings", "api_keys", "organizations"} {
		change(t, d, `DELETE FROM `+table)
	}
	h := newHouse(t, d)
	h.set(t, production, Request{Threshold: 80, Email: "ops@example.com"})
	return h
}

func TestARotationOfTheRootKeyRenewsAlertsAndWhatTheyStillDeliver(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h, x := newHouse(t, d), newReceiver(t)
		secret := h.set(t, production, Request{Threshold: 80, WebhookURL: x.URL, Email: "ops@example.com"})
		h.set(t, monthly, Request{Threshold: 80, Email: "ops@example.com"})
		h.crossed(t, production, Hour, start, 80, 100)
		version, _ := h.Root.AddNew()
		if err := h.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		var done []int
		for {
			n, err := h.Reseal(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			done = append(done, n)
		}
		if !slices.Equal(done, []int{1, 1, 1, 1}) {
			t.Errorf("renewed %v", done)
		}
		if err := h.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		h.round(t)
		if got := x.received(); len(got) != 1 || len(h.mailbox.Messages()) != 1 {
			t.Fatalf("delivered %d and %d", len(got), len(h.mailbox.Messages()))
		} else {
			got[0].verified(t, secret)
		}
		if n, err := h.Threshold(t.Context(), monthly); n != 80 || err != nil {
			t.Errorf("threshold %d, %v", n, err)
		}
	})
}

func TestWhatFiredIsListedForItsOrganizationNewestFirstAndForgottenInTheEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.set(t, production, Request{Threshold: 80, Email: "ops@example.com"})
		h.set(t, monthly, Request{Threshold: 50, Email: "ops@example.com"})
		if _, _, err := h.Set(t.Context(), h.bob, bobs, Request{Threshold: 10, Email: "bob@example.com"}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			h.crossed(t, production, Hour, start.Add(time.Duration(i)*time.Hour), 80, 100)
		}
		h.crossed(t, monthly, Month, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 500, 1000)
		h.crossed(t, bobs, Hour, start, 1, 10)
		h.round(t)

		all := h.list(t)
		if len(all) != 4 || all[0].KeyID != monthly || all[0].Percent() != 50 || !all[0].ResetsAt().Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) ||
			!all[1].Window.Equal(start.Add(2*time.Hour)) || all[1].KeyName != "production" || !all[1].ResetsAt().Equal(start.Add(3*time.Hour)) {
			t.Fatalf("got %+v", all)
		}
		page, err := h.List(t.Context(), h.jane, Filter{KeyID: production, After: all[1].ID, Limit: 1})
		if err != nil || len(page) != 1 || page[0].ID != all[2].ID || len(page[0].Deliveries) != 1 {
			t.Errorf("the next page: %+v, %v", page, err)
		}
		if other, err := h.List(t.Context(), h.bob, Filter{KeyID: production, Limit: 9}); err != nil || len(other) != 0 {
			t.Errorf("bob sees %+v, %v", other, err)
		}

		if n, err := h.Purge(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		h.clock.pass(kept)
		if n, err := h.Purge(t.Context(), 2); n != 2 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		if n, err := h.Purge(t.Context(), 10); n != 3 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		var left int64
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM alert_deliveries`).Scan(&left); err != nil || left != 0 {
			t.Errorf("%d deliveries are left, %v", left, err)
		}
	})
}
