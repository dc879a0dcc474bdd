package agent

import (
	"context"
	"fmt"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/webhook"
)

func (s *Store) newSecret(a Agent) (secret seal.Secret, box []byte, err error) {
	secret = webhook.NewSecret()
	box, err = s.Root.Seal(seal.AtRest, secret.Bytes(), a.secretPlace()...)
	return secret, box, err
}

// secretPlace is the context of the box that the runner's secret is in.
func (a Agent) secretPlace() [][]byte {
	return [][]byte{seal.Text("runner-secret"), seal.Text(a.OrganizationID), seal.Text(a.UID)}
}

// RunnerSecret returns what requests to the agent's runner are signed with.
func (s *Store) RunnerSecret(a Agent) (seal.Secret, error) {
	secret, err := s.Root.Open(seal.AtRest, a.runnerSecret, a.secretPlace()...)
	if err != nil {
		return seal.Secret{}, fmt.Errorf("runner secret of agent %s: %w", a.UID, err)
	}
	defer clear(secret)
	return seal.NewSecret(secret), nil
}

// RenewRunnerSecret gives an agent of who's organization a new secret. Nothing
// is signed with the old one any more.
func (s *Store) RenewRunnerSecret(ctx context.Context, who access.Caller, id string) (secret seal.Secret, err error) {
	if err := who.May(access.RenewRunner); err != nil {
		return seal.Secret{}, err
	}
	err = s.Acts.Do(ctx, who, access.RenewRunner, func(tx *db.Tx, act *access.Act) error {
		a, err := s.own(ctx, tx, who, id)
		if err != nil {
			return err
		}
		if secret, a.runnerSecret, err = s.newSecret(a); err != nil {
			return err
		}
		act.On("agent", a.ID, a.Name)
		return s.update(ctx, tx, act, &a)
	})
	return secret, err
}

// Reseal renews the boxes of up to limit runner secrets that are under another
// root key than the active one, and says how many. Zero means that none is left.
func (s *Store) Reseal(ctx context.Context, limit int) (done int, err error) {
	agents, err := s.collect(s.DB.Query(ctx, `SELECT `+columns+` FROM agents WHERE root_version <> $1 LIMIT $2`, s.Root.Active(), limit))
	if err != nil {
		return 0, fmt.Errorf("re-seal runner secrets: %w", err)
	}
	boxes := make([][]byte, len(agents))
	for i, a := range agents {
		if boxes[i], err = s.Root.Reseal(seal.AtRest, a.runnerSecret, a.secretPlace()...); err != nil {
			return 0, fmt.Errorf("runner secret of agent %s: %w", a.UID, err)
		}
	}
	err = s.DB.Tx(ctx, func(tx *db.Tx) error {
		for i, a := range agents {
			if _, err := tx.Exec(ctx, `UPDATE agents SET runner_secret = $1, root_version = $2 WHERE uid = $3 AND runner_secret = $4`,
				boxes[i], seal.BoxVersion(boxes[i]), a.UID, a.runnerSecret); err != nil {
				return err
			}
		}
		return nil
	})
	return len(agents), err
}
