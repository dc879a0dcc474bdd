// Package audit owns the record of what was done, once it is written.
//
// An entry is written and tagged in the transaction of its act (package
// access), so that acts never wait for each other. A follower on every server
// numbers the entries afterwards and links them into one chain, and numbers the
// change log beside it.
//
// Its laws:
//
//   - An entry is never changed. Its tag vouches for all that it says.
//   - chain n = digest of chain n-1 and of all that entry n says. What is left
//     out, put in, moved or edited breaks every link after it.
//   - The head vouches for the chain's end with a tag of its own, so that
//     nothing can be cut off, and moves by compare-and-swap, so that several
//     servers follow at once and no number is given twice.
//   - Tags cover neither numbers nor links: a new root key renews them and the
//     chain stays as it is.
package audit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// Log is the audit log and the change log.
type Log struct {
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time
	Log  *slog.Logger

	known     known // Follow's own
	resealing sync.Mutex
	resealed  string // the entry up to which Reseal has come
}

// Entry is one act as it was recorded.
type Entry struct {
	access.Entry
	Seq int64 // its number in the chain; 0 until it has one

	chain   []byte
	version uint32
	tag     []byte
}

// Filter says which entries are listed; its zero lists all.
type Filter struct {
	Action      access.Action
	SubjectKind string
	SubjectID   string
	AccountID   string
	KeyID       int64
	From        time.Time // at or after it
	To          time.Time // before it
	After       string    // the id of the last entry of the page before
	Limit       int
}

// afterAll sorts after every id: ids are written in hexadecimal digits.
const afterAll = "g"

// List returns entries of who's organization, newest first, also those that
// have no number yet. The operator, signed in, also sees those of no
// organization: what was done on the control socket and by the server itself.
// An entry whose tag does not fit is an error that names it.
func (l *Log) List(ctx context.Context, who access.Caller, f Filter) ([]Entry, error) {
	if err := who.May(access.ReadAudit); err != nil {
		return nil, err
	}
	after := f.After
	if after == "" {
		after = afterAll
	}
	whose := `organization_id = $1` // alone, for then the index has the order too
	if who.May(access.ListOrganizations) == nil {
		whose = `organization_id IN ($1, '')`
	}
	entries, err := l.read(ctx, l.DB, `
		WHERE `+whose+` AND id < $2
		  AND ($3 = '' OR action = $3) AND ($4 = '' OR subject_kind = $4) AND ($5 = '' OR subject_id = $5)
		  AND ($6 = '' OR account_id = $6) AND (CAST($7 AS BIGINT) = 0 OR key_id = $7)
		  AND (CAST($8 AS BIGINT) = 0 OR at >= $8) AND (CAST($9 AS BIGINT) = 0 OR at < $9)
		ORDER BY id DESC LIMIT $10`,
		who.OrganizationID, after, string(f.Action), f.SubjectKind, f.SubjectID,
		f.AccountID, f.KeyID, db.Micros(f.From), db.Micros(f.To), f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list the audit log: %w", err)
	}
	for _, e := range entries {
		if err := l.checkTag(e); err != nil {
			return nil, fmt.Errorf("list the audit log: %w", err)
		}
	}
	return entries, nil
}

// read returns the entries that the rest of a query selects. It checks no tags.
func (l *Log) read(ctx context.Context, q db.Querier, rest string, args ...any) ([]Entry, error) {
	rows, err := q.Query(ctx, `
		SELECT id, at, organization_id, account_id, key_id, action, subject_kind, subject_id, subject_name,
		       address, request_id, notes, root_version, tag, seq, chain
		FROM audit_entries `+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var entries []Entry
	for rows.Next() {
		var e Entry
		var at int64
		if err := rows.Scan(&e.ID, &at, &e.OrganizationID, &e.AccountID, &e.KeyID, &e.Action, &e.SubjectKind, &e.SubjectID, &e.SubjectName,
			&e.Address, &e.RequestID, &e.Notes, &e.version, &e.tag, &e.Seq, &e.chain); err != nil {
			return nil, err
		}
		e.At = db.Time(at)
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

func (l *Log) checkTag(e Entry) error {
	if err := l.Root.CheckTag(seal.Audit, e.version, e.tag, e.Fields()...); err != nil {
		return fmt.Errorf("audit entry %s: %w", e.ID, err)
	}
	return nil
}

// follows returns the link of e after the link before it.
func (e Entry) follows(before []byte) []byte {
	return seal.Digest("audit-chain", append([][]byte{before}, e.Fields()...)...)
}
