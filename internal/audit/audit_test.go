package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/audit"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time       { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

var (
	jane = access.Caller{AccountID: "jane", OrganizationID: "org-jane", Role: access.Owner, SignInID: "s",
		Address: netip.MustParseAddr("192.0.2.7"), RequestID: "r-1"}
	bob = access.Caller{AccountID: "bob", OrganizationID: "org-bob", Role: access.Owner, KeyID: 77, KeyType: "personal", Scopes: access.AllScopes}
)

type house struct {
	*audit.Log
	acts  *access.Acts
	clock *clock
	t     *testing.T
}

func newHouse(t *testing.T, d *db.DB) *house {
	root, _ := seal.NewRoot()
	c := &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return &house{
		Log:   &audit.Log{DB: d, Root: root, Now: c.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))},
		acts:  &access.Acts{DB: d, Root: root, Now: c.now},
		clock: c, t: t,
	}
}

// act does something as who that is recorded and closes a door.
func (h *house) act(who access.Caller, action access.Action, id string) {
	h.t.Helper()
	err := h.acts.Do(h.t.Context(), who, action, func(_ *db.Tx, act *access.Act) error {
		act.On("agent", id, "Agent "+id)
		act.Note("why", "a test")
		act.Closes(access.AgentClosed, id)
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
}

// follow runs n followers, each on a Log of its own, until the returned
// function is called.
func (h *house) follow(n int) (stop func()) {
	ctx, cancel := context.WithCancel(h.t.Context())
	var wg sync.WaitGroup
	for range n {
		l := &audit.Log{DB: h.DB, Root: h.Root, Now: h.Now, Log: h.Log.Log}
		wg.Go(func() {
			if err := l.Follow(ctx); err != nil {
				h.t.Error("Follow: ", err)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// numbered waits until everything has a number.
func (h *house) numbered() {
	h.t.Helper()
	h.until("everything has a number", func() bool {
		return h.count(`SELECT count(*) FROM audit_entries WHERE seq = 0`)+h.count(`SELECT count(*) FROM changes WHERE seq = 0`) == 0
	})
}

func (h *house) until(what string, is func() bool) {
	h.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("it is not so that %s", what)
		}
	}
}

func (h *house) count(query string, args ...any) (n int64) {
	h.t.Helper()
	if err := h.DB.QueryRow(h.t.Context(), query, args...).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// run changes the database behind the log's back.
func (h *house) run(query string, args ...any) {
	h.t.Helper()
	err := h.DB.Tx(h.t.Context(), func(tx *db.Tx) error {
		n, err := tx.Exec(h.t.Context(), query, args...)
		if err == nil && n == 0 {
			return errors.New("no row was changed")
		}
		return err
	})
	if err != nil {
		h.t.Fatalf("%s: %v", query, err)
	}
}

func TestSeveralFollowersGiveEachEntryOneNumber(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		stop := h.follow(3)
		const writers, each = 6, 60
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					h.act(jane, access.CreateAgent, fmt.Sprintf("%d-%d", w, i))
				}
			})
		}
		wg.Wait()
		h.numbered()
		stop()

		for _, table := range []string{"audit_entries", "changes"} {
			n := h.count(`SELECT count(DISTINCT seq) FROM ` + table)
			low, high := h.count(`SELECT min(seq) FROM `+table), h.count(`SELECT max(seq) FROM `+table)
			if n != writers*each || low != 1 || high != writers*each {
				t.Errorf("%s has %d numbers from %d to %d, want 1 to %d", table, n, low, high, writers*each)
			}
		}
		if high := h.count(`SELECT seq FROM change_head`); high != writers*each {
			t.Errorf("the head of the changes is at %d, want %d", high, writers*each)
		}
		if n, err := h.Verify(t.Context()); n != writers*each || err != nil {
			t.Errorf("Verify = %d, %v", n, err)
		}
	})
}

// A reader that asks for what is after the highest number it has seen misses
// nothing, whichever follower numbers.
func TestChangesBecomeVisibleInOrderWithoutGaps(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		stop := h.follow(3)
		defer stop()
		const n = 200
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range n / 4 {
					h.act(jane, access.DeleteAgent, "a")
				}
			})
		}
		seen := int64(0)
		h.until("the reader has seen them all", func() bool {
			rows, err := d.Query(t.Context(), `SELECT seq FROM changes WHERE seq > $1 ORDER BY seq`, seen)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var seq int64
				if err := rows.Scan(&seq); err != nil {
					t.Fatal(err)
				}
				if seq != seen+1 {
					t.Fatalf("after change %d comes %d", seen, seq)
				}
				seen = seq
			}
			return seen == n
		})
		wg.Wait()
	})
}

