package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	waitingRun = "2b1d0c9e-7f0a-4c53-9a51-0d5f2c7a1e04"
	nodeID     = "2b1d0c9e-7f0a-4c53-9a51-0d5f2c7a1e05"
)

var waitingPlace = RunPlace{Run: waitingRun, Organization: organization, Agent: agent, Profile: profile}

func TestARunKeyOpensTheTokenThatWasSealedToIt(t *testing.T) {
	key := NewRunKey(time.Unix(1_700_000_000, 0))
	public, err := ParseRunPublicKey(key.Public().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if public.ID() != key.ID() || len(public.Bytes()) != runPublicSize {
		t.Fatalf("the public half of %s is %s, in %d bytes", key.ID(), public.ID(), len(public.Bytes()))
	}
	tok := NewAuthToken()
	sealed := public.SealRunToken(nodeID, waitingPlace, tok)
	if len(sealed) != runSealedSize {
		t.Fatalf("%d bytes, want %d", len(sealed), runSealedSize)
	}
	if id, err := RunTokenKey(sealed); err != nil || id != key.ID() {
		t.Errorf("it is for key %s, %v, want %s", id, err, key.ID())
	}
	if again := public.SealRunToken(nodeID, waitingPlace, tok); bytes.Equal(again[9:], sealed[9:]) {
		t.Error("two seals are the same")
	}
	for _, k := range []RunKey{key, read(t, RunKeysText([]RunKey{key}))[0]} {
		got, err := k.OpenRunToken(nodeID, waitingPlace, sealed)
		if err != nil || got.Reveal() != tok.Reveal() {
			t.Errorf("another token came out, or none: %v", err)
		}
	}
}

func read(t *testing.T, text []byte) []RunKey {
	t.Helper()
	keys, err := ParseRunKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestARunTokenOpensNowhereElse(t *testing.T) {
	key, other := NewRunKey(time.Now()), NewRunKey(time.Now())
	sealed := key.Public().SealRunToken(nodeID, waitingPlace, NewAuthToken())
	for name, open := range map[string]func() (AuthToken, error){
		"another node": func() (AuthToken, error) { return key.OpenRunToken(agent, waitingPlace, sealed) },
		"no node":      func() (AuthToken, error) { return key.OpenRunToken("", waitingPlace, sealed) },
		"another run": func() (AuthToken, error) {
			return key.OpenRunToken(nodeID, RunPlace{agent, organization, agent, profile}, sealed)
		},
		"another organization": func() (AuthToken, error) {
			return key.OpenRunToken(nodeID, RunPlace{waitingRun, agent, agent, profile}, sealed)
		},
		"another agent": func() (AuthToken, error) {
			return key.OpenRunToken(nodeID, RunPlace{waitingRun, organization, profile, profile}, sealed)
		},
		"another profile": func() (AuthToken, error) {
			return key.OpenRunToken(nodeID, RunPlace{waitingRun, organization, agent, agent}, sealed)
		},
		"no profile": func() (AuthToken, error) {
			return key.OpenRunToken(nodeID, RunPlace{waitingRun, organization, agent, ""}, sealed)
		},
		"another key": func() (AuthToken, error) { return other.OpenRunToken(nodeID, waitingPlace, sealed) },
		"another key that it names": func() (AuthToken, error) {
			forged, id := bytes.Clone(sealed), other.ID()
			copy(forged[1:], id[:])
			return other.OpenRunToken(nodeID, waitingPlace, forged)
		},
	} {
		if _, err := open(); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", name, err)
		}
	}
}

func TestARunTokenThatIsChangedOpensNowhere(t *testing.T) {
	key := NewRunKey(time.Now())
	sealed := key.Public().SealRunToken(nodeID, waitingPlace, NewAuthToken())
	for bit := range 8 * len(sealed) {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, err := key.OpenRunToken(nodeID, waitingPlace, flipped); !errors.Is(err, ErrOpen) {
			t.Errorf("bit %d flipped: %v, want ErrOpen", bit, err)
		}
	}
	for n := range sealed {
		if _, err := key.OpenRunToken(nodeID, waitingPlace, sealed[:n]); !errors.Is(err, ErrOpen) {
			t.Errorf("cut to %d bytes: %v, want ErrOpen", n, err)
		}
	}
	if _, err := key.OpenRunToken(nodeID, waitingPlace, append(sealed, 0)); !errors.Is(err, ErrOpen) {
		t.Errorf("with a byte more: %v, want ErrOpen", err)
	}
}

func TestRunInputsOpenWithTheirTokenAlone(t *testing.T) {
	tok := NewAuthToken()
	box, err := SealRunInputs(tok, waitingPlace, []byte(`{"parameters":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenRunInputs(tok, waitingPlace, box); err != nil || string(got) != `{"parameters":{}}` {
		t.Errorf("%q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another token": func() ([]byte, error) { return OpenRunInputs(NewAuthToken(), waitingPlace, box) },
		"another run":   func() ([]byte, error) { return OpenRunInputs(tok, RunPlace{agent, organization, agent, profile}, box) },
		"another organization": func() ([]byte, error) {
			return OpenRunInputs(tok, RunPlace{waitingRun, agent, agent, profile}, box)
		},
		"another agent": func() ([]byte, error) {
			return OpenRunInputs(tok, RunPlace{waitingRun, organization, profile, profile}, box)
		},
	} {
		if _, err := open(); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", name, err)
		}
	}
	for bit := range 8 * len(box) {
		flipped := bytes.Clone(box)
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, err := OpenRunInputs(tok, waitingPlace, flipped); !errors.Is(err, ErrOpen) {
			t.Errorf("bit %d flipped: %v, want ErrOpen", bit, err)
		}
	}
	if _, err := SealRunInputs(tok, waitingPlace, make([]byte, MaxSession+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v, want ErrTooLarge", err)
	}
}

func TestRunKeysReadWhatTheyWrote(t *testing.T) {
	keys := []RunKey{NewRunKey(time.Unix(0, 0)), NewRunKey(time.Unix(1_700_000_000, 999))}
	text := RunKeysText(keys)
	again := read(t, append([]byte("\n \t\n"), text...))
	if !bytes.Equal(RunKeysText(again), text) {
		t.Error("other keys were read than were written")
	}
	if got := again[1].Created(); !got.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("created %v", got)
	}
}

func TestABadRunKeyIsRefusedAndNotQuoted(t *testing.T) {
	line := strings.TrimSpace(string(RunKeysText([]RunKey{NewRunKey(time.Unix(1_700_000_000, 0))})))
	words := strings.Fields(line)
	id, seed := words[1], words[3]
	with := func(id, created, seed string) string { return fmt.Sprintf("kwrun1 %s %s %s\n", id, created, seed) }
	for name, text := range map[string]string{
		"nothing":               "",
		"blank lines":           "\n\n",
		"another prefix":        strings.Replace(line, "kwrun1", "kwrun2", 1),
		"a root key's prefix":   strings.Replace(line, "kwrun1", "kwroot1", 1),
		"a word less":           strings.TrimSuffix(line, seed),
		"a word more":           line + " 1",
		"a comment":             line + "\n# mine",
		"twice":                 line + "\n" + line,
		"another's id":          with("0123456789abcdef", "1700000000", seed),
		"an id in upper case":   with(strings.ToUpper(id), "1700000000", strings.Replace(seed, "A", "B", 1)),
		"a leading zero":        with(id, "01700000000", seed),
		"a sign":                with(id, "+1700000000", seed),
		"before 1970":           with(id, "-1", seed),
		"a time too far off":    with(id, "17179869185", seed),
		"a time in hexadecimal": with(id, "0x65", seed),
		"no padding":            with(id, "1700000000", strings.TrimRight(seed, "=")),
		"a short seed":          with(id, "1700000000", base64.StdEncoding.EncodeToString(make([]byte, 31))),
		"a long seed":           with(id, "1700000000", base64.StdEncoding.EncodeToString(make([]byte, 33))),
	} {
		_, err := ParseRunKeys([]byte(text))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), seed[:20]) || strings.Contains(err.Error(), id) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
}

func TestARunKeyThatWasClearedIsNotUsed(t *testing.T) {
	key := NewRunKey(time.Now())
	sealed := key.Public().SealRunToken(nodeID, waitingPlace, NewAuthToken())
	seed := key.bytes()
	copied := key
	key.Clear()
	if !bytes.Equal(seed, make([]byte, keySize)) {
		t.Error("its seed is left")
	}
	defer func() {
		if recover() == nil {
			t.Error("a copy of it was used")
		}
	}()
	_, _ = copied.OpenRunToken(nodeID, waitingPlace, sealed)
}

func TestWhoseTokensAreJoinedIsFoundAgain(t *testing.T) {
	for _, tokens := range [][]SealedRunToken{nil, {{"a", []byte{1}}}, {{"a", []byte{1}}, {"", []byte{}}, {"c", make([]byte, 1223)}}} {
		joined := JoinRunTokens(tokens)
		got, err := SplitRunTokens(joined)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(tokens) {
			t.Errorf("%v, %v, want %v", got, err, tokens)
		}
		for n := range joined {
			if _, err := SplitRunTokens(joined[:n]); !errors.Is(err, ErrOpen) {
				t.Errorf("cut to %d bytes: %v, want ErrOpen", n, err)
			}
		}
		if _, err := SplitRunTokens(append(joined, 0)); !errors.Is(err, ErrOpen) {
			t.Errorf("with a byte more: %v, want ErrOpen", err)
		}
	}
	for _, b := range [][]byte{newTuple("run-token"), newTuple("run-tokens").text("a"), {0, 0, 0, 0}, {255, 255, 255, 255, 255, 255, 255, 255}} {
		if _, err := SplitRunTokens(b); !errors.Is(err, ErrOpen) {
			t.Errorf("%x: %v, want ErrOpen", b, err)
		}
	}
}

func FuzzParseRunKeys(f *testing.F) {
	all := readVectors(f)
	for _, v := range all.RunKeys {
		f.Add(v.Text)
	}
	for _, v := range all.BadRunKeys {
		f.Add(v.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseRunKeys([]byte(text))
		if err != nil {
			return
		}
		if got, want := strings.Fields(string(RunKeysText(keys))), strings.Fields(text); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Error("other words were written than were read")
		}
	})
}

func FuzzSplitRunTokens(f *testing.F) {
	f.Add([]byte(JoinRunTokens(nil)))
	f.Add([]byte(JoinRunTokens([]SealedRunToken{{"node", make([]byte, runSealedSize)}, {"other", nil}})))
	f.Fuzz(func(t *testing.T, joined []byte) {
		tokens, err := SplitRunTokens(joined)
		if err == nil && !bytes.Equal(JoinRunTokens(tokens), joined) {
			t.Errorf("%x is written as %x", joined, JoinRunTokens(tokens))
		}
	})
}
