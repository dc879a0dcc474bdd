package keywardtest_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyward/keyward/internal/mail/mailtest"
	"github.com/keyward/keyward/keywardtest"
)

// eventually waits for what the server does by itself.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestAnAlertTellsOnceThatALimitIsNearlyUsed(t *testing.T) {
	each(t, func(t *testing.T, o keywardtest.Options) {
		post := mailtest.Start(t, mailtest.Plain, "", "")
		settings := map[string]string{"smtp.host": post.Addr, "smtp.from": "Keyward <keys@example.com>", "smtp.tls": "none"}
		maps.Copy(settings, o.Settings)
		o.Settings = settings
		h := newHouse(t, o)
		p := h.person("")
		var mu sync.Mutex
		var got []http.Header
		var bodies []string
		receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			got, bodies = append(got, r.Header.Clone()), append(bodies, string(body))
		}))
		t.Cleanup(receiver.Close)
		received := func() int { mu.Lock(); defer mu.Unlock(); return len(got) }

		make := func(name string, limits map[string]any) (path, key string, id int64) {
			made := h.must(201, "POST", "/v1/keys", map[string]any{"name": name, "limits": limits}, p.bearer())
			id = int64(made.get("id").(float64))
			return fmt.Sprintf("/v1/keys/%d/alert", id), "Authorization: Bearer " + made.text("key"), id
		}
		hourly, key, id := make("hourly", map[string]any{"requests_per_hour": 10})
		monthly, other, _ := make("monthly", map[string]any{"requests_per_month": 4})

		set := h.must(200, "PUT", hourly, map[string]any{"threshold": 75, "webhook_url": receiver.URL + "/hook"}, p.bearer())
		secret := set.text("webhook_secret")
		if !strings.HasPrefix(secret, "whsec_") || set.get("to_owners") != false {
			t.Errorf("set: %s", set.Text)
		}
		if again := h.must(200, "PUT", hourly, map[string]any{"threshold": 80, "webhook_url": receiver.URL + "/hook"}, p.bearer()); again.get("webhook_secret") != nil {
			t.Error("the same webhook has another secret")
		}
		if shown := h.must(200, "GET", hourly, nil, p.bearer()); shown.get("threshold") != 80.0 || strings.Contains(shown.Text, "whsec_") {
			t.Errorf("shown: %s", shown.Text)
		}
		if owners := h.must(200, "PUT", monthly, map[string]any{"threshold": 50}, p.bearer()); owners.get("to_owners") != true {
			t.Errorf("to the owners: %s", owners.Text)
		}

		for i := range 11 {
			want := 200
			if i >= 10 {
				want = 429
			}
			h.must(want, "GET", "/v1/agents", nil, key)
			if i == 6 && received() != 0 {
				t.Error("told before its threshold")
			}
		}
		for range 3 {
			h.must(200, "GET", "/v1/agents", nil, other)
		}
		eventually(t, "the webhook", func() bool { return received() == 1 })
		eventually(t, "the e-mail", func() bool { return len(post.Messages()) == 1 })
		hook, err := webhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := hook.Verify([]byte(bodies[0]), got[0]); err != nil {
			t.Error(err)
		}
		if !strings.Contains(bodies[0], fmt.Sprintf(`"key_id":%d,"key_name":"hourly"`, id)) || !strings.Contains(bodies[0], `"used":8,"limit":10`) {
			t.Errorf("told %s", bodies[0])
		}
		if m := post.Messages()[0]; !slices.Equal(m.To, []string{p.email}) || !strings.Contains(m.Text, "monthly") {
			t.Errorf("sent %+v", m)
		}

		eventually(t, "the end of both deliveries", func() bool {
			return strings.Count(h.must(200, "GET", "/v1/alerts", nil, p.bearer()).Text, `"status":"delivered"`) == 2
		})
		list := h.must(200, "GET", fmt.Sprintf("/v1/alerts?key_id=%d", id), nil, p.bearer())
		if data := list.get("data").([]any); len(data) != 1 || !strings.Contains(list.Text, `"target":"`+strings.TrimPrefix(receiver.URL, "http://")+`"`) {
			t.Errorf("listed: %s", list.Text)
		}

		// What fired stays fired through a restart.
		h.Stop(t)
		o.Data = h.Data
		h = newHouse(t, o)
		h.must(200, "GET", "/v1/agents", nil, other)
		h.must(204, "DELETE", hourly, nil, p.withKey())
		h.refused(404, "ALERT_NOT_FOUND", "DELETE", hourly, nil, p.withKey())
		h.refused(404, "ALERT_NOT_FOUND", "GET", hourly, nil, p.withKey())
		if list := h.must(200, "GET", "/v1/alerts", nil, p.withKey()); len(list.get("data").([]any)) != 2 || received() != 1 || len(post.Messages()) != 1 {
			t.Errorf("after a restart: %s", list.Text)
		}
	})
}

