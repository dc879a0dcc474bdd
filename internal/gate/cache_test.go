package gate

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
)

func digestOf(n int) (d apikey.Digest) {
	binary.LittleEndian.PutUint64(d[:], uint64(n))
	return d
}

func entryOf(n int, m *member) *entry {
	return &entry{digest: digestOf(n), member: m, key: checked{settings: settings{id: int64(n)}}}
}

func (c *cache) has(d *apikey.Digest) bool { return c.get(d, new(entry)) }

func TestWhatIsAskedForStaysAndWhatComesOnceGoes(t *testing.T) {
	c := newCache(shards * 4)
	m := &member{memberID: memberID{"a", "o"}}
	const often = 0 // all of one shard: digests differ in their second byte
	put := func(n int) { c.put(entryOf(n<<8, m), c.generation.Load()) }
	put(often)
	for n := 1; n < 500; n++ {
		d := digestOf(often)
		if !c.has(&d) {
			t.Fatalf("the key that is asked for again and again is gone after %d others", n)
		}
		put(n)
		if got := c.size(); got > 4 {
			t.Fatalf("%d keys in a shard for 4", got)
		}
	}
	if len(c.keys) != c.size() {
		t.Errorf("%d keys in the index, %d in the shards", len(c.keys), c.size())
	}
}

func TestWhatWasReadBeforeAClosingIsNotRememberedAfter(t *testing.T) {
	m := &member{memberID: memberID{"a", "o"}}
	for name, shut := range map[string]func(c *cache){
		"the key":          func(c *cache) { c.close(7) },
		"another key":      func(c *cache) { c.close(8) },
		"the account":      func(c *cache) { c.closeMembers(func(id memberID) bool { return id.accountID == "a" }) },
		"the organization": func(c *cache) { c.closeMembers(func(id memberID) bool { return id.organizationID == "o" }) },
	} {
		c := newCache(100)
		read := c.generation.Load()
		shut(c)
		e := entryOf(7, m)
		c.put(e, read)
		if c.has(&e.digest) {
			t.Errorf("closed %s: what was read before is remembered", name)
		}
	}
}

func TestAClosingForgetsEverySecretOfAKeyAndNoOther(t *testing.T) {
	c := newCache(100)
	jane, bob := &member{memberID: memberID{"jane", "o1"}}, &member{memberID: memberID{"bob", "o2"}}
	put := func(digest int, id int64, m *member) *apikey.Digest {
		e := entryOf(digest, m)
		e.key.id = id
		c.put(e, c.generation.Load())
		return &e.digest
	}
	old, new := put(1, 7, jane), put(2, 7, jane)
	other, bobs := put(3, 8, jane), put(4, 9, bob)
	c.close(7)
	if c.has(old) || c.has(new) {
		t.Error("a secret of the key that was closed is remembered")
	}
	if !c.has(other) || !c.has(bobs) {
		t.Error("another key is forgotten")
	}
	c.closeMembers(func(id memberID) bool { return id.accountID == "jane" })
	if c.has(other) {
		t.Error("a key of the account that was closed is remembered")
	}
	if !c.has(bobs) {
		t.Error("another account's key is forgotten")
	}
}

