package vault

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/quota"
	"github.com/keyward/keyward/internal/seal"
)

// Kind is what an upsert did.
type Kind string

// What an upsert can do.
const (
	Created  Kind = "create"
	Replaced Kind = "replace"
	Updated  Kind = "update"
)

// Upserted is what an upsert answers. Its Token cannot be had again.
type Upserted struct {
	ID          string
	Token       seal.AuthToken
	Name        string
	Kind        Kind
	KeepSession bool
}

// UpsertRequest asks for a profile to be made, replaced or updated.
type UpsertRequest struct {
	AgentID     string
	Name        *string // nil: not sent
	Values      []Value
	KeepSession bool
	Token       seal.Secret // empty: create, or replace what has the name
}

// Create makes a profile of an agent, or replaces the one that has its name.
// Values that are null are not kept.
func (s *Store) Create(ctx context.Context, who access.Caller, agentID, name string, values []Value) (Upserted, error) {
	return s.Upsert(ctx, who, UpsertRequest{AgentID: agentID, Name: &name, Values: values})
}

// Upsert makes a profile, or replaces the one of the same name: then the token
// is new, and every earlier one is dead. With a token it updates the profile
// that the token opens: names that are sent are set, names sent as null are
// removed, the others stay, and the token stays good.
func (s *Store) Upsert(ctx context.Context, who access.Caller, in UpsertRequest) (Upserted, error) {
	action := access.CreateProfile
	if len(in.Token.Bytes()) > 0 {
		action = access.UpdateProfile
	}
	if err := who.May(action); err != nil {
		return Upserted{}, err
	}
	if in.Name != nil {
		name, err := checkName(*in.Name)
		if err != nil {
			return Upserted{}, err
		}
		in.Name = &name
	} else if action == access.CreateProfile {
		return Upserted{}, errNoName
	}
	if len(in.Values) > MaxFields {
		return Upserted{}, errManyFields
	}

	// The agent may be deleted, and another made under its id, between the look
	// and the insertion that refers to it.
	for attempt := 1; ; attempt++ {
		agent, err := s.FindAgent(ctx, who, in.AgentID)
		if err != nil {
			return Upserted{}, err
		}
		plain, err := in.settle(agent)
		if err != nil {
			return Upserted{}, err
		}
		var done Upserted
		if action == access.UpdateProfile {
			done, err = s.update(ctx, who, agent, in, plain)
		} else {
			done, err = s.create(ctx, who, agent, in, plain)
		}
		plain.clear()
		if err == nil || !db.IsMissingReference(err) || attempt == 3 {
			return done, err
		}
	}
}

var errNoName = fault.ErrMissingField.Say("name: is required without an auth_token").
	With(fault.Details{"field": "name", "reason": "is required without an auth_token"})

// plaintexts are the values of a request as they are sealed; nil where a name
// has none.
type plaintexts [][]byte

func (p plaintexts) clear() {
	for _, b := range p {
		clear(b)
	}
}

// settle checks the values of in and returns them as they are sealed.
func (in UpsertRequest) settle(agent Agent) (_ plaintexts, err error) {
	plain := make(plaintexts, len(in.Values))
	defer func() {
		if err != nil {
			plain.clear()
		}
	}()
	seen := make(map[string]bool, len(in.Values))
	for i, v := range in.Values {
		if seen[v.Name] {
			return nil, errTwice
		}
		seen[v.Name] = true
		if v.absent() {
			continue
		}
		if err := agent.Check(v.Name, v.JSON.Bytes()); err != nil {
			return nil, err
		}
		if plain[i], err = v.plaintext(); err != nil {
			return nil, err
		}
	}
	return plain, nil
}

// create stores a profile that is all new, also where one of its name was:
// everything is sealed before the transaction begins.
func (s *Store) create(ctx context.Context, who access.Caller, agent Agent, in UpsertRequest, plain plaintexts) (Upserted, error) {
	now := db.Micros(s.Now())
	p := &profile{organization: who.OrganizationID, agent: agent.UID, uid: db.NewID(), dek: seal.NewDEK(), row: row{
		name: *in.Name, keepSession: in.KeepSession, revision: 1, epoch: 1, destination: agent.Destination, updatedAt: now}}
	defer p.dek.Clear()
	for i, v := range in.Values {
		if plain[i] == nil {
			if err := agent.Check(v.Name, nil); err != nil {
				return Upserted{}, err
			}
			continue
		}
		f, err := p.sealValue(v.Name, int64(len(p.fields)), plain[i])
		if err != nil {
			return Upserted{}, err
		}
		p.fields = append(p.fields, f)
	}
	p.sign()
	tok := seal.NewAuthToken()
	sealed, err := s.Root.SealSlot(tok, p.slotPlace(seal.SlotOwner, p.epoch, 0), p.dek)
	if err != nil {
		return Upserted{}, err
	}

	done := Upserted{ID: p.uid, Token: tok, Name: p.name, Kind: Created, KeepSession: p.keepSession}
	err = s.Acts.Do(ctx, who, access.CreateProfile, func(tx *db.Tx, act *access.Act) error {
		act.On(subject, p.uid, p.name)
		done.Kind = Created
		replaced, err := put(ctx, tx, p)
		switch {
		case err != nil:
			return err
		case replaced != "":
			act.As(access.ReplaceProfile)
			act.Closes(access.ProfileClosed, replaced)
			done.Kind = Replaced
		default:
			if err := quota.Take(ctx, tx, p.organization, quota.AuthProfiles, who.Quotas.AuthProfiles); err != nil {
				return err
			}
		}
		if err := insertSlot(ctx, tx, p.uid, newSlot{seal.SlotOwner, p.epoch, tok.Locator(), sealed, 0, nil}, now); err != nil {
			return err
		}
		return writeValues(ctx, tx, p.uid, p.fields)
	})
	if err != nil {
		return Upserted{}, err
	}
	if done.Kind == Replaced {
		s.DB.Scrub()
	}
	return done, nil
}

