package signing

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// newStore returns the store of one of the servers on d.
func newStore(t *testing.T, d *db.DB, root *seal.Root, c *clock) *Store {
	t.Helper()
	return &Store{Acts: &access.Acts{DB: d, Root: root, Now: c.now}, DB: d, Root: root, Now: c.now, Log: slog.New(slog.DiscardHandler)}
}

func started(t *testing.T, d *db.DB) (*Store, *clock) {
	t.Helper()
	root, _ := seal.NewRoot()
	c := newClock()
	s := newStore(t, d, root, c)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, c
}

func exec(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		n, err := tx.Exec(t.Context(), query, args...)
		if err == nil && n == 0 {
			return errors.New("no row was changed")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sign(t *testing.T, s *Store) string {
	t.Helper()
	token, err := s.Sign(t.Context(), []byte(`{"sub":"jane"}`))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func isOurs(t *testing.T, s *Store, token string) bool {
	t.Helper()
	claims, ours, err := s.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if ours && string(claims) != `{"sub":"jane"}` {
		t.Errorf("the claims came back as %s", claims)
	}
	return ours
}

// published returns the public keys by their names, as a verifier reads them.
func published(t *testing.T, s *Store) map[string]ed25519.PublicKey {
	t.Helper()
	text, err := s.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	keys := map[string]ed25519.PublicKey{}
	for _, k := range set.Keys {
		if !k.IsPublic() || k.Algorithm != "EdDSA" || k.Use != "sig" {
			t.Errorf("a published key is %+v", k)
		}
		keys[k.KeyID] = k.Key.(ed25519.PublicKey)
	}
	return keys
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	h := signed.Signatures[0].Protected
	if h.ExtraHeaders["typ"] != "at+jwt" || h.Algorithm != "EdDSA" || len(h.ExtraHeaders) != 1 {
		t.Errorf("the header of a token is %+v", h)
	}
	return h.KeyID
}

func TestATokenVerifiesHereAndWithThePublishedKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := started(t, d)
		token := sign(t, s)
		if !isOurs(t, s, token) {
			t.Error("a token that was just signed is not ours")
		}
		signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signed.Verify(published(t, s)[kidOf(t, token)]); err != nil {
			t.Errorf("with the published key: %v", err)
		}
	})
}

