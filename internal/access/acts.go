package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Acts is the gate that every act passes.
type Acts struct {
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time

	// Closed is called after an act that closed doors is on disk and before Do
	// returns: when it returns, no server of the fleet remembers what was true
	// before. It is optional.
	Closed func(ctx context.Context, changes []Change)
}

// Act is what is being done; its body says on what.
type Act struct {
	entry  Entry
	notes  map[string]string
	closes []Change
	silent bool
}

// Change is one entry of the change log: of what is remembered of Subject,
// nothing holds any more.
type Change struct {
	Kind    ChangeKind
	Subject string
}

// On names what the act is done to. The name is what people call it.
func (a *Act) On(kind, id, name string) {
	a.entry.SubjectKind, a.entry.SubjectID, a.entry.SubjectName = kind, id, name
}

// By names the account and organization that act, where only the body can know:
// somebody who registers or signs in was nobody before.
func (a *Act) By(accountID, organizationID string) {
	a.entry.AccountID, a.entry.OrganizationID = accountID, organizationID
}

// As renames the act, where only the body can know whether it creates or
// replaces.
func (a *Act) As(action Action) { a.entry.Action = action }

// Note adds a detail to the record. It must not be a secret.
func (a *Act) Note(key, value string) {
	if a.notes == nil {
		a.notes = map[string]string{}
	}
	a.notes[key] = value
}

// Nothing says that the body changed nothing after all, so that no record is
// written: a key that was already revoked, say.
func (a *Act) Nothing() { a.silent = true }

// ChangeKind is what sort of door was closed.
type ChangeKind string

// The doors. The subject of each is its id.
const (
	KeyClosed          ChangeKind = "key"
	SignInClosed       ChangeKind = "sign_in"
	AccountClosed      ChangeKind = "account"
	OrganizationClosed ChangeKind = "organization" // its caller's rights changed, or it is gone
	AgentClosed        ChangeKind = "agent"
	ProfileClosed      ChangeKind = "profile"
)

// Closes writes to the change log that a door was closed: whoever remembers
// that it was open must forget it. An act that does nothing may say it, of a
// door that was closed before: then Do returns only when that is known.
func (a *Act) Closes(kind ChangeKind, subject string) {
	a.closes = append(a.closes, Change{kind, subject})
}

// Do runs body as an act of who: it asks whether who may do action, runs body
// in a transaction, and writes the audit row and the change log in it.
//
// The body keeps [db.DB.Tx]'s law: it may be run again.
func (g *Acts) Do(ctx context.Context, who Caller, action Action, body func(tx *db.Tx, act *Act) error) error {
	if err := who.May(action); err != nil {
		return err
	}
	now := g.Now()
	var closes []Change
	err := g.DB.Tx(ctx, func(tx *db.Tx) error {
		act := &Act{entry: Entry{
			ID: db.NewID(), At: now, OrganizationID: who.OrganizationID, AccountID: who.AccountID, KeyID: who.KeyID,
			Action: action, RequestID: who.RequestID,
		}}
		if who.Address.IsValid() {
			act.entry.Address = who.Address.String()
		}
		if who.AccountID == "" && who.KeyID == 0 && who.Role != Visitor {
			act.Note("by", string(who.Role))
		}
		if err := body(tx, act); err != nil {
			return err
		}
		closes = act.closes
		if act.silent {
			return nil
		}
		if err := g.record(ctx, tx, act); err != nil {
			return err
		}
		for _, c := range act.closes {
			if _, err := tx.Exec(ctx, `INSERT INTO changes (id, at, kind, subject, seq) VALUES ($1, $2, $3, $4, 0)`,
				db.NewID(), db.Micros(now), string(c.Kind), c.Subject); err != nil {
				return fmt.Errorf("write the change log: %w", err)
			}
		}
		return nil
	})
	if g.Closed != nil && len(closes) > 0 {
		// After a failure too: a commit whose answer was lost may have happened.
		// And the caller may be gone, but what he closed is closed.
		g.Closed(context.WithoutCancel(ctx), closes)
	}
	if errors.Is(err, db.ErrConflict) {
		// The others were quicker, every time it was tried.
		err = fault.ErrUnavailable.Retry(time.Second).Because(err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

func (g *Acts) record(ctx context.Context, tx *db.Tx, act *Act) error {
	e := act.entry
	e.Notes = "{}"
	if len(act.notes) > 0 {
		notes, err := json.Marshal(act.notes) // keys come sorted: one text for one record
		if err != nil {
			return err
		}
		e.Notes = string(notes)
	}
	version, tag := e.Tag(g.Root)
	_, err := tx.Exec(ctx, `
		INSERT INTO audit_entries (id, at, organization_id, account_id, key_id, action, subject_kind, subject_id, subject_name,
		                           address, request_id, notes, root_version, tag, seq, chain)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15)`,
		e.ID, db.Micros(e.At), e.OrganizationID, e.AccountID, e.KeyID, string(e.Action), e.SubjectKind, e.SubjectID, e.SubjectName,
		e.Address, e.RequestID, e.Notes, version, tag, []byte{})
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// Entry is one row of the audit log.
type Entry struct {
	ID             string
	At             time.Time
	OrganizationID string
	AccountID      string
	KeyID          int64
	Action         Action
	SubjectKind    string
	SubjectID      string
	SubjectName    string
	Address        string
	RequestID      string
	Notes          string // a JSON object of texts
}

// Fields returns all that e says, as it is tagged and chained.
func (e Entry) Fields() [][]byte {
	return [][]byte{
		seal.Text(e.ID), seal.Int(db.Micros(e.At)), seal.Text(e.OrganizationID), seal.Text(e.AccountID), seal.Int(e.KeyID),
		seal.Text(string(e.Action)), seal.Text(e.SubjectKind), seal.Text(e.SubjectID), seal.Text(e.SubjectName),
		seal.Text(e.Address), seal.Text(e.RequestID), seal.Text(e.Notes),
	}
}

// Tag returns the tag of e under the active root key.
func (e Entry) Tag(root *seal.Root) (version uint32, tag []byte) {
	return root.Tag(seal.Audit, e.Fields()...)
}
