package api

import (
	"crypto/sha256"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/seal"
)

// Idempotent is the header by which a call is known again. The input of a call
// that starts a run embeds it.
type Idempotent struct {
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"255" pattern:"^[ -~]+$" patternDescription:"be of printable ASCII" doc:"For a day the same key gives the same run, whichever call it comes with. Another request under it is refused"`
}

// asked is all that must be the same in two calls for one run.
type asked struct {
	Agent      string                    `json:"agent"`
	Parameters map[string]jsontext.Value `json:"parameters"`
	Token      []byte                    `json:"token"`
}

// Fingerprint returns what must be equal in every call under the key: the agent,
// the parameters whatever way they are written, and the auth token, of which it
// has the digest alone. It is nil without a key. How a call answers is not in it:
// whoever lost the answer of one may ask for it by another.
func (i Idempotent) Fingerprint(agentID string, parameters map[string]jsontext.Value, token seal.Secret) ([]byte, error) {
	if i.IdempotencyKey == "" {
		return nil, nil
	}
	all := asked{Agent: agentID, Parameters: parameters}
	if text := token.Bytes(); len(text) > 0 {
		sum := sha256.Sum256(text)
		all.Token = sum[:]
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	// Numbers stay as they are written: as floats, two large ones would be one.
	err = (*jsontext.Value)(&text).Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	return text, err
}
