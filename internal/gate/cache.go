package gate

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
)

// cache remembers what was read of keys, until it is closed or crowded out.
//
// Its one law: what was read before a door was closed is not remembered after.
// A reader takes the generation before it reads the database and shows it when
// it puts; a closing first moves the generation on and then drops what is there.
// Both look at the generation under the index's lock, so whatever a put brings
// in is either found by the closing or refused by the generation.
//
// Keys are found by the digest of what was presented, in shards that evict by
// SIEVE (Zhang et al., NSDI 2024): a key that was asked for since the hand went
// by stays, so that a crowd of keys that come once does not drive out those that
// come often.
//
// What is remembered of keys lies in slots that have no pointers: the collector
// does not walk through a hundred thousand keys while they are asked for.
type cache struct {
	shards [shards]shard
	most   int // keys in a shard

	generation atomic.Uint64

	// index is locked after a shard, never before one.
	index   sync.Mutex
	keys    map[int64]place   // by the key's id: where one of its secrets is
	more    map[int64][]place // where the others are, of a key that has several
	members map[memberID]*member
}

// place is where a secret is remembered.
type place struct{ shard, slot int32 }

const shards = 64

// maxMembers is how many accounts in organizations are remembered. Far more than
// that are in use at once only on a server that has memory for it.
const maxMembers = 1 << 16

type shard struct {
	mu       sync.Mutex
	found    map[apikey.Digest]int32 // the slots in use
	slots    []slot
	refs     []refs // what the slots would point to
	free     []int32
	new, old int32    // the ends of the list, by age
	hand     int32    // nowhere: at the old end
	_        [64]byte // the next shard's lock is on another cache line
}

// slot is what is remembered of a key's secret.
type slot struct {
	digest apikey.Digest
	settings
	newer, older int32 // in its shard
	asked        bool  // since the hand went by
}

// nowhere is no slot.
const nowhere = -1

type refs struct {
	member *member
	rare   *rare
}

// entry is what was read of a key's secret.
type entry struct {
	digest apikey.Digest
	key    checked
	member *member
}

// member is what an account, or an organization's own keys, may do in the
// organization: all of their keys share it.
type member struct {
	memberID
	who    access.Caller
	closed atomic.Bool
}

type memberID struct{ accountID, organizationID string }

func newCache(size int) *cache {
	c := &cache{most: max(1, size/shards), keys: map[int64]place{}, more: map[int64][]place{}, members: map[memberID]*member{}}
	for i := range c.shards {
		s := &c.shards[i]
		s.found, s.new, s.old, s.hand = map[apikey.Digest]int32{}, nowhere, nowhere, nowhere
	}
	return c
}

func shardOf(d *apikey.Digest) int32 { return int32(d[0] % shards) }

// get finds what is remembered for a digest.
func (c *cache) get(d *apikey.Digest, into *entry) bool {
	s := &c.shards[shardOf(d)]
	s.mu.Lock()
	i, found := s.found[*d]
	if found {
		slot, refs := &s.slots[i], &s.refs[i]
		slot.asked = true
		into.digest, into.key.settings, into.key.rare, into.member = *d, slot.settings, refs.rare, refs.member
	}
	s.mu.Unlock()
	return found && !into.member.closed.Load()
}

// member returns what is remembered of a member, or nil.
func (c *cache) member(id memberID) *member {
	c.index.Lock()
	defer c.index.Unlock()
	return c.members[id]
}

// put remembers e and its member, which were read when the generation was
// already read, or does nothing if a door was closed since. Its reader answers
// with what it has read, though an older reading of the member be remembered.
func (c *cache) put(e *entry, read uint64) {
	at := shardOf(&e.digest)
	s := &c.shards[at]
	s.mu.Lock()
	defer s.mu.Unlock()
	c.index.Lock()
	defer c.index.Unlock()
	if c.generation.Load() != read {
		return
	}
	m := c.members[e.member.memberID]
	if m == nil {
		for id := range c.members {
			if len(c.members) < maxMembers {
				break
			}
			// Any will do. Those who have it keep it, so it must close for them.
			c.members[id].closed.Store(true)
			delete(c.members, id)
		}
		m = e.member
		c.members[m.memberID] = m
	}
	if old, found := s.found[e.digest]; found {
		c.drop(place{at, old})
	}
	for len(s.found) >= c.most {
		c.drop(place{at, s.evict()})
	}
	i := s.add(e, m)
	if _, found := c.keys[e.key.id]; found {
		c.more[e.key.id] = append(c.more[e.key.id], place{at, i})
	} else {
		c.keys[e.key.id] = place{at, i}
	}
}