// subject is what the audit log calls a profile.
const subject = "auth_profile"

// put inserts the row of a new profile. A profile that has its name goes, with
// all that belongs to it, and put returns its uid.
//
// The statement that finds the name taken also locks the row that took it, so
// of two that replace one profile at once the second waits, and then finds the
// first one's: no try is in vain, however many there are.
func put(ctx context.Context, tx *db.Tx, p *profile) (replaced string, err error) {
	holder, err := insertOrLock(ctx, tx, p)
	if err != nil || holder == p.uid {
		return "", err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM profiles WHERE uid = $1`, holder); err != nil {
		return "", err
	}
	replaced = holder
	if holder, err = insertOrLock(ctx, tx, p); err == nil && holder != p.uid {
		err = db.ErrConflict
	}
	return replaced, err
}

func insertOrLock(ctx context.Context, tx *db.Tx, p *profile) (holder string, err error) {
	err = tx.QueryRow(ctx, `
		INSERT INTO profiles (uid, organization_id, agent_uid, name, keep_session, revision, epoch, destination, manifest,
		                      created_at, updated_at, last_used_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0)
		ON CONFLICT (organization_id, agent_uid, name) DO UPDATE SET updated_at = profiles.updated_at
		RETURNING uid`,
		p.uid, p.organization, p.agent, p.name, p.keepSession, int64(p.revision), int64(p.epoch), p.destination, p.manifest,
		p.updatedAt, p.updatedAt).Scan(&holder)
	return holder, err
}

// newSlot is a slot as it is inserted.
type newSlot struct {
	kind      seal.SlotKind
	epoch     uint64
	locator   []byte
	sealed    seal.Slot
	expiresAt int64  // 0: never
	madeBy    []byte // the locator of the token that made it, if it is a run's
}

func insertSlot(ctx context.Context, tx *db.Tx, uid string, n newSlot, now int64) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO profile_slots (locator, profile_uid, kind, epoch, salt, sealed, created_at, expires_at, last_used_at, root_version, made_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10)`,
		n.locator, uid, string(n.kind), int64(n.epoch), n.sealed.Salt, n.sealed.Sealed, now, n.expiresAt, seal.BoxVersion(n.sealed.Sealed), n.madeBy)
	return err
}

// valuesAtOnce is how many values one statement writes: enough for almost every
// profile, and few enough texts to keep each prepared.
const valuesAtOnce = 10

// writeValuesSQL has the statement for each number of values.
var writeValuesSQL = func() (texts [valuesAtOnce + 1]string) {
	var rows strings.Builder
	for n := 1; n <= valuesAtOnce; n++ {
		if n > 1 {
			rows.WriteString(", ")
		}
		i := 5 * n
		fmt.Fprintf(&rows, "($%d, $%d, $%d, $%d, $%d)", i-4, i-3, i-2, i-1, i)
		texts[n] = `INSERT INTO profile_values (profile_uid, name, position, revision, box) VALUES ` + rows.String() + `
			ON CONFLICT (profile_uid, name) DO UPDATE SET revision = excluded.revision, box = excluded.box`
	}
	return texts
}()

// writeValues inserts values, or writes them over those of the same names.
func writeValues(ctx context.Context, tx *db.Tx, uid string, fields []field) error {
	for len(fields) > 0 {
		n := min(len(fields), valuesAtOnce)
		args := make([]any, 0, 5*n)
		for _, f := range fields[:n] {
			args = append(args, uid, f.name, f.position, int64(f.revision), f.box)
		}
		if _, err := tx.Exec(ctx, writeValuesSQL[n], args...); err != nil {
			return err
		}
		fields = fields[n:]
	}
	return nil
}
