package agent

import (
	"crypto/fips140"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/pquerna/otp/totp"

	"github.com/keyward/keyward/internal/fault"
)

var errNoTOTP = fault.ErrInvalidRequest.Say("The agent has a totp argument, and this server runs with GODEBUG=fips140=only, which refuses the SHA-1 that TOTP codes are made with.")

// leastTOTP is the shortest secret that is taken, in bytes. RFC 4226 asks for
// 16, and sites that give 10 are many.
const leastTOTP = 10

// totpSecret reads a TOTP secret as sites show it, in groups, in lower case or
// with padding, and returns it in one form. An otpauth address is refused: it
// may ask for codes that are not the usual ones.
func totpSecret(text string) (secret, reason string) {
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(text)), "otpauth:") {
		return "", "must be the TOTP secret alone, in base32: the part of the otpauth address after secret="
	}
	secret = strings.ToUpper(strings.NewReplacer(" ", "", "-", "", "\t", "", "\n", "", "\r", "").Replace(text))
	secret = strings.TrimRight(secret, "=")
	padding := strings.Repeat("=", (8-len(secret)%8)%8)
	decoded, err := base32.StdEncoding.DecodeString(secret + padding)
	switch {
	case err != nil:
		return "", "must be a TOTP secret in base32: letters A to Z and digits 2 to 7"
	case len(decoded) < leastTOTP:
		return "", "must be a TOTP secret of at least 16 base32 characters"
	}
	return secret, ""
}

// totpCode returns the secret in a valid value in its one form, and its code at
// now, both as JSON.
func totpCode(value jsontext.Value, now time.Time) (secret, code jsontext.Value, err error) {
	// The calls below would panic.
	if fips140.Enforced() {
		return nil, nil, errNoTOTP
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return nil, nil, fmt.Errorf("totp: %w", err)
	}
	plain, _ := totpSecret(string(text))
	digits, err := totp.GenerateCode(plain, now)
	if err != nil {
		return nil, nil, fmt.Errorf("totp: %w", err)
	}
	quote := func(s string) jsontext.Value { return jsontext.Value(`"` + s + `"`) } // both are ASCII letters and digits
	return quote(plain), quote(digits), nil
}
