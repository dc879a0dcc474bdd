package device_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestAProgramGetsAKeyOfWhoApprovesIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s, other := h.server(), h.server()
		begun, err := s.Begin(t.Context(), program, device.Request{SessionSecret: session, Program: "the program/1.0", Scopes: []string{"run", "agents:read"}})
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[BCDFGHJKMNPQRSTVWXZ]{8}$`).MatchString(begun.UserCode) || len(begun.DeviceCode.Bytes()) != 43 || begun.ExpiresIn != 10*time.Minute {
			t.Errorf("%+v", begun)
		}
		told(t, "before", poll(t, other, begun), device.IsPending)

		typed := strings.ToLower(begun.UserCode[:4]) + " – " + begun.UserCode[4:]
		l, err := other.Find(t.Context(), jane, h.clock.now(), typed)
		if err != nil {
			t.Fatal(err)
		}
		if l.Program != "the program/1.0" || l.Address != "198.51.100.7" || l.Scopes != access.AgentsRun|access.AgentsRead || l.AccountID != "" {
			t.Errorf("%+v", l)
		}
		told(t, "looked at", poll(t, s, begun), device.IsPending)
		if l, err = other.Approve(t.Context(), jane, h.clock.now(), typed); err != nil || l.State != device.Approved || l.AccountID != "jane" {
			t.Fatalf("%+v, %v", l, err)
		}
		if h.made.Load() != 0 {
			t.Error("there is a key before the program has come for it")
		}
		told(t, "approved", poll(t, s, begun), device.IsCompleted)
		if n := h.number(t, `SELECT count(*) FROM changes WHERE kind = 'made' AND subject = 'jane agents:read agents:run'`); n != 1 {
			t.Errorf("%d keys of that kind", n)
		}
		if h.recorded(t, access.ApproveDevice) != 1 || h.recorded(t, access.CreateKey) != 1 || h.recorded(t, access.PollDevice) != 0 {
			t.Error("what happened is not recorded once each")
		}
		if n := h.number(t, `SELECT count(*) FROM audit_entries WHERE action = 'key.create' AND account_id = 'jane' AND organization_id = 'org-jane' AND address = '198.51.100.7'`); n != 1 {
			t.Error("the key's maker and where it went are not recorded")
		}
	})
}

func TestAKeyIsPickedUpOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		for range 5 {
			begun := h.approved(t, h.server())
			before := h.number(t, `SELECT count(*) FROM changes WHERE kind = 'made'`)
			got := make([]device.Polled, 8)
			var wg sync.WaitGroup
			for i := range got {
				wg.Go(func() {
					var err error
					if got[i], err = h.server().Poll(t.Context(), program, begun.DeviceCode, session); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			n := map[device.Status]int{}
			for _, p := range got {
				n[p.Status]++
			}
			if n[device.IsCompleted] != 1 || n[device.IsPending] != len(got)-1 {
				t.Errorf("%v", n)
			}
			if made := h.number(t, `SELECT count(*) FROM changes WHERE kind = 'made'`) - before; made != 1 {
				t.Errorf("%d keys were made", made)
			}
		}
		if len(h.ended) != 0 {
			t.Errorf("keys were ended: %v", h.ended)
		}
	})
}

func TestAKeyWhoseAnswerGotLostIsEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s := h.server()
		lost, arrived := h.approved(t, s), h.approved(t, s)
		told(t, "the lost one", poll(t, s, lost), device.IsCompleted)
		told(t, "the other", poll(t, s, arrived), device.IsCompleted)
		h.used[2] = true

		h.clock.pass(5 * time.Second)
		told(t, "at once", poll(t, s, lost), device.IsPending)
		h.clock.pass(5 * time.Second)
		for range 2 {
			told(t, "the lost one later", poll(t, h.server(), lost), device.IsExpired)
			told(t, "the other later", poll(t, h.server(), arrived), device.IsExpired)
		}
		if len(h.ended) != 1 || h.ended[1] != 1 || h.recorded(t, access.AbandonDevice) != 1 {
			t.Errorf("ended: %v", h.ended)
		}
	})
}

func TestAKeyThatNobodyUsesIsEndedAfterADay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s := h.server()
		for range 2 {
			told(t, "a key", poll(t, s, h.approved(t, s)), device.IsCompleted)
		}
		h.begin(t, s)
		h.used[2] = true
		purge := func(want int) {
			t.Helper()
			if n, err := s.Purge(t.Context(), 10); err != nil || n != want {
				t.Errorf("purged %d, %v, want %d", n, err, want)
			}
		}
		purge(0)
		h.clock.pass(device.CodeLife)
		purge(1)
		h.clock.pass(23 * time.Hour)
		purge(0)
		if len(h.ended) != 0 {
			t.Errorf("ended: %v", h.ended)
		}
		h.clock.pass(time.Hour)
		purge(2)
		if len(h.ended) != 1 || h.ended[1] != 1 || h.recorded(t, access.AbandonDevice) != 1 {
			t.Errorf("ended: %v", h.ended)
		}
		if n := h.number(t, `SELECT count(*) FROM device_logins`); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestACodeWithoutItsSecretIsAsGoodAsNone(t *testing.T) {
	d := dbtest.SQLite(t)
	h := newHouse(d)
	s := h.server()
	begun := h.approved(t, s)
	for name, shown := range map[string][2]string{
		"another secret":    {begun.DeviceCode.Reveal(), session.Reveal() + "x"},
		"no secret":         {begun.DeviceCode.Reveal(), ""},
		"another code":      {strings.Repeat("A", 43), session.Reveal()},
		"the user code":     {begun.UserCode, session.Reveal()},
		"a part moved over": {begun.DeviceCode.Reveal() + "a", session.Reveal()[1:]},
	} {
		got, err := s.Poll(t.Context(), program, seal.NewSecret(shown[0]), seal.NewSecret(shown[1]))
		if err != nil {
			t.Fatal(err)
		}
		told(t, name, got, device.IsExpired)
	}
	told(t, "its own", poll(t, s, begun), device.IsCompleted)
}

func TestWhoDeniesAndWhatExpiresGivesNoKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s := h.server()
		denied, late, slow := h.begin(t, s), h.begin(t, s), h.approved(t, s)
		if _, err := s.Deny(t.Context(), jane, h.clock.now(), denied.UserCode); err != nil {
			t.Fatal(err)
		}
		told(t, "denied", poll(t, s, denied), device.IsDenied)
		if _, err := s.Approve(t.Context(), jane, h.clock.now(), denied.UserCode); !errors.Is(err, device.ErrWrongCode) {
			t.Errorf("approved after all: %v", err)
		}
		h.clock.pass(device.CodeLife)
		if _, err := s.Approve(t.Context(), jane, h.clock.now(), late.UserCode); !errors.Is(err, device.ErrWrongCode) {
			t.Errorf("approved too late: %v", err)
		}
		for name, b := range map[string]device.Begun{"never answered": late, "approved and not picked up": slow, "denied": denied} {
			told(t, name, poll(t, s, b), device.IsExpired)
		}
		if h.made.Load() != 0 || h.recorded(t, access.DenyDevice) != 1 {
			t.Errorf("%d keys", h.made.Load())
		}
	})
}

func TestACodeIsAnsweredOnceAndByOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s := h.server()
		begun := h.approved(t, s)
		if _, err := s.Find(t.Context(), bob, h.clock.now(), begun.UserCode); !errors.Is(err, device.ErrWrongCode) {
			t.Errorf("found once more: %v", err)
		}
		for name, answer := range map[string]func() error{
			"bob approves": func() error { _, err := s.Approve(t.Context(), bob, h.clock.now(), begun.UserCode); return err },
			"bob denies":   func() error { _, err := s.Deny(t.Context(), bob, h.clock.now(), begun.UserCode); return err },
			"jane denies":  func() error { _, err := s.Deny(t.Context(), jane, h.clock.now(), begun.UserCode); return err },
		} {
			if err := answer(); !errors.Is(err, device.ErrWrongCode) {
				t.Errorf("%s: %v", name, err)
			}
		}
		again := func() {
			t.Helper()
			if _, err := s.Approve(t.Context(), jane, h.clock.now(), begun.UserCode); err != nil {
				t.Errorf("a second click: %v", err)
			}
		}
		again()
		told(t, "approved", poll(t, s, begun), device.IsCompleted)
		again()
		if h.recorded(t, access.ApproveDevice) != 1 || h.recorded(t, access.DenyDevice) != 0 {
			t.Error("an answer that changes nothing is recorded")
		}

		// Two who answer at the same time.
		for range 5 {
			begun := h.begin(t, s)
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for i, who := range []access.Caller{jane, bob} {
				wg.Go(func() { _, errs[i] = h.server().Approve(t.Context(), who, h.clock.now(), begun.UserCode) })
			}
			wg.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Errorf("%v, %v", errs[0], errs[1])
			}
		}
	})
}

func TestOnlyAMembersApprovalGivesAKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s := h.server()
		begun := h.approved(t, s)
		h.full = fault.ErrQuota
		if _, err := s.Poll(t.Context(), program, begun.DeviceCode, session); !errors.Is(err, fault.ErrQuota) {
			t.Errorf("with no room for a key: %v", err)
		}
		h.full, h.gone["jane"] = nil, true
		told(t, "who is gone", poll(t, s, begun), device.IsDenied)
		// Gone in the last moment, when the transaction asks.
		s.Member = func(context.Context, string, string) (access.Caller, error) { return jane, nil }
		told(t, "who has just gone", poll(t, s, begun), device.IsDenied)
		h.gone["jane"] = false
		told(t, "who is there", poll(t, s, begun), device.IsCompleted)
	})
}

func TestOnlyWhoHasJustSignedInAnswers(t *testing.T) {
	h := newHouse(dbtest.SQLite(t))
	s := h.server()
	begun := h.begin(t, s)
	at := h.clock.now()
	withKey, token := jane, jane
	withKey.SignInID, withKey.KeyID, withKey.Scopes = "", 7, access.AllScopes
	token.SignInID = ""
	for name, who := range map[string]access.Caller{"a key": withKey, "nobody": program, "an account without a sign-in": token, "the server": access.NewServer()} {
		if _, err := s.Find(t.Context(), who, at, begun.UserCode); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("%s finds: %v", name, err)
		}
		if _, err := s.Approve(t.Context(), who, at, begun.UserCode); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("%s approves: %v", name, err)
		}
	}
	if _, err := s.Poll(t.Context(), withKey, begun.DeviceCode, session); !errors.Is(err, fault.ErrNotAllowed) {
		t.Errorf("a key polls: %v", err)
	}
	h.clock.pass(10*time.Minute - time.Second)
	if _, err := s.Find(t.Context(), jane, at, begun.UserCode); err != nil {
		t.Errorf("just in time: %v", err)
	}
	begun = h.begin(t, s)
	h.clock.pass(time.Second)
	for name, answer := range map[string]func() error{
		"find":    func() error { _, err := s.Find(t.Context(), jane, at, begun.UserCode); return err },
		"approve": func() error { _, err := s.Approve(t.Context(), jane, at, begun.UserCode); return err },
		"deny":    func() error { _, err := s.Deny(t.Context(), jane, at, begun.UserCode); return err },
	} {
		if err := answer(); !errors.Is(err, device.ErrSignInAgain) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhoGuessesCodesIsStoppedAfterFive(t *testing.T) {
	h := newHouse(dbtest.SQLite(t))
	s := h.server()
	begun := h.begin(t, s)
	at := func(who access.Caller, address string) access.Caller {
		who.Address = netip.MustParseAddr(address)
		return who
	}
	try := func(who access.Caller, code string) error {
		_, err := s.Find(t.Context(), who, h.clock.now(), code)
		return err
	}
	// A hundred at once are not all the first.
	var wg sync.WaitGroup
	errs := make([]error, 100)
	for i := range errs {
		wg.Go(func() { errs[i] = try(at(jane, fmt.Sprintf("2001:db8::%d", i+1)), "BBBBBBBB") })
	}
	wg.Wait()
	wrong := 0
	for _, err := range errs {
		if errors.Is(err, device.ErrWrongCode) {
			wrong++
		} else if !errors.Is(err, device.ErrTooManyTries) || fault.Of(err).RetryAfter <= 0 {
			t.Error(err)
		}
	}
	if wrong != 5 {
		t.Errorf("%d guesses from one network were looked up", wrong)
	}
	if err := try(bob, begun.UserCode); err != nil {
		t.Errorf("somebody elsewhere: %v", err)
	}
	if err := try(at(bob, "2001:db8::ffff"), begun.UserCode); !errors.Is(err, device.ErrTooManyTries) {
		t.Errorf("somebody else of that network: %v", err)
	}
	if err := try(at(jane, "203.0.113.9"), begun.UserCode); !errors.Is(err, device.ErrTooManyTries) {
		t.Errorf("that account from elsewhere: %v", err)
	}
	if _, err := s.Approve(t.Context(), jane, h.clock.now(), begun.UserCode); !errors.Is(err, device.ErrTooManyTries) {
		t.Errorf("and approving: %v", err)
	}
	h.clock.pass(2 * time.Minute)
	if err := try(jane, begun.UserCode); err != nil {
		t.Errorf("two minutes later: %v", err)
	}
	// What is right is no try, and what can be no code is one.
	for range 10 {
		if err := try(bob, begun.UserCode); err != nil {
			t.Fatal(err)
		}
	}
	for i, code := range []string{"AAAAAAAA", "", "BBBB", "BBBBBBBBB", "Ｂ" + begun.UserCode[1:], begun.UserCode} {
		want := device.ErrWrongCode
		if i == 5 {
			want = device.ErrTooManyTries
		}
		if err := try(bob, code); fault.Of(err).Message != want.Message {
			t.Errorf("%q: %v", code, err)
		}
	}
}

func TestWhoPollsTooOftenIsToldToSlowDown(t *testing.T) {
	h := newHouse(dbtest.SQLite(t))
	s := h.server()
	begun := h.begin(t, s)
	refused := 0
	for range 10 {
		if _, err := s.Poll(t.Context(), program, begun.DeviceCode, session); errors.Is(err, device.ErrSlowDown) && fault.Of(err).RetryAfter > 0 {
			refused++
		}
	}
	if refused != 4 {
		t.Errorf("%d of 10 at once were refused", refused)
	}
	for range 50 {
		h.clock.pass(device.Interval)
		told(t, "in its interval", poll(t, s, begun), device.IsPending)
	}
	h.clock.pass(device.Interval)
	refused = 0
	for i := range 300 {
		if _, err := s.Poll(t.Context(), program, seal.NewSecret(fmt.Sprint(i)), session); errors.Is(err, device.ErrSlowDown) {
			refused++
		}
	}
	if refused != 100 {
		t.Errorf("%d of 300 codes from one network were refused", refused)
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s := h.server()
		begin := func(address string) error {
			_, err := s.Begin(t.Context(), access.NewVisitor(netip.MustParseAddr(address), ""), device.Request{SessionSecret: session})
			return err
		}
		for i := range 50 {
			if err := begin(fmt.Sprintf("2001:db8::%d", i+1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := begin("2001:db8::ffff"); !errors.Is(err, device.ErrTooMany) || fault.Of(err).RetryAfter <= 0 {
			t.Errorf("one more of that network: %v", err)
		}
		if err := begin("192.0.2.99"); err != nil {
			t.Errorf("elsewhere: %v", err)
		}
		// The rest of ten thousand come from elsewhere.
		h.exec(t, `INSERT INTO device_logins (id, device_code, user_code, state, network, address, program, scopes, account_id, organization_id, key_id, created_at, expires_at, picked_up_at, root_version, tag)
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9949)
			SELECT 'x' || i, $1 || CAST('d' || i AS `+map[string]string{"SQLite": "BLOB", "PostgreSQL": "BYTEA"}[d.Name()]+`), $1 || CAST('u' || i AS `+map[string]string{"SQLite": "BLOB", "PostgreSQL": "BYTEA"}[d.Name()]+`),
			       'pending', 'elsewhere', '', '', '', '', '', 0, 0, $2, 0, 1, $1 FROM n`, []byte{}, db.Micros(h.clock.now().Add(time.Minute)))
		if err := begin("203.0.113.1"); !errors.Is(err, device.ErrFull) || fault.Of(err).Kind != fault.Unavailable {
			t.Errorf("one more of ten thousand: %v", err)
		}
		h.clock.pass(device.CodeLife)
		if err := begin("2001:db8::ffff"); err != nil {
			t.Errorf("when they are over: %v", err)
		}
	})
}

func TestNothingInTheDatabaseOpensALogin(t *testing.T) {
	d := dbtest.SQLite(t)
	h := newHouse(d)
	begun := h.approved(t, h.server())
	var deviceCode, userCode, tag []byte
	if err := d.QueryRow(t.Context(), `SELECT device_code, user_code, tag FROM device_logins`).Scan(&deviceCode, &userCode, &tag); err != nil {
		t.Fatal(err)
	}
	sums := [][]byte{}
	for _, text := range []string{begun.UserCode, device.ShownCode(begun.UserCode), begun.DeviceCode.Reveal(), session.Reveal()} {
		sum := sha256.Sum256([]byte(text))
		sums = append(sums, []byte(text), sum[:])
	}
	for _, kept := range [][]byte{deviceCode, userCode, tag} {
		if slices.ContainsFunc(sums, func(b []byte) bool { return bytes.Contains(kept, b) }) {
			t.Error("a code, the secret or the digest of one alone is in the database")
		}
	}
	if !bytes.Equal(deviceCode, seal.Digest("device-code", begun.DeviceCode.Bytes(), session.Bytes())) {
		t.Error("the digest is not the one that is documented")
	}
}

func TestARowThatSomebodyElseWroteIsNoLogin(t *testing.T) {
	d := dbtest.SQLite(t)
	for name, change := range map[string]string{
		"approved":            `UPDATE device_logins SET state = 'approved', account_id = 'jane', organization_id = 'org-jane'`,
		"of more scopes":      `UPDATE device_logins SET scopes = 'agents:read keys:write'`,
		"longer":              `UPDATE device_logins SET expires_at = expires_at + 1`,
		"of another program":  `UPDATE device_logins SET program = 'known'`,
		"of another address":  `UPDATE device_logins SET address = '192.0.2.1'`,
		"of no known scope":   `UPDATE device_logins SET scopes = 'everything'`,
		"of another computer": `UPDATE device_logins SET id = 'another'`,
	} {
		h := newHouse(d)
		s := h.server()
		begun := h.begin(t, s)
		h.exec(t, change)
		if got, err := s.Poll(t.Context(), program, begun.DeviceCode, session); !errors.Is(err, seal.ErrTag) {
			t.Errorf("%s, polled: %+v, %v", name, got, err)
		}
		if _, err := s.Find(t.Context(), jane, h.clock.now(), begun.UserCode); !errors.Is(err, seal.ErrTag) {
			t.Errorf("%s, typed: %v", name, err)
		}
		h.exec(t, `DELETE FROM device_logins`)
	}
}

func TestLoginsLiveThroughARotationOfTheRootKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(d)
		s := h.server()
		waiting, approved := h.begin(t, s), h.approved(t, s)
		version, _ := h.root.AddNew()
		if err := h.root.SetActive(version); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Reseal(t.Context(), 10); err != nil || n != 2 {
			t.Fatalf("%d, %v", n, err)
		}
		if n, err := s.Reseal(t.Context(), 10); err != nil || n != 0 {
			t.Fatalf("%d, %v", n, err)
		}
		if _, err := s.Find(t.Context(), jane, h.clock.now(), waiting.UserCode); err != nil {
			t.Errorf("a code of before: %v", err)
		}
		if err := h.root.Remove(1); err != nil {
			t.Fatal(err)
		}
		told(t, "approved before", poll(t, s, approved), device.IsCompleted)
		told(t, "waiting", poll(t, s, waiting), device.IsPending)
		if _, err := s.Find(t.Context(), jane, h.clock.now(), waiting.UserCode); !errors.Is(err, device.ErrWrongCode) {
			t.Errorf("a code of before, when its key has retired: %v", err)
		}
	})
}

func TestWhatAProgramCallsItselfIsOneShortLine(t *testing.T) {
	h := newHouse(dbtest.SQLite(t))
	s := h.server()
	for name, want := range map[string]string{
		"":                         "",
		" runagent/1.0  (Linux) ":  "runagent/1.0 (Linux)",
		"a\r\nb\tc\x00\x1b[31m":    "a b c[31m",
		"evil\u202Etxt.exe\u200b":  "eviltxt.exe",
		"caf\xe9 caf\u00e9":        "caf café",
		"<b>bold</b>":              "<b>bold</b>",
		strings.Repeat("é", 100):   strings.Repeat("é", 100),
		strings.Repeat("é", 101):   strings.Repeat("é", 99) + "…",
		strings.Repeat("x ", 1000): strings.TrimSpace(strings.Repeat("x ", 50)) + "…",
	} {
		begun, err := s.Begin(t.Context(), program, device.Request{SessionSecret: session, Program: name})
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.Find(t.Context(), jane, h.clock.now(), begun.UserCode)
		if err != nil || l.Program != want {
			t.Errorf("%.40q: %q, %v", name, l.Program, err)
		}
	}
}

func TestWhatAProgramMayAskFor(t *testing.T) {
	h := newHouse(dbtest.SQLite(t))
	s := h.server()
	for name, in := range map[string]device.Request{
		"no secret":      {},
		"a short secret": {SessionSecret: seal.NewSecret("fifteen letters")},
		"a long secret":  {SessionSecret: seal.NewSecret(strings.Repeat("x", 513))},
		"no scope":       {SessionSecret: session, Scopes: []string{}},
		"no such scope":  {SessionSecret: session, Scopes: []string{"everything"}},
	} {
		if _, err := s.Begin(t.Context(), program, in); !errors.Is(err, fault.ErrInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Begin(t.Context(), jane, device.Request{SessionSecret: session}); !errors.Is(err, fault.ErrNotAllowed) {
		t.Errorf("somebody who is signed in: %v", err)
	}
	if l := (device.Login{ID: db.NewID(), CreatedAt: h.clock.now()}); len(l.KeyName()) > 64 {
		t.Errorf("its key would be called %s", l.KeyName())
	}
}
