package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
)

// vectors is testdata/vectors.json: inputs and outputs that were made once.
// What they say is the format; if this package comes to disagree with them, it
// is this package that is wrong.
type vectors struct {
	About  string
	Tuples []struct {
		Elements []hexBytes
		Tuple    hexBytes
	}
	Roots []struct {
		Text     string
		Versions []struct {
			Version uint32
			ID      string
			Key     hexBytes
		}
	}
	BadRoots []struct{ Why, Text string } `json:"bad_roots"`
	Subkeys  []struct {
		Root   hexBytes
		Label  Use
		Subkey hexBytes
	}
	PaddedSizes [][2]int `json:"padded_sizes"`
	Padding     []struct{ Plaintext, Padded hexBytes }
	BadPadding  []struct {
		Why    string
		Padded hexBytes
	} `json:"bad_padding"`
	Boxes    []boxVector
	BadBoxes []boxVector `json:"bad_boxes"`
	Tags     []tagVector
	BadTags  []tagVector `json:"bad_tags"`
	Digests  []struct {
		Label  string
		Fields []hexBytes
		Digest hexBytes
	}
	AuthTokens []struct {
		Text            string
		Locator, Secret hexBytes
	} `json:"auth_tokens"`
	BadAuthTokens []struct{ Why, Text string } `json:"bad_auth_tokens"`
	Slots         []slotVector
	BadSlots      []slotVector `json:"bad_slots"`
	Profiles      []profileVector
	BadProfiles   []profileVector `json:"bad_profiles"`
	RunKeys       []struct {
		Text string
		Keys []struct {
			ID           string
			Created      int64
			Seed, Public hexBytes
		}
	} `json:"run_keys"`
	BadRunKeys   []struct{ Why, Text string } `json:"bad_run_keys"`
	RunTokens    []runTokenVector             `json:"run_tokens"`
	BadRunTokens []runTokenVector             `json:"bad_run_tokens"`
	RunInputs    []runInputsVector            `json:"run_inputs"`
	BadRunInputs []runInputsVector            `json:"bad_run_inputs"`
	TwoKeys      struct {
		Label   string
		Context []hexBytes
		Opens   []struct{ Key, Box, Plaintext hexBytes }
	} `json:"two_keys"`
}

// boxVector is a box under a root key (Root and Label) or under another (Key).
type boxVector struct {
	Why       string   `json:",omitempty"`
	Root      string   `json:",omitempty"`
	Key       hexBytes `json:",omitempty"`
	Label     string
	Context   []hexBytes
	Box       hexBytes
	Plaintext hexBytes `json:",omitempty"`
}

type tagVector struct {
	Why     string `json:",omitempty"`
	Root    string
	Version uint32
	Label   Use
	Fields  []hexBytes
	Tag     hexBytes
}

type slotVector struct {
	Why    string `json:",omitempty"`
	Root   string
	Token  string
	Place  slotPlaceVector
	Salt   hexBytes
	Sealed hexBytes
	DEK    hexBytes `json:",omitempty"`
}

type slotPlaceVector struct {
	Kind                         SlotKind
	Organization, Agent, Profile string
	Epoch                        uint64
	ExpiresAt                    int64 `json:"expires_at"`
}

// runTokenVector is a token as it is kept, Tokens, and as one node has it.
type runTokenVector struct {
	Why    string `json:",omitempty"`
	RunKey string `json:"run_key"`
	Node   string
	Place  runPlaceVector
	Tokens hexBytes
	Token  string `json:",omitempty"`
}

type runInputsVector struct {
	Why       string `json:",omitempty"`
	Token     string
	Place     runPlaceVector
	Box       hexBytes
	Plaintext hexBytes `json:",omitempty"`
}

type runPlaceVector struct{ Run, Organization, Agent, Profile string }

type profileVector struct {
	Why                          string `json:",omitempty"`
	DEK                          hexBytes
	Organization, Agent, Profile string
	Epoch, Revision              uint64
	KeepSession                  bool `json:"keep_session"`
	Destination                  string
	SessionRevision              uint64   `json:"session_revision"`
	Session                      hexBytes `json:",omitempty"`
	SessionPlaintext             hexBytes `json:"session_plaintext,omitempty"`
	Fields                       []fieldVector
	Manifest                     hexBytes
}

type fieldVector struct {
	Name      string
	Revision  uint64
	Box       hexBytes
	Plaintext hexBytes `json:",omitempty"`
}

func (p profileVector) manifest() Manifest {
	m := Manifest{
		Organization: p.Organization, Agent: p.Agent, Profile: p.Profile,
		Epoch: p.Epoch, Revision: p.Revision, KeepSession: p.KeepSession, Destination: p.Destination,
		SessionRevision: p.SessionRevision, Session: p.Session,
	}
	for _, f := range p.Fields {
		m.Fields = append(m.Fields, ManifestField{f.Name, f.Revision, f.Box})
	}
	return m
}

type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

func plain(list []hexBytes) [][]byte {
	var out [][]byte
	for _, b := range list {
		out = append(out, b)
	}
	return out
}

