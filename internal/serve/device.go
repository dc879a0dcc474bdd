package serve

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/device"
)

// newDevices makes the part that lets programs wait for a key.
func (s *server) newDevices() *device.Store {
	member := func(err error) error {
		if errors.Is(err, account.ErrNotMember) {
			return device.ErrNoMember
		}
		return err
	}
	return &device.Store{
		Acts: s.acts, DB: s.db, Root: s.root, Now: s.accounts.Now,
		Member: func(ctx context.Context, accountID, organizationID string) (access.Caller, error) {
			who, err := s.accounts.Member(ctx, accountID, organizationID)
			return who, member(err)
		},
		MakeKey: func(ctx context.Context, tx *db.Tx, act *access.Act, who access.Caller, l device.Login) (device.Key, error) {
			from, err := json.Marshal(map[string]string{"program": l.Program, "address": l.Address}, json.Deterministic(true))
			if err != nil {
				return device.Key{}, err
			}
			made, err := s.keys.CreateIn(ctx, tx, act, who, apikey.Request{
				Name: l.KeyName(), Type: apikey.Temporary, ExpiresIn: device.KeyLife, Scopes: l.Scopes.Names(), Metadata: from,
			})
			return device.Key{ID: made.ID, Secret: made.Secret}, member(err)
		},
		EndKey: s.keys.EndIn,
		Used: func(ctx context.Context, ids []int64) (map[int64]bool, error) {
			uses, err := s.usage.LastUses(ctx, ids)
			used := make(map[int64]bool, len(uses))
			for id := range uses {
				used[id] = true
			}
			return used, err
		},
	}
}
