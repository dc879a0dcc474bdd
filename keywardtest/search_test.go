package keywardtest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// search looks for secrets in bytes, in every form that they could have been
// written down in.
type search struct {
	t      *testing.T
	needle map[uint64][]needle // by their first eight bytes
	found  map[string]bool
}

type needle struct {
	of, form string
	text     []byte
}

func newSearch(t *testing.T) *search {
	return &search{t, map[uint64][]needle{}, map[string]bool{}}
}

// add makes s look for a secret, and for its halves: what is shortened is
// still told. It returns the secret.
func (s *search) add(name, secret string) string {
	s.t.Helper()
	if len(secret) < 16 {
		s.t.Fatalf("%s: %d bytes are too few to be recognised", name, len(secret))
	}
	s.addText(name, []byte(secret))
	if n := len(secret) / 2; n >= 12 {
		s.addText("the first half of "+name, []byte(secret[:n]))
		s.addText("the second half of "+name, []byte(secret[n:]))
	}
	return secret
}

// addDecoded is add for a text that stands for other bytes, which are looked
// for as well.
func (s *search) addDecoded(name, text string, from func(string) ([]byte, error)) string {
	s.t.Helper()
	raw, err := from(text)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	s.add("what stands in "+name, string(raw))
	return s.add(name, text)
}

func (s *search) addText(name string, secret []byte) {
	for form, text := range forms(secret) {
		key := binary.LittleEndian.Uint64(text)
		s.needle[key] = append(s.needle[key], needle{name, form, text})
	}
}

// forms returns how secret may be written, in texts of eight bytes or more.
func forms(secret []byte) map[string][]byte {
	all := map[string][]byte{"raw": secret}
	put := func(form string, text string) {
		if len(text) >= 8 && text != string(secret) {
			all[form] = []byte(text)
		}
	}
	lower := hex.EncodeToString(secret)
	put("hex", lower)
	put("upper-case hex", strings.ToUpper(lower))
	put("query", url.QueryEscape(string(secret)))
	put("path", url.PathEscape(string(secret)))
	var percent strings.Builder
	for _, b := range secret {
		fmt.Fprintf(&percent, "%%%02x", b)
	}
	put("percent", percent.String())
	put("upper-case percent", strings.ToUpper(percent.String()))
	if quoted, err := json.Marshal(string(secret)); err == nil {
		put("JSON for HTML", string(quoted[1:len(quoted)-1]))
	}
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(secret)); err == nil {
		put("JSON", strings.Trim(plain.String(), "\n")[1:plain.Len()-2])
	}
	quoted := fmt.Sprintf("%q", secret)
	put("Go", quoted[1:len(quoted)-1])
	for before := range 3 {
		// The characters at both ends hold bits of the neighbours, too.
		skip := []int{0, 2, 3}[before]
		for form, alphabet := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "URL base64": base64.RawURLEncoding} {
			text := alphabet.EncodeToString(append(make([]byte, before), secret...))
			if (before+len(secret))%3 != 0 {
				text = text[:len(text)-1]
			}
			put(fmt.Sprintf("%s after %d bytes", form, before), text[skip:])
		}
	}
	return all
}

// in reports every secret that it finds in text.
func (s *search) in(where string, text []byte) {
	for i := range max(0, len(text)-7) {
		for _, n := range s.needle[binary.LittleEndian.Uint64(text[i:])] {
			if what := where + " holds " + n.of + " (" + n.form + ")"; bytes.HasPrefix(text[i:], n.text) && !s.found[what] {
				s.found[what] = true
				s.t.Error(what)
			}
		}
	}
}

// folder searches every file below a folder, and the names of all, but for
// those whose secrets they are there to keep. It returns how much it read.
func (s *search) folder(path string, but ...string) (size int) {
	s.t.Helper()
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // a running server makes and removes files
			}
			return err
		}
		rest := strings.TrimPrefix(file, path)
		s.in("the name of "+rest, []byte(rest))
		if !entry.Type().IsRegular() || slices.Contains(but, entry.Name()) {
			return nil
		}
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			return nil
		}
		size += len(text)
		s.in(rest, text)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return size
}

func TestTheSearchFindsEveryForm(t *testing.T) {
	const secret = "pa55 word/é\"<&>+=?~ of somebody"
	percent := ""
	for _, b := range []byte(secret) {
		percent += fmt.Sprintf("%%%02X", b)
	}
	quoted, err := json.Marshal("x" + secret)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{
		"a" + secret + "b", hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte("x" + secret))),
		"?q=" + url.QueryEscape(secret), "/" + url.PathEscape(secret), percent, strings.ToLower(percent), string(quoted), fmt.Sprintf("%q", secret),
		secret[:len(secret)/2], secret[len(secret)/2:],
	}
	for _, before := range []string{"", "1", "12", "123", "1234"} {
		for _, after := range []string{"", "x", "xy", "xyz"} {
			for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
				texts = append(texts, alphabet.EncodeToString([]byte(before+secret+after)))
			}
		}
	}
	for _, text := range texts {
		quiet := &testing.T{}
		s := newSearch(t)
		s.add("it", secret)
		s.t = quiet
		s.in("there", []byte(text))
		if !quiet.Failed() || len(s.found) == 0 {
			t.Errorf("not found in %s", text)
		}
	}
	s := newSearch(t)
	s.add("it", secret)
	s.in("there", []byte("pa55 word of nobody"))
}
