package client

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// AuditCalls are the calls for the record of who did what.
type AuditCalls struct{ c *Client }

// AuditFilter says which entries to list.
type AuditFilter struct {
	Action      string // key.create
	SubjectKind string // account, organization, key, agent, auth_profile, run, server or sign_in
	SubjectID   string
	AccountID   string
	KeyID       int64
	From, To    time.Time // at From or later, before To
	Page
}

func (f AuditFilter) query() url.Values {
	q := url.Values{}
	set(q, "action", f.Action)
	set(q, "subject_kind", f.SubjectKind)
	set(q, "subject_id", f.SubjectID)
	set(q, "account_id", f.AccountID)
	set(q, "key_id", f.KeyID)
	setTime(q, "from", f.From)
	setTime(q, "to", f.To)
	return q
}

// List returns a page of the organization's record, newest first.
func (a AuditCalls) List(ctx context.Context, f AuditFilter) (List[AuditEntry], error) {
	return list[AuditEntry](ctx, a.c, listAudit, nil, f.query(), f.Page)
}

// All walks through the organization's record, newest first.
func (a AuditCalls) All(ctx context.Context, f AuditFilter) iter.Seq2[AuditEntry, error] {
	return walkList[AuditEntry](ctx, a.c, listAudit, nil, f.query(), f.Page)
}
