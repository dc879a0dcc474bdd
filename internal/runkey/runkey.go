// Package runkey owns the run keys of this server. What a run needs that waits
// without whoever started it is sealed to them and to nothing that is in the
// database.
//
// Its laws:
//
//   - A private half is in run.key and in this process, and in no database. The
//     root key has no part in it.
//   - A key is sealed to for an hour. It is destroyed when no run that waits is
//     sealed to it, and when it is a day old at the latest: overwritten in
//     memory, overwritten and gone from the file. From then on no copy of the
//     database opens what was sealed to it.
//   - It is on the disk before anyone seals to it.
//   - Only servers whose tagged row vouches for their public half are sealed to.
//
// How sealing works is package seal's, the rows of servers are package node's,
// and what waits is package run's.
package runkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/seal"
)

const (
	// MaxAge is how old a key gets at most.
	MaxAge = 24 * time.Hour

	current = time.Hour       // for how long a key is sealed to
	settle  = 2 * time.Minute // after which nobody seals to an earlier key any more
	fresh   = time.Minute     // for how long what is known of the others holds
	pause   = time.Minute     // between two looks at what waits
)

// ErrGone says that none of the keys that something is sealed to is here, or
// that it does not open with the one that is.
var ErrGone = errors.New("run key: none is left that opens this")

// Place is the run whose token is sealed.
type Place = seal.RunPlace

// Node is a live server, as its tagged row says.
type Node struct {
	ID     string
	RunKey []byte // the public half of its present key; empty: it has none
}

// Keys are the run keys of this server.
type Keys struct {
	Now func() time.Time
	Log *slog.Logger

	Read     func() ([]byte, error) // the file; fs.ErrNotExist if there is none
	Write    func([]byte) error     // the file, so that what it held before is gone
	Self     func() string          // the id of this server
	Announce func(ctx context.Context, public []byte) error
	Nodes    func(ctx context.Context) ([]Node, error) // the live ones, this one included

	// EachWaiting calls see with the sealed tokens of every run that waits,
	// oldest first, until it returns false.
	EachWaiting func(ctx context.Context, see func(tokens []byte) bool) error

	// tending is held by whoever changes the keys, and while the database is asked;
	// mu only for as long as keys are used, so that nobody waits for the database
	// who opens one.
	tending   sync.Mutex
	announced time.Time // when the others were told of the last key; zero: not yet
	looked    time.Time // at what waits

	mu     sync.Mutex
	keys   []seal.RunKey // oldest first; the last one is sealed to
	others []other
	asked  time.Time // when others were read
}

// other is another server that is sealed to.
type other struct {
	node string
	key  seal.RunPublicKey
}

// Start reads the keys that this server had when it stopped, and makes one to
// seal to if there is none. Without the file what waited is lost; with one that
// can't be read it is an error, for who removes it shall know that.
func (k *Keys) Start(ctx context.Context) error {
	k.tending.Lock()
	defer k.tending.Unlock()
	text, err := k.Read()
	defer clear(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("run keys: %w", err)
	default:
		keys, err := seal.ParseRunKeys(text)
		if err != nil {
			return fmt.Errorf("%w: the runs that wait need this file; without it they end as interrupted", err)
		}
		slices.SortStableFunc(keys, func(a, b seal.RunKey) int { return a.Created().Compare(b.Created()) })
		k.mu.Lock()
		k.keys = keys
		k.mu.Unlock()
	}
	return k.renew(ctx)
}

// Tend is what is done every few seconds: it makes the hourly key, destroys those
// that are not needed any more, and looks which servers there are.
func (k *Keys) Tend(ctx context.Context) error {
	k.tending.Lock()
	defer k.tending.Unlock()
	return errors.Join(k.renew(ctx), k.destroy(ctx), k.look(ctx))
}

// renew makes a key if the last one has had its hour, and has the others told.
func (k *Keys) renew(ctx context.Context) error {
	n, now := len(k.keys), k.Now()
	if n == 0 || !within(k.keys[n-1], now, current) {
		key := seal.NewRunKey(now)
		if err := k.write(append(k.living(now), key)); err != nil {
			return fmt.Errorf("keep a new run key: %w", err)
		}
		k.announced = time.Time{}
	}
	if !k.announced.IsZero() {
		return nil
	}
	if err := k.Announce(ctx, k.present().Public().Bytes()); err != nil {
		return fmt.Errorf("tell the other servers of a run key: %w", err)
	}
	k.announced = now
	return nil
}

// within reports whether key is no older than age. One from the future, after
// the clock was set back, is taken for too old.
func within(key seal.RunKey, now time.Time, age time.Duration) bool {
	old := now.Sub(key.Created())
	return old > -time.Minute && old < age
}

func (k *Keys) present() seal.RunKey { return k.keys[len(k.keys)-1] }

// living returns the keys that are not too old to be kept, in a slice of its own.
func (k *Keys) living(now time.Time) []seal.RunKey {
	return slices.DeleteFunc(slices.Clone(k.keys), func(key seal.RunKey) bool { return now.Sub(key.Created()) >= MaxAge })
}

