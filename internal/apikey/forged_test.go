package apikey_test

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/seal"
)

// Whoever can write to the database but has not the root key gives no key more
// than it has, and passes no secret off as another's.
func TestForgedRowsAreNoticed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, forge := range map[string]string{
			"moved to another organization":   `UPDATE api_keys SET organization_id = 'org-bob' WHERE name = 'bound'`,
			"given to another account":        `UPDATE api_keys SET account_id = 'bob' WHERE name = 'bound'`,
			"a longer life":                   `UPDATE api_keys SET expires_at = expires_at + 1000000 WHERE name = 'bound'`,
			"no longer revoked":               `UPDATE api_keys SET revoked_at = 1 WHERE name = 'bound'`,
			"another type":                    `UPDATE api_keys SET type = 'personal' WHERE name = 'bound'`,
			"made by nobody":                  `UPDATE api_keys SET made_by_key = 1 WHERE name = 'bound'`,
			"another's external id":           `UPDATE api_keys SET external_id = 'customer-2' WHERE name = 'bound'`,
			"no external id":                  `UPDATE api_keys SET external_id = '' WHERE name = 'bound'`,
			"enabled again":                   `UPDATE api_keys SET disabled = 0 WHERE name = 'bound'`,
			"disabled otherwise":              `UPDATE api_keys SET disabled = 2 WHERE name = 'bound'`,
			"more scopes":                     `UPDATE api_keys SET settings = replace(settings, '"agents:read"', '"agents:read","keys:write"') WHERE name = 'bound'`,
			"another scope":                   `UPDATE api_keys SET settings = replace(settings, 'agents:read', 'keys:verify') WHERE name = 'bound'`,
			"another agent":                   `UPDATE api_keys SET settings = replace(settings, 'invoices', 'portal') WHERE name = 'bound'`,
			"another address":                 `UPDATE api_keys SET settings = replace(settings, '10.0.0.0/8', '0.0.0.0/0') WHERE name = 'bound'`,
			"a higher limit":                  `UPDATE api_keys SET settings = replace(settings, '"requests_per_hour":5', '"requests_per_hour":50') WHERE name = 'bound'`,
			"no signature":                    `UPDATE api_keys SET settings = replace(settings, '"require_signature":true', '"require_signature":false') WHERE name = 'bound'`,
			"other metadata":                  `UPDATE api_keys SET settings = replace(settings, '"plan":"basic"', '"plan":"gold"') WHERE name = 'bound'`,
			"the settings of another key":     `UPDATE api_keys SET settings = (SELECT o.settings FROM api_keys o WHERE o.name = 'other') WHERE name = 'bound'`,
			"no settings at all":              `UPDATE api_keys SET settings = '', external_id = '', disabled = 0 WHERE name = 'bound'`,
			"the tag of another key":          `UPDATE api_keys SET tag = (SELECT o.tag FROM api_keys o WHERE o.name = 'other') WHERE name = 'bound'`,
			"another key's secret":            `UPDATE api_key_secrets SET key_id = (SELECT k.id FROM api_keys k WHERE k.name = 'other') WHERE key_id = (SELECT k.id FROM api_keys k WHERE k.name = 'bound')`,
			"a secret of a longer life":       `UPDATE api_key_secrets SET expires_at = 9000000000000000`,
			"the signing secret of another":   `UPDATE api_key_secrets SET signing = (SELECT s.signing FROM api_key_secrets s JOIN api_keys k ON k.id = s.key_id WHERE k.name = 'other') WHERE key_id = (SELECT k.id FROM api_keys k WHERE k.name = 'bound')`,
			"a signing secret that was taken": `UPDATE api_key_secrets SET signing = '' WHERE key_id = (SELECT k.id FROM api_keys k WHERE k.name = 'bound')`,
		} {
			t.Run(name, func(t *testing.T) {
				h := newHouse(t, fresh(t, d))
				bound := apikey.Request{
					Name: "bound", Type: apikey.Temporary, Scopes: []string{"agents:read", "agents:run"}, AgentIDs: []string{"invoices"}, AllowedIPs: []string{"10.0.0.0/8"},
					Limits: access.Limits{PerHour: 5}, RequireSignature: true, Disabled: true, ExternalID: "customer-1", Metadata: []byte(`{"plan":"basic"}`),
				}
				_, secret := h.make(t, h.jane, bound)
				h.make(t, h.jane, apikey.Request{Name: "other", Type: apikey.Temporary, RequireSignature: true, ExternalID: "customer-2"})
				if err := h.state(t, secret); !errors.Is(err, apikey.ErrDisabled) {
					t.Fatalf("before: %v", err)
				}
				run(t, h.DB, forge)
				if _, err := h.Lookup(t.Context(), sha256.Sum256(secret.Bytes())); !errors.Is(err, seal.ErrTag) {
					t.Errorf("Lookup = %v, want a broken tag", err)
				}
			})
		}
	})
}