func TestChangesAreDroppedAfterADay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for range 150 {
			h.act(jane, access.DeleteAgent, "old")
		}
		stop := h.follow(1)
		defer stop()
		h.numbered()
		h.clock.pass(23 * time.Hour)
		h.act(jane, access.DeleteAgent, "new")
		h.numbered()
		if n := h.count(`SELECT count(*) FROM changes`); n != 151 {
			t.Fatalf("%d changes after 23 hours, want 151", n)
		}
		h.clock.pass(2 * time.Hour)
		h.until("the old changes are gone", func() bool { return h.count(`SELECT count(*) FROM changes WHERE subject = 'old'`) == 0 })
		h.act(jane, access.DeleteAgent, "newer")
		h.numbered()
		if n := h.count(`SELECT count(*) FROM changes`); n != 2 {
			t.Errorf("%d changes are left, want 2", n)
		}
		if seq := h.count(`SELECT seq FROM changes WHERE subject = 'newer'`); seq != 152 {
			t.Errorf("the newest change has number %d, want 152", seq)
		}
	})
}

func TestAChangeByAClockThatIsWrongIsKeptUntilAllHaveReadIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		defer h.follow(1)()
		err := d.Tx(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO changes (id, at, kind, subject, seq) VALUES ($1, 1, 'key', '7', 0)`, db.NewID())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		left := func() int64 { return h.count(`SELECT count(*) FROM changes WHERE subject = '7'`) }
		for range 2 {
			h.numbered()
			h.clock.pass(40 * time.Minute)
			h.act(jane, access.DeleteAgent, "another")
		}
		h.numbered()
		if left() != 1 {
			t.Fatal("a change that was made just now is gone")
		}
		h.until("it is gone after hours", func() bool { h.clock.pass(time.Hour); return left() == 0 })
	})
}

// tamperings are what somebody can do who writes to the database and has not
// the root key. The log has ten entries, numbered, with the ids in ids.
var tamperings = []struct {
	name string
	do   func(h *house, ids []string)
	want string // of Verify's error
	seq  int64
}{
	{"an entry is edited", func(h *house, ids []string) {
		h.run(`UPDATE audit_entries SET account_id = 'bob' WHERE id = $1`, ids[3])
	}, "tag does not fit", 4},
	{"an entry is edited and the chain made anew", func(h *house, ids []string) {
		h.run(`UPDATE audit_entries SET notes = '{}' WHERE id = $1`, ids[3])
		h.rechain(10)
	}, "tag does not fit", 4},
	{"an entry is deleted", func(h *house, ids []string) {
		h.run(`DELETE FROM audit_entries WHERE id = $1`, ids[4])
	}, "is missing", 5},
	{"the first entry is deleted", func(h *house, ids []string) {
		h.run(`DELETE FROM audit_entries WHERE id = $1`, ids[0])
	}, "is missing", 1},
	{"an entry is deleted and the chain made anew", func(h *house, ids []string) {
		h.run(`DELETE FROM audit_entries WHERE id = $1`, ids[4])
		h.run(`UPDATE audit_entries SET seq = seq - 1 WHERE seq > 5`)
		h.rechain(9)
	}, "is missing", 10},
	{"an entry is deleted, another numbered twice", func(h *house, ids []string) {
		h.run(`DELETE FROM audit_entries WHERE id = $1`, ids[4])
		h.run(`UPDATE audit_entries SET seq = 4 WHERE id = $1`, ids[5])
	}, "never given", 4},
	{"two entries change places", func(h *house, ids []string) {
		h.run(`UPDATE audit_entries SET seq = 9 - seq WHERE id IN ($1, $2)`, ids[3], ids[4])
	}, "does not follow", 4},
	{"two entries change places and the chain is made anew", func(h *house, ids []string) {
		h.run(`UPDATE audit_entries SET seq = 9 - seq WHERE id IN ($1, $2)`, ids[3], ids[4])
		h.rechain(10)
	}, "head vouches for", 10},
	{"the end is cut off", func(h *house, ids []string) {
		h.run(`DELETE FROM audit_entries WHERE seq > 7`)
	}, "is missing", 8},
	{"the end is cut off and the head moved back", func(h *house, ids []string) {
		h.run(`DELETE FROM audit_entries WHERE seq > 7`)
		h.run(`UPDATE audit_head SET seq = 7, chain = (SELECT chain FROM audit_entries WHERE seq = 7)`)
	}, "tag of its head", 0},
	{"the end is cut off and the head taken away", func(h *house, ids []string) {
		h.run(`DELETE FROM audit_entries WHERE seq > 7`)
		h.run(`DELETE FROM audit_head`)
	}, "head is missing", 0},
	{"an entry is put in without a number", func(h *house, ids []string) {
		h.forge(ids[3], 0)
	}, "tag does not fit", 0},
	{"an entry is put in with a number", func(h *house, ids []string) {
		h.forge(ids[3], 4)
	}, "", 4},
	{"an entry is put in after the end", func(h *house, ids []string) {
		h.forge(ids[3], 11)
	}, "never given", 11},
	{"an entry is put in before the start", func(h *house, ids []string) {
		h.forge(ids[3], -3)
	}, "never given", -3},
	{"an entry loses its number", func(h *house, ids []string) {
		h.run(`UPDATE audit_entries SET seq = 0 WHERE id = $1`, ids[3])
	}, "is missing", 4},
}

// rechain computes all links again, as anybody can.
func (h *house) rechain(n int64) {
	var link []byte
	for seq := int64(1); seq <= n; seq++ {
		var e access.Entry
		var at int64
		if err := h.DB.QueryRow(h.t.Context(), `
			SELECT id, at, organization_id, account_id, key_id, action, subject_kind, subject_id, subject_name, address, request_id, notes
			FROM audit_entries WHERE seq = $1`, seq).Scan(&e.ID, &at, &e.OrganizationID, &e.AccountID, &e.KeyID, &e.Action,
			&e.SubjectKind, &e.SubjectID, &e.SubjectName, &e.Address, &e.RequestID, &e.Notes); err != nil {
			h.t.Fatal(err)
		}
		e.At = db.Time(at)
		link = seal.Digest("audit-chain", append([][]byte{link}, e.Fields()...)...)
		h.run(`UPDATE audit_entries SET chain = $1 WHERE seq = $2`, link, seq)
	}
}

// forge puts a copy of an entry in, under an id of its own.
func (h *house) forge(like string, seq int64) {
	h.run(`INSERT INTO audit_entries (id, at, organization_id, account_id, key_id, action, subject_kind, subject_id, subject_name,
			address, request_id, notes, root_version, tag, seq, chain)
		SELECT $1, at, organization_id, account_id, key_id, action, subject_kind, subject_id, subject_name,
			address, request_id, notes, root_version, tag, $2, chain FROM audit_entries WHERE id = $3`, db.NewID(), seq, like)
}

func TestVerifyFindsWhatDoesNotFit(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		for _, tampering := range tamperings {
			t.Run(tampering.name, func(t *testing.T) {
				h, ids := tenEntries(t, url)
				if n, err := h.Verify(t.Context()); n != 10 || err != nil {
					t.Fatalf("before: Verify = %d, %v", n, err)
				}
				tampering.do(h, ids)
				_, err := h.Verify(t.Context())
				var broken *audit.Broken
				if !errors.As(err, &broken) || !strings.Contains(err.Error(), tampering.want) || broken.Seq != tampering.seq {
					t.Errorf("Verify: %v, want number %d, %q", err, tampering.seq, tampering.want)
				}
			})
		}
	})
}

// tenEntries makes a log of ten entries in the database at url.
func tenEntries(t *testing.T, url string) (*house, []string) {
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, d)
	for _, table := range []string{"audit_entries", "audit_head"} {
		if h.count(`SELECT count(*) FROM `+table) != 0 {
			h.run(`DELETE FROM ` + table)
		}
	}
	for i := range 10 {
		h.act(jane, access.CreateAgent, fmt.Sprint(i))
	}
	stop := h.follow(1)
	h.numbered()
	stop()
	var ids []string
	for seq := range int64(10) {
		var id string
		if err := d.QueryRow(t.Context(), `SELECT id FROM audit_entries WHERE seq = $1`, seq+1).Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return h, ids
}

func TestAForgedEntryDoesNotStopTheFollower(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		h, ids := tenEntries(t, url)
		h.forge(ids[0], 0)
		h.act(jane, access.CreateAgent, "after")
		stop := h.follow(2)
		h.numbered()
		stop()
		var broken *audit.Broken
		if _, err := h.Verify(t.Context()); !errors.As(err, &broken) || broken.ID == "" {
			t.Errorf("Verify: %v, want the forged entry", err)
		}
	})
}

func TestTheChainIsNotBegunAnewWithoutItsHead(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		h, _ := tenEntries(t, url)
		h.run(`DELETE FROM audit_head`)
		h.act(jane, access.CreateAgent, "after")
		reports := make(chan string, 100)
		l := &audit.Log{DB: h.DB, Root: h.Root, Now: h.Now, Log: slog.New(slog.NewTextHandler(lines(reports), nil))}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go l.Follow(ctx)
		if line := <-reports; !strings.Contains(line, "head is missing") {
			t.Errorf("the follower reports %q", line)
		}
		if n := h.count(`SELECT count(*) FROM audit_head`); n != 0 {
			t.Error("there is a new head")
		}
		// The change log goes on: doors are closed all the same.
		h.until("changes have numbers", func() bool { return h.count(`SELECT count(*) FROM changes WHERE seq = 0`) == 0 })
	})
}

type lines chan string

func (w lines) Write(p []byte) (int, error) { w <- string(p); return len(p), nil }

func TestListShowsTheCallersOrganizationNewestFirst(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		start := h.clock.now()
		for i := range 5 {
			h.act(jane, access.CreateAgent, fmt.Sprint(i))
			h.act(bob, access.DeleteAgent, fmt.Sprint(i))
			h.clock.pass(time.Minute)
			if i == 2 {
				stop := h.follow(1)
				h.numbered()
				stop()
			}
		}
		list := func(who access.Caller, f audit.Filter) (subjects []string) {
			t.Helper()
			f.Limit = 3
			for {
				page, err := h.List(t.Context(), who, f)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page {
					if e.OrganizationID != who.OrganizationID {
						t.Errorf("%s sees an entry of %s", who.AccountID, e.OrganizationID)
					}
					subjects = append(subjects, e.SubjectID)
				}
				if len(page) < f.Limit {
					return subjects
				}
				f.After = page[len(page)-1].ID
			}
		}
		all := []string{"4", "3", "2", "1", "0"}
		for _, c := range []struct {
			name string
			who  access.Caller
			f    audit.Filter
			want []string
		}{
			{"all", jane, audit.Filter{}, all},
			{"all of another organization, by key", bob, audit.Filter{}, all},
			{"action", jane, audit.Filter{Action: access.CreateAgent}, all},
			{"another action", jane, audit.Filter{Action: access.DeleteAgent}, nil},
			{"subject", jane, audit.Filter{SubjectKind: "agent", SubjectID: "3"}, []string{"3"}},
			{"subject of another kind", jane, audit.Filter{SubjectKind: "key", SubjectID: "3"}, nil},
			{"account", jane, audit.Filter{AccountID: "jane"}, all},
			{"account of another organization", jane, audit.Filter{AccountID: "bob"}, nil},
			{"key", bob, audit.Filter{KeyID: 77}, all},
			{"another key", bob, audit.Filter{KeyID: 78}, nil},
			{"from and to", jane, audit.Filter{From: start.Add(time.Minute), To: start.Add(3 * time.Minute)}, []string{"2", "1"}},
		} {
			if got := list(c.who, c.f); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}

		page, err := h.List(t.Context(), jane, audit.Filter{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		newest, oldest := page[0], page[4]
		if newest.Seq != 0 || oldest.Seq == 0 {
			t.Errorf("numbers of the newest and the oldest: %d, %d; want none and one", newest.Seq, oldest.Seq)
		}
		if !oldest.At.Equal(start) || oldest.Address != "192.0.2.7" || oldest.RequestID != "r-1" || oldest.Notes != `{"why":"a test"}` ||
			oldest.SubjectName != "Agent 0" || oldest.Action != access.CreateAgent || oldest.AccountID != "jane" {
			t.Errorf("an entry reads %+v", oldest.Entry)
		}
		for _, nobody := range []access.Caller{{}, access.NewServer(), access.NewVisitor(netip.Addr{}, "")} {
			if _, err := h.List(t.Context(), nobody, audit.Filter{Limit: 1}); !errors.Is(err, fault.ErrNotAllowed) {
				t.Errorf("List by %q: %v, want ErrNotAllowed", nobody.Role, err)
			}
		}
	})
}

func TestTheOperatorSeesWhatNoOrganizationDid(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.act(access.NewConsole("r"), access.CreateAccount, "made")
		h.act(bob, access.CreateAgent, "bobs")
		operator := jane
		operator.Operator = true
		withKey := operator
		withKey.SignInID, withKey.KeyID, withKey.Scopes = "", 7, access.AllScopes
		service := withKey // no account is behind it
		service.AccountID = ""
		for name, c := range map[string]struct {
			who  access.Caller
			sees int
		}{"the operator": {operator, 1}, "a key of the operator's": {withKey, 0}, "a service key of the operator's": {service, 0}, "another": {jane, 0}} {
			found, err := h.List(t.Context(), c.who, audit.Filter{Limit: 10})
			if err != nil || len(found) != c.sees {
				t.Errorf("%s sees %d entries (%v), want %d", name, len(found), err, c.sees)
			}
		}
	})
}

func TestListNamesAnEntryWhoseTagDoesNotFit(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		h, ids := tenEntries(t, url)
		h.run(`UPDATE audit_entries SET subject_name = 'another' WHERE id = $1`, ids[6])
		_, err := h.List(t.Context(), jane, audit.Filter{Limit: 100})
		if !errors.Is(err, seal.ErrTag) || !strings.Contains(err.Error(), ids[6]) || fault.Of(err).Kind != fault.Internal {
			t.Errorf("List: %v, want an internal error that names %s", err, ids[6])
		}
		if _, err := h.List(t.Context(), jane, audit.Filter{Limit: 3}); err != nil {
			t.Errorf("List of the entries after it: %v", err)
		}
	})
}

func TestANewRootKeyRenewsTagsAndLeavesTheChain(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		h, _ := tenEntries(t, url)
		var link []byte
		if err := h.DB.QueryRow(t.Context(), `SELECT chain FROM audit_head`).Scan(&link); err != nil {
			t.Fatal(err)
		}
		old := h.Root.Active()
		next, _ := h.Root.AddNew()
		if err := h.Root.SetActive(next); err != nil {
			t.Fatal(err)
		}
		total := 0
		for {
			n, err := h.Reseal(t.Context(), 4)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			total += n
		}
		if total != 11 {
			t.Errorf("%d tags were renewed, want those of ten entries and the head", total)
		}
		if err := h.Root.Remove(old); err != nil {
			t.Fatal(err)
		}
		if n, err := h.Verify(t.Context()); n != 10 || err != nil {
			t.Errorf("Verify = %d, %v", n, err)
		}
		var after []byte
		if err := h.DB.QueryRow(t.Context(), `SELECT chain FROM audit_head`).Scan(&after); err != nil || string(after) != string(link) {
			t.Errorf("the chain's end changed: %x → %x, %v", link, after, err)
		}
		h.act(jane, access.CreateAgent, "after")
		stop := h.follow(1)
		h.numbered()
		stop()
		if n, err := h.Verify(t.Context()); n != 11 || err != nil {
			t.Errorf("Verify after one more act = %d, %v", n, err)
		}
		if page, err := h.List(t.Context(), jane, audit.Filter{Limit: 100}); len(page) != 11 || err != nil {
			t.Errorf("List = %d entries, %v", len(page), err)
		}
	})
}

func TestResealRefusesAnEntryWhoseTagDoesNotFit(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		h, ids := tenEntries(t, url)
		h.run(`UPDATE audit_entries SET action = 'key.revoke' WHERE id = $1`, ids[2])
		next, _ := h.Root.AddNew()
		if err := h.Root.SetActive(next); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Reseal(t.Context(), 100); !errors.Is(err, seal.ErrTag) || !strings.Contains(err.Error(), ids[2]) {
			t.Errorf("Reseal: %v, want one that names %s", err, ids[2])
		}
	})
}
