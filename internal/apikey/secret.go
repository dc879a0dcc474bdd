package apikey

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// secretRow is a row of api_key_secrets: one text that a key can be presented
// as. A text that was rotated away has a time when it ends.
type secretRow struct {
	digest    []byte
	keyID     int64
	expiresAt int64
	madeByKey int64  // the other key that gave it to its key by rotating that; 0 if none did
	madeWith  []byte // as Key's, of that other key
	signing   []byte // a box around the secret that its requests are signed with; empty: none
	version   uint32
	tag       []byte
}

const secretColumns = `s.digest, s.key_id, s.expires_at, s.made_by_key, s.made_with, s.signing, s.root_version, s.tag`

func (r *secretRow) into() []any {
	return []any{&r.digest, &r.keyID, &r.expiresAt, &r.madeByKey, &r.madeWith, &r.signing, &r.version, &r.tag}
}

// fields is what the tag of r vouches for. As with keys, each form has a label
// of its own.
func (r *secretRow) fields() [][]byte {
	if r.madeByKey != 0 || len(r.madeWith) > 0 {
		return [][]byte{seal.Text("secret of another key's making"), r.digest, seal.Int(r.keyID), seal.Int(r.expiresAt), seal.Int(r.madeByKey), r.madeWith, r.signing}
	}
	if len(r.signing) == 0 {
		return [][]byte{seal.Text("secret"), r.digest, seal.Int(r.keyID), seal.Int(r.expiresAt)}
	}
	return [][]byte{seal.Text("secret with signing"), r.digest, seal.Int(r.keyID), seal.Int(r.expiresAt), r.signing}
}

// check returns an error if r was not written by this server as it is.
func (s *Store) check(r *secretRow) error {
	if err := s.Root.CheckTag(seal.APIKeyRow, r.version, r.tag, r.fields()...); err != nil {
		return fmt.Errorf("a secret of api key %d: %w", r.keyID, err)
	}
	return nil
}

