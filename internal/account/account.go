// Package account owns people and what they belong to: accounts, organizations
// and memberships, how somebody proves who they are, and the sign-ins that come
// of it.
//
// Its laws:
//
//   - Every row carries a tag, which is checked when the row is read. A row that
//     does not fit its tag is an internal failure, and never "not found".
//   - What a password opened is opened again inside the transaction that lives by
//     it, so that nobody signs in with a password that was just changed.
//   - Whatever ends a sign-in writes it into its row and into the change log in
//     one transaction: its access tokens are refused from that moment.
//   - An unknown e-mail costs what a wrong password costs, and is answered alike.
//
// The formats of refresh tokens are in refresh.go, of access tokens in token.go
// and of a browser's cookies in browser.go. API keys are package apikey's; who may do what is package access's.
package account

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Bounds of what an account can be called.
const (
	MaxName  = 200 // characters
	MaxEmail = 254 // bytes: RFC 5321 has no room for a longer one
)

// Account is a person who can sign in.
type Account struct {
	ID        string
	Name      string
	Email     string // in lower case
	CreatedAt time.Time
	UpdatedAt time.Time

	password []byte // a box around the hash
	vouched
}

const accountColumns = `a.id, a.name, a.email, a.password, a.created_at, a.updated_at, a.root_version, a.tag`

func (a *Account) into() []any {
	return []any{&a.ID, &a.Name, &a.Email, &a.password, stamp{&a.CreatedAt}, stamp{&a.UpdatedAt}, &a.version, &a.tag}
}

// vouch has the box too: another box of the same account, an older one say,
// does not fit the row.
func (a *Account) vouch() (seal.Use, [][]byte) {
	return seal.AccountRow, [][]byte{
		seal.Text(a.ID), seal.Text(a.Name), seal.Text(a.Email), a.password, seal.Int(db.Micros(a.CreatedAt)),
	}
}

func (a *Account) box() (seal.Use, *[]byte, [][]byte) {
	return seal.Password, &a.password, [][]byte{seal.Text(a.ID)}
}

func (s *Store) accountByID(ctx context.Context, q db.Querier, id string) (Account, error) {
	var a Account
	err := s.scan(q.QueryRow(ctx, `SELECT `+accountColumns+` FROM accounts a WHERE a.id = $1`, id), &a)
	return a, err
}

func (s *Store) accountByEmail(ctx context.Context, q db.Querier, email string) (Account, error) {
	var a Account
	err := s.scan(q.QueryRow(ctx, `SELECT `+accountColumns+` FROM accounts a WHERE a.email = $1`, email), &a)
	return a, err
}

func (s *Store) insert(ctx context.Context, tx *db.Tx, a *Account) error {
	if err := s.tag(a); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO accounts (id, name, email, password, created_at, updated_at, root_version, tag)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		a.ID, a.Name, a.Email, a.password, db.Micros(a.CreatedAt), db.Micros(a.UpdatedAt), a.version, a.vouched.tag)
	return err
}

// save writes what of a can change, if its row still has the tag that a was
// read with.
func (s *Store) save(ctx context.Context, tx *db.Tx, a *Account) error {
	old := a.vouched.tag
	if err := s.tag(a); err != nil {
		return err
	}
	return changed(tx.Exec(ctx, `
		UPDATE accounts SET password = $1, updated_at = $2, root_version = $3, tag = $4 WHERE id = $5 AND tag = $6`,
		a.password, db.Micros(a.UpdatedAt), a.version, a.vouched.tag, a.ID, old))
}

// Me returns the account that who is, and what it belongs to.
func (s *Store) Me(ctx context.Context, who access.Caller) (Account, []Membership, error) {
	if err := who.May(access.ReadAccount); err != nil {
		return Account{}, nil, err
	}
	a, err := s.accountByID(ctx, s.DB, who.AccountID)
	if err != nil {
		return Account{}, nil, fmt.Errorf("read an account: %w", err)
	}
	memberships, err := s.memberships(ctx, s.DB, a.ID)
	if err != nil {
		return Account{}, nil, fmt.Errorf("read what an account belongs to: %w", err)
	}
	return a, memberships, nil
}

// Accounts returns up to limit accounts, newest first, from the one after the
// account with the id after; "" is the beginning.
func (s *Store) Accounts(ctx context.Context, who access.Caller, after string, limit int) ([]Account, error) {
	if err := who.May(access.ListAccounts); err != nil {
		return nil, err
	}
	rows, err := s.DB.Query(ctx, `
		SELECT `+accountColumns+` FROM accounts a WHERE $1 = '' OR a.id < $1 ORDER BY a.id DESC LIMIT $2`, after, limit)
	list, err := collect(s, rows, err, func(a *Account) []row { return []row{a} })
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return list, nil
}

// checkName refuses a name that is no name. What people are called is theirs to
// say.
func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n > MaxName || strings.TrimSpace(name) == "" {
		return fault.Field("name", "must have 1 to 200 characters")
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fault.Field("name", "must not have control characters")
	}
	return nil
}

// parseEmail returns the e-mail as it is kept and compared. Whether it reaches
// anybody is not known here: only what no address has is refused, and the colon,
// which Basic credentials have no room for.
func parseEmail(email string) (string, error) {
	local, domain, _ := strings.Cut(email, "@")
	switch {
	case len(email) > MaxEmail:
		return "", fault.Field("email", "must have at most 254 bytes")
	case !utf8.ValidString(email) || strings.ContainsFunc(email, unmailable):
		return "", fault.Field("email", "must not have spaces, control characters or colons")
	case local == "" || domain == "" || strings.Contains(domain, "@"):
		return "", fault.Field("email", "must be of the form name@example.com")
	}
	// Once more, since some letters are composed in lower case alone.
	email = norm.NFC.String(strings.ToLower(norm.NFC.String(email)))
	if len(email) > MaxEmail { // some letters are longer in lower case
		return "", fault.Field("email", "must have at most 254 bytes")
	}
	return email, nil
}

func unmailable(r rune) bool { return r == ':' || unicode.IsSpace(r) || !unicode.IsGraphic(r) }
