package v1

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/audit"
)

type auditSurface struct {
	log *audit.Log
}

// RegisterAudit adds the call for the audit log to a.
func RegisterAudit(a *api.API, log *audit.Log) {
	s := &auditSurface{log}
	api.Register(a, api.Operation{
		Method: http.MethodGet, Path: "/v1/audit", Name: "listAudit", Tag: "Audit", Security: api.KeyOrToken, Action: access.ReadAudit,
		Summary: "List what was done in the organization", Description: "Newest first.",
	}, s.list)
}

type listAuditIn struct {
	api.Cursored
	Action      string      `query:"action" maxLength:"64" example:"key.create"`
	SubjectKind string      `query:"subject_kind" enum:"account,organization,key,agent,auth_profile,run,server,sign_in,device_login"`
	SubjectID   string      `query:"subject_id" maxLength:"64"`
	AccountID   string      `query:"account_id" maxLength:"64"`
	KeyID       int64       `query:"key_id" minimum:"1" maximum:"9007199254740991"`
	From        client.Time `query:"from" doc:"At this time or later"`
	To          client.Time `query:"to" doc:"Before this time"`
}

func (s *auditSurface) list(ctx context.Context, who access.Caller, in *listAuditIn) (client.List[client.AuditEntry], error) {
	after, err := afterID(in.Cursored)
	if err != nil {
		return client.List[client.AuditEntry]{}, err
	}
	f := audit.Filter{
		Action: access.Action(in.Action), SubjectKind: in.SubjectKind, SubjectID: in.SubjectID, AccountID: in.AccountID, KeyID: in.KeyID,
		From: in.From.Time, To: in.To.Time, After: after, Limit: in.Limit + 1,
	}
	found, err := s.log.List(ctx, who, f)
	if err != nil {
		return client.List[client.AuditEntry]{}, err
	}
	list := api.NewList(in.Cursored, found, func(e audit.Entry) []string { return []string{e.ID} })
	return convert(list, entryJSON), nil
}

func entryJSON(e audit.Entry) client.AuditEntry {
	out := client.AuditEntry{
		ID: e.ID, Seq: e.Seq, At: client.NewTime(e.At), Action: string(e.Action), AccountID: e.AccountID, KeyID: e.KeyID,
		Subject: client.AuditSubject{Kind: e.SubjectKind, ID: e.SubjectID, Name: e.SubjectName},
		Address: e.Address, RequestID: e.RequestID,
	}
	// The tag has vouched for the text, which access wrote.
	_ = json.Unmarshal([]byte(e.Notes), &out.Notes)
	return out
}
