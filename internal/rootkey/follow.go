package rootkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keyward/keyward/internal/seal"
)

// pause is how long after another server's step of a rotation this one takes
// its own, at most.
const pause = 2 * time.Second

// Follow keeps the ring as the root key's keeper and the database have it, until
// ctx ends. What it fails with is reported, and it is tried again.
func (k *Keys) Follow(ctx context.Context) error {
	reported := ""
	for {
		err := k.Sync(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			reported = ""
		case err.Error() != reported:
			reported = err.Error()
			k.Log.Error("the root key can't be followed", "err", err)
		}
		if wait(ctx, pause) != nil {
			return nil
		}
	}
}

// Ready returns nil unless this server lacks what it needs to write with the
// active version.
func (k *Keys) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.behind
}

// Sync takes over new versions from where the root key is kept, turns to the
// version that is active in the database, and gives up those that are retired,
// where they are kept too.
func (k *Keys) Sync(ctx context.Context) error {
	_, err := k.sync(ctx)
	return err
}

// sync is Sync. It reports whether it has taken lines away from where they are
// kept.
func (k *Keys) sync(ctx context.Context) (taken bool, err error) {
	k.keeping.Lock()
	defer k.keeping.Unlock()
	v, err := read(ctx, k.DB)
	if err != nil {
		return false, err
	}
	if !v.begun() {
		return false, fmt.Errorf("%w: it has none", ErrChanged)
	}

	kept, gone, failed := k.merge(v)
	defer clear(kept)
	err = k.adopt(v)
	k.mu.Lock()
	k.behind = err
	k.mu.Unlock()
	if err = errors.Join(err, failed); err != nil || len(gone) == 0 {
		return false, err
	}

	for _, version := range gone {
		if err := k.proved(version); err != nil {
			return false, err
		}
	}
	if k.Write == nil {
		if !k.reminded {
			k.reminded = true
			k.Log.Warn("the root key has a line that is not needed any more; take it out where you keep it", "version", gone[0].Number, "id", gone[0].ID)
		}
		return false, nil
	}
	if err := k.Write(kept); err != nil {
		return false, fmt.Errorf("take a retired version out of the root key: %w", err)
	}
	for _, version := range gone {
		k.Log.Info("a retired version was taken out of the root key", "version", version.Number, "id", version.ID)
	}
	return true, nil
}

// merge reads the root key's lines and adds what is new to the ring. It returns
// the lines to keep, and the retired versions that the others are of.
func (k *Keys) merge(v versions) (kept []byte, gone []Version, err error) {
	text, err := k.Read()
	if err != nil {
		return nil, nil, err
	}
	defer clear(text)
	kept = make([]byte, 0, len(text)+1)
	for line := range bytes.Lines(text) {
		if version, is := v.isRetired(line); is {
			gone = append(gone, version)
		} else {
			kept = append(kept, line...)
		}
	}
	return kept, gone, k.Root.Merge(kept)
}

// isRetired returns the retired version that a line of the root key is of.
func (v versions) isRetired(line []byte) (Version, bool) {
	fields := bytes.Fields(line)
	for _, version := range v.retired {
		if len(fields) == 4 && string(fields[1]) == strconv.FormatUint(uint64(version.Number), 10) && string(fields[2]) == version.ID {
			return version, true
		}
	}
	return Version{}, false
}

// only returns a ring that has one version of root alone.
func only(root *seal.Root, number uint32) (*seal.Root, error) {
	text := root.Text()
	defer clear(text)
	for line := range bytes.Lines(text) {
		one, err := seal.ParseRoot(line)
		if err != nil {
			return nil, err
		}
		if one.Active() == number {
			return one, nil
		}
	}
	return nil, fmt.Errorf("%w: %d", seal.ErrRootVersion, number)
}

// wait returns after d, or with ctx's error when it ends before.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
