package vault

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// profile is a stored profile together with its key. The organization and the
// agent are those who ask; the rest is what the rows say.
type profile struct {
	organization, agent string
	uid                 string
	dek                 seal.DEK

	row
	fields          []field // in order
	session         []byte  // its box; nil if there is none
	forgotten       []byte  // the digest of that box, if it was deleted without a token
	sessionRevision uint64
}

// row is the profile's own row.
type row struct {
	organizationID, agentUID string // as stored; a profile that was moved has others
	name                     string
	keepSession              bool
	revision, epoch          uint64
	destination              string
	manifest                 []byte
	updatedAt                int64
	forgets                  int64 // how often its session was deleted without a token
}

// field is a stored value.
type field struct {
	name     string
	position int64
	revision uint64
	box      []byte
}

// place is where a box of p belongs that was written at revision.
func (p *profile) place(kind seal.PlaceKind, name string, revision uint64) seal.Place {
	return seal.Place{Kind: kind, Organization: p.organization, Agent: p.agent, Profile: p.uid,
		Field: name, Revision: revision, Epoch: p.epoch}
}

// sealValue makes the field for a value of p as of p's revision.
func (p *profile) sealValue(name string, position int64, plaintext []byte) (field, error) {
	box, err := p.dek.Seal(p.place(seal.ValuePlace, name, p.revision), plaintext)
	if errors.Is(err, seal.ErrTooLarge) {
		return field{}, errValueSize
	}
	return field{name, position, p.revision, box}, err
}

func (p *profile) openValue(f field) ([]byte, error) {
	plaintext, err := p.dek.Open(p.place(seal.ValuePlace, f.name, f.revision), f.box)
	if err != nil {
		return nil, p.broken(err)
	}
	return plaintext, nil
}

// broken is the error for rows that the key of p does not fit. It is for the
// log: whoever holds the token has done nothing wrong.
func (p *profile) broken(err error) error { return fmt.Errorf("auth profile %s: %w", p.uid, err) }

func (p *profile) manifestOf() seal.Manifest {
	m := seal.Manifest{
		Organization: p.organization, Agent: p.agent, Profile: p.uid,
		Epoch: p.epoch, Revision: p.revision, KeepSession: p.keepSession, Destination: p.destination,
		SessionRevision: p.sessionRevision, Session: p.session, SessionDigest: p.forgotten,
		Fields: make([]seal.ManifestField, len(p.fields)),
	}
	for i, f := range p.fields {
		m.Fields[i] = seal.ManifestField{Name: f.name, Revision: f.revision, Box: f.box}
	}
	return m
}

// sign makes the manifest of p as it is now.
func (p *profile) sign() { p.manifest = p.dek.Manifest(p.manifestOf()) }

func (p *profile) check() error {
	if p.organizationID != p.organization || p.agentUID != p.agent || p.session != nil && p.forgotten != nil {
		return seal.ErrTag
	}
	return p.dek.CheckManifest(p.manifestOf(), p.manifest)
}

// next returns p as it is to be after a change, unsigned.
func (p *profile) next() *profile {
	n := *p
	n.fields = slices.Clone(p.fields)
	n.revision++
	return &n
}

func (p *profile) find(name string) int {
	return slices.IndexFunc(p.fields, func(f field) bool { return f.name == name })
}

const rowColumns = `p.organization_id, p.agent_uid, p.name, p.keep_session, p.revision, p.epoch, p.destination, p.manifest, p.updated_at, p.forgets`

// scan reads rowColumns into r, after what is selected before them.
func (r *row) scan(from *sql.Row, before ...any) error {
	var revision, epoch int64
	err := from.Scan(append(before, &r.organizationID, &r.agentUID, &r.name, &r.keepSession, &revision, &epoch,
		&r.destination, &r.manifest, &r.updatedAt, &r.forgets)...)
	r.revision, r.epoch = uint64(revision), uint64(epoch)
	return err
}

// slot is the row that a token found.
type slot struct {
	kind      seal.SlotKind
	locator   []byte
	expiresAt int64
}

