package rootkey

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

const (
	poll  = 250 * time.Millisecond // how often the other servers are looked at
	batch = 200                    // rows that are renewed at once; other writers wait for them on SQLite
)

// The ways in which a rotation does not go on.
var (
	ErrTurning = errors.New("the root key is being rotated by this server already")
	ErrAhead   = errors.New("another server rotates the root key and was ahead: start again to go on with it")
	ErrKept    = errors.New("the root key is kept where this server can't write: add the line of a new version there on every host, then start again")
)

// Rotate puts a new version in the place of the active one, while everything
// goes on, and tells each step to say:
//
//	add a version, or take one that was added and never used
//	wait until every live server holds it
//	make it active
//	wait until every live server writes with it
//	renew every row that is under an older one, until there is none
//	retire the older ones and take their lines away
//
// Whenever it is stopped, by ctx, a failure or a crash, the next call goes on
// from there. Loops that keep this server's heartbeat and follow the root key
// must run meanwhile: it is itself one of those that are waited for. Without a
// running server the caller holds the data folder's lock and starts them.
//
// Backups from before need the old version: its line belongs to them.
func (k *Keys) Rotate(ctx context.Context, who access.Caller, say func(step string)) error {
	if err := who.May(access.RotateRoot); err != nil {
		return err
	}
	if !k.turning.TryLock() {
		return ErrTurning
	}
	defer k.turning.Unlock()

	taken, err := k.sync(ctx)
	if err != nil {
		return err
	}
	v, err := read(ctx, k.DB)
	if err != nil {
		return err
	}
	switch {
	case len(v.old) != 0:
		say(fmt.Sprintf("going on with the rotation to version %d (id %s)", v.active.Number, v.active.ID))
	case taken:
		say(fmt.Sprintf("the rotation to version %d (id %s) is complete: only old lines were left to be taken away", v.active.Number, v.active.ID))
		return nil
	default:
		if v, err = k.turn(ctx, who, v, say); err != nil {
			return err
		}
	}
	if err := k.renewAll(ctx, v, say); err != nil {
		return err
	}
	if err := k.retire(ctx, who, v); err != nil {
		return err
	}
	for _, old := range v.old {
		say(fmt.Sprintf("version %d (id %s) is retired: keep its line only with the backups that were made until now", old.Number, old.ID))
	}
	return k.Sync(ctx)
}

// turn makes the next version active.
func (k *Keys) turn(ctx context.Context, who access.Caller, v versions, say func(string)) (versions, error) {
	number, err := k.next(v, say)
	if err != nil {
		return versions{}, err
	}
	id := k.Root.ID(number)
	_, err = k.await(ctx, fmt.Sprintf("waiting until version %d (id %s) is in the root key of", number, id), say,
		func(n Node) bool { return n.Versions[number] == id })
	if err != nil {
		return versions{}, err
	}
	if err := k.isKept(number, id); err != nil {
		return versions{}, err
	}
	if err := k.activate(ctx, who, v.active, Version{Number: number, ID: id}); err != nil {
		return versions{}, err
	}
	say(fmt.Sprintf("version %d (id %s) is active", number, id))
	if err := k.Sync(ctx); err != nil {
		return versions{}, err
	}
	return read(ctx, k.DB)
}

// next returns the version to turn to. One that is held and was never active is
// taken before another is made.
func (k *Keys) next(v versions, say func(string)) (uint32, error) {
	for _, number := range k.Root.Versions() {
		if number > v.active.Number {
			say(fmt.Sprintf("version %d (id %s) was added before", number, k.Root.ID(number)))
			return number, nil
		}
	}
	if k.Write == nil {
		return 0, ErrKept
	}
	k.keeping.Lock()
	defer k.keeping.Unlock()
	// Made beside the ring: what is in the ring is told to others, and so must be
	// on the disk.
	beside, err := seal.ParseRoot(k.Root.Text())
	if err != nil {
		return 0, err
	}
	number, line := beside.AddNew()
	defer clear(line)
	text := beside.Text()
	defer clear(text)
	if err := k.Write(text); err != nil {
		return 0, fmt.Errorf("add a version to the root key: %w", err)
	}
	say(fmt.Sprintf("version %d (id %s) was added to the root key of this server: copy its line to every host that keeps its own", number, beside.ID(number)))
	return number, k.Root.Merge(line)
}

// isKept reads the root key once more before the first row is written under a
// version: what is in memory alone would be lost with the server.
func (k *Keys) isKept(number uint32, id string) error {
	text, err := k.Read()
	if err != nil {
		return err
	}
	defer clear(text)
	kept, err := seal.ParseRoot(text)
	if err != nil {
		return err
	}
	if kept.ID(number) != id {
		return fmt.Errorf("rotate the root key: version %d (id %s) is not where the root key is kept any more", number, id)
	}
	return nil
}

