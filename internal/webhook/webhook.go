// Package webhook makes secrets of Standard Webhooks and signs with them what
// the server sends: a run to its agent, an alert to whoever asked for it. The
// receivers have libraries that check it.
//
// Where a call may go is package egress's, and how a secret is kept is its
// owner's.
package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyward/keyward/internal/seal"
)

// secretPrefix begins a secret; base64 of its bytes follows.
const secretPrefix = "whsec_"

// NewSecret makes a secret of 32 random bytes.
func NewSecret() seal.Secret {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	defer clear(key)
	return seal.NewSecret(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

// Sign adds the headers by which a receiver knows that body is from this server,
// that it is not old, and which message it is: the id is the same however often
// the message is sent. An error does not repeat the secret.
func Sign(header http.Header, secret seal.Secret, id string, now time.Time, body []byte) error {
	hook, err := webhooks.NewWebhook(secret.Reveal())
	if err != nil {
		return errors.New("the secret to sign with can't be read")
	}
	signature, err := hook.Sign(id, now, body)
	if err != nil {
		return errors.New("the message can't be signed")
	}
	header.Set(webhooks.HeaderWebhookID, id)
	header.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(webhooks.HeaderWebhookSignature, signature)
	return nil
}
