package gate

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyward/keyward/internal/apikey"
)

func digestOf(n int) (d apikey.Digest) {
	binary.LittleEndian.PutUint64(d[:], uint64(n))
	return d
}

func entryOf(n int, m *member) *entry {
	return &entry{digest: digestOf(n), member: m, key: checked{id: int64(n)}}
}

func TestWhatIsAskedForStaysAndWhatComesOnceGoes(t *testing.T) {
	c := newCache(shards * 4)
	m := &member{memberID: memberID{"a", "o"}}
	const often = 0 // all of one shard: digests differ in their second byte
	put := func(n int) { c.put(entryOf(n<<8, m), c.generation.Load()) }
	put(often)
	for n := 1; n < 500; n++ {
		d := digestOf(often)
		if c.get(&d) == nil {
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
		if c.get(&e.digest) != nil {
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
	if c.get(old) != nil || c.get(new) != nil {
		t.Error("a secret of the key that was closed is remembered")
	}
	if c.get(other) == nil || c.get(bobs) == nil {
		t.Error("another key is forgotten")
	}
	c.closeMembers(func(id memberID) bool { return id.accountID == "jane" })
	if c.get(other) != nil {
		t.Error("a key of the account that was closed is remembered")
	}
	if c.get(bobs) == nil {
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
				e := c.get(&d)
				if e == nil {
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
			if c.get(&d) == nil {
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
		if d := digestOf(n); c.get(&d) != nil {
			t.Errorf("key %d is remembered after its member was closed", n)
		}
	}
}
