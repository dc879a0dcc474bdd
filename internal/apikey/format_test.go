package apikey

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The vectors are those that the independent reader checks, too.
func TestKeysOfTheVectorsAreToldApart(t *testing.T) {
	text, err := os.ReadFile("../seal/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Good []struct{ Text string }      `json:"api_keys"`
		Bad  []struct{ Why, Text string } `json:"bad_api_keys"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Good) == 0 || len(vectors.Bad) == 0 {
		t.Fatal("there are no vectors")
	}
	for _, v := range vectors.Good {
		if !WellFormed(v.Text) {
			t.Errorf("%s is refused", v.Text)
		}
	}
	for _, v := range vectors.Bad {
		if WellFormed(v.Text) {
			t.Errorf("%q passes: %s", v.Text, v.Why)
		}
	}
}

const vector = "ra_live_0123456789ABCDEFGHIJKLMNOPQRSTUV"

func TestEveryCharacterOfAKeyIsChecked(t *testing.T) {
	key := vector + string(appendChecksum(nil, []byte(vector)))
	if !WellFormed(key) {
		t.Fatalf("%s is refused", key)
	}
	for i := range len(key) {
		for _, c := range []byte("0aZ_-\x00 ") {
			if key[i] == c {
				continue
			}
			if bad := key[:i] + string(c) + key[i+1:]; WellFormed(bad) {
				t.Errorf("%q passes", bad)
			}
		}
		if WellFormed(key[:i]) {
			t.Errorf("%q passes", key[:i])
		}
	}
	for _, bad := range []string{key + "0", " " + key, key + "\n", "", strings.ToUpper(key), strings.Replace(key, "live", "test", 1)} {
		if WellFormed(bad) {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestKeysUseEveryCharacterAlike(t *testing.T) {
	counts := map[byte]int{}
	const keys = 4000
	for range keys {
		text := newSecret("ra", liveKind).Reveal()
		for _, c := range []byte(text[len("ra_live_") : len("ra_live_")+randomLength]) {
			counts[c]++
		}
	}
	if len(counts) != 62 {
		t.Errorf("%d different characters, want 62", len(counts))
	}
	const mean = keys * randomLength / 62
	for c, n := range counts {
		// Ten standard deviations: a biased choice is off by a quarter.
		if n < mean-450 || n > mean+450 {
			t.Errorf("%q comes %d times, the mean is %d", c, n, mean)
		}
	}
}

func FuzzWellFormed(f *testing.F) {
	f.Add(vector + string(appendChecksum(nil, []byte(vector))))
	f.Add("ra_live_")
	f.Add("__")
	f.Fuzz(func(t *testing.T, text string) {
		if !WellFormed(text) {
			return
		}
		body := text[:len(text)-checksumLength]
		if string(appendChecksum(nil, []byte(body))) != text[len(body):] || len(text) > maxPrefix+6+randomLength+checksumLength {
			t.Errorf("%q passes", text)
		}
	})
}
