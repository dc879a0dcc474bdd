package vault_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

func TestAProfileGivesItsTokenWhatWasStored(t *testing.T) {
	long := `"` + strings.Repeat("x", 64<<10) + `"`
	lines := `"` + strings.Repeat(`\n`, 64<<10) + `"`
	var many []string
	for _, name := range arguments[6 : 6+vault.MaxFields] {
		many = append(many, name, `"value of `+name+`"`)
	}
	stored := map[string][]string{
		"nothing":      {},
		"texts":        {"username", `"jane"`, "password", `"hunter2"`},
		"order":        {"password", `"b"`, "otp", `"a"`, "username", `"c"`},
		"every type":   {"username", `""`, "password", `12345678901234567890.50`, "otp", `true`, "cookies", `{"a":[1,2,{"b":null}]}`, "note", `[]`},
		"odd texts":    {"username", `"é 日本 👪 \" \\ \u0001"`, "password", `"null"`, "note", `"{}"`},
		"unicode name": {"名前", `"花子"`},
		"64 KiB":       {"note", long},
		"64 KiB, each character of which JSON writes as two": {"note", lines},
		"100 values": many,
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for name, pairs := range stored {
			u := h.create(t, h.jane, "shop", name, pairs...)
			if u.Kind != vault.Created || u.KeepSession || u.Name != name {
				t.Errorf("Create answers %+v", u)
			}
			var want []string
			for i := 0; i < len(pairs); i += 2 {
				want = append(want, pairs[i]+"="+pairs[i+1])
			}
			h.holds(t, u.Token, strings.Join(want, " "), "")
		}
	})
}

func TestWhiteSpaceAndEscapesAreNotKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", ` "\u0041\/b" `, "cookies", " { \"a\" : 1.0 }\n", "note", "null", "otp", " null ")
		h.holds(t, u.Token, `username="A/b" cookies={"a":1.0}`, "")
	})
}

