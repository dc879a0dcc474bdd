package serve

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/run"
	"github.com/keyward/keyward/internal/seal"
)

// waiting keeps what runs wait with under a key that is in memory alone, so that
// no run is taken up after a restart.
type waiting struct {
	box   cipher.AEAD
	slots sync.Map // auth tokens, by the token of a run
}

func newWaiting() *waiting {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	box, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &waiting{box: box}
}

func (w *waiting) slot(auth seal.Secret) func(context.Context, *db.Tx, string, time.Time) (run.Slot, error) {
	return func(context.Context, *db.Tx, string, time.Time) (run.Slot, error) {
		token := seal.NewAuthToken()
		w.slots.Store(string(token.Locator()), seal.NewSecret(auth.Bytes()))
		return run.Slot{Token: seal.NewSecret(token.Reveal()), Locator: token.Locator()}, nil
	}
}

func (w *waiting) join(open run.OpenProfile) run.Waiting {
	sealed := func(plaintext []byte, at run.Place) []byte {
		return w.box.Seal(nil, nil, plaintext, fmt.Append(nil, at))
	}
	return run.Waiting{
		NewToken: func() seal.Secret { return seal.NewSecret(seal.NewAuthToken().Reveal()) },
		Seal: func(_ context.Context, token seal.Secret, at run.Place) ([]byte, error) {
			return sealed(token.Bytes(), at), nil
		},
		Open: func(tokens []byte, at run.Place) (seal.Secret, error) {
			token, err := w.box.Open(nil, nil, tokens, fmt.Append(nil, at))
			if err != nil {
				return seal.Secret{}, run.ErrGone
			}
			return seal.NewSecret(token), nil
		},
		SealInputs: func(_ seal.Secret, at run.Place, inputs []byte) ([]byte, error) { return sealed(inputs, at), nil },
		OpenInputs: func(_ seal.Secret, at run.Place, box []byte) ([]byte, error) {
			return w.box.Open(nil, nil, box, fmt.Append(nil, at))
		},
		OpenProfile: func(ctx context.Context, who access.Caller, a agent.Agent, token seal.Secret) (*run.Profile, error) {
			t, err := seal.ParseAuthToken(string(token.Bytes()))
			if err != nil {
				return nil, err
			}
			auth, ok := w.slots.Load(string(t.Locator()))
			if !ok {
				return nil, run.ErrGone
			}
			return open(ctx, who, a, auth.(seal.Secret))
		},
		DropSlot: func(_ context.Context, _ *db.Tx, locator []byte) error {
			w.slots.Delete(string(locator))
			return nil
		},
	}
}
