package run

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/agent"
)

// discard is a sink that nobody looks into.
type discard struct{}

func (discard) chunk(jsontext.Value) {}
func (discard) log([]byte)           {}

// collector is a sink that keeps all it is given.
type collector struct {
	mu     sync.Mutex
	chunks []string // JSON
	lines  []string
	seen   func() // called after each; nil: nothing
}

func (c *collector) chunk(v jsontext.Value) { c.add(&c.chunks, string(v)) }
func (c *collector) log(line []byte)        { c.add(&c.lines, string(line)) }

func (c *collector) add(to *[]string, text string) {
	c.mu.Lock()
	*to = append(*to, text)
	c.mu.Unlock()
	if c.seen != nil {
		c.seen()
	}
}

// text returns the chunks, which are texts, as one.
func (c *collector) text() (all string) {
	for _, chunk := range c.chunks {
		all += unquoted(jsontext.Value(chunk))
	}
	return all
}

func (c *collector) joined() string { return strings.Join(c.lines, "\n") }

func TestASecretThatComesInSeveralChunksIsCutOut(t *testing.T) {
	for _, secret := range []string{"hunter22", "four", `q"uo\te/s`, "pässwörd ÿ𝄞", "a b+c&d=e%f", strings.Repeat("xyz", 40)} {
		c := newCutter([]jsontext.Value{quoted(secret)}, nil)
		for name, form := range forms {
			for i := range 4 {
				whole, telling := form("~~~~~~~"[:i], secret, "-------"[:6-i])
				for split := range len(whole) + 1 {
					if !utf8.ValidString(whole[:split]) {
						continue
					}
					for _, parts := range [][]string{{whole[:split], whole[split:]}, {whole[:split], "", whole[split:], " end"}} {
						var got collector
						r := newRedactor(c, &got)
						for _, part := range parts {
							r.chunk(quoted(part))
						}
						r.close()
						if all := got.text(); !strings.Contains(all, redacted) || strings.Contains(all, telling) || tail(all, telling) > 0 {
							t.Fatalf("%q in %s, as %q: %q", secret, name, parts, got.chunks)
						}
					}
				}
				// A letter at a time, as from a language model.
				var got collector
				r := newRedactor(c, &got)
				for _, letter := range whole {
					r.chunk(quoted(string(letter)))
				}
				r.close()
				if all := got.text(); !strings.Contains(all, redacted) || tail(all, telling) > 0 {
					t.Fatalf("%q in %s, a letter at a time: %q", secret, name, got.chunks)
				}
			}
		}
	}
}

// tail returns how long the longest end of telling is that all has, from the
// length on that can't be there by chance.
func tail(all, telling string) int {
	const least = 8
	for i := 1; i+least < len(telling); i++ {
		if strings.Contains(all, telling[i:]) {
			return len(telling) - i
		}
	}
	return 0
}

func TestASecretOfSeveralLinesIsCutOutOfALog(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	der := make([]byte, 300)
	for i := range der {
		der[i] = byte(random.Uint32())
	}
	key := "-----BEGIN PRIVATE KEY-----\n" + wrapped(base64.StdEncoding.EncodeToString(der), 64) + "-----END PRIVATE KEY-----\n"
	short := "ab\ncd\nef\ngh\nij"
	c := newCutter([]jsontext.Value{quoted(key), quoted(short)}, nil)
	for name, tt := range map[string]struct{ text, want string }{
		"a key":                  {"before\n" + key + "after", "before\n[redacted]\nafter"},
		"a key, within lines":    {"the key " + key + "after", "the key [redacted]\nafter"},
		"a part of a key":        {"x\n" + strings.Join(strings.Split(key, "\n")[2:4], "\n") + "\nx", "x\n[redacted]\n[redacted]\nx"},
		"many short lines":       {"x\nab\ncd\nef\ngh\nij\nx", "x\n[redacted]\nx"},
		"all but the last":       {"x\nab\ncd\nef\ngh\nx", "x\nab\ncd\nef\ngh\nx"},
		"all, at the end":        {"x\n" + short, "x\n[redacted]"},
		"nearly all, at the end": {"x\nab\ncd\nef\ngh", "x\n[redacted]"},
		"base64, in lines":       {"x\n" + wrapped(base64.StdEncoding.EncodeToString([]byte("user:"+key)), 76) + "x", ""},
		"hex, in lines":          {"x!\n" + wrapped(hexed("user:"+key), 60) + "x", ""},
		"no secret":              {"a\n\nb", "a\n\nb"},
	} {
		var got collector
		r := newRedactor(c, &got)
		for line := range strings.Lines(tt.text) {
			r.log([]byte(strings.TrimRight(line, "\n")))
		}
		r.close()
		all := got.joined()
		if tt.want != "" && all != tt.want {
			t.Errorf("%s: %q, want %q", name, all, tt.want)
		}
		if len(all) > 100 {
			t.Errorf("%s: too much is left: %q", name, all)
		}
	}
}