func TestCreatingANameAgainReplacesTheProfile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		first := h.create(t, h.jane, "shop", "p", "username", `"a"`, "password", `"b"`)
		other := h.create(t, h.jane, "shop", "P", "username", `"upper case is another name"`)
		second := h.create(t, h.jane, "shop", "p", "username", `"c"`)
		if second.Kind != vault.Replaced || second.ID == first.ID {
			t.Errorf("the second Create answers %+v", second)
		}
		wantErr(t, h.try(t, first.Token), vault.ErrNotFound)
		h.holds(t, second.Token, `username="c"`, "")
		h.holds(t, other.Token, `username="upper case is another name"`, "")

		if n := column[int64](t, d, `SELECT used FROM quota_uses WHERE kind = 'auth_profiles'`); n != 2 {
			t.Errorf("%d profiles are counted, want 2", n)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM audit_entries WHERE action = 'profile.replace' AND subject_id = $1`, second.ID); n != 1 {
			t.Errorf("%d audit entries of the replacement", n)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM changes WHERE kind = 'profile' AND subject = $1`, first.ID); n != 1 {
			t.Errorf("%d changes say that the first profile is gone", n)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM profile_values WHERE profile_uid = $1`, first.ID); n != 0 {
			t.Errorf("%d values of the first profile are left", n)
		}
	})
}

func TestOrganizationsHaveProfilesOfOneNameOnOnePublicAgent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		janes := h.create(t, h.jane, "shop", "p", "username", `"jane"`)
		bobs := h.create(t, h.bob, "public/shop", "p", "username", `"bob"`)
		if bobs.Kind != vault.Created {
			t.Errorf("Bob's profile: %+v", bobs)
		}
		h.holds(t, janes.Token, `username="jane"`, "")
		o, err := h.Open(t.Context(), h.bob, h.agent("uid-shop"), secret(bobs.Token))
		if err != nil {
			t.Fatal(err)
		}
		if got := show(o); got != `username="bob"` {
			t.Errorf("Bob's profile holds %s", got)
		}
		o.Close()

		for who, want := range map[*access.Caller]string{&h.jane: janes.ID + " shop", &h.bob: bobs.ID + " public/shop"} {
			list, err := h.List(t.Context(), *who, "public/shop", "", 10)
			if err != nil || len(list) != 1 || list[0].ID+" "+list[0].AgentID != want {
				t.Errorf("%s lists %+v, %v; want %s", who.AccountID, list, err, want)
			}
		}
		_, err = h.Get(t.Context(), h.bob, janes.ID)
		wantErr(t, err, vault.ErrNotFound)
		wantErr(t, h.Delete(t.Context(), h.bob, janes.ID), vault.ErrNotFound)
		h.holds(t, janes.Token, `username="jane"`, "")
	})
}

func TestATokenThatOpensNothingGetsOneAnswer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		good := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		deleted := h.create(t, h.jane, "shop", "gone", "username", `"a"`)
		if err := h.Delete(t.Context(), h.jane, deleted.ID); err != nil {
			t.Fatal(err)
		}
		expired := h.create(t, h.jane, "shop", "rotated", "username", `"a"`)
		if _, err := h.RotateToken(t.Context(), h.jane, "shop", secret(expired.Token), time.Hour); err != nil {
			t.Fatal(err)
		}
		h.pass(time.Hour)
		imposter := seal.NewAuthToken()
		run(t, d, `UPDATE profile_slots SET locator = $1 WHERE profile_uid = $2`, imposter.Locator(),
			h.create(t, h.jane, "shop", "relocated", "username", `"a"`).ID)

		text := good.Token.Reveal()
		for name, try := range map[string]struct {
			who   access.Caller
			agent string
			token string
		}{
			"another agent":           {h.jane, "mail", text},
			"another organization":    {h.bob, "public/shop", text},
			"unknown":                 {h.jane, "shop", seal.NewAuthToken().Reveal()},
			"wrong secret":            {h.jane, "shop", imposter.Reveal()},
			"bad checksum":            {h.jane, "shop", text[:59] + map[bool]string{true: "B", false: "A"}[text[59] == 'A']},
			"cut":                     {h.jane, "shop", text[:40]},
			"long":                    {h.jane, "shop", strings.Repeat(text, 1000)},
			"not a token":             {h.jane, "shop", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY3ODkwYWJjZGVmZ2g="},
			"of a deleted profile":    {h.jane, "shop", deleted.Token.Reveal()},
			"whose grace has expired": {h.jane, "shop", expired.Token.Reveal()},
		} {
			agent, err := h.FindAgent(t.Context(), try.who, try.agent)
			if err != nil {
				t.Fatal(err)
			}
			token := seal.NewSecret(try.token)
			_, opened := h.Open(t.Context(), try.who, agent, token)
			_, updated := h.Upsert(t.Context(), try.who, vault.UpsertRequest{AgentID: try.agent, Values: values("username", `"x"`), Token: token})
			_, rotated := h.RotateToken(t.Context(), try.who, try.agent, token, 0)
			for call, err := range map[string]error{"open": opened, "upsert": updated, "rotate": rotated} {
				f := fault.Of(err)
				if f.Code != "AUTH_PROFILE_NOT_FOUND" || f.Kind != fault.NotFound || f.Message != vault.ErrToken.Message || f.Details != nil {
					t.Errorf("%s, %s: %v", name, call, err)
				}
			}
		}
		h.holds(t, good.Token, `username="a"`, "")
	})
}

func TestAnUpdateSetsRemovesAndKeeps(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"jane"`, "password", `"old"`, "otp", `"x"`, "note", `1`)
		h.pass(time.Minute)
		got := h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token),
			Values: values("password", `"new"`, "otp", `null`, "cookies", `[1]`, "名前", `null`)})
		if got.Kind != vault.Updated || got.Token.Reveal() != u.Token.Reveal() || got.Name != "p" || got.ID != u.ID || got.KeepSession {
			t.Errorf("the update answers %+v", got)
		}
		h.holds(t, u.Token, `username="jane" password="new" note=1 cookies=[1]`, "")

		p, err := h.Get(t.Context(), h.jane, u.ID)
		if err != nil || p.UpdatedAt.Sub(p.CreatedAt) != time.Minute {
			t.Errorf("after the update: %+v, %v", p, err)
		}

		// Nothing is sent, or only what is there: it is an update still.
		revision := column[int64](t, d, `SELECT revision FROM profiles WHERE uid = $1`, u.ID)
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token)})
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("password", ` "n\u0065w" `)})
		h.holds(t, u.Token, `username="jane" password="new" note=1 cookies=[1]`, "")
		if now := column[int64](t, d, `SELECT revision FROM profiles WHERE uid = $1`, u.ID); now != revision+2 {
			t.Errorf("two updates have moved the revision from %d to %d", revision, now)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM audit_entries WHERE action = 'profile.update'`); n != 3 {
			t.Errorf("%d updates are in the audit log, want 3", n)
		}

		// Everything is removed: the profile is there still, and empty.
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token),
			Values: values("username", `null`, "password", `null`, "note", `null`, "cookies", `null`)})
		h.holds(t, u.Token, ``, "")
	})
}

func TestAnUpdateRenames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		h.create(t, h.jane, "shop", "taken", "username", `"b"`)
		h.create(t, h.jane, "mail", "other", "username", `"c"`)

		rename := func(to string) (vault.Upserted, error) {
			return h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Name: &to, Token: secret(u.Token), Values: values("password", `"`+to+`"`)})
		}
		_, err := rename("taken")
		wantErr(t, err, vault.ErrDuplicateName)
		h.holds(t, u.Token, `username="a"`, "") // nothing of the refused update stays
		for _, to := range []string{"p", "other", "q"} {
			if got, err := rename(to); err != nil || got.Name != to {
				t.Errorf("rename to %s: %+v, %v", to, got, err)
			}
		}
		h.holds(t, u.Token, `username="a" password="q"`, "")
		if again := h.create(t, h.jane, "shop", "p"); again.Kind != vault.Created {
			t.Errorf("the name that was given up: %+v", again)
		}
	})
}

func TestNamesThatTheAgentHasNotAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`, "note", `"b"`)
		for _, json := range []string{`"x"`, `null`} {
			_, err := h.Create(t.Context(), h.jane, "shop", "p", values("username", `"c"`, "usrname", json))
			wantErr(t, err, errUnknown)
			if fault.Of(err).Details["arguments"] == nil {
				t.Error("the error does not list the agent's own names")
			}
			_, err = h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("usrname", json)})
			wantErr(t, err, errUnknown)
		}
		h.holds(t, u.Token, `username="a" note="b"`, "")

		// The agent drops an argument: its value stays, and can be removed.
		a := h.agent("uid-shop")
		a.Check = func(name string, v jsontext.Value) error {
			if name == "note" {
				return errUnknown
			}
			return check(name, v)
		}
		h.mu.Lock()
		h.agents["uid-shop"] = a
		h.mu.Unlock()
		_, err := h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("note", `"x"`)})
		wantErr(t, err, errUnknown)
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("note", `null`)})
		h.holds(t, u.Token, `username="a"`, "")
	})
}

func TestABadRequestChangesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		var many []string
		for _, name := range arguments[:vault.MaxFields+1] {
			many = append(many, name, `1`)
		}
		for name, pairs := range map[string][]string{
			"larger than 64 KiB":      {"note", `"` + strings.Repeat("x", 64<<10+1) + `"`},
			"an object of that size":  {"note", `{"a":"` + strings.Repeat("x", 64<<10) + `"}`},
			"U+0000":                  {"note", `"a\u0000b"`},
			"U+0000 at the beginning": {"note", `"\u0000{}"`},
			"not JSON":                {"note", `hunter2`},
			"JSON and more":           {"note", `"a" "b"`},
			"half a surrogate":        {"note", `"\ud800"`},
			"a name twice":            {"note", `1`, "note", `2`},
			"a name twice, once null": {"note", `1`, "note", `null`},
			"more than 100 values":    many,
			"cut off":                 {"note", `"hunter2`},
		} {
			for _, token := range []seal.Secret{{}, secret(u.Token)} {
				_, err := h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Name: new("p"), Values: values(pairs...), Token: token})
				if f := fault.Of(err); f.Kind != fault.Invalid || f.Details["field"] != "auth_data" || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		// The bound holds for what is stored in the end, too.
		full := h.create(t, h.jane, "shop", "full", many[:2*vault.MaxFields]...)
		_, err := h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(full.Token), Values: values(many[2*vault.MaxFields:]...)})
		wantErr(t, err, fault.ErrInvalidRequest)
		h.holds(t, u.Token, `username="a"`, "")
	})
}

