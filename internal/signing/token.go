package signing

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// MaxToken is the length of the longest token that is looked at.
const MaxToken = 8 << 10

// Sign returns the token that says claims, a JSON object. It has to expire within
// MaxTokenLife.
func (s *Store) Sign(ctx context.Context, claims []byte) (string, error) {
	k := s.find(s.signs)
	if k == nil { // the machine slept for long, and Loop with it
		if err := s.rotate(ctx); err != nil {
			return "", err
		}
		if k = s.find(s.signs); k == nil {
			return "", errors.New("signing: there is no key")
		}
	}
	return k.sign(claims)
}

func (s *Store) signs(k *key) bool { return k.signs(s.Now()) }

// Verify returns the claims of a token, and whether one of the published keys
// signed it. It does not look at the claims.
func (s *Store) Verify(ctx context.Context, token string) (claims []byte, ours bool, err error) {
	if len(token) > MaxToken {
		return nil, false, nil
	}
	header, rest, _ := strings.Cut(token, ".")
	body, signature, _ := strings.Cut(rest, ".")
	if !isCanonical(body) || !isCanonical(signature) {
		return nil, false, nil
	}
	k, err := s.keyOf(ctx, header)
	if err != nil || k == nil {
		return nil, false, err
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, false, nil
	}
	claims, err = signed.Verify(k.public.Key)
	if err != nil {
		return nil, false, nil
	}
	return claims, true, nil
}

// isCanonical reports whether part is base64url as it is written: Go's decoder
// also takes line breaks, and other bits at the end.
func isCanonical(part string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && base64.RawURLEncoding.EncodeToString(raw) == part
}

// find returns the first key that is published now and matches, or nil.
func (s *Store) find(matches func(*key) bool) *key {
	keys, now := s.all(), s.Now()
	for i := range keys {
		if k := &keys[i]; k.published(now) && matches(k) {
			return k
		}
	}
	return nil
}

// keyOf returns the key whose tokens begin with header, or nil. Another server
// may have made it a moment ago, so it looks in the database too, but not more
// than once a second, for anybody can make up a header.
func (s *Store) keyOf(ctx context.Context, header string) (*key, error) {
	matches := func(k *key) bool { return k.header == header }
	if k := s.find(matches); k != nil {
		return k, nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if since := s.Now().Sub(s.loaded); since >= time.Second || since < 0 {
		if err := s.load(ctx); err != nil {
			return nil, err
		}
	}
	return s.find(matches), nil
}

// JWKS returns the public keys that tokens verify against, as RFC 7517 has them:
// the one in use, those before it and those after it.
func (s *Store) JWKS() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	keys, now := s.all(), s.Now()
	for i := range keys {
		if k := &keys[i]; k.published(now) {
			set.Keys = append(set.Keys, k.public)
		}
	}
	return json.Marshal(set)
}
