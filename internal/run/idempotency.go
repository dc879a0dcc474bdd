package run

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// remembered is for how long an Idempotency-Key stands for its run.
const remembered = 24 * time.Hour

// maxIdempotencyKey bounds the characters of one.
const maxIdempotencyKey = 255

// errDuplicate says that the same Idempotency-Key has started a run meanwhile.
var errDuplicate = errors.New("run: its Idempotency-Key was used meanwhile")

// digestKey is the key of the digests by which requests are known again. It lies
// in a box: so they are known across a rotation of the root key, too, and who has
// the database alone can't try what they were made of.
type digestKey struct {
	mu  sync.Mutex
	key []byte // nil: not read yet
}

// digestKeyPlace is the context of its box.
const digestKeyPlace = "run-requests"

// digests are what is kept of a request that has an Idempotency-Key.
type digests struct{ request, fingerprint []byte }

// digests returns those of j's request, or nil if it has no key.
func (r *Runs) digests(ctx context.Context, j *job) (*digests, error) {
	if j.request.IdempotencyKey == "" {
		return nil, nil
	}
	return r.digest(ctx, j.caller, j.request)
}

func (r *Runs) digest(ctx context.Context, who access.Caller, req Request) (*digests, error) {
	if len(req.IdempotencyKey) > maxIdempotencyKey {
		return nil, fault.Field("Idempotency-Key", "must have at most 255 characters")
	}
	key, err := r.digestKey(ctx)
	if err != nil {
		return nil, err
	}
	sum := func(label string, fields ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, f := range append([][]byte{[]byte(label), []byte(who.OrganizationID), []byte(req.IdempotencyKey)}, fields...) {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
			h.Write(f)
		}
		return h.Sum(nil)
	}
	return &digests{sum("request"), sum("fingerprint", req.Fingerprint)}, nil
}

// digestKey returns the key of the digests. The first server that needs it makes
// it.
func (r *Runs) digestKey(ctx context.Context) ([]byte, error) {
	r.keys.mu.Lock()
	defer r.keys.mu.Unlock()
	if r.keys.key != nil {
		return r.keys.key, nil
	}
	fresh := make([]byte, 32)
	rand.Read(fresh)
	box, err := r.Root.Seal(seal.AtRest, fresh, seal.Text(digestKeyPlace))
	if err != nil {
		return nil, err
	}
	err = r.DB.Tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO run_request_keys (id, box, root_version) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING`, box, seal.BoxVersion(box)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT box FROM run_request_keys WHERE id = 1`).Scan(&box)
	})
	if err == nil {
		r.keys.key, err = r.Root.Open(seal.AtRest, box, seal.Text(digestKeyPlace))
	}
	if err != nil {
		return nil, fmt.Errorf("the key of Idempotency-Keys: %w", err)
	}
	return r.keys.key, nil
}

// insert makes the request stand for run, or fails with errDuplicate if it stands
// for another since less than a day.
func (d *digests) insert(ctx context.Context, tx *db.Tx, run Run, now int64) error {
	n, err := tx.Exec(ctx, `
		INSERT INTO run_requests (organization_id, digest, fingerprint, run_id, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (organization_id, digest) DO UPDATE SET fingerprint = excluded.fingerprint, run_id = excluded.run_id, created_at = excluded.created_at
		WHERE run_requests.created_at <= $6`,
		run.OrganizationID, d.request, d.fingerprint, run.ID, now, now-remembered.Microseconds())
	if err == nil && n == 0 {
		err = errDuplicate
	}
	return err
}

// earlier returns the run that the same request has started within a day, after
// its end if that is waited for; without an ID if there is none. Another request
// under the same key is ErrReused.
func (r *Runs) earlier(ctx context.Context, who access.Caller, req Request) (Run, error) {
	d, err := r.digest(ctx, who, req)
	if err != nil {
		return Run{}, err
	}
	var id string
	var fingerprint []byte
	err = r.DB.QueryRow(ctx, `SELECT run_id, fingerprint FROM run_requests WHERE organization_id = $1 AND digest = $2 AND created_at > $3`,
		who.OrganizationID, d.request, db.Micros(r.Now().Add(-remembered))).Scan(&id, &fingerprint)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Run{}, nil
	case err != nil:
		return Run{}, fmt.Errorf("look for an Idempotency-Key: %w", err)
	case !bytes.Equal(fingerprint, d.fingerprint):
		return Run{}, ErrReused
	}
	if req.Wait {
		if err := r.waitFor(ctx, who, id); err != nil {
			return Run{}, err
		}
	}
	return r.Get(ctx, who, id)
}

// errGoesOn lets somebody go who waits for a run that does not end with the server.
var errGoesOn = errStopping.Say("The server is stopping. The run is not; send the same request again.")

// waitFor returns when a run has ended.
func (r *Runs) waitFor(ctx context.Context, who access.Caller, id string) error {
	events, err := r.Events(ctx, who, id, 0)
	if err != nil {
		return err
	}
	defer events.Close()
	for looked := time.Now(); ; {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		_, err := events.Next(limited)
		quiet := err != nil && limited.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !quiet:
			return err
		case time.Since(looked) < time.Second || !r.stopping():
			continue
		}
		looked = time.Now()
		if run, err := r.Get(ctx, who, id); err != nil || run.EndedAt.IsZero() && (run.Status == Queued || run.NodeID != r.NodeID) {
			return cmp.Or(err, error(errGoesOn))
		}
	}
}

func (r *Runs) stopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue.stopping
}

// purgeRequests removes up to limit of the Idempotency-Keys whose day is over.
func (r *Runs) purgeRequests(ctx context.Context, limit int) (n int64, err error) {
	err = r.DB.Tx(ctx, func(tx *db.Tx) error {
		n, err = tx.Exec(ctx, `DELETE FROM run_requests WHERE (organization_id, digest) IN (
			SELECT organization_id, digest FROM run_requests WHERE created_at <= $1 LIMIT $2)`, db.Micros(r.Now().Add(-remembered)), limit)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge Idempotency-Keys: %w", err)
	}
	return n, nil
}
