package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyward/keyward/bench/lab"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/folder"
	"github.com/keyward/keyward/internal/seal"
)

// The limits of each key: all of them are asked, and none is met.
const (
	perHour = 10_000_000
	burst   = 100_000
)

// seeded is a data folder with many keys of one organization.
type seeded struct {
	path         string
	organization string
	service      string   // the key of a service that checks others
	keys         [][]byte // what their holders present
}

// seed makes a data folder with keys. The first is made over HTTP; the rest are
// copies of its rows under new ids, names and secrets, written without a server,
// since a million calls would take long. The server checks the tag of each.
func (b *bench) seed(ctx context.Context, path string, n int) (*seeded, error) {
	f := &seeded{path: path, keys: make([][]byte, n)}
	s, err := b.start(f)
	if err != nil {
		return nil, err
	}
	err = f.signUp(ctx, s.Address)
	if err := errors.Join(err, s.Stop()); err != nil {
		return nil, err
	}
	lab.Say("making %d keys", n)
	began := time.Now()
	if err := f.fill(ctx); err != nil {
		return nil, err
	}
	lab.Say("took %v", time.Since(began).Round(time.Second))
	return f, nil
}

// signUp makes an account, a key for a service that checks others, and the
// first of the keys that are checked.
func (f *seeded) signUp(ctx context.Context, address string) error {
	const email, password = "bench@example.com", "a long enough password"
	var signedIn struct{ AccessToken string }
	var service, first struct{ Key string }
	for _, step := range []struct {
		path string
		body any
		into any
	}{
		{"/auth/register", map[string]any{"name": "Bench", "email": email, "password": password}, nil},
		{"/auth/token", map[string]any{"email": email, "password": password}, &signedIn},
		{"/v1/keys", map[string]any{"name": "orders service", "type": "service", "scopes": []string{"keys:verify"}}, &service},
		{"/v1/keys", map[string]any{
			"name": keyName(0), "type": "service", "scopes": []string{"agents:read", "agents:run"}, "external_id": externalID(0),
			"limits": map[string]any{"requests_per_hour": perHour, "burst": burst},
		}, &first},
	} {
		if err := lab.Call(ctx, address, signedIn.AccessToken, step.path, step.body, step.into); err != nil {
			return fmt.Errorf("%s: %w", step.path, err)
		}
	}
	f.service, f.keys[0] = service.Key, []byte(first.Key)
	return nil
}

func keyName(n int) string    { return fmt.Sprintf("customer %07d, production", n) }
func externalID(n int) string { return fmt.Sprintf("cus_%07d", n) }

// model is the row of a key as docs/formats.md has it.
type model struct {
	id                          int64
	organization, account, name string
	kind                        string
	madeBy, created, updated    int64
	expires, revoked            int64
	externalID                  string
	disabled                    bool
	settings                    string
	version                     uint32
	tag                         []byte
}

func (m *model) fields() [][]byte {
	return [][]byte{
		seal.Text("key with settings"), seal.Int(m.id), seal.Text(m.organization), seal.Text(m.account), seal.Text(m.name), seal.Text(m.kind),
		seal.Int(m.madeBy), seal.Int(m.created), seal.Int(m.expires), seal.Int(m.revoked),
		seal.Text(m.externalID), seal.Flag(m.disabled), seal.Text(m.settings),
	}
}

const modelColumns = `id, organization_id, account_id, name, type, made_by_key, created_at, updated_at, expires_at, revoked_at, external_id, disabled, settings, root_version, tag`

func readModel(ctx context.Context, d *sql.DB) (m model, err error) {
	err = d.QueryRowContext(ctx, `SELECT `+modelColumns+` FROM api_keys WHERE name = $1`, keyName(0)).Scan(
		&m.id, &m.organization, &m.account, &m.name, &m.kind, &m.madeBy, &m.created, &m.updated, &m.expires, &m.revoked,
		&m.externalID, &m.disabled, &m.settings, &m.version, &m.tag)
	return m, err
}

