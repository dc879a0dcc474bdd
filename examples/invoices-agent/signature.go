package invoices

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const tolerance = 5 * time.Minute

const (
	errSignature = failure("The signature is missing or wrong.")
	errStale     = failure("The signature is not of the last five minutes.")
)

// parseSecret reads a runner secret: whsec_ and 24 bytes or more in base64.
func parseSecret(text string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), "whsec_")
	secret, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(secret) < 24 {
		return nil, errors.New("the runner secret is not of the form whsec_BASE64")
	}
	return secret, nil
}

// checkSignature is Standard Webhooks: one of the signatures must be the HMAC
// of id, time and body. The time is read only after that, from what was signed.
func checkSignature(secret []byte, header http.Header, body []byte, now time.Time) error {
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	if id == "" || stamp == "" {
		return errSignature
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))

	signed := false
	for _, signature := range strings.Fields(header.Get("webhook-signature")) {
		signed = hmac.Equal([]byte(signature), want) || signed
	}
	if !signed {
		return errSignature
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return errStale
	}
	return nil
}