func TestNames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for _, bad := range []string{"", " ", " a", "a ", "a\u3000", "a\nb", "a\x00", "\x7f", "a\u0085b", "a\u2028b", "a\xff", strings.Repeat("x", 201), strings.Repeat("名", 201)} {
			_, err := h.Create(t.Context(), h.jane, "shop", bad, nil)
			if f := fault.Of(err); f.Code != "INVALID_REQUEST" || f.Details["field"] != "name" {
				t.Errorf("name %q: %v", bad, err)
			}
		}
		for _, good := range []string{"a", "jane@shop.example", "Jane's \"shop\" % _ \\", "日本 👩‍👩‍👧", strings.Repeat("名", 200), strings.Repeat("e\u0301", 200)} {
			u := h.create(t, h.jane, "shop", good, "username", `1`)
			if p, err := h.Get(t.Context(), h.jane, u.ID); err != nil || p.Name != u.Name {
				t.Errorf("name %q is kept as %q, %v", good, p.Name, err)
			}
		}
		if _, err := h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop"}); fault.Of(err).Code != "MISSING_REQUIRED_FIELD" {
			t.Errorf("without a name and a token: %v", err)
		}

		composed := h.create(t, h.jane, "shop", "caf\u00e9")
		decomposed := h.create(t, h.jane, "shop", "cafe\u0301")
		if composed.Kind != vault.Created || decomposed.Kind != vault.Replaced || decomposed.Name != "caf\u00e9" {
			t.Errorf("two spellings of one name: %+v, then %+v", composed, decomposed)
		}
	})
}

func TestAnAgentThatWasPointedElsewhereGetsNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, `{"cookie":1}`, "username", `"a"`)
		h.point("uid-shop", "http https evil.example 443")
		err := h.try(t, u.Token)
		if f := fault.Of(err); f.Code != "AGENT_CHANGED" || f.Kind != fault.Conflict || f.Details["now"] != "http https evil.example 443" {
			t.Errorf("open: %v", err)
		}
		// Rotating the token accepts nothing.
		tok, err := h.RotateToken(t.Context(), h.jane, "shop", secret(u.Token), 0)
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, h.try(t, tok), vault.ErrAgentChanged)

		// An upsert does, and the session of the place before is not taken there.
		h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(tok), KeepSession: true})
		h.holds(t, tok, `username="a"`, "")
		if n := column[int64](t, d, `SELECT count(*) FROM audit_entries WHERE action = 'profile.update' AND notes = $1`,
			`{"destination":"http https evil.example 443"}`); n != 1 {
			t.Error("the audit log does not say what was accepted")
		}
		h.point("uid-shop", "http https shop.example 443")
		wantErr(t, h.try(t, tok), vault.ErrAgentChanged)
	})
}