func wrapped(text string, width int) (lines string) {
	for len(text) > width {
		lines, text = lines+text[:width]+"\n", text[width:]
	}
	return lines + text + "\n"
}

// What is not held comes out at once: whoever watches a run that hangs must see
// how far it came.
func TestALineIsShownAtOnceUnlessASecretMayGoOn(t *testing.T) {
	c := newCutter([]jsontext.Value{quoted("hunter22"), quoted("one\ntwo"), quoted("no")}, nil)
	var got collector
	r := newRedactor(c, &got)
	for _, step := range []struct{ line, want string }{
		{"signing in", "signing in"},
		{"hunter22 and a hun", "[redacted] and a hun"}, // a line end is no part of it
		{"", ""},
		{"no", "[redacted]"},
		{"no!", "no!"},
		{"\x1b[31mred\x07 \xff\r", " [31mred  \uFFFD"},
		{"one", ""}, // held
		{"three", "one\nthree"},
		{"the one", ""},
		{"two, and more", "the [redacted]\n, and more"},
	} {
		got.lines = nil
		r.log([]byte(step.line))
		if all := got.joined(); all != step.want {
			t.Errorf("%q: %q, want %q", step.line, all, step.want)
		}
	}
}

func TestALineTooLongIsCutAfterItsSecrets(t *testing.T) {
	secret := strings.Repeat("s3cret-", 3000) // longer than what is shown
	c := newCutter([]jsontext.Value{quoted(secret)}, nil)
	for before := range 3 {
		for _, at := range []int{0, maxLine - 10, maxLine, maxRawLine - 10, maxRawLine - len(secret), maxRawLine - len(secret) + 1} {
			var got collector
			r := newRedactor(c, &got)
			log := &stderr{room: maxLog, to: r}
			fmt.Fprintf(log, "%s%s%s and on\nnext\n", strings.Repeat("ü", before), strings.Repeat(".", at), secret)
			log.end()
			r.close()
			if len(got.lines) != 2 || got.lines[1] != "next" || strings.Contains(got.lines[0], "s3c") || len(got.lines[0]) > maxLine+len("…") || !utf8.ValidString(got.lines[0]) {
				t.Errorf("at %d: %.50q …, %d lines", at, got.lines, len(got.lines))
			}
		}
	}
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	// Each line could go on to be the secret, for ever.
	secret := strings.Repeat("a\n", 1<<19)
	c := newCutter(nil, []jsontext.Value{jsontext.Value(`{"x":` + string(quoted(secret)) + `}`)})
	var got collector
	r := newRedactor(c, &got)
	for range maxHeld {
		r.log([]byte("a"))
		if len(r.lines.held) > maxHeld+2 {
			t.Fatalf("%d bytes are held", len(r.lines.held))
		}
	}
	r.close()
	for i, line := range got.lines {
		if i > 0 && line != redacted { // the first alone tells next to nothing
			t.Fatalf("line %d of %d is shown: %q", i, len(got.lines), line)
		}
	}
}