func TestKeysRotateEvery30DaysAndArePublishedADayBefore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, c := started(t, d)
		begin := c.now()
		signers := map[string]time.Time{} // when each signed first
		seen := map[string]time.Time{}    // when each was published first
		var last string                   // the token of the round before
		for c.now().Sub(begin) < 65*24*time.Hour {
			if err := s.tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			keys := published(t, s)
			if len(keys) > 3 {
				t.Fatalf("%d keys are published", len(keys))
			}
			for kid := range keys {
				if _, ok := seen[kid]; !ok {
					seen[kid] = c.now()
				}
			}
			token := sign(t, s)
			kid := kidOf(t, token)
			if keys[kid] == nil {
				t.Fatal("a key signs that is not published")
			}
			if _, ok := signers[kid]; !ok {
				signers[kid] = c.now()
				if lead := c.now().Sub(seen[kid]); len(signers) > 1 && lead < 23*time.Hour {
					t.Errorf("a key was published for %v before it signed", lead)
				}
			}
			if last != "" && !isOurs(t, s, last) {
				t.Fatal("a token of an hour ago does not verify")
			}
			last = token
			c.pass(MaxTokenLife - time.Second)
		}
		if len(signers) != 3 {
			t.Errorf("%d keys signed in 65 days, want 3", len(signers))
		}
		var rows int
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM signing_keys`).Scan(&rows); err != nil || rows > 3 {
			t.Errorf("%d keys are kept (%v)", rows, err)
		}
	})
}

func TestAfterALongTimeOffAServerSignsAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, c := started(t, d)
		old := sign(t, s)
		for _, off := range []time.Duration{31*24*time.Hour + 12*time.Hour, 400 * 24 * time.Hour} {
			c.pass(off)
			if token := sign(t, s); !isOurs(t, s, token) {
				t.Errorf("after %v it does not know its own token", off)
			}
			if err := s.tend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if isOurs(t, s, old) {
			t.Error("a token of a retired key verifies")
		}
	})
}

func TestServersThatStartAtOnceMakeOneKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root, _ := seal.NewRoot()
		c := newClock()
		var servers []*Store
		for range 5 {
			servers = append(servers, newStore(t, d, root, c))
		}
		var wg sync.WaitGroup
		for _, s := range servers {
			wg.Go(func() {
				if err := s.Start(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, s := range servers {
			if n := len(published(t, s)); n != 1 {
				t.Errorf("%d keys", n)
			}
			if !isOurs(t, servers[0], sign(t, s)) {
				t.Error("a server does not know another's token")
			}
		}
	})
}

func TestATokenOfAKeyThatAnotherServerJustMadeVerifies(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, c := started(t, d)
		c.pass(40 * 24 * time.Hour)
		other := newStore(t, d, s.Root, c)
		if err := other.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !isOurs(t, s, sign(t, other)) {
			t.Error("it does not verify")
		}
	})
}

// attacks are tokens that look like one of s's.
func attacks(t *testing.T, s *Store) map[string]string {
	t.Helper()
	good := sign(t, s)
	header, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	k := s.all()[0]

	signWith := func(alg jose.SignatureAlgorithm, key any, o *jose.SignerOptions) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(`{"sub":"jane"}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	typ := func(name string) *jose.SignerOptions { return (&jose.SignerOptions{}).WithType(jose.ContentType(name)) }
	ours := jose.JSONWebKey{Key: k.private, KeyID: k.public.KeyID}
	_, mine, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := k.public.Key.(ed25519.PublicKey)
	// The last character has four bits that say nothing, and are zero.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(signature) - 1
	lastBits := signature[:last] + string(alphabet[strings.IndexByte(alphabet, signature[last])+1])
	return map[string]string{
		"empty":                         "",
		"dots alone":                    "..",
		"not a JWT":                     "ra_live_abc",
		"no signature":                  header + "." + body + ".",
		"two parts":                     header + "." + body,
		"four parts":                    good + ".",
		"alg none":                      b64([]byte(`{"alg":"none","kid":"`+k.public.KeyID+`","typ":"at+jwt"}`)) + "." + body + ".",
		"alg none with the signature":   b64([]byte(`{"alg":"none","kid":"`+k.public.KeyID+`","typ":"at+jwt"}`)) + "." + body + "." + signature,
		"HS256 with the public key":     signWith(jose.HS256, jose.JSONWebKey{Key: []byte(public), KeyID: k.public.KeyID}, typ("at+jwt")),
		"another key under this kid":    signWith(jose.EdDSA, jose.JSONWebKey{Key: mine, KeyID: k.public.KeyID}, typ("at+jwt")),
		"another key under another kid": signWith(jose.EdDSA, jose.JSONWebKey{Key: mine, KeyID: "mine"}, typ("at+jwt")),
		"a key that the token brings":   signWith(jose.EdDSA, mine, &jose.SignerOptions{EmbedJWK: true}),
		"the type of a plain JWT":       signWith(jose.EdDSA, ours, typ("JWT")),
		"no type":                       signWith(jose.EdDSA, ours, nil),
		"no kid":                        signWith(jose.EdDSA, k.private, typ("at+jwt")),
		"a header more":                 signWith(jose.EdDSA, ours, typ("at+jwt").WithHeader("x", "y")),
		"a critical header":             signWith(jose.EdDSA, ours, typ("at+jwt").WithCritical("x")),
		"an unencoded body":             signWith(jose.EdDSA, ours, typ("at+jwt").WithBase64(false)),
		"another body":                  header + "." + b64([]byte(`{"sub":"bob"}`)) + "." + signature,
		"other bits at the end":         header + "." + body + "." + lastBits,
		"padding":                       header + "." + body + "." + signature + "==",
		"a line break in the body":      header + "." + body[:4] + "\n" + body[4:] + "." + signature,
		"a line break in the signature": header + "." + body + "." + signature[:4] + "\r\n" + signature[4:],
		"a space before":                " " + good,
		"a line break after":            good + "\n",
		"the JSON form":                 `{"payload":"` + body + `","protected":"` + header + `","signature":"` + signature + `"}`,
		"oversize":                      header + "." + strings.Repeat("A", MaxToken) + "." + signature,
	}
}