func readVectors(tb testing.TB) *vectors {
	tb.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(text, v); err != nil {
		tb.Fatal(err)
	}
	return v
}

func TestVectorsOfTuples(t *testing.T) {
	for _, v := range readVectors(t).Tuples {
		if got := newTuple(string(v.Elements[0])).all(plain(v.Elements[1:])); !bytes.Equal(got, v.Tuple) {
			t.Errorf("tuple %x = %x, want %x", v.Elements, got, v.Tuple)
		}
	}
}

func TestVectorsOfRootKeys(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.Roots {
		root := parse(t, v.Text)
		if got := len(root.Versions()); got != len(v.Versions) {
			t.Errorf("%d versions, want %d", got, len(v.Versions))
		}
		for _, want := range v.Versions {
			if got := root.ID(want.Version); got != want.ID {
				t.Errorf("id %s, want %s", got, want.ID)
			}
			if got := root.ring.Load().keys[want.Version].key; !bytes.Equal(got, want.Key) {
				t.Errorf("another key than that of version %d", want.Version)
			}
		}
	}
	for _, v := range all.BadRoots {
		if _, err := ParseRoot([]byte(v.Text)); err == nil {
			t.Errorf("%s: accepted", v.Why)
		}
	}
	for _, v := range all.Subkeys {
		if got := newRootKey(v.Root).subkey(v.Label); !bytes.Equal(got, v.Subkey) {
			t.Errorf("subkey %s = %x, want %x", v.Label, got, v.Subkey)
		}
	}
}

func TestVectorsOfPadding(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.PaddedSizes {
		if got := paddedSize(v[0]); got != v[1] {
			t.Errorf("%d bytes are padded to %d, want %d", v[0], got, v[1])
		}
	}
	for _, v := range all.Padding {
		if got := pad(v.Plaintext, paddedSize(len(v.Plaintext))); !bytes.Equal(got, v.Padded) {
			t.Errorf("%x padded is %x, want %x", v.Plaintext, got, v.Padded)
		}
		if got, err := unpad(v.Padded, MaxValue); err != nil || !bytes.Equal(got, v.Plaintext) {
			t.Errorf("%x holds %x, %v, want %x", v.Padded, got, err, v.Plaintext)
		}
	}
	for _, v := range all.BadPadding {
		if _, err := unpad(v.Padded, MaxValue); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", v.Why, err)
		}
	}
}

func TestVectorsOfBoxes(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.Boxes {
		got, err := v.open(t, v.Box)
		if err != nil || !bytes.Equal(got, v.Plaintext) {
			t.Errorf("%s %s: %x, %v, want %x", v.Label, v.Why, got, err, v.Plaintext)
		}
	}
	for _, v := range all.BadBoxes {
		if _, err := v.open(t, v.Box); !errors.Is(err, ErrOpen) && !errors.Is(err, ErrRootVersion) {
			t.Errorf("%s: %v, want ErrOpen or ErrRootVersion", v.Why, err)
		}
	}
}

func (v boxVector) open(t *testing.T, box []byte) ([]byte, error) {
	t.Helper()
	if v.Root == "" {
		return open(v.Key, 0, boxPlace(v.Label, 0).all(plain(v.Context)), box, MaxSession)
	}
	return parse(t, v.Root).Open(Use(v.Label), box, plain(v.Context)...)
}

func TestVectorsOfTagsAndDigests(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.Tags {
		root := parse(t, v.Root)
		if err := root.CheckTag(v.Label, v.Version, v.Tag, plain(v.Fields)...); err != nil {
			t.Errorf("%s: %v", v.Label, err)
		}
		if err := root.SetActive(v.Version); err != nil {
			t.Fatal(err)
		}
		if version, tag := root.Tag(v.Label, plain(v.Fields)...); version != v.Version || !bytes.Equal(tag, v.Tag) {
			t.Errorf("%s: tag %x of version %d, want %x of version %d", v.Label, tag, version, v.Tag, v.Version)
		}
	}
	for _, v := range all.BadTags {
		err := parse(t, v.Root).CheckTag(v.Label, v.Version, v.Tag, plain(v.Fields)...)
		if !errors.Is(err, ErrTag) && !errors.Is(err, ErrRootVersion) {
			t.Errorf("%s: %v, want ErrTag or ErrRootVersion", v.Why, err)
		}
	}
	for _, v := range all.Digests {
		if got := Digest(v.Label, plain(v.Fields)...); !bytes.Equal(got, v.Digest) {
			t.Errorf("%s: digest %x, want %x", v.Label, got, v.Digest)
		}
	}
}

func TestVectorsOfAuthTokens(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.AuthTokens {
		tok, err := ParseAuthToken(v.Text)
		if err != nil {
			t.Errorf("%s: %v", v.Text, err)
			continue
		}
		if !bytes.Equal(tok.Locator(), v.Locator) || !bytes.Equal(tok.secret(), v.Secret) || tok.Reveal() != v.Text {
			t.Errorf("%s is read as locator %x, secret %x, and written as %s", v.Text, tok.Locator(), tok.secret(), tok.Reveal())
		}
	}
	for _, v := range all.BadAuthTokens {
		if _, err := ParseAuthToken(v.Text); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v, want ErrToken", v.Why, err)
		}
	}
}