// open returns the profile that token opens for who and agent, with its
// manifest checked. Every token that opens none takes the same path to the same
// answer.
//
// The kind is what the caller asks for and part of what the key is derived from:
// a run's token opens nothing where its owner's is asked for, nor the other way
// round.
func (s *Store) open(ctx context.Context, who access.Caller, agent Agent, kind seal.SlotKind, token seal.Secret) (*profile, slot, error) {
	tok, err := seal.ParseAuthToken(string(token.Bytes()))
	if err != nil {
		tok = seal.NewAuthToken() // finds nothing
	}
	p := &profile{organization: who.OrganizationID, agent: agent.UID}
	found := slot{kind: kind, locator: tok.Locator()}
	var slotEpoch, makerEnds int64
	var sealed seal.Slot
	err = p.scan(s.DB.QueryRow(ctx, `
		SELECT p.uid, s.epoch, s.salt, s.sealed, s.expires_at, COALESCE(m.expires_at, -1), `+rowColumns+`
		FROM profile_slots s JOIN profiles p ON p.uid = s.profile_uid
		LEFT JOIN profile_slots m ON m.locator = s.made_by AND m.profile_uid = s.profile_uid
		WHERE s.locator = $1`, found.locator), &p.uid, &slotEpoch, &sealed.Salt, &sealed.Sealed, &found.expiresAt, &makerEnds)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_ = s.Root.DummySlot(tok)
		return nil, slot{}, ErrToken
	case err != nil:
		return nil, slot{}, fmt.Errorf("find an auth profile: %w", err)
	}

	p.dek, err = s.Root.OpenSlot(tok, p.slotPlace(kind, uint64(slotEpoch), found.expiresAt), sealed)
	switch {
	case errors.Is(err, seal.ErrOpen):
		return nil, slot{}, ErrToken
	case err != nil:
		return nil, slot{}, p.broken(err)
	}
	if now := s.Now(); over(found.expiresAt, now) || kind == seal.SlotRun && (makerEnds == noMaker || over(makerEnds, now)) {
		p.dek.Clear()
		return nil, slot{}, ErrToken
	}
	if err := s.complete(ctx, p); err != nil {
		p.dek.Clear()
		if errors.Is(err, sql.ErrNoRows) {
			return nil, slot{}, ErrToken
		}
		return nil, slot{}, err
	}
	return p, found, nil
}

// noMaker says that the slot is gone whose token made a run's.
const noMaker = -1

func over(expiresAt int64, now time.Time) bool {
	return expiresAt != 0 && !now.Before(db.Time(expiresAt))
}

func (p *profile) slotPlace(kind seal.SlotKind, epoch uint64, expiresAt int64) seal.SlotPlace {
	return seal.SlotPlace{Kind: kind, Organization: p.organization, Agent: p.agent, Profile: p.uid,
		Epoch: epoch, ExpiresAt: expiresAt}
}

// complete reads the boxes of p and checks the manifest of them all.
//
// The rows come from more than one query, so a write in between makes a picture
// that never was and that no manifest fits. A write leaves another revision:
// such a picture is taken again, and only one that stays the same is broken.
// It fails with sql.ErrNoRows if the profile is gone.
func (s *Store) complete(ctx context.Context, p *profile) error {
	for range tries {
		if err := s.readBoxes(ctx, p); err != nil {
			return fmt.Errorf("read an auth profile: %w", err)
		}
		broken := p.check()
		if broken == nil {
			return nil
		}
		was := p.revision
		if err := s.readRow(ctx, p); err != nil {
			return fmt.Errorf("read an auth profile: %w", err)
		}
		if p.revision == was {
			return p.broken(broken)
		}
	}
	return errBusy
}

func (s *Store) readRow(ctx context.Context, p *profile) error {
	return p.scan(s.DB.QueryRow(ctx, `SELECT `+rowColumns+` FROM profiles p WHERE p.uid = $1`, p.uid))
}

// These tell a session, and what is left of one that was deleted, from a value
// among the boxes.
const (
	sessionPosition   = -1
	forgottenPosition = -2
)

func (s *Store) readBoxes(ctx context.Context, p *profile) error {
	p.fields, p.session, p.forgotten, p.sessionRevision = nil, nil, nil, 0
	rows, err := s.DB.Query(ctx, `
		SELECT name, position, revision, box FROM profile_values WHERE profile_uid = $1
		UNION ALL
		SELECT '', -1, revision, box FROM profile_sessions WHERE profile_uid = $1
		UNION ALL
		SELECT '', -2, revision, box FROM profile_forgotten WHERE profile_uid = $1`, p.uid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var f field
		var revision int64
		if err := rows.Scan(&f.name, &f.position, &revision, &f.box); err != nil {
			return err
		}
		f.revision = uint64(revision)
		switch f.position {
		case sessionPosition:
			p.session, p.sessionRevision = f.box, f.revision
		case forgottenPosition:
			// One that does not open fits no manifest.
			p.forgotten, _ = s.Root.Open(seal.AtRest, f.box, p.forgottenAt(f.revision)...)
			p.sessionRevision = f.revision
		default:
			p.fields = append(p.fields, f)
		}
	}
	// Sorted here: a database copies the boxes to sort them.
	slices.SortStableFunc(p.fields, func(a, b field) int { return cmp.Compare(a.position, b.position) })
	return rows.Err()
}

// advance writes next's row over that of the revision before, or returns
// errMoved if another write came first.
func advance(ctx context.Context, tx *db.Tx, next *profile) error {
	n, err := tx.Exec(ctx, `
		UPDATE profiles SET name = $1, keep_session = $2, revision = $3, destination = $4, manifest = $5, updated_at = $6
		WHERE uid = $7 AND revision = $8`,
		next.name, next.keepSession, int64(next.revision), next.destination, next.manifest, next.updatedAt,
		next.uid, int64(next.revision-1))
	if err != nil {
		return err
	}
	if n == 0 {
		return errMoved
	}
	return nil
}

// errMoved says that a change has to be worked out again from what is stored
// now. It is not db.ErrConflict: running the transaction again does not help.
var errMoved = errors.New("vault: the auth profile was changed in between")

// errBusy is the end of [tries].
var errBusy = fault.ErrUnavailable.Say("The auth profile is being changed too often. Try again shortly.").Retry(time.Second)
