package seal

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha512"
	"encoding/binary"
)

// RunPlace is the run that waits, whose token or inputs are sealed. Profile is
// empty for a run without one.
type RunPlace struct{ Run, Organization, Agent, Profile string }

// info binds a sealed token to where it belongs. HPKE takes it into its key, so
// that nothing is left for the associated data.
func (p RunPlace) info(node string, id RunKeyID) []byte {
	return newTuple("run-token").bytes([]byte{format}).text(node).bytes(id[:]).
		text(p.Run).text(p.Organization).text(p.Agent).text(p.Profile)
}

// SealRunToken seals the token of the run at place so that only node opens it,
// with the private half of k.
func (k RunPublicKey) SealRunToken(node string, place RunPlace, tok AuthToken) []byte {
	_, kdf, aead := runSuite()
	sealed := make([]byte, 1, runSealedSize)
	sealed[0] = format
	sealed = append(sealed, k.id[:]...)
	return append(sealed, must(hpke.Seal(k.key, kdf, aead, place.info(node, k.id), tok.bytes()))...)
}

// OpenRunToken returns what SealRunToken sealed. Its only failure is ErrOpen.
func (k RunKey) OpenRunToken(node string, place RunPlace, sealed []byte) (AuthToken, error) {
	if id, err := RunTokenKey(sealed); err != nil || id != k.ID() {
		return AuthToken{}, ErrOpen
	}
	_, kdf, aead := runSuite()
	private := k.private()
	defer func() {
		if seed, err := private.Bytes(); err == nil {
			clear(seed)
		}
	}()
	raw, err := hpke.Open(private, kdf, aead, place.info(node, k.ID()), sealed[1+runKeyIDSize:])
	if err != nil {
		return AuthToken{}, ErrOpen
	}
	if !wellFormed(raw) {
		clear(raw)
		return AuthToken{}, ErrOpen
	}
	return AuthToken{hide(raw)}, nil
}

// RunTokenKey names the run key that sealed is for. It fails with ErrOpen if it
// is no sealed token.
func RunTokenKey(sealed []byte) (RunKeyID, error) {
	if len(sealed) != runSealedSize || sealed[0] != format {
		return RunKeyID{}, ErrOpen
	}
	return RunKeyID(sealed[1 : 1+runKeyIDSize]), nil
}

// SealedRunToken is the token of a run as it is sealed to one node.
type SealedRunToken struct {
	Node   string
	Sealed []byte
}

// JoinRunTokens writes the token of one run, as it is sealed to each node.
func JoinRunTokens(tokens []SealedRunToken) []byte {
	t := newTuple("run-tokens")
	for _, s := range tokens {
		t = t.text(s.Node).bytes(s.Sealed)
	}
	return t
}

// SplitRunTokens reads what JoinRunTokens wrote. Its only failure is ErrOpen.
// Nothing in it is checked: what is wrong does not open.
func SplitRunTokens(joined []byte) ([]SealedRunToken, error) {
	elements, ok := split(joined)
	if !ok || len(elements)%2 == 0 || string(elements[0]) != "run-tokens" {
		return nil, ErrOpen
	}
	var tokens []SealedRunToken
	for i := 1; i < len(elements); i += 2 {
		tokens = append(tokens, SealedRunToken{string(elements[i]), elements[i+1]})
	}
	return tokens, nil
}

// split returns the elements of a tuple. Its claims of counts and lengths are
// compared with what is there before anything is made for them.
func split(t []byte) (elements [][]byte, ok bool) {
	if len(t) < 4 {
		return nil, false
	}
	count, rest := binary.BigEndian.Uint32(t), t[4:]
	for range count {
		if len(rest) < 4 {
			return nil, false
		}
		length := binary.BigEndian.Uint32(rest)
		if rest = rest[4:]; uint64(length) > uint64(len(rest)) {
			return nil, false
		}
		elements, rest = append(elements, rest[:length:length]), rest[length:]
	}
	return elements, len(rest) == 0 && count > 0
}

// SealRunInputs boxes what the run at place was given, so that only its token
// opens it. Its only failure is ErrTooLarge.
func SealRunInputs(tok AuthToken, place RunPlace, plaintext []byte) ([]byte, error) {
	key := place.inputsKey(tok)
	defer clear(key)
	return seal(key, 0, place.inputs(), plaintext, MaxSession)
}

// OpenRunInputs returns what SealRunInputs boxed. Its only failure is ErrOpen.
func OpenRunInputs(tok AuthToken, place RunPlace, box []byte) ([]byte, error) {
	key := place.inputsKey(tok)
	defer clear(key)
	return open(key, 0, place.inputs(), box, MaxSession)
}

func (p RunPlace) inputs() tuple {
	return boxPlace("run-inputs", 0).text(p.Organization).text(p.Agent).text(p.Run)
}

func (p RunPlace) inputsKey(tok AuthToken) []byte {
	info := newTuple("run-inputs-key").text(p.Organization).text(p.Agent).text(p.Run)
	return must(hkdf.Key(sha512.New, tok.secret(), nil, string(info), keySize))
}