// A world of keys that are opened and closed again: whoever gets one must get
// it as it was not before the last closing that had ended when he asked.
func TestNothingClosedIsEverGotByTheCache(t *testing.T) {
	c := newCache(64 * 3)
	const keys = 300
	var now [keys]atomic.Int64 // what the database says of each key
	var wg sync.WaitGroup
	m := &member{memberID: memberID{"a", "o"}}
	var ended [keys]atomic.Int64 // what was closed, when the closing has ended
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range 20_000 {
				k := r.IntN(keys)
				if r.IntN(20) == 0 {
					version := now[k].Add(1)
					c.close(int64(k))
					for {
						was := ended[k].Load()
						if was >= version || ended[k].CompareAndSwap(was, version) {
							break
						}
					}
					continue
				}
				least := ended[k].Load()
				d := digestOf(k)
				e := new(entry)
				if !c.get(&d, e) {
					read := c.generation.Load()
					e = entryOf(k, m)
					e.key.revokedAt = now[k].Load()
					c.put(e, read)
				}
				if e.key.revokedAt < least {
					t.Errorf("key %d: got version %d after %d had been closed", k, e.key.revokedAt, least)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkGet(b *testing.B) {
	c := newCache(1 << 17)
	m := &member{}
	for n := range 100_000 {
		c.put(entryOf(n, m), c.generation.Load())
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for n := rand.IntN(100_000); p.Next(); n = (n + 7919) % 100_000 {
			d := digestOf(n)
			if !c.has(&d) {
				b.Error("not there")
				return
			}
		}
	})
}

func TestWhatWasJustReadIsAnsweredThoughAnOlderReadingIsRemembered(t *testing.T) {
	// A server that can't follow the change log reads every key anew, and its
	// member: what it has kept from before may be wrong.
	c := newCache(100)
	id := memberID{"a", "o"}
	before, now := &member{memberID: id}, &member{memberID: id}
	c.put(entryOf(1, before), c.generation.Load())
	e := entryOf(2, now)
	c.put(e, c.generation.Load())
	if e.member != now {
		t.Error("the member that was just read is exchanged for an older one")
	}
	c.closeMembers(func(memberID) bool { return true })
	for n := 1; n <= 2; n++ {
		if d := digestOf(n); c.has(&d) {
			t.Errorf("key %d is remembered after its member was closed", n)
		}
	}
}

// Keys of several secrets are put, dropped, crowded out and closed at random: the
// index always knows where each secret is, and no slot is lost.
func TestTheIndexKnowsWhereEverySecretIs(t *testing.T) {
	c := newCache(shards * 4)
	m := &member{memberID: memberID{"a", "o"}}
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 20_000 {
		if id := r.Int64N(100); r.IntN(4) == 0 {
			c.close(id)
			if len(c.places(id)) != 0 {
				t.Fatalf("after %d steps: a closed key has places", n)
			}
		} else {
			e := entryOf(int(id)<<16|r.IntN(1000), m)
			e.key.id = id
			c.put(e, c.generation.Load())
			if !c.has(&e.digest) {
				t.Fatalf("after %d steps: what was just put is not there", n)
			}
		}
	}
	places := 0
	for id := range c.keys {
		for _, p := range c.places(id) {
			places++
			if s := &c.shards[p.shard]; !s.has(p.slot) || s.slots[p.slot].id != id {
				t.Errorf("a secret of key %d is not where it should be", id)
			}
		}
	}
	if places != c.size() {
		t.Errorf("%d places, %d secrets", places, c.size())
	}
	for i := range c.shards {
		s := &c.shards[i]
		if len(s.slots) != len(s.found)+len(s.free) || len(s.slots) > c.most+1 {
			t.Errorf("%d slots, %d in use, %d free", len(s.slots), len(s.found), len(s.free))
		}
		n := 0
		for at, before := s.old, int32(nowhere); at != nowhere; at, before = s.slots[at].newer, at {
			if n++; s.slots[at].older != before {
				t.Error("the list by age is broken")
			}
		}
		if n != len(s.found) {
			t.Errorf("%d in the list by age, %d in use", n, len(s.found))
		}
	}
}

func TestNamesOfAnyLengthAreRemembered(t *testing.T) {
	var f apikey.Found
	f.Key.Type = apikey.Service
	for _, name := range []string{"", "production", strings.Repeat("n", 44), strings.Repeat("ü", 64)} {
		for _, holder := range []string{"", "customer-17", strings.Repeat("c", 34), strings.Repeat("c", 255)} {
			f.Key.Name, f.Key.ExternalID = name, holder
			if c := check(f, access.Caller{}); c.nameText() != name || c.externalID() != holder {
				t.Errorf("%q and %q are remembered as %q and %q", name, holder, c.nameText(), c.externalID())
			}
		}
	}
}
