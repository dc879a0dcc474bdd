package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Whatever prints a secret prints a placeholder, wherever the secret sits.
func TestSecretsDoNotPrint(t *testing.T) {
	root, _ := NewRoot()
	tok, dek, secret := NewAuthToken(), NewDEK(), NewSecret("correct horse battery staple")
	hidden := map[string][]byte{
		"root": root.ring.Load().keys[1].key, "token": tok.secret(), "key": dek.bytes(), "secret": secret.Bytes(),
	}

	type outer struct {
		Root    *Root
		Token   AuthToken
		Key     DEK
		Secret  Secret
		Pointer *Secret
		root    *Root
		token   AuthToken
		key     DEK
		secret  Secret
	}
	nested := outer{root, tok, dek, secret, &secret, root, tok, dek, secret}
	values := []any{
		root, tok, dek, secret, &tok, &dek, &secret, nested, &nested,
		[]Secret{secret}, map[string]AuthToken{"token": tok}, []any{dek, root},
	}

	var out bytes.Buffer
	logs := []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%T", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v, fmt.Errorf("failed: %v", v))
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Error(err)
		}
		for _, log := range logs {
			log.Info("said", "value", v, slog.Group("group", "value", v))
		}
	}

	printed := out.String()
	for name, b := range hidden {
		// Two thirds of a secret are a leak as well.
		part := b[:2*len(b)/3/3*3]
		for form, text := range map[string]string{
			"raw":       string(part),
			"hex":       hex.EncodeToString(part),
			"base64":    base64.StdEncoding.EncodeToString(part),
			"base64url": base64.URLEncoding.EncodeToString(part),
			"numbers":   strings.Trim(fmt.Sprint(part), "[]"),
		} {
			if strings.Contains(strings.ToLower(printed), strings.ToLower(text)) {
				t.Errorf("the %s was printed as %s", name, form)
			}
		}
	}
	if strings.Contains(printed, tok.Reveal()) {
		t.Error("the token was printed as it is written")
	}
	if !strings.Contains(printed, placeholder) {
		t.Error("nothing was printed")
	}
}

func TestSecretIsACopyAndCanBeCleared(t *testing.T) {
	text := []byte("secret")
	s := NewSecret(text)
	text[0] = 'X'
	if s.Reveal() != "secret" {
		t.Errorf("%q, want the text as it was", s.Reveal())
	}
	same, inside := s, s.Bytes()
	s.Clear()
	if same.Reveal() != "" || !bytes.Equal(inside, make([]byte, 6)) {
		t.Errorf("%q and %q are left", same.Reveal(), inside)
	}
	Secret{}.Clear()
	if (Secret{}).Reveal() != "" {
		t.Error("the zero Secret holds something")
	}
}
