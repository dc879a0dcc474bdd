package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestAuthTokenReadsWhatItWrote(t *testing.T) {
	for range 100 {
		tok := NewAuthToken()
		text := tok.Reveal()
		if len(text) != 60 || !strings.HasPrefix(text, "kwt1") {
			t.Fatalf("%q is not 60 characters after kwt1", text)
		}
		again, err := ParseAuthToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.bytes(), tok.bytes()) {
			t.Fatal("another token was read than was written")
		}
	}
}

func TestAnAuthTokenMistypedAnywhereIsRefused(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := NewAuthToken().Reveal()
	for i := range text {
		for _, c := range alphabet + "+/=. \n\x00é" {
			mistyped := text[:i] + string(c) + text[i+1:]
			if mistyped == text {
				continue
			}
			if _, err := ParseAuthToken(mistyped); !errors.Is(err, ErrToken) {
				t.Errorf("character %d as %q: %v, want ErrToken", i, c, err)
			}
		}
		if _, err := ParseAuthToken(text[:i]); !errors.Is(err, ErrToken) {
			t.Errorf("cut to %d characters: %v, want ErrToken", i, err)
		}
	}
}

func FuzzParseAuthToken(f *testing.F) {
	all := readVectors(f)
	for _, v := range all.AuthTokens {
		f.Add(v.Text)
	}
	for _, v := range all.BadAuthTokens {
		f.Add(v.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseAuthToken(text)
		if err != nil {
			return
		}
		if tok.Reveal() != text {
			t.Errorf("%q is written as %q", text, tok.Reveal())
		}
		if _, err := base64.RawURLEncoding.Strict().DecodeString(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
