package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/bench/lab"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

// open measures how fast a profile is opened for a run, against a bare loop of
// HKDF and AES-GCM over the same ten boxes. Keyward's part is measured twice:
// the cryptography on rows that were read before, and all of vault's Open, with
// the reading from SQLite and the values as JSON.
func (b *bench) open(ctx context.Context) (err error) {
	folder := b.newFolder()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	p, err := newStored(ctx, filepath.Join(folder, "keyward.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.db.Close()) }()
	boxes, err := p.bareBoxes()
	if err != nil {
		return err
	}

	things := []struct {
		name   string
		target string
		do     func() error
	}{
		{"a bare loop of HKDF and AES-GCM", "", func() error { return openAll(boxes) }},
		{"slot, manifest and values, on rows already read", "2.0", p.unseal},
		{"all of it: Open, with the rows read from SQLite", "", func() error { return p.openStored(ctx) }},
	}
	times := make([]lab.Series, len(things))
	for range b.rounds {
		took := make([]time.Duration, len(things))
		// Many short turns: whatever else the machine does slows all of them alike.
		const turns, each = 50, 100
		for range turns {
			for i, t := range things {
				began := time.Now()
				for range each {
					if err := t.do(); err != nil {
						return fmt.Errorf("%s: %w", t.name, err)
					}
				}
				took[i] += time.Since(began)
			}
		}
		for i := range things {
			times[i] = append(times[i], took[i].Seconds()/(turns*each)*1e6)
		}
	}

	fmt.Printf("\nOpening a profile of %d values, µs each:\n\n", valuesOfEach)
	fmt.Println("| | rounds | median | against bare | at most |")
	fmt.Println("| --- | --- | --: | --: | --: |")
	for i, t := range things {
		ratio := "1"
		if i > 0 {
			ratio = fmt.Sprintf("%.2f", times[i].Median()/times[0].Median())
		}
		if t.target != "" {
			ratio = "**" + ratio + "**"
		}
		fmt.Printf("| %s | %s | %.1f | %s | %s |\n", t.name, times[i].List("%.1f"), times[i].Median(), ratio, t.target)
	}
	return nil
}

// stored is one profile in a database, and what its rows say.
type stored struct {
	db    *db.DB
	store *vault.Store
	who   access.Caller
	agent vault.Agent
	token seal.AuthToken

	place    seal.SlotPlace
	slot     seal.Slot
	manifest seal.Manifest
	sum      []byte
}

func newStored(ctx context.Context, path string) (_ *stored, err error) {
	p := &stored{
		who:   access.Caller{AccountID: db.NewID(), OrganizationID: db.NewID(), Role: access.Owner, Quotas: access.Quotas{AuthProfiles: access.Unlimited}},
		agent: vault.Agent{UID: db.NewID(), ID: agentID, Destination: "http https shop.example 443", Check: func(string, jsontext.Value) error { return nil }},
	}
	if p.db, err = db.Open(ctx, "sqlite:"+path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.db.Close()
		}
	}()
	if err := p.db.Migrate(ctx); err != nil {
		return nil, err
	}
	root, _ := seal.NewRoot()
	p.store = &vault.Store{
		Acts: &access.Acts{DB: p.db, Root: root, Now: time.Now}, DB: p.db, Root: root, Now: time.Now,
		FindAgent: func(context.Context, access.Caller, string) (vault.Agent, error) { return p.agent, nil },
	}
	if err := p.insertOwners(ctx); err != nil {
		return nil, err
	}
	var values []vault.Value
	for i := range valuesOfEach {
		values = append(values, vault.NewValue(fieldName(i), jsontext.Value(`"correct horse battery 000001"`)))
	}
	made, err := p.store.Create(ctx, p.who, agentID, "customer-00000001", values)
	if err != nil {
		return nil, err
	}
	p.token = made.Token
	return p, p.read(ctx, made.ID)
}

// insertOwners writes the rows that a profile refers to. Who made them is
// nothing that opening a profile asks.
func (p *stored) insertOwners(ctx context.Context) error {
	return p.db.Tx(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `
			INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ($1, 'bench', 0, 'free', '{}', '{}', 1, 1, 1, $2)`, p.who.OrganizationID, []byte{}); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO agents (uid, organization_id, id, name, description, input_arguments, runner, visibility, timeout_seconds,
			                    declared, runner_secret, created_at, updated_at, root_version)
			VALUES ($1, $2, $3, 'Shop', '', '[]', '{}', 'private', 60, 0, $4, 1, 1, 1)`,
			p.agent.UID, p.who.OrganizationID, p.agent.ID, []byte{})
		return err
	})
}

func (p *stored) read(ctx context.Context, uid string) error {
	p.place = seal.SlotPlace{Kind: seal.SlotOwner, Organization: p.who.OrganizationID, Agent: p.agent.UID, Profile: uid, Epoch: 1}
	p.manifest = seal.Manifest{Organization: p.who.OrganizationID, Agent: p.agent.UID, Profile: uid, Epoch: 1, Revision: 1, Destination: p.agent.Destination}
	if err := p.db.QueryRow(ctx, `SELECT manifest FROM profiles WHERE uid = $1`, uid).Scan(&p.sum); err != nil {
		return err
	}
	if err := p.db.QueryRow(ctx, `SELECT salt, sealed FROM profile_slots WHERE profile_uid = $1`, uid).Scan(&p.slot.Salt, &p.slot.Sealed); err != nil {
		return err
	}
	rows, err := p.db.Query(ctx, `SELECT name, revision, box FROM profile_values WHERE profile_uid = $1 ORDER BY position`, uid)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var f seal.ManifestField
		var revision int64
		if err := rows.Scan(&f.Name, &revision, &f.Box); err != nil {
			return err
		}
		f.Revision = uint64(revision)
		p.manifest.Fields = append(p.manifest.Fields, f)
	}
	return rows.Err()
}

// openStored opens the profile as a run does.
func (p *stored) openStored(ctx context.Context) error {
	o, err := p.store.Open(ctx, p.who, p.agent, seal.NewSecret(p.token.Reveal()))
	if err != nil {
		return err
	}
	if len(o.Values) != valuesOfEach {
		return fmt.Errorf("%d values were opened", len(o.Values))
	}
	o.Close()
	return nil
}

// unseal does the cryptography of it: the slot's two layers, the manifest over
// all boxes, and each value.
func (p *stored) unseal() error {
	dek, err := p.store.Root.OpenSlot(p.token, p.place, p.slot)
	if err != nil {
		return err
	}
	defer dek.Clear()
	if err := dek.CheckManifest(p.manifest, p.sum); err != nil {
		return err
	}
	for _, f := range p.manifest.Fields {
		if _, err := dek.Open(p.valuePlace(f), f.Box); err != nil {
			return err
		}
	}
	return nil
}

func (p *stored) valuePlace(f seal.ManifestField) seal.Place {
	return seal.Place{Kind: seal.ValuePlace, Organization: p.who.OrganizationID, Agent: p.agent.UID, Profile: p.place.Profile,
		Field: f.Name, Revision: f.Revision, Epoch: 1}
}