func TestVectorsOfSlots(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.Slots {
		dek, err := v.open(t)
		if err != nil {
			t.Errorf("%s: %v", v.Why, err)
		} else if !bytes.Equal(dek.bytes(), v.DEK) {
			t.Errorf("%s: another key than was sealed", v.Why)
		}
	}
	for _, v := range all.BadSlots {
		if _, err := v.open(t); !errors.Is(err, ErrOpen) && !errors.Is(err, ErrRootVersion) {
			t.Errorf("%s: %v, want ErrOpen or ErrRootVersion", v.Why, err)
		}
	}
}

func (v slotVector) open(t *testing.T) (DEK, error) {
	t.Helper()
	tok, err := ParseAuthToken(v.Token)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, v.Root).OpenSlot(tok, SlotPlace(v.Place), Slot{v.Salt, v.Sealed})
}

func TestVectorsOfProfiles(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.Profiles {
		dek := v.dek()
		if err := dek.CheckManifest(v.manifest(), v.Manifest); err != nil {
			t.Error(err)
		}
		for _, f := range v.Fields {
			place := Place{ValuePlace, v.Organization, v.Agent, v.Profile, f.Name, f.Revision, v.Epoch}
			if got, err := dek.Open(place, f.Box); err != nil || !bytes.Equal(got, f.Plaintext) {
				t.Errorf("%s: %q, %v, want %q", f.Name, got, err, f.Plaintext)
			}
		}
		if v.Session == nil {
			continue
		}
		place := Place{SessionPlace, v.Organization, v.Agent, v.Profile, "", v.SessionRevision, v.Epoch}
		if got, err := dek.Open(place, v.Session); err != nil || !bytes.Equal(got, v.SessionPlaintext) {
			t.Errorf("session: %q, %v, want %q", got, err, v.SessionPlaintext)
		}
	}
	for _, v := range all.BadProfiles {
		if err := v.dek().CheckManifest(v.manifest(), v.Manifest); !errors.Is(err, ErrTag) {
			t.Errorf("%s: %v, want ErrTag", v.Why, err)
		}
	}
}

func (v profileVector) dek() DEK {
	return DEK{hide(v.DEK)}
}

func TestVectorsOfRunKeys(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.RunKeys {
		keys, err := ParseRunKeys([]byte(v.Text))
		if err != nil || len(keys) != len(v.Keys) {
			t.Fatalf("%d keys, %v, want %d", len(keys), err, len(v.Keys))
		}
		for i, want := range v.Keys {
			k := keys[i]
			if k.ID().String() != want.ID || k.Created().Unix() != want.Created || !bytes.Equal(k.bytes(), want.Seed) || !bytes.Equal(k.Public().Bytes(), want.Public) {
				t.Errorf("key %s of %d is another than was written", k.ID(), k.Created().Unix())
			}
		}
	}
	for _, v := range all.BadRunKeys {
		if _, err := ParseRunKeys([]byte(v.Text)); err == nil {
			t.Errorf("%s: accepted", v.Why)
		}
	}
}

func TestVectorsOfRunTokens(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.RunTokens {
		if tok, err := v.open(t); err != nil || tok.Reveal() != v.Token {
			t.Errorf("%s: %v, or another token", v.Why, err)
		}
	}
	for _, v := range all.BadRunTokens {
		if _, err := v.open(t); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", v.Why, err)
		}
	}
}

// open opens the token that is sealed to the vector's node.
func (v runTokenVector) open(t *testing.T) (AuthToken, error) {
	t.Helper()
	keys, err := ParseRunKeys([]byte(v.RunKey))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := SplitRunTokens(v.Tokens)
	if err != nil {
		return AuthToken{}, err
	}
	for _, s := range tokens {
		if s.Node == v.Node {
			return keys[0].OpenRunToken(v.Node, RunPlace(v.Place), s.Sealed)
		}
	}
	return AuthToken{}, ErrOpen
}

func TestVectorsOfRunInputs(t *testing.T) {
	all := readVectors(t)
	for _, v := range all.RunInputs {
		if got, err := v.open(t); err != nil || !bytes.Equal(got, v.Plaintext) {
			t.Errorf("%q, %v, want %q", got, err, v.Plaintext)
		}
	}
	for _, v := range all.BadRunInputs {
		if _, err := v.open(t); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", v.Why, err)
		}
	}
}

func (v runInputsVector) open(t *testing.T) ([]byte, error) {
	t.Helper()
	tok, err := ParseAuthToken(v.Token)
	if err != nil {
		t.Fatal(err)
	}
	return OpenRunInputs(tok, RunPlace(v.Place), v.Box)
}

// The reader shares no code, no library and no language with this package.
func TestAnIndependentReaderAgreesWithTheVectors(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("KEYWARD_TEST_REQUIRE") == "all" {
			t.Fatal("python3 is missing")
		}
		t.Skip("python3 is missing: the independent reader does not run")
	}
	out, err := exec.Command(python, "testdata/reader.py", "testdata/vectors.json").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
