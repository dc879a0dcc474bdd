package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// RunSlot is how a run that waits gets at its profile without whoever started
// it: by a token for it alone.
type RunSlot struct {
	Token   seal.Secret
	Locator []byte // by which the slot is dropped

	uid  string
	slot newSlot
	at   int64
}

// RunSlot makes a token that opens the profile with [Store.OpenRun] until
// expires, and no longer than the token that the profile was opened with: one
// that was rotated takes the runs that wait with it. It opens nothing before it
// is kept.
func (o *Opened) RunSlot(expires time.Time) (RunSlot, error) {
	if o.slot.kind != seal.SlotOwner {
		return RunSlot{}, errors.New("vault: a run's token makes no others")
	}
	at := db.Micros(expires)
	if at == 0 {
		return RunSlot{}, errors.New("vault: a run's token has an end")
	}
	if own := o.slot.expiresAt; own != 0 {
		at = min(at, own)
	}
	p, tok := o.profile, seal.NewAuthToken()
	defer tok.Clear()
	sealed, err := o.store.Root.SealSlot(tok, p.slotPlace(seal.SlotRun, p.epoch, at), p.dek)
	if err != nil {
		return RunSlot{}, err
	}
	return RunSlot{Token: seal.NewSecret(tok.Reveal()), Locator: tok.Locator(), uid: p.uid, at: db.Micros(o.store.Now()),
		slot: newSlot{seal.SlotRun, p.epoch, tok.Locator(), sealed, at, o.slot.locator}}, nil
}

// Keep writes the slot in tx, the run's own. It is ErrToken if the profile has
// been deleted since it was opened.
func (r RunSlot) Keep(ctx context.Context, tx *db.Tx) error {
	if err := insertSlot(ctx, tx, r.uid, r.slot, r.at); db.IsMissingReference(err) {
		return ErrToken
	} else if err != nil {
		return fmt.Errorf("keep the slot of a run: %w", err)
	}
	return nil
}

// DropRunSlot takes the slot of a run away in tx, the run's own: its token opens
// nothing from then on.
func (s *Store) DropRunSlot(ctx context.Context, tx *db.Tx, locator []byte) error {
	if _, err := tx.Exec(ctx, `DELETE FROM profile_slots WHERE locator = $1 AND kind = 'run'`, locator); err != nil {
		return fmt.Errorf("drop the slot of a run: %w", err)
	}
	return nil
}