func (s *Store) collectSecrets(rows *sql.Rows, err error) ([]secretRow, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []secretRow
	for rows.Next() {
		var r secretRow
		if err := rows.Scan(r.into()...); err != nil {
			return nil, err
		}
		if err := s.check(&r); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

func digests(rows *sql.Rows, err error) (all [][]byte, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d []byte
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, rows.Err()
}

// vouch gives r the tag that it has to be written with. Its box, if it has one,
// is brought under the same root key: they share the column that says which.
func (s *Store) vouch(r *secretRow) error {
	for {
		if len(r.signing) > 0 && seal.BoxVersion(r.signing) != s.Root.Active() {
			renewed, err := s.Root.Reseal(seal.AtRest, r.signing, r.signingPlace()...)
			if err != nil {
				return fmt.Errorf("signing secret of api key %d: %w", r.keyID, err)
			}
			r.signing = renewed
		}
		r.version, r.tag = s.Root.Tag(seal.APIKeyRow, r.fields()...)
		if len(r.signing) == 0 || seal.BoxVersion(r.signing) == r.version {
			return nil
		} // else another root key became active between the two
	}
}

// update writes r as next is, if nobody else has changed it meanwhile.
func (s *Store) update(ctx context.Context, tx *db.Tx, r *secretRow, next secretRow) error {
	if err := s.vouch(&next); err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `UPDATE api_key_secrets SET expires_at = $1, signing = $2, root_version = $3, tag = $4 WHERE digest = $5 AND tag = $6`,
		next.expiresAt, next.signing, next.version, next.tag, r.digest, r.tag)
	if err == nil && n == 0 {
		err = db.ErrConflict
	}
	return err
}

// signingPlace is the context of the box that r's signing secret is in.
func (r *secretRow) signingPlace() [][]byte {
	return [][]byte{seal.Text("signing-secret"), seal.Int(r.keyID), r.digest}
}

// sealSigning returns the box around the signing secret of r; of none it is
// empty.
func (s *Store) sealSigning(r *secretRow, signing seal.Secret) ([]byte, error) {
	if len(signing.Bytes()) == 0 {
		return []byte{}, nil
	}
	return s.Root.Seal(seal.AtRest, signing.Bytes(), r.signingPlace()...)
}

// workingSecrets reads the secrets of a key that have not ended. Its row must be
// held, or one may be made or end meanwhile.
func (s *Store) workingSecrets(ctx context.Context, tx *db.Tx, keyID int64) ([]secretRow, error) {
	return s.collectSecrets(tx.Query(ctx, `SELECT `+secretColumns+` FROM api_key_secrets s WHERE s.key_id = $1 AND (s.expires_at = 0 OR s.expires_at > $2)`,
		keyID, db.Micros(s.Now())))
}

// holdSecret reads the value that who presents, and keeps it as it is until tx
// ends: so whoever ends it finds what was made with it.
func (s *Store) holdSecret(ctx context.Context, tx *db.Tx, who access.Caller) (secretRow, error) {
	if _, err := tx.Exec(ctx, `UPDATE api_key_secrets SET expires_at = expires_at WHERE digest = $1`, who.KeyValue[:]); err != nil {
		return secretRow{}, err
	}
	rows, err := s.collectSecrets(tx.Query(ctx, `SELECT `+secretColumns+` FROM api_key_secrets s WHERE s.digest = $1 AND s.key_id = $2`, who.KeyValue[:], who.KeyID))
	if err != nil {
		return secretRow{}, err
	}
	if len(rows) == 0 {
		return secretRow{}, ErrInvalid
	}
	return rows[0], nil
}

// blob is b as it is kept: without NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Issued is a key together with what is shown of it this once.
type Issued struct {
	Key
	Secret  seal.Secret // what its holder presents; empty if that has not changed
	Signing seal.Secret // what requests with it are signed with; empty if there is none, or if that has not changed
}

// issue makes a secret of k, whose row is there; it ends with by, if that is
// not nil.
func (s *Store) issue(ctx context.Context, tx *db.Tx, k Key, by *asker) (Issued, error) {
	kind := liveKind
	if k.Type == Temporary {
		kind = tempKind
	}
	out := Issued{Key: k, Secret: newSecret(s.Prefix, kind)}
	out.Hint = hint(out.Secret)
	digest := sha256.Sum256(out.Secret.Bytes())
	row := secretRow{digest: digest[:], keyID: k.ID}
	if by != nil {
		row.madeByKey, row.madeWith = by.ID, by.given
	}
	if k.RequireSignature {
		out.Signing = newSigningSecret()
	}
	var err error
	if row.signing, err = s.sealSigning(&row, out.Signing); err != nil {
		return Issued{}, err
	}
	if err := s.vouch(&row); err != nil {
		return Issued{}, err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO api_key_secrets (digest, key_id, hint, created_at, expires_at, made_by_key, made_with, signing, root_version, tag)
		VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8, $9)`,
		row.digest, k.ID, out.Hint, db.Micros(s.Now()), row.madeByKey, blob(row.madeWith), row.signing, row.version, row.tag)
	return out, err
}

// Found is a key together with the secret that it was found by.
type Found struct {
	Key
	SecretExpiresAt time.Time   // when the secret that was presented ends; zero: with the key
	Signing         seal.Secret // what requests with it are signed with; empty unless RequireSignature
}

// Usable returns why what was presented may not be used at now, or nil. A
// secret that was rotated away is a revoked one.
func (f Found) Usable(now time.Time) error {
	if err := f.Key.Usable(now); err != nil {
		return err
	}
	switch {
	case !f.gone(now):
		return nil
	case now.Sub(f.SecretExpiresAt) >= revokedRemembered:
		return ErrInvalid
	}
	return ErrRevoked
}

// gone reports whether what was presented was rotated away, and its grace is
// over.
func (f Found) gone(now time.Time) bool {
	return !f.SecretExpiresAt.IsZero() && !now.Before(f.SecretExpiresAt)
}

// Lookup returns the key of which digest is a secret, whatever its state; its
// rows are checked. ErrInvalid says that there is none.
func (s *Store) Lookup(ctx context.Context, digest Digest) (Found, error) {
	var r secretRow
	k, err := s.scan(s.DB.QueryRow(ctx, `
		SELECT `+columns+`, `+secretColumns+`
		FROM api_key_secrets s JOIN api_keys k ON k.id = s.key_id
		WHERE s.digest = $1`, digest[:]), r.into()...)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Found{}, ErrInvalid
	case err != nil:
		return Found{}, fmt.Errorf("find a key: %w", err)
	}
	if err := s.check(&r); err != nil {
		return Found{}, err
	}
	f := Found{Key: k, SecretExpiresAt: db.Time(r.expiresAt)}
	if !k.RequireSignature || f.gone(s.Now()) {
		return f, nil // a secret that ended before signatures were required has none to sign with
	}
	signing, err := s.Root.Open(seal.AtRest, r.signing, r.signingPlace()...)
	if err != nil {
		return Found{}, fmt.Errorf("signing secret of api key %d: %w", k.ID, err)
	}
	defer clear(signing)
	f.Signing = seal.NewSecret(signing)
	return f, nil
}