func TestOtherChunksAreCutEachByItself(t *testing.T) {
	c := newCutter([]jsontext.Value{quoted("hunter22")}, nil)
	var got collector
	r := newRedactor(c, &got)
	for _, chunk := range []string{`{"a":["hunter22",1]}`, `"hun"`, `"ter22"`, `"hun"`, `null`, `"hunt"`, `7`} {
		r.chunk(jsontext.Value(chunk))
	}
	r.close()
	if want := `{"a":["[redacted]",1]} "[redacted]" "hun" null "hunt" 7`; strings.Join(got.chunks, " ") != want {
		t.Errorf("%q, want %s", got.chunks, want)
	}
}

func FuzzNoSecretIsLeftInAStream(f *testing.F) {
	f.Add("hunter22", "say hun", "ter22 now", uint16(3))
	f.Add("two\nlines", "two", "lines", uint16(0))
	f.Fuzz(func(t *testing.T, secret, before, after string, seed uint16) {
		if !utf8.ValidString(secret) || !utf8.ValidString(before) || !utf8.ValidString(after) || utf8.RuneCountInString(secret) < leastValue || strings.TrimSpace(secret) != secret ||
			strings.Contains(redacted, secret) || len(secret) > 200 {
			return
		}
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		c := newCutter([]jsontext.Value{quoted(secret)}, nil)
		whole := before + secret + after
		var got collector
		r := newRedactor(c, &got)
		for rest := whole; rest != ""; {
			n := 1 + random.IntN(min(len(rest), 12))
			for n < len(rest) && !utf8.RuneStart(rest[n]) {
				n++
			}
			r.chunk(quoted(rest[:n]))
			rest = rest[n:]
		}
		r.close()
		for part := range strings.SplitSeq(got.text(), redacted) {
			if strings.Contains(part, secret) {
				t.Fatalf("%q is left of %q: %q", secret, whole, got.chunks)
			}
		}

		r = newRedactor(c, &got)
		log := &stderr{room: maxLog, to: r}
		for rest := whole; rest != ""; {
			n := 1 + random.IntN(min(len(rest), 12))
			_, _ = log.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		log.end()
		r.close()
		for part := range strings.SplitSeq(got.joined(), redacted) {
			// What is made readable may come to look like a secret.
			if strings.Contains(part, secret) && printable(whole) == whole && !strings.Contains(secret, "\uFFFD") {
				t.Fatalf("%q is left of %q: %q", secret, whole, got.lines)
			}
		}
	})
}

// A command's pipes are read by goroutines whose panic would end the server.
func TestAPanicOfASinkIsTheRuns(t *testing.T) {
	got := &collector{seen: func() { panic("x") }}
	r := newRedactor(newCutter(nil, nil), got)
	_, err := callShell(soon(t), t, `echo one >&2; echo two >&2; echo '{"chunk":1}'; echo '{"output":1}'`, agent.Limits{}, r)
	defer func() {
		if v := recover(); v != "x" || err != nil || len(got.lines)+len(got.chunks) != 1 {
			t.Errorf("%v, %v, %q, %q", v, err, got.lines, got.chunks)
		}
	}()
	r.close()
}

// A character of two escapes is whole with the second, also where the text breaks
// off in another escape after it.
func TestASecretThatBreaksOffAfterACharacterOfTwoEscapesIsCutOut(t *testing.T) {
	const secret = "abcdefgh😀ijklmnop"
	c := newCutter([]jsontext.Value{quoted(secret)}, nil)
	whole := unicoded(secret)
	for at := range len(whole) {
		var got collector
		r := newRedactor(c, &got)
		r.chunk(quoted(whole[:at]))
		r.chunk(quoted(whole[at:]))
		r.close()
		if all := got.text(); !strings.Contains(all, redacted) || tail(all, whole) > 0 {
			t.Errorf("broken off after %d bytes: %s", at, all)
		}
	}
}