// fill writes all keys but the first.
func (f *seeded) fill(ctx context.Context) (err error) {
	text, err := os.ReadFile(filepath.Join(f.path, folder.RootKeyFile))
	if err != nil {
		return err
	}
	root, err := seal.ParseRoot(text)
	if err != nil {
		return err
	}
	// If the machine stops now, the folder is made again.
	d, err := sql.Open("sqlite", "file:"+filepath.Join(f.path, "keyward.db")+"?_pragma=synchronous(OFF)&_pragma=cache_size(-1000000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	d.SetMaxOpenConns(1)
	m, err := readModel(ctx, d)
	if err != nil {
		return err
	}
	if err := root.CheckTag(seal.APIKeyRow, m.version, m.tag, m.fields()...); err != nil {
		return fmt.Errorf("a key's row is not made of what this program thinks: %w", err)
	}
	f.organization = m.organization
	const batch = 50_000
	for first := 1; first < len(f.keys); first += batch {
		if err := f.write(ctx, d, root, m, first, min(first+batch, len(f.keys))); err != nil {
			return err
		}
	}
	_, err = d.ExecContext(ctx, `UPDATE quota_uses SET used = used + $1 WHERE organization_id = $2 AND kind = 'keys'`, len(f.keys)-1, f.organization)
	return err
}

// write writes the keys from number first to before number end.
func (f *seeded) write(ctx context.Context, d *sql.DB, root *seal.Root, m model, first, end int) error {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	key, err := tx.PrepareContext(ctx, `INSERT INTO api_keys (`+modelColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`)
	if err != nil {
		return err
	}
	secret, err := tx.PrepareContext(ctx, `INSERT INTO api_key_secrets (digest, key_id, hint, created_at, expires_at, signing, root_version, tag) VALUES ($1, $2, $3, $4, 0, $5, $6, $7)`)
	if err != nil {
		return err
	}
	stride := int64(1<<53) / int64(len(f.keys))
	for n := first; n < end; n++ {
		// In order, which SQLite writes faster, and as random as ids are.
		m.id, m.name, m.externalID = int64(n)*stride+mathrand.Int64N(stride), keyName(n), externalID(n)
		m.version, m.tag = root.Tag(seal.APIKeyRow, m.fields()...)
		if _, err := key.ExecContext(ctx, m.id, m.organization, m.account, m.name, m.kind, m.madeBy, m.created, m.updated, m.expires, m.revoked,
			m.externalID, m.disabled, m.settings, m.version, m.tag); err != nil {
			return err
		}
		f.keys[n] = newKey()
		digest := sha256.Sum256(f.keys[n])
		version, tag := root.Tag(seal.APIKeyRow, seal.Text("secret"), digest[:], seal.Int(m.id), seal.Int(0))
		hint := "ra_live_…" + string(f.keys[n][len(f.keys[n])-4:])
		if _, err := secret.ExecContext(ctx, digest[:], m.id, hint, m.created, []byte{}, version, tag); err != nil {
			return err
		}
	}
	return tx.Commit()
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newKey makes the text of a key that nobody knows.
func newKey() []byte {
	text := []byte("ra_live_" + strings.Repeat("0", 38))
	var random [32]byte
	rand.Read(random[:])
	for i, b := range random {
		text[8+i] = base62[b%62]
	}
	sum := crc32.ChecksumIEEE(text[:40])
	for i := len(text) - 1; i >= 40; i-- {
		text[i] = base62[sum%62]
		sum /= 62
	}
	if !apikey.WellFormed(text) {
		panic("keys do not have the form that this program thinks")
	}
	return text
}

// file writes the first n keys into a file, one a line.
func (f *seeded) file(n int) (string, error) {
	name := fmt.Sprintf("%s-%d.keys", f.path, n)
	return name, os.WriteFile(name, append(bytes.Join(f.keys[:n], []byte("\n")), '\n'), 0o600)
}