// Nobody who can write to the database makes a value, or a key that was made
// with one, be forgotten when the key that gave it ends.
func TestForgedMakersAreNoticed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, forge := range map[string]string{
			"a value of nobody's making":       `UPDATE api_key_secrets SET made_by_key = 0 WHERE made_by_key <> 0`,
			"a value of another's making":      `UPDATE api_key_secrets SET made_by_key = made_by_key + 1 WHERE made_by_key <> 0`,
			"a value of some key's making":     `UPDATE api_key_secrets SET made_by_key = 7 WHERE made_by_key = 0`,
			"a value made with none":           `UPDATE api_key_secrets SET made_with = signing WHERE made_by_key <> 0`,
			"a value made with another":        `UPDATE api_key_secrets SET made_with = digest`,
			"a value made with it, by nobody":  `UPDATE api_key_secrets SET made_with = digest, made_by_key = 0`,
			"a key made with none":             `UPDATE api_keys SET made_with = (SELECT signing FROM api_key_secrets LIMIT 1)`,
			"a key made with another value":    `UPDATE api_keys SET made_with = tag`,
			"a value as it was before makers":  `UPDATE api_key_secrets SET made_with = signing, made_by_key = 0`,
			"a key with settings in the place": `UPDATE api_keys SET settings = 'x' WHERE length(made_with) > 0`,
		} {
			t.Run(name, func(t *testing.T) {
				h := newHouse(t, fresh(t, d))
				k, _ := h.make(t, h.jane, apikey.Request{Name: "giver"})
				b, _ := h.make(t, h.jane, apikey.Request{Name: "given"})
				c, _ := h.make(t, h.jane, apikey.Request{Name: "given by that"})
				v := h.rotateAs(t, h.with(t, h.jane, k), b.ID, 0)
				who := h.as(h.jane, v)
				w := h.rotateAs(t, who, c.ID, 0)
				_, made := h.make(t, who, apikey.Request{Name: "made with that"})
				secrets := []seal.Secret{v.Secret, w.Secret, made}
				for _, s := range secrets {
					if err := h.state(t, s); err != nil {
						t.Fatal(err)
					}
				}
				run(t, h.DB, forge)
				noticed := false
				for _, s := range secrets {
					_, err := h.Lookup(t.Context(), sha256.Sum256(s.Bytes()))
					noticed = noticed || errors.Is(err, seal.ErrTag)
				}
				if _, err := h.Lookup(t.Context(), sha256.Sum256(secrets[0].Bytes())); name == "a value of some key's making" {
					noticed = err == nil // nothing of it was touched; the giver's own value was
					_, err = h.Create(t.Context(), h.with(t, h.jane, k), apikey.Request{Name: "late"})
					noticed = noticed && errors.Is(err, seal.ErrTag)
				}
				if !noticed {
					t.Error("it was not noticed")
				}
			})
		}
	})
}

// A key that was made before there were settings is given none by hand, and
// gets none by being read another way.
func TestAKeyWithoutSettingsIsGivenNone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, forge := range map[string]string{
			"an external id": `UPDATE api_keys SET external_id = 'customer-1'`,
			"disabled":       `UPDATE api_keys SET disabled = 1`,
			"settings":       `UPDATE api_keys SET settings = '{}'`,
		} {
			t.Run(name, func(t *testing.T) {
				h := newHouse(t, fresh(t, d))
				_, secret := h.make(t, h.jane, apikey.Request{Name: "plain"})
				run(t, h.DB, forge)
				if _, err := h.Lookup(t.Context(), sha256.Sum256(secret.Bytes())); !errors.Is(err, seal.ErrTag) {
					t.Errorf("Lookup = %v, want a broken tag", err)
				}
			})
		}
	})
}

// The tags of rows as they were written before keys had settings.
func TestRowsOfBeforeThereWereSettingsAreGood(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		made, secret := h.make(t, h.jane, apikey.Request{Name: "plain", ExpiresIn: time.Hour})
		digest := sha256.Sum256(secret.Bytes())
		_, tag := h.Root.Tag(seal.APIKeyRow, seal.Text("key"), seal.Int(made.ID), seal.Text("org-jane"), seal.Text("jane"), seal.Text("plain"), seal.Text("personal"),
			seal.Int(0), seal.Int(db.Micros(made.CreatedAt)), seal.Int(db.Micros(made.ExpiresAt)), seal.Int(0))
		run(t, d, `UPDATE api_keys SET tag = $1, external_id = '', disabled = 0, settings = ''`, tag)
		_, tag = h.Root.Tag(seal.APIKeyRow, seal.Text("secret"), digest[:], seal.Int(made.ID), seal.Int(0))
		run(t, d, `UPDATE api_key_secrets SET tag = $1, signing = ''`, tag)
		f := h.lookup(t, secret)
		if err := f.Usable(h.Now()); err != nil || f.Scopes != access.AllScopes || f.AgentIDs != nil || f.AllowedIPs != nil || f.RequireSignature {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

// fresh empties d's tables of keys and organizations.
func fresh(t *testing.T, d *db.DB) *db.DB {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM organizations`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
