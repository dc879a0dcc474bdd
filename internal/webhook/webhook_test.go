package webhook_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/webhook"
)

func TestAReceiversLibraryAcceptsWhatIsSignedAndNothingElse(t *testing.T) {
	secret, other := webhook.NewSecret(), webhook.NewSecret()
	if !strings.HasPrefix(secret.Reveal(), "whsec_") || secret.Reveal() == other.Reveal() {
		t.Fatal("secrets are not what they should be")
	}
	body := []byte(`{"a":1}`)
	header := http.Header{}
	if err := webhook.Sign(header, secret, "msg-1", time.Now(), body); err != nil {
		t.Fatal(err)
	}
	verify := func(with seal.Secret, body string) error {
		hook, err := webhooks.NewWebhook(with.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		return hook.Verify([]byte(body), header)
	}
	if err := verify(secret, string(body)); err != nil {
		t.Error(err)
	}
	if verify(other, string(body)) == nil {
		t.Error("another secret fits")
	}
	if verify(secret, `{"a":2}`) == nil {
		t.Error("another body fits")
	}
	header.Set("webhook-id", "msg-2")
	if verify(secret, string(body)) == nil {
		t.Error("another id fits")
	}
}

func TestAnUnreadableSecretIsNotRepeated(t *testing.T) {
	err := webhook.Sign(http.Header{}, seal.NewSecret("whsec_hunter2!"), "m", time.Now(), nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
