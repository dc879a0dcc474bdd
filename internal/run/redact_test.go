package run

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

func quoted(text string) jsontext.Value {
	v, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		panic(err)
	}
	return v
}

func unquoted(v jsontext.Value) string {
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// forms are the ways in which a program may write what it was given. Each
// returns the whole, and the part of it that tells of the secret.
var forms = map[string]func(before, secret, after string) (whole, telling string){
	"raw": func(b, s, a string) (string, string) { return b + s + a, s },
	"hex": func(b, s, a string) (string, string) { return hexed(b + s + a), hexed(s) },
	"HEX": func(b, s, a string) (string, string) {
		return strings.ToUpper(hexed(b + s + a)), strings.ToUpper(hexed(s))
	},
	"hex in lines": func(b, s, a string) (string, string) {
		whole := hexed(b + s + a)
		return whole[:len(whole)/2] + "\n" + whole[len(whole)/2:], hexed(s)
	},
	"odd hex":    func(b, s, a string) (string, string) { return "f" + hexed(b+s+a), hexed(s) },
	"query":      func(b, s, a string) (string, string) { return url.QueryEscape(b + s + a), url.QueryEscape(s) },
	"path":       func(b, s, a string) (string, string) { return url.PathEscape(b + s + a), url.PathEscape(s) },
	"all of %xx": func(b, s, a string) (string, string) { return percented(b + s + a), percented(s) },
	"JSON": func(b, s, a string) (string, string) {
		inQuotes := string(quoted(s))
		return "{" + string(quoted(b+s+a)) + "}", inQuotes[1 : len(inQuotes)-1]
	},
	"all of \\u":   func(b, s, a string) (string, string) { return unicoded(b + s + a), unicoded(s) },
	"base64":       func(b, s, a string) (string, string) { return based(base64.StdEncoding, b, s, a) },
	"base64url":    func(b, s, a string) (string, string) { return based(base64.URLEncoding, b, s, a) },
	"base64, bare": func(b, s, a string) (string, string) { return based(base64.RawStdEncoding, b, s, a) },
	"base64 in text": func(b, s, a string) (string, string) {
		w, t := based(base64.RawURLEncoding, b, s, a)
		return "key" + w + "!", t
	},
	"base64 in lines": func(b, s, a string) (string, string) {
		whole, telling := based(base64.StdEncoding, b, s, a)
		return whole[:len(whole)/2] + "\r\n" + whole[len(whole)/2:], telling
	},
}

func hexed(s string) string { return hex.EncodeToString([]byte(s)) }

func percented(s string) (out string) {
	for _, b := range []byte(s) {
		out += fmt.Sprintf("%%%02x", b)
	}
	return out
}

func unicoded(s string) (out string) {
	for _, r := range s {
		if r > 0xffff {
			r -= 0x10000
			out += fmt.Sprintf(`\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		out += fmt.Sprintf(`\u%04x`, r)
	}
	return out
}

// based returns the base64 of the three, and of it the digits that are made of
// the secret's bits alone.
func based(e *base64.Encoding, before, secret, after string) (whole, telling string) {
	whole = e.EncodeToString([]byte(before + secret + after))
	from, to := (8*len(before)+5)/6, 8*(len(before)+len(secret))/6
	return whole, whole[from:to]
}

func TestASecretIsCutOutInEveryForm(t *testing.T) {
	secrets := []string{"hunter22", "four", `q"uo\te/s`, "pässwörd ÿ𝄞", "a b+c&d=e%f", "\tlines\nof text\r\n", strings.Repeat("xyz", 100)}
	for _, secret := range secrets {
		c := newCutter([]jsontext.Value{quoted(secret)}, nil)
		for name, form := range forms {
			for i := range 7 {
				before, after := "~~~~~~~"[:i], "-------"[:6-i]
				whole, telling := form(before, secret, after)
				got := c.text(whole)
				if !strings.Contains(got, redacted) || strings.Contains(got, telling) {
					t.Errorf("%q in %s after %d bytes: %q became %q", secret, name, i, whole, got)
				}
				if out, err := c.json(quoted(whole)); err != nil || unquoted(out) != got {
					t.Errorf("as JSON: %s, %v, want %q", out, err, got)
				}
			}
		}
	}
}

func TestWhatIsNoSecretStays(t *testing.T) {
	c := newCutter([]jsontext.Value{quoted("hunter22"), quoted("no"), jsontext.Value("17"), jsontext.Value("true")},
		[]jsontext.Value{jsontext.Value(`{"cookie":"abcdef","short":"abcde","n":1234567,"deep":[{"x":"ghijkl"}]}`)})
	for in, want := range map[string]string{
		`{"a":"hunter2","b":[1.10,-2e3,true,null],"c":{}}`: `{"a":"hunter2","b":[1.10,-2e3,true,null],"c":{}}`,
		`"no"`:                   `"[redacted]"`,
		`"now, no"`:              `"now, no"`,
		`[17,170,"17","x17"]`:    `["[redacted]",170,"[redacted]","x17"]`,
		`["abcdef","abcde"]`:     `["[redacted]","abcde"]`,
		`[1234567,"xghijklx"]`:   `[1234567,"x[redacted]x"]`,
		`"cookie"`:               `"cookie"`,
		`{"hunter22":1}`:         `{"[redacted]":1}`,
		`"hunter22hunter22"`:     `"[redacted]"`,
		`"hunter22 hunter22"`:    `"[redacted] [redacted]"`,
		`"xhunter22"`:            `"x[redacted]"`,
		` [ "a" , "hunter22" ] `: `["a","[redacted]"]`,
	} {
		if got, err := c.json(jsontext.Value(in)); err != nil || string(got) != want {
			t.Errorf("%s became %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestASecretNumberIsCutOutOfNumbers(t *testing.T) {
	c := newCutter([]jsontext.Value{jsontext.Value("4711")}, nil)
	got, err := c.json(jsontext.Value(`{"a":4711,"b":947110.5,"c":"pin 4711","d":471}`))
	if want := `{"a":"[redacted]","b":"[redacted]","c":"pin [redacted]","d":471}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

func TestNamesThatBecomeAlikeStayApart(t *testing.T) {
	c := newCutter([]jsontext.Value{quoted("secret-1"), quoted("secret-2"), quoted("secret-3")}, nil)
	got, err := c.json(jsontext.Value(`{"[redacted] 2":0,"secret-1":1,"secret-2":2,"secret-3":3,"in":{"secret-1":4}}`))
	if want := `{"[redacted] 2":0,"[redacted]":1,"[redacted] 3":2,"[redacted] 4":3,"in":{"[redacted]":4}}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if !got.IsValid() {
		t.Error("it is not valid JSON any more")
	}
}

func TestTheLongestOfOverlappingSecretsIsCutOut(t *testing.T) {
	c := newCutter([]jsontext.Value{quoted("abcd"), quoted("abcdefgh"), quoted("efghij"), quoted("cdef")}, nil)
	for in, want := range map[string]string{"abcdefghij": redacted, "xabcdy": "x[redacted]y", "abcdefghabcd": redacted, "abcabcd": "abc[redacted]"} {
		if got := c.text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestAManifoldOfSecretsIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	session := []byte(`{`)
	var texts []string
	for i := range 6000 {
		b := make([]byte, 6+random.IntN(300))
		for j := range b {
			b[j] = "abcdefgh"[random.IntN(8)]
		}
		if i == 0 {
			b = bytes.Repeat([]byte("long-"), 300<<10/5)
		}
		texts = append(texts, string(b))
		session = fmt.Appendf(session, `"k%d":"%s",`, i, b)
	}
	session[len(session)-1] = '}'
	c := newCutter(nil, []jsontext.Value{session})
	if len(c.finders) < 2 {
		t.Error("the test is too small to need a second finder")
	}
	for i := 0; i < len(texts); i += 500 {
		if got := c.text("<" + texts[i] + ">"); got != "<"+redacted+">" {
			t.Errorf("text %d became %.100q", i, got)
		}
	}
	if got := c.text("nothing of it, ijklmnop"); got != "nothing of it, ijklmnop" {
		t.Errorf("what is no secret became %q", got)
	}
}

func TestAFinderFindsWhatASimpleSearchFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	word := func(most int) []byte {
		b := make([]byte, 1+random.IntN(most))
		for i := range b {
			b[i] = "ab"[random.IntN(2)]
		}
		return b
	}
	for range 500 {
		var texts [][]byte
		for range 1 + random.IntN(8) {
			texts = append(texts, word(6))
		}
		in := word(60)
		want, got := make([]bool, len(in)), make([]bool, len(in))
		for _, text := range texts {
			for i := range in {
				if bytes.HasPrefix(in[i:], text) {
					for j := range text {
						want[i+j] = true
					}
				}
			}
		}
		newFinder(texts).scan(in, func(from, to int) {
			for ; from < to; from++ {
				got[from] = true
			}
		})
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q in %q: %v, want %v", texts, in, got, want)
		}
	}
}

func FuzzNoFormOfASecretIsLeft(f *testing.F) {
	f.Add("hunter22", uint8(0), uint8(0))
	f.Add("\\u0041\"%2f+", uint8(1), uint8(2))
	f.Add("aaaa", uint8(2), uint8(0))
	f.Add("pässwörd", uint8(3), uint8(1))
	f.Fuzz(func(t *testing.T, secret string, m, n uint8) {
		// What stands around it is of letters that it has not, or it could
		// be spelt by both together.
		before, after := strings.Repeat("~", int(m%8)), strings.Repeat("-", int(n%8))
		if !utf8.ValidString(secret) || utf8.RuneCountInString(secret) < leastValue || len(secret) > 100 || strings.ContainsAny(secret, "~-") || strings.Contains(redacted, secret) {
			return
		}
		c := newCutter([]jsontext.Value{quoted(secret)}, nil)
		for name, form := range forms {
			whole, telling := form(before, secret, after)
			got, err := c.json(quoted(whole))
			if err != nil || !got.IsValid() {
				t.Fatalf("%s: %v", name, err)
			}
			// What is left on both sides of a cut may spell a telling that
			// overlaps the cut's own name.
			for part := range strings.SplitSeq(unquoted(got), redacted) {
				if strings.HasPrefix(name, "base64") {
					// Its telling digits leave out bits at both ends, so others
					// may have them, too.
					if holdsBase64(part, secret) {
						t.Fatalf("%s: %q is left in %q", name, secret, part)
					}
				} else if strings.Contains(part, telling) {
					t.Fatalf("%s: %q of %q is left in %q", name, telling, whole, unquoted(got))
				}
			}
		}
	})
}

// holdsBase64 reports whether text holds base64 of something with secret in it.
func holdsBase64(text, secret string) bool {
	text = strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(text)
	for run := range strings.FieldsFuncSeq(text, func(r rune) bool { return r > 'z' || base64Digit[r] < 0 }) {
		for ; len(run) >= 4; run = run[1:] {
			padded := run + strings.Repeat("A", (4-len(run)%4)%4)
			if plain, err := base64.StdEncoding.DecodeString(padded); err == nil && strings.Contains(string(plain[:len(run)*6/8]), secret) {
				return true
			}
		}
	}
	return false
}

// The time must grow with the text and not with what looks for trouble in it.
func BenchmarkCut(b *testing.B) {
	const size = 8 << 20
	plain := strings.Repeat("The quick brown fox, 0123456789 jumps. ", size/39)
	random := rand.New(rand.NewPCG(1, 2))
	blob := make([]byte, size*3/4)
	for i := range blob {
		blob[i] = byte(random.Uint32())
	}
	var many []jsontext.Value
	for i := range 1000 {
		many = append(many, quoted(fmt.Sprintf("%d-cookie-value-%d", i*7919, i)))
	}
	var periodic []jsontext.Value
	for i := range 60 {
		periodic = append(periodic, quoted(strings.Repeat("a", 1000*(i+1))))
	}
	for _, bench := range []struct {
		name    string
		text    string
		secrets []jsontext.Value
	}{
		{"prose", plain, many[:10]},
		{"prose, 1000 secrets", plain, many},
		{"base64", base64.StdEncoding.EncodeToString(blob), many[:10]},
		{"all one letter", strings.Repeat("a", size), periodic},
		{"nearly a secret", strings.Repeat(strings.Repeat("a", 900)+"b", size/901), periodic},
		{"all escaped", strings.Repeat("%61", size/3), periodic},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c := newCutter(bench.secrets, nil)
			b.SetBytes(int64(len(bench.text)))
			for b.Loop() {
				c.text(bench.text)
			}
		})
	}
}
