package scan

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/keyward/keyward/internal/seal"
)

// key makes a key whose random part is all one character.
func key(prefix string, c byte) string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := prefix + "_live_" + strings.Repeat(string(c), 32)
	sum := crc32.ChecksumIEEE([]byte(body))
	var tail [6]byte
	for i := 5; i >= 0; i-- {
		tail[i] = base62[sum%62]
		sum /= 62
	}
	return body + string(tail[:])
}

func found(t *testing.T, from io.Reader) []Find {
	t.Helper()
	var r Report
	r.Read(t.Context(), "f", from)
	if len(r.Unread) > 0 {
		t.Fatal(r.Unread)
	}
	return r.Finds
}

// Wherever a key lies in its pieces, it is found once, on its line.
func TestAKeyIsFoundOnceWhereverThePiecesEnd(t *testing.T) {
	k := key("ra", 'x')
	for _, before := range []int{0, 1, piece - 300, piece - 100, piece - 45, piece - 44, piece, piece + overlap - 50, piece + overlap - 20, piece + overlap, 2*piece + 17} {
		text := strings.Repeat(strings.Repeat("a", 99)+"\n", before/100) + strings.Repeat("b", before%100) + k + "\n" + k
		got := found(t, strings.NewReader(text))
		line := int64(before/100 + 1)
		if len(got) != 2 || got[0].Line != line || got[0].Column != int64(before%100+1) || got[1].Line != line+1 || got[1].Column != 1 {
			t.Errorf("after %d bytes: %+v, want lines %d and %d", before, got, line, line+1)
		}
	}
}

func TestWhatIsFoundHasItsFormAndChecksum(t *testing.T) {
	k, token := key("ra", 'y'), seal.NewAuthToken().Reveal()
	for text, want := range map[string]int{
		k:                            1,
		"X" + k + "Z":                1, // within a longer word
		key("keyward123", 'q'):       1,
		key("ab", 'q') + token:       2,
		strings.ToUpper(k):           0,
		k[:len(k)-1]:                 0,
		k[:10] + "_" + k[11:]:        0,
		k[:len(k)-1] + "!":           0,
		token[:59]:                   0,
		"kwt1" + token:               1,
		"x_live_" + k[8:]:            0,
		strings.Repeat("_live_", 99): 0,
		strings.Repeat("kwt1", 99):   0,
	} {
		if got := found(t, strings.NewReader(text)); len(got) != want {
			t.Errorf("%q: %d finds, want %d", text, len(got), want)
		}
	}
}

func TestAKeyIsFoundInTwoBytesACharacter(t *testing.T) {
	k := key("ra", 'z')
	for _, first := range []int{0, 1} { // little-endian and big-endian
		var b bytes.Buffer
		for _, u := range utf16.Encode([]rune("é\nkey: " + k + "\n")) {
			pair := [2]byte{byte(u), byte(u >> 8)}
			b.Write([]byte{pair[first], pair[1-first]})
		}
		got := found(t, &b)
		if len(got) != 1 || got[0].Line != 2 || got[0].Secret.Reveal() != k {
			t.Errorf("%+v", got)
		}
	}
}

func TestNothingOfAFindIsShownButItsEnds(t *testing.T) {
	k := key("ra", 'w')
	got := found(t, strings.NewReader(k))
	if got[0].Hint != "ra_live_…"+k[len(k)-4:] || strings.Contains(fmt.Sprintf("%+v %#v", got, got), k) {
		t.Errorf("%+v", got)
	}
}

// A folder is walked once, however its links lead.
func TestLinksAreNotFollowedInAFolder(t *testing.T) {
	dir := t.TempDir()
	k := key("ra", 'v')
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700), os.WriteFile(filepath.Join(dir, "a", "b", "f"), []byte(k), 0o600),
		os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "a", "b", "loop")), os.Symlink("self", filepath.Join(dir, "self")),
		os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := Paths(t.Context(), []string{dir, filepath.Join(dir, "link"), filepath.Join(dir, "self")})
	if err != nil || len(r.Finds) != 2 || r.Finds[1].File != filepath.Join(dir, "link", "b", "f") || len(r.Unread) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestALargeFileTakesLittleMemory(t *testing.T) {
	k := key("ra", 'u')
	big := io.MultiReader(io.LimitReader(zeros{}, 64<<20), strings.NewReader(k), io.LimitReader(zeros{}, 1<<20))
	if got := found(t, big); len(got) != 1 || got[0].Line != 1 || got[0].Column != 64<<20+1 {
		t.Errorf("%+v", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAScanEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Paths(ctx, []string{t.TempDir()}); err == nil {
		t.Error("it went on")
	}
}

func FuzzFindsAreOfTheText(f *testing.F) {
	f.Add([]byte("a\n"+key("ra", 'x')), 3)
	f.Add([]byte("k\x00w\x00t\x001\x00"), 0)
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		k := key("ra", 'm')
		at := 0
		if len(text) > 0 {
			at = (n%len(text) + len(text)) % len(text)
		}
		with := string(text[:at]) + "\n" + k + "\n" + string(text[at:])
		line, there := int64(strings.Count(with[:at], "\n")+2), false
		for _, g := range found(t, strings.NewReader(with)) {
			there = there || g.Line == line && g.Column == 1 && g.Secret.Reveal() == k
		}
		if !there {
			t.Errorf("the key on line %d is not found", line)
		}
	})
}
