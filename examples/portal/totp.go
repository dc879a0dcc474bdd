package portal

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

const stepSeconds = 30

var (
	errSecret = errors.New("the TOTP secret is not base32, as in JBSWY3DPEHPK3PXP")
	errSHA1   = errors.New("one-time codes are made with SHA-1, which this process may not use (fips140=only)")
)

// Code is the six-digit code of a base32 secret at a moment (RFC 6238, SHA-1,
// 30 seconds).
func Code(secret string, at time.Time) (string, error) {
	key, err := parseSecret(secret)
	if err != nil {
		return "", err
	}
	return codeOf(key, at.Unix()/stepSeconds), nil
}

// parseSecret reads a secret as people paste it: in any letter case, with
// spaces, with or without padding.
func parseSecret(text string) ([]byte, error) {
	if fips140.Enforced() {
		return nil, errSHA1 // SHA-1 would panic
	}
	text = strings.TrimRight(strings.ToUpper(strings.ReplaceAll(text, " ", "")), "=")
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, errSecret // the decoder's own text would tell a piece of the secret
	}
	return key, nil
}

// findStep is the step, at most one from now's, whose code was given.
func findStep(key []byte, code string, now time.Time) (step int64, ok bool) {
	current := now.Unix() / stepSeconds
	for candidate := current - 1; candidate <= current+1; candidate++ {
		if equal(code, codeOf(key, candidate)) {
			step, ok = candidate, true
		}
	}
	return step, ok
}

// codeOf is RFC 4226's HOTP with the step as its counter.
func codeOf(key []byte, step int64) string {
	mac := hmac.New(sha1.New, key)
	binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0x0f
	number := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%06d", number%1_000_000)
}