func TestOfTwentyUpsertsAtOnceOneTokenWorks(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for round := range 3 { // the first creates, the others replace
			answered := make([]vault.Upserted, 20)
			var wg sync.WaitGroup
			for i := range answered {
				wg.Go(func() {
					var err error
					answered[i], err = h.Create(t.Context(), h.jane, "shop", "p", values("username", fmt.Sprint(i), "password", fmt.Sprint(i)))
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			works, created := 0, 0
			for i, u := range answered {
				if u.Kind == vault.Created {
					created++
				}
				switch err := h.try(t, u.Token); {
				case err == nil:
					works++
					h.holds(t, u.Token, fmt.Sprintf("username=%d password=%d", i, i), "")
				case !errors.Is(err, vault.ErrNotFound):
					t.Error(err)
				}
			}
			if want := map[bool]int{true: 1, false: 0}[round == 0]; works != 1 || created != want {
				t.Errorf("round %d: %d tokens work, want 1; %d answers say create, want %d", round, works, created, want)
			}
		}
		if n := column[int64](t, d, `SELECT used FROM quota_uses WHERE kind = 'auth_profiles'`); n != 1 {
			t.Errorf("%d profiles are counted, want 1", n)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM profile_slots`); n != 1 {
			t.Errorf("%d slots are left, want 1", n)
		}
	})
}

func TestUpdatesOfDifferentValuesAtOnceAllLand(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p")
		names := arguments[:12]
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() {
				_, err := h.Upsert(t.Context(), h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values(name, `"`+name+`"`)})
				if err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() { // and nobody ever sees half of an update
				if err := h.try(t, u.Token); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		o := h.open(t, u.Token)
		defer o.Close()
		if len(o.Values) != len(names) {
			t.Errorf("of %d updates this is left: %s", len(names), show(o))
		}
	})
}

func TestReadersNeverSeeHalfOfAnUpdate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `0`, "password", `0`)
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					o, err := h.Open(t.Context(), h.jane, h.agent("uid-shop"), secret(u.Token))
					if err != nil {
						t.Error(err)
						return
					}
					if a, b := o.Values[0].JSON.Reveal(), o.Values[1].JSON.Reveal(); a != b {
						t.Errorf("a profile with the values %s and %s never was", a, b)
					}
					o.Close()
				}
			})
		}
		for i := range 50 {
			n := fmt.Sprint(i)
			h.upsert(t, h.jane, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token), Values: values("username", n, "password", n)})
		}
		close(done)
		wg.Wait()
	})
}

func TestADeletedProfileIsGone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.kept(t, `{"a":1}`, "username", `"a"`)
		if err := h.Delete(t.Context(), h.jane, u.ID); err != nil {
			t.Fatal(err)
		}
		wantErr(t, h.try(t, u.Token), vault.ErrNotFound)
		wantErr(t, h.Delete(t.Context(), h.jane, u.ID), vault.ErrNotFound)
		_, err := h.Get(t.Context(), h.jane, u.ID)
		wantErr(t, err, vault.ErrNotFound)
		for _, table := range []string{"profiles", "profile_values", "profile_sessions", "profile_slots"} {
			if n := column[int64](t, d, `SELECT count(*) FROM `+table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
		if n := column[int64](t, d, `SELECT used FROM quota_uses WHERE kind = 'auth_profiles'`); n != 0 {
			t.Errorf("%d profiles are counted, want 0", n)
		}
		if n := column[int64](t, d, `SELECT count(*) FROM audit_entries WHERE action = 'profile.delete'`); n != 1 {
			t.Errorf("%d deletions are in the audit log, want 1", n)
		}
	})
}

func TestTheQuotaHolds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.jane.Quotas.AuthProfiles = 2
		first := h.create(t, h.jane, "shop", "a")
		h.create(t, h.jane, "mail", "b")
		_, err := h.Create(t.Context(), h.jane, "shop", "c", nil)
		wantErr(t, err, fault.ErrQuota)
		if again := h.create(t, h.jane, "shop", "a"); again.Kind != vault.Replaced { // takes nothing
			t.Errorf("%+v", again)
		} else if first = again; h.Delete(t.Context(), h.jane, first.ID) != nil {
			t.Error("the profile can't be deleted")
		}
		h.create(t, h.jane, "shop", "c")
		h.create(t, h.bob, "public/shop", "another organization's")
	})
}

func TestADeletedAgentTakesItsProfiles(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		shop := h.create(t, h.jane, "shop", "a", "username", `1`)
		h.create(t, h.bob, "public/shop", "a", "username", `1`)
		mail := h.create(t, h.jane, "mail", "a", "username", `1`)
		run(t, d, `DELETE FROM agents WHERE uid = 'uid-shop'`)
		wantErr(t, h.try(t, shop.Token), vault.ErrNotFound)
		for _, table := range []string{"profiles", "profile_values", "profile_slots"} {
			if n := column[int64](t, d, `SELECT count(*) FROM `+table); n != 1 {
				t.Errorf("%d rows are in %s, want the one of the other agent", n, table)
			}
		}
		if p, err := h.Get(t.Context(), h.jane, mail.ID); err != nil || p.AgentID != "mail" {
			t.Errorf("the other agent's profile: %+v, %v", p, err)
		}

		// The row that a creation refers to went after the agent was looked up.
		_, err := h.Create(t.Context(), h.jane, "shop", "late", nil)
		if err == nil || !db.IsMissingReference(err) {
			t.Errorf("create for an agent without a row: %v", err)
		}
		h.mu.Lock()
		delete(h.agents, "uid-shop")
		h.mu.Unlock()
		_, err = h.Create(t.Context(), h.jane, "shop", "late", nil)
		wantErr(t, err, errNoAgent)
	})
}

func TestAnAgentMadeAnewUnderItsIDIsFoundAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		looks := 0
		h.FindAgent = func(ctx context.Context, who access.Caller, id string) (vault.Agent, error) {
			a, err := h.find(ctx, who, id)
			if looks++; looks == 1 {
				a.UID = "uid-gone"
			}
			return a, err
		}
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		h.holds(t, u.Token, `username="a"`, "")
		if looks != 2 {
			t.Errorf("the agent was looked up %d times, want 2", looks)
		}
	})
}

func TestListsAreNewestFirstAndComeInPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.create(t, h.jane, "mail", "of another agent")
		for i := range 5 {
			h.create(t, h.jane, "shop", fmt.Sprint("p", i), "password", `"x"`, "username", `"y"`)
		}
		h.kept(t, `{"a":1}`, "username", `"a"`)

		var names []string
		after := ""
		for {
			page, err := h.List(t.Context(), h.jane, "shop", after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page {
				names = append(names, p.Name)
				after = p.ID
			}
			if len(page) < 2 {
				break
			}
		}
		if got := strings.Join(names, " "); got != "kept p4 p3 p2 p1 p0" {
			t.Errorf("listed: %s", got)
		}
		all, err := h.List(t.Context(), h.jane, "shop", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		kept, p4 := all[0], all[1]
		if !kept.KeepSession || !kept.HasSession || p4.KeepSession || p4.HasSession || strings.Join(p4.Fields, " ") != "password username" ||
			p4.AgentID != "shop" || p4.Destination != "http https shop.example 443" || !p4.CreatedAt.Equal(h.now()) || !p4.LastUsedAt.IsZero() {
			t.Errorf("listed: %+v, %+v", kept, p4)
		}
		one, err := h.Get(t.Context(), h.jane, p4.ID)
		if err != nil || fmt.Sprint(one) != fmt.Sprint(p4) {
			t.Errorf("Get gives %+v, %v; List gave %+v", one, err, p4)
		}
		_, err = h.List(t.Context(), h.bob, "shop", "", 10)
		wantErr(t, err, errNoAgent)
	})
}

func TestUseIsRecordedOutsideOfTheManifest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p", "username", `"a"`)
		touch := func() {
			t.Helper()
			o := h.open(t, u.Token)
			defer o.Close()
			if err := d.Tx(t.Context(), func(tx *db.Tx) error { return o.Touch(t.Context(), tx) }); err != nil {
				t.Fatal(err)
			}
		}
		h.pass(time.Hour)
		later := h.now()
		touch()
		h.pass(-time.Minute) // an earlier run, recorded later
		touch()
		if p, err := h.Get(t.Context(), h.jane, u.ID); err != nil || !p.LastUsedAt.Equal(later) {
			t.Errorf("last used at %v, want %v; %v", p.LastUsedAt, later, err)
		}
		if n := column[int64](t, d, `SELECT last_used_at FROM profile_slots`); n != db.Micros(later) {
			t.Errorf("the token was last used at %v, want %v", db.Time(n), later)
		}
		h.holds(t, u.Token, `username="a"`, "")
	})
}

func TestNobodyMayDoNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		u := h.create(t, h.jane, "shop", "p")
		var nobody access.Caller
		ctx := t.Context()
		_, create := h.Create(ctx, nobody, "shop", "q", nil)
		_, update := h.Upsert(ctx, nobody, vault.UpsertRequest{AgentID: "shop", Token: secret(u.Token)})
		_, open := h.Open(ctx, nobody, h.agent("uid-shop"), secret(u.Token))
		_, openRun := h.OpenRun(ctx, nobody, h.agent("uid-shop"), secret(u.Token))
		_, list := h.List(ctx, nobody, "shop", "", 10)
		_, get := h.Get(ctx, nobody, u.ID)
		_, rotate := h.RotateToken(ctx, nobody, "shop", secret(u.Token), 0)
		for _, err := range []error{create, update, open, openRun, list, get, rotate, h.Delete(ctx, nobody, u.ID), h.DeleteSession(ctx, nobody, u.ID)} {
			wantErr(t, err, fault.ErrNotAllowed)
		}
	})
}