func TestAnAlertThatCannotBeIsRefusedWithItsReason(t *testing.T) {
	h := newHouse(t, keywardtest.Options{})
	p, q := h.person(""), h.person("")
	made := h.must(201, "POST", "/v1/keys", map[string]any{"name": "limited", "limits": map[string]any{"requests_per_hour": 10}}, p.bearer())
	path := fmt.Sprintf("/v1/keys/%d/alert", int64(made.get("id").(float64)))
	const url = "https://example.com/hook"
	for name, body := range map[string]any{
		"threshold 0":      map[string]any{"threshold": 0, "webhook_url": url},
		"threshold 101":    map[string]any{"threshold": 101, "webhook_url": url},
		"half a percent":   `{"threshold":0.5,"webhook_url":"` + url + `"}`,
		"a huge threshold": `{"threshold":1e30,"webhook_url":"` + url + `"}`,
		"no threshold":     map[string]any{"webhook_url": url},
		"an empty webhook": map[string]any{"threshold": 50, "webhook_url": ""},
		"an empty e-mail":  map[string]any{"threshold": 50, "webhook_url": url, "email": ""},
		"no URL":           map[string]any{"threshold": 50, "webhook_url": "example"},
		"plain http":       map[string]any{"threshold": 50, "webhook_url": "http://example.com"},
		"an unknown field": map[string]any{"threshold": 50, "webhook": url},
		"no mail server":   map[string]any{"threshold": 50},
		"e-mail without":   map[string]any{"threshold": 50, "email": "ops@example.com"},
	} {
		if got := h.send("PUT", path, body, p.bearer()); got.Status != 400 || got.text("error.details.field") == "" {
			t.Errorf("%s: %d %s", name, got.Status, got.Text)
		}
	}
	if got := h.send("PUT", path, map[string]any{"threshold": 50}, p.bearer()); !strings.Contains(got.Text, "smtp.host") {
		t.Errorf("without a mail server: %s", got.Text)
	}
	unlimited := fmt.Sprintf("/v1/keys/%d/alert", p.keyID)
	if got := h.refused(400, "INVALID_REQUEST", "PUT", unlimited, map[string]any{"threshold": 50, "webhook_url": url}, p.bearer()); !strings.Contains(got.Text, "no limit") {
		t.Errorf("a key without a limit: %s", got.Text)
	}
	good := map[string]any{"threshold": 50, "webhook_url": url}
	h.refused(404, "KEY_NOT_FOUND", "PUT", path, good, q.bearer())
	h.refused(404, "KEY_NOT_FOUND", "GET", path, nil, q.bearer())
	h.refused(404, "KEY_NOT_FOUND", "DELETE", path, nil, q.bearer())
	h.refused(404, "KEY_NOT_FOUND", "PUT", "/v1/keys/4711/alert", good, p.bearer())
	h.must(200, "PUT", path, good, p.bearer())

	reader := "Authorization: Bearer " + h.must(201, "POST", "/v1/keys", map[string]any{"name": "reader", "scopes": []string{"read"}}, p.bearer()).text("key")
	if got := h.refused(403, "INSUFFICIENT_SCOPE", "PUT", path, good, reader); !strings.Contains(got.Text, "keys:write") {
		t.Errorf("a key that reads: %s", got.Text)
	}
	h.refused(403, "INSUFFICIENT_SCOPE", "DELETE", path, nil, reader)
	h.must(200, "GET", path, nil, reader)

	h.must(204, "DELETE", strings.TrimSuffix(path, "/alert"), nil, p.bearer())
	h.refused(404, "KEY_NOT_FOUND", "GET", path, nil, p.bearer())
	h.refused(404, "KEY_NOT_FOUND", "PUT", path, good, p.bearer())
}
