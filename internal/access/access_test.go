package access_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func owner() access.Caller {
	return access.Caller{AccountID: "jane", OrganizationID: "org", Role: access.Owner, SignInID: "s",
		Address: netip.MustParseAddr("192.0.2.7"), RequestID: "r-1"}
}

func TestEachCallerMayDoItsOwnActionsAlone(t *testing.T) {
	signedIn := owner()
	withKey := owner()
	withKey.SignInID, withKey.KeyID, withKey.Scopes = "", 7, access.AllScopes
	operator := owner()
	operator.Operator = true
	operatorKey := withKey
	operatorKey.Operator = true
	halfOwner := owner()
	halfOwner.OrganizationID = ""

	callers := map[string]access.Caller{
		"nobody": {}, "a visitor": access.NewVisitor(netip.Addr{}, ""), "the console": access.NewConsole(""), "the server": access.NewServer(),
		"signed in": signedIn, "a key": withKey, "the operator": operator, "a key of the operator": operatorKey, "an owner of nothing": halfOwner,
		"a false operator": {Operator: true}, "an unknown role": {AccountID: "a", OrganizationID: "o", Role: "admin", SignInID: "s"},
	}
	for action, may := range map[access.Action][]string{
		access.Register:        {"a visitor", "the console"},
		access.ChangePassword:  {"signed in", "the operator"},
		access.CreateKey:       {"signed in", "a key", "the operator", "a key of the operator"},
		access.RevokeSelf:      {"a key", "a key of the operator"},
		access.ListAccounts:    {"the console", "the operator"},
		access.DeclareAgent:    {"the server"},
		access.Action("other"): {},
	} {
		allowed := map[string]bool{}
		for _, name := range may {
			allowed[name] = true
		}
		for name, who := range callers {
			if err := who.May(action); (err == nil) != allowed[name] {
				t.Errorf("%s by %s: %v", action, name, err)
			} else if err != nil && !errors.Is(err, fault.ErrNotAllowed) {
				t.Errorf("%s by %s: %v, want NOT_ALLOWED", action, name, err)
			}
		}
	}
}

func TestAnActAndItsRecordAreOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root, _ := seal.NewRoot()
		now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		acts := &access.Acts{DB: d, Root: root, Now: func() time.Time { return now }}
		counts := func() (entries, changes int) {
			t.Helper()
			err := d.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM audit_entries), (SELECT count(*) FROM changes)`).Scan(&entries, &changes)
			if err != nil {
				t.Fatal(err)
			}
			return entries, changes
		}

		refused := errors.New("refused")
		ran := false
		for name, do := range map[string]func() error{
			"a body that fails": func() error {
				return acts.Do(t.Context(), owner(), access.RevokeKey, func(_ *db.Tx, act *access.Act) error {
					act.Closes(access.KeyClosed, "7")
					return refused
				})
			},
			"a caller that may not": func() error {
				return acts.Do(t.Context(), access.Caller{}, access.RevokeKey, func(*db.Tx, *access.Act) error { ran = true; return nil })
			},
		} {
			if err := do(); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if e, c := counts(); e != 0 || c != 0 || ran {
			t.Errorf("after refusals: %d entries, %d changes, ran %v", e, c, ran)
		}

		err := acts.Do(t.Context(), owner(), access.RevokeKey, func(*db.Tx, *access.Act) error { return db.ErrConflict })
		if f := fault.Of(err); f.Code != fault.ErrUnavailable.Code || f.RetryAfter == 0 {
			t.Errorf("an endless conflict: %v", err)
		}
		if err := acts.Do(t.Context(), owner(), access.RevokeKey, func(_ *db.Tx, act *access.Act) error { act.Nothing(); return nil }); err != nil {
			t.Fatal(err)
		}
		if e, _ := counts(); e != 0 {
			t.Error("an act that did nothing left a record")
		}

		err = acts.Do(t.Context(), owner(), access.CreateProfile, func(_ *db.Tx, act *access.Act) error {
			act.As(access.ReplaceProfile)
			act.On("auth_profile", "p-1", "jane@portal")
			act.Note("b", "2")
			act.Note("a", "1")
			act.Closes(access.ProfileClosed, "p-0")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var e access.Entry
		var at int64
		var action string
		var version uint32
		var tag []byte
		if err := d.QueryRow(t.Context(), `SELECT id, at, organization_id, account_id, key_id, action, subject_kind, subject_id, subject_name,
			address, request_id, notes, root_version, tag FROM audit_entries`).Scan(&e.ID, &at, &e.OrganizationID, &e.AccountID, &e.KeyID, &action,
			&e.SubjectKind, &e.SubjectID, &e.SubjectName, &e.Address, &e.RequestID, &e.Notes, &version, &tag); err != nil {
			t.Fatal(err)
		}
		e.At, e.Action = db.Time(at), access.Action(action)
		if e.Action != access.ReplaceProfile || e.SubjectName != "jane@portal" || e.AccountID != "jane" || e.Address != "192.0.2.7" ||
			e.RequestID != "r-1" || e.Notes != `{"a":"1","b":"2"}` || !e.At.Equal(now) {
			t.Errorf("recorded %+v", e)
		}
		if err := root.CheckTag(seal.Audit, version, tag, e.Fields()...); err != nil {
			t.Error(err)
		}
		e.AccountID = "bob"
		if err := root.CheckTag(seal.Audit, version, tag, e.Fields()...); !errors.Is(err, seal.ErrTag) {
			t.Errorf("an entry that blames another: %v", err)
		}
		if _, c := counts(); c != 1 {
			t.Errorf("%d changes, want 1", c)
		}
	})
}
