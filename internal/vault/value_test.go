package vault

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"
)

func FuzzAValueComesBackAsItWas(f *testing.F) {
	for _, s := range []string{`"a"`, `"\u0000"`, `"\ud800"`, ` "é" `, `1.50`, `{"a": [1, 2]}`, `true`, `null`, ``, `"`, "\x00{}", `{"a":1} 2`, `{"a":1,"a":2}`, "[\"\xff\"]", "\f0", "\u00a0null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		v := NewValue("name", jsontext.Value(sent))
		plaintext, err := v.plaintext()
		if err != nil {
			return
		}
		back, err := valueOf("name", plaintext)
		if err != nil {
			t.Fatalf("%q was taken and does not come back: %v", sent, err)
		}
		want, got := jsontext.Value(sent).Clone(), jsontext.Value(back.JSON.Bytes()).Clone()
		if want.Kind() == '"' {
			a, _ := jsontext.AppendUnquote(nil, bytes.Trim(want, whiteSpace))
			b, err := jsontext.AppendUnquote(nil, got)
			if err != nil || !bytes.Equal(a, b) {
				t.Errorf("%q comes back as %q", sent, got)
			}
			return
		}
		if err := want.Compact(); err != nil || !bytes.Equal(want, got) {
			t.Errorf("%q comes back as %q", sent, got)
		}
	})
}

func FuzzANameIsKeptInOneForm(f *testing.F) {
	for _, s := range []string{"a", "cafe\u0301", "\xff", " a", "a\n", "\u0301", "가"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		name, err := checkName(sent)
		if err != nil {
			return
		}
		again, err := checkName(name)
		if err != nil || again != name || !norm.NFC.IsNormalString(name) || utf8.RuneCountInString(name) > MaxName {
			t.Errorf("%q is kept as %q and then as %q, %v", sent, name, again, err)
		}
	})
}