// write makes keep the keys of this server, on the disk first, and destroys the
// others.
func (k *Keys) write(keep []seal.RunKey) error {
	text := seal.RunKeysText(keep)
	defer clear(text)
	if err := k.Write(text); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if !slices.ContainsFunc(keep, func(kept seal.RunKey) bool { return kept.ID() == key.ID() }) {
			k.Log.Debug("a run key is destroyed", "key", key.ID().String())
			key.Clear()
		}
	}
	k.keys = keep
	return nil
}

// destroy lets go of the keys before the last that nothing is sealed to.
//
// Another server may seal to an earlier key until it has heard of the last one,
// and what it has sealed may be on its way to the disk. So none is destroyed
// until that is surely over.
func (k *Keys) destroy(ctx context.Context) (err error) {
	now := k.Now()
	keep := k.living(now)
	if len(keep) > 1 && now.Sub(k.announced) >= settle && now.Sub(k.looked) >= pause {
		unused := map[seal.RunKeyID]bool{}
		for _, key := range keep[:len(keep)-1] {
			unused[key.ID()] = true
		}
		if err = k.strike(ctx, unused); err == nil {
			k.looked = now
			keep = slices.DeleteFunc(keep, func(key seal.RunKey) bool { return unused[key.ID()] })
		}
	}
	if len(keep) == len(k.keys) || len(keep) == 0 {
		return err
	}
	if err := k.write(keep); err != nil {
		return fmt.Errorf("destroy run keys: %w", err)
	}
	return err
}

// strike takes out of unused what a run that waits is sealed to.
func (k *Keys) strike(ctx context.Context, unused map[seal.RunKeyID]bool) error {
	left := len(unused)
	err := k.EachWaiting(ctx, func(tokens []byte) bool {
		sealed, _ := seal.SplitRunTokens(tokens)
		for _, s := range sealed {
			if id, err := seal.RunTokenKey(s.Sealed); err == nil && unused[id] {
				unused[id] = false
				left--
			}
		}
		return left > 0
	})
	if err != nil {
		return fmt.Errorf("look which run keys are needed: %w", err)
	}
	return nil
}

// look finds the other servers that are to be sealed to.
func (k *Keys) look(ctx context.Context) error {
	nodes, err := k.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("find the run keys of other servers: %w", err)
	}
	self := k.Self()
	var others []other
	for _, n := range nodes {
		if n.ID == self || len(n.RunKey) == 0 {
			continue
		}
		key, err := seal.ParseRunPublicKey(n.RunKey)
		if err != nil {
			return fmt.Errorf("the run key of server %s: %w", n.ID, err)
		}
		others = append(others, other{n.ID, key})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.others, k.asked = others, k.Now()
	return nil
}

// Seal seals the token of the run at place to the present key of every live
// server.
func (k *Keys) Seal(ctx context.Context, token seal.Secret, at Place) ([]byte, error) {
	tok, err := seal.ParseAuthToken(string(token.Bytes()))
	if err != nil {
		return nil, err
	}
	defer tok.Clear()
	self, others, err := k.to(ctx)
	if err != nil {
		return nil, err
	}
	id := k.Self()
	tokens := []seal.SealedRunToken{{Node: id, Sealed: self.SealRunToken(id, at, tok)}}
	for _, o := range others {
		tokens = append(tokens, seal.SealedRunToken{Node: o.node, Sealed: o.key.SealRunToken(o.node, at, tok)})
	}
	return seal.JoinRunTokens(tokens), nil
}

// to returns what is sealed to: by what was heard of the others lately.
func (k *Keys) to(ctx context.Context) (self seal.RunPublicKey, others []other, err error) {
	now := k.Now()
	k.mu.Lock()
	age := now.Sub(k.asked)
	k.mu.Unlock()
	if age < 0 || age >= fresh {
		if err := k.look(ctx); err != nil {
			return self, nil, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.keys); n == 0 || now.Sub(k.keys[n-1].Created()) >= MaxAge {
		return self, nil, errors.New("run key: this server has none to seal to")
	}
	return k.present().Public(), k.others, nil
}

// Open returns the token of the run at place, if it was sealed to a key that this
// server has. Else it fails with ErrGone, also if what was sealed was changed
// since.
func (k *Keys) Open(tokens []byte, at Place) (seal.Secret, error) {
	sealed, err := seal.SplitRunTokens(tokens)
	if err != nil {
		return seal.Secret{}, fmt.Errorf("%w: %w", ErrGone, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := k.living(k.Now())
	for _, s := range sealed {
		id, err := seal.RunTokenKey(s.Sealed)
		held := slices.IndexFunc(keys, func(key seal.RunKey) bool { return err == nil && key.ID() == id })
		if held < 0 {
			continue
		}
		if tok, err := keys[held].OpenRunToken(s.Node, at, s.Sealed); err == nil {
			defer tok.Clear()
			return seal.NewSecret(tok.Reveal()), nil
		}
	}
	return seal.Secret{}, ErrGone
}