func TestForgedTokensAreNotOurs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := started(t, d)
		for name, token := range attacks(t, s) {
			if isOurs(t, s, token) {
				t.Errorf("%s: it was taken", name)
			}
		}
	})
}

func TestTheLongestTokenIs8KiB(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := started(t, d)
		for claims, want := range map[int]bool{5900: true, 6200: false} {
			token, err := s.Sign(t.Context(), []byte(`{"x":"`+strings.Repeat("x", claims)+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			if _, ours, err := s.Verify(t.Context(), token); ours != want || err != nil {
				t.Errorf("a token of %d bytes: %v, %v", len(token), ours, err)
			}
		}
	})
}

func TestAKeyWhoseRowWasChangedIsNotUsed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, forge := range map[string]string{
			"a longer life":     `UPDATE signing_keys SET retires_at = retires_at + 1`,
			"an earlier use":    `UPDATE signing_keys SET active_at = active_at - 1`,
			"another beginning": `UPDATE signing_keys SET created_at = created_at - 1`,
			"another number":    `UPDATE signing_keys SET id = '7'`,
			"no number":         `UPDATE signing_keys SET id = 'x'`,
			"no box":            `UPDATE signing_keys SET private = $1`,
		} {
			t.Run(name, func(t *testing.T) {
				s, c := started(t, d)
				var args []any
				if strings.Contains(forge, "$1") {
					args = append(args, []byte{})
				}
				exec(t, d, forge, args...)
				if err := newStore(t, d, s.Root, c).Start(t.Context()); !errors.Is(err, seal.ErrOpen) {
					t.Errorf("a server starts with it: %v", err)
				}
				exec(t, d, `DELETE FROM signing_keys`)
			})
		}
	})
}

func TestResealRenewsTheKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, c := started(t, d)
		token := sign(t, s)
		version, _ := s.Root.AddNew()
		if err := s.Root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{1, 0} {
			if n, err := s.Reseal(t.Context(), 10); n != want || err != nil {
				t.Fatalf("call %d renewed %d (%v), want %d", i, n, err, want)
			}
		}
		if err := s.Root.Remove(1); err != nil {
			t.Fatal(err)
		}
		again := newStore(t, d, s.Root, c)
		if err := again.Start(t.Context()); err != nil || !isOurs(t, again, token) {
			t.Errorf("without the old root key: %v", err)
		}
	})
}

func FuzzVerify(f *testing.F) {
	d, err := db.Open(f.Context(), "sqlite:"+f.TempDir()+"/keyward.db")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { d.Close() })
	if err := d.Migrate(f.Context()); err != nil {
		f.Fatal(err)
	}
	root, _ := seal.NewRoot()
	c := newClock()
	s := &Store{Acts: &access.Acts{DB: d, Root: root, Now: c.now}, DB: d, Root: root, Now: c.now, Log: slog.New(slog.DiscardHandler)}
	if err := s.Start(f.Context()); err != nil {
		f.Fatal(err)
	}
	good, err := s.Sign(f.Context(), []byte(`{"sub":"jane"}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		if _, ours, err := s.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		} else if ours && token != good {
			t.Errorf("%q was taken", token)
		}
	})
}
