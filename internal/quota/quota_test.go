package quota_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/quota"
)

func organization(t *testing.T, d *db.DB, id string) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ($1, $2, 0, 'free', '{}', '{}', 1, 1, 1, $3)`, id, id, []byte{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAQuotaOfNNeverGivesOneMore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		organization(t, d, "o")
		take := func(limit int64) error {
			return d.Tx(t.Context(), func(tx *db.Tx) error { return quota.Take(t.Context(), tx, "o", quota.Agents, limit) })
		}
		var got atomic.Int64
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				switch err := take(10); {
				case err == nil:
					got.Add(1)
				case !errors.Is(err, fault.ErrQuota):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got.Load() != 10 {
			t.Errorf("%d of 30 were let in, want 10", got.Load())
		}
		if err := take(-1); err != nil {
			t.Errorf("without a quota: %v", err)
		}
		if err := take(0); !errors.Is(err, fault.ErrQuota) {
			t.Errorf("a quota of none: %v", err)
		}
		if err := d.Tx(t.Context(), func(tx *db.Tx) error { return quota.Give(t.Context(), tx, "o", quota.Agents, 2) }); err != nil {
			t.Fatal(err)
		}
		if err := take(10); err != nil {
			t.Errorf("after two were given back: %v", err)
		}
		if err := take(10); !errors.Is(err, fault.ErrQuota) {
			t.Errorf("full again: %v", err)
		}
	})
}
