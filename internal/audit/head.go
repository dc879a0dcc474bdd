package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/seal"
)

// head is the end of the chain: the number and the link of its last entry. The
// zero head is that of a log without numbers.
type head struct {
	seq     int64
	chain   []byte
	version uint32
	tag     []byte // nil: there is no row of it yet
}

func (h head) fields() [][]byte { return [][]byte{seal.Int(h.seq), h.chain} }

// errMoved says that another server has moved a head meanwhile.
var errMoved = errors.New("audit: another server was first")

func (l *Log) readHead(ctx context.Context) (head, error) {
	var h head
	err := l.DB.QueryRow(ctx, `SELECT seq, chain, root_version, tag FROM audit_head WHERE one = 1`).Scan(&h.seq, &h.chain, &h.version, &h.tag)
	if errors.Is(err, sql.ErrNoRows) {
		return head{}, l.mayBegin(ctx)
	} else if err != nil {
		return head{}, err
	}
	if err := l.Root.CheckTag(seal.AuditHead, h.version, h.tag, h.fields()...); err != nil {
		return head{}, fmt.Errorf("the head of the audit log: %w", err)
	}
	return h, nil
}

// mayBegin refuses if there was a head once: who takes the head away must not
// get a new chain for it.
func (l *Log) mayBegin(ctx context.Context) error {
	var highest, heads int64
	err := l.DB.QueryRow(ctx, `SELECT COALESCE(max(seq), 0) FROM audit_entries`).Scan(&highest)
	if err == nil && highest != 0 {
		// Once more: the chain may have been begun between the two queries.
		err = l.DB.QueryRow(ctx, `SELECT count(*) FROM audit_head`).Scan(&heads)
		if err == nil && heads == 0 {
			err = &Broken{Why: "its head is missing"}
		}
	}
	return err
}

// move puts the head from one place to the next, unless somebody else was
// first: then it is errMoved.
func (l *Log) move(ctx context.Context, tx *db.Tx, from, to head) error {
	version, tag := l.Root.Tag(seal.AuditHead, to.fields()...)
	var n int64
	var err error
	if from.tag == nil {
		n, err = tx.Exec(ctx, `
			INSERT INTO audit_head (one, seq, chain, root_version, tag) VALUES (1, $1, $2, $3, $4)
			ON CONFLICT (one) DO NOTHING`, to.seq, to.chain, version, tag)
	} else {
		n, err = tx.Exec(ctx, `UPDATE audit_head SET seq = $1, chain = $2, root_version = $3, tag = $4 WHERE one = 1 AND seq = $5 AND tag = $6`,
			to.seq, to.chain, version, tag, from.seq, from.tag)
	}
	if err == nil && n == 0 {
		err = errMoved
	}
	return err
}