// await waits until every live server is as it should be, and reports whether it
// had to. It tells which are not.
func (k *Keys) await(ctx context.Context, what string, say func(string), is func(Node) bool) (waited bool, err error) {
	for said := ""; ; waited = true {
		nodes, err := k.Nodes(ctx)
		if err != nil {
			return waited, err
		}
		if len(nodes) == 0 {
			return waited, errors.New("rotate the root key: this server is not registered among the live ones")
		}
		var late []string
		for _, n := range nodes {
			if !is(n) {
				late = append(late, n.Host+" (server "+n.ID+")")
			}
		}
		if late == nil {
			return waited, nil
		}
		if now := what + " " + strings.Join(late, ", "); now != said {
			said = now
			say(now)
		}
		if err := wait(ctx, poll); err != nil {
			return waited, err
		}
	}
}

func (k *Keys) activate(ctx context.Context, who access.Caller, from, to Version) error {
	one, err := only(k.Root, to.Number)
	if err != nil {
		return err
	}
	box, err := one.Seal(seal.ServerState, nil, to.sentinelPlace()...)
	if err != nil {
		return err
	}
	err = k.Acts.Do(ctx, who, access.RotateRoot, func(tx *db.Tx, act *access.Act) error {
		act.On("root_key", to.ID, fmt.Sprintf("version %d", to.Number))
		act.Note("step", "activate")
		n, err := tx.Exec(ctx, `UPDATE root_versions SET active = 0 WHERE version = $1 AND active = 1`, from.Number)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrAhead
		}
		_, err = tx.Exec(ctx, `INSERT INTO root_versions (version, id, sentinel, active, created_at, retired_at) VALUES ($1, $2, $3, 1, $4, 0)`,
			to.Number, to.ID, box, db.Micros(k.Now()))
		return err
	})
	if db.IsDuplicate(err) {
		return ErrAhead
	}
	return err
}

// renewAll returns when nothing is under an old version, and nothing can come to
// be any more: every live server writes with the active one, and what began
// before they did has settled.
func (k *Keys) renewAll(ctx context.Context, v versions, say func(string)) error {
	var turned time.Time
	for settled := false; !settled; {
		waited, err := k.await(ctx, fmt.Sprintf("waiting until every server writes with version %d:", v.active.Number), say,
			func(n Node) bool { return n.Active == v.active.Number })
		if err != nil {
			return err
		}
		if waited || turned.IsZero() {
			turned = k.Now()
		}
		rest := turned.Add(k.Settle).Sub(k.Now())
		settled = rest <= 0
		if err := k.renew(ctx, v, say); err != nil {
			return err
		}
		if !settled {
			say(fmt.Sprintf("waiting %v for requests that began before", rest.Round(time.Second)))
			if err := wait(ctx, rest); err != nil {
				return err
			}
		}
	}
	return k.left(ctx, v)
}

// renew renews rows until none is left under an old version, and twice in a row
// none was found.
func (k *Keys) renew(ctx context.Context, v versions, say func(string)) error {
	for quiet := 0; quiet < 2; quiet++ {
		for _, rows := range k.Rows {
			total := 0
			for {
				n, err := rows.Reseal(ctx, batch)
				if err != nil {
					return fmt.Errorf("renew %s: %w", rows.Name, err)
				}
				if n == 0 {
					break
				}
				total += n
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			if total != 0 {
				say(fmt.Sprintf("renewed %d: %s", total, rows.Name))
				quiet = -1
			}
		}
	}
	return nil
}

// left refuses if anything is under an old version. It is counted, whatever the
// nouns say: what is under a key that is given up is lost for good.
func (k *Keys) left(ctx context.Context, v versions) error {
	for _, rows := range k.Rows {
		counts, err := k.count(ctx, rows)
		if err != nil {
			return err
		}
		for _, old := range v.old {
			if n := counts[old.Number]; n != 0 {
				return fmt.Errorf("rotate the root key: %s: %d rows are still under version %d; start again to go on", rows.Name, n, old.Number)
			}
		}
	}
	return nil
}

// retire says of every old version that it is. The proofs of those that were
// retired before are made anew, for the version that they are under goes.
func (k *Keys) retire(ctx context.Context, who access.Caller, v versions) error {
	type change struct {
		Version
		was []byte
	}
	var changes []change
	for _, version := range v.retired {
		if err := k.proved(version); err != nil {
			return err
		}
		changes = append(changes, change{version, version.sentinel})
	}
	now := db.Time(db.Micros(k.Now())) // as exact as it is kept
	for _, version := range v.old {
		version.RetiredAt = now
		changes = append(changes, change{version, version.sentinel})
	}
	for i, c := range changes {
		box, err := k.Root.Seal(seal.ServerState, nil, c.retiredPlace()...)
		if err != nil {
			return err
		}
		changes[i].sentinel = box
	}
	return k.Acts.Do(ctx, who, access.RotateRoot, func(tx *db.Tx, act *access.Act) error {
		act.On("root_key", v.active.ID, fmt.Sprintf("version %d", v.active.Number))
		act.Note("step", "retire the versions before")
		for _, c := range changes {
			n, err := tx.Exec(ctx, `UPDATE root_versions SET sentinel = $1, retired_at = $2 WHERE version = $3 AND sentinel = $4 AND active = 0`,
				c.sentinel, db.Micros(c.RetiredAt), c.Number, c.was)
			if err != nil {
				return err
			}
			if n == 0 {
				return ErrAhead
			}
		}
		return nil
	})
}