// drop forgets the secret at p. Its shard and the index are locked.
func (c *cache) drop(p place) {
	id := c.shards[p.shard].drop(p.slot)
	others := c.more[id]
	if c.keys[id] != p {
		others = slices.DeleteFunc(others, func(other place) bool { return other == p })
	} else if len(others) > 0 {
		c.keys[id], others = others[0], others[1:]
	} else {
		delete(c.keys, id)
	}
	if len(others) > 0 {
		c.more[id] = others
	} else {
		delete(c.more, id)
	}
}

// close forgets a key.
func (c *cache) close(keyID int64) {
	c.generation.Add(1)
	for _, p := range c.places(keyID) {
		s := &c.shards[p.shard]
		s.mu.Lock()
		c.index.Lock()
		// Another may have come to its place meanwhile.
		if slot := &s.slots[p.slot]; slot.id == keyID && s.has(p.slot) {
			c.drop(p)
		}
		c.index.Unlock()
		s.mu.Unlock()
	}
}

// places returns where the key's secrets are: all that were put before the
// generation moved on.
func (c *cache) places(keyID int64) []place {
	c.index.Lock()
	defer c.index.Unlock()
	first, found := c.keys[keyID]
	if !found {
		return nil
	}
	return append([]place{first}, c.more[keyID]...)
}

// closeMembers forgets all keys of the members that match. They leave their
// shards when somebody puts there.
func (c *cache) closeMembers(match func(memberID) bool) {
	c.generation.Add(1)
	c.index.Lock()
	defer c.index.Unlock()
	for id, m := range c.members {
		if match(id) {
			m.closed.Store(true)
			delete(c.members, id)
		}
	}
}

// has reports whether slot i is in use.
func (s *shard) has(i int32) bool {
	at, found := s.found[s.slots[i].digest]
	return found && at == i
}

// add puts e at the new end.
func (s *shard) add(e *entry, m *member) (i int32) {
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		i = int32(len(s.slots))
		s.slots, s.refs = append(s.slots, slot{}), append(s.refs, refs{})
	}
	s.slots[i] = slot{digest: e.digest, settings: e.key.settings, newer: nowhere, older: s.new}
	s.refs[i] = refs{m, e.key.rare}
	s.found[e.digest] = i
	if s.new != nowhere {
		s.slots[s.new].newer = i
	}
	s.new = i
	if s.old == nowhere {
		s.old = i
	}
	return i
}

// drop takes slot i out, and returns the id of its key.
func (s *shard) drop(i int32) int64 {
	was := s.slots[i]
	delete(s.found, was.digest)
	if s.hand == i {
		s.hand = was.newer
	}
	if was.newer != nowhere {
		s.slots[was.newer].older = was.older
	} else {
		s.new = was.older
	}
	if was.older != nowhere {
		s.slots[was.older].newer = was.newer
	} else {
		s.old = was.newer
	}
	s.slots[i], s.refs[i] = slot{}, refs{}
	s.free = append(s.free, i)
	return was.id
}

// evict returns the slot that goes next: from the hand on, towards the new end
// and around, the first that is closed or was not asked for.
func (s *shard) evict() int32 {
	i := s.hand
	for {
		if i == nowhere {
			i = s.old
		}
		slot := &s.slots[i]
		if !slot.asked || s.refs[i].member.closed.Load() {
			s.hand = slot.newer
			return i
		}
		slot.asked = false
		i = slot.newer
	}
}

// size returns how many secrets there are.
func (c *cache) size() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.found)
		s.mu.Unlock()
	}
	return n
}
