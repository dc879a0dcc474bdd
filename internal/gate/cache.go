package gate

import (
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
type cache struct {
	shards [shards]shard
	most   int // entries in a shard

	generation atomic.Uint64

	index   sync.Mutex
	keys    map[int64]*entry // by the key's id: the first of its secrets, with the others behind it
	members map[memberID]*member
}

const shards = 64

// maxMembers is how many accounts in organizations are remembered. Far more than
// that are in use at once only on a server that has memory for it.
const maxMembers = 1 << 16

type shard struct {
	mu       sync.Mutex
	entries  map[apikey.Digest]*entry
	new, old *entry // the ends of the list, by age
	hand     *entry
	_        [64]byte // the next shard's lock is on another cache line
}

// entry is what is remembered of a key's secret.
type entry struct {
	key    checked
	member *member
	closed atomic.Bool

	digest       apikey.Digest
	newer, older *entry // in its shard
	sibling      *entry // another secret of its key
	asked        bool   // since the hand went by
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
	c := &cache{most: max(1, size/shards), keys: map[int64]*entry{}, members: map[memberID]*member{}}
	for i := range c.shards {
		c.shards[i].entries = map[apikey.Digest]*entry{}
	}
	return c
}

func (c *cache) shard(d *apikey.Digest) *shard { return &c.shards[d[0]%shards] }

// get returns what is remembered for a digest, or nil.
func (c *cache) get(d *apikey.Digest) *entry {
	s := c.shard(d)
	s.mu.Lock()
	e := s.entries[*d]
	if e != nil {
		e.asked = true
	}
	s.mu.Unlock()
	if e == nil || e.closed.Load() || e.member.closed.Load() {
		return nil
	}
	return e
}

// member returns what is remembered of a member, or nil.
func (c *cache) member(id memberID) *member {
	c.index.Lock()
	defer c.index.Unlock()
	return c.members[id]
}

// put remembers e and its member, which were read when the generation was
// already read, or does nothing if a door was closed since. It does not change e:
// its reader answers with what it has read, though an older reading of the member
// be remembered.
func (c *cache) put(e *entry, read uint64) {
	s := c.shard(&e.digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.index.Lock()
	defer c.index.Unlock()
	if c.generation.Load() != read {
		return
	}
	if c.members[e.member.memberID] == nil {
		for id := range c.members {
			if len(c.members) < maxMembers {
				break
			}
			// Any will do. Those who have it keep it, so it must close for them.
			c.members[id].closed.Store(true)
			delete(c.members, id)
		}
		c.members[e.member.memberID] = e.member
	} else if m := c.members[e.member.memberID]; m != e.member {
		e = &entry{digest: e.digest, key: e.key, member: m} // no closing has told them apart, and it is shared
	}
	if old := s.entries[e.digest]; old != nil {
		s.drop(old)
		c.forget(old)
	}
	for len(s.entries) >= c.most {
		old := s.evict()
		s.drop(old)
		c.forget(old)
	}
	s.add(e)
	e.sibling = c.keys[e.key.id]
	c.keys[e.key.id] = e
}

// forget takes e off the index, whose lock is held.
func (c *cache) forget(e *entry) {
	first := c.keys[e.key.id]
	if first == e {
		first = e.sibling
	} else {
		for other := first; other != nil; other = other.sibling {
			if other.sibling == e {
				other.sibling = e.sibling
			}
		}
	}
	e.sibling = nil
	if first == nil {
		delete(c.keys, e.key.id)
		return
	}
	c.keys[e.key.id] = first
}

// close forgets a key.
func (c *cache) close(keyID int64) {
	c.closing(func() {
		for e := c.keys[keyID]; e != nil; e = e.sibling {
			e.closed.Store(true)
		}
	})
}

// closeMembers forgets all keys of the members that match.
func (c *cache) closeMembers(match func(memberID) bool) {
	c.closing(func() {
		for id, m := range c.members {
			if match(id) {
				m.closed.Store(true)
				delete(c.members, id)
			}
		}
	})
}

// closing runs mark with the index locked, after the generation has moved on.
// What is marked leaves its shard when somebody puts there.
func (c *cache) closing(mark func()) {
	c.generation.Add(1)
	c.index.Lock()
	defer c.index.Unlock()
	mark()
}

// add puts e at the new end.
func (s *shard) add(e *entry) {
	s.entries[e.digest] = e
	e.older = s.new
	if s.new != nil {
		s.new.newer = e
	}
	s.new = e
	if s.old == nil {
		s.old = e
	}
}

// drop takes e out.
func (s *shard) drop(e *entry) {
	delete(s.entries, e.digest)
	if s.hand == e {
		s.hand = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.new = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.old = e.newer
	}
	e.newer, e.older = nil, nil
}

// evict returns the entry that goes next: from the hand on, towards the new end
// and around, the first that is closed or was not asked for.
func (s *shard) evict() *entry {
	e := s.hand
	for {
		if e == nil {
			e = s.old
		}
		if !e.asked || e.closed.Load() || e.member.closed.Load() {
			s.hand = e.newer
			return e
		}
		e.asked = false
		e = e.newer
	}
}

// size returns how many entries there are.
func (c *cache) size() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}
