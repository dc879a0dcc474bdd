package main_test

import (
	"database/sql"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	_ "modernc.org/sqlite"
)

// check asks for everything that u was ever answered.
func (u *user) check() {
	u.Helper()
	for _, t := range u.tokens {
		u.checkToken(t)
	}
	for _, k := range u.keys {
		u.checkKey(k)
	}
	for _, r := range u.runs {
		u.checkRun(r)
	}
	u.Logf("%s: %d tokens, %d keys, %d runs, %d changes", u.agent, len(u.tokens), len(u.keys), len(u.runs), len(u.acts))
}

// failure is the error in an answer.
type failure struct {
	Error struct{ Code string }
}

func (u *user) checkToken(t *token) {
	u.Helper()
	var done struct {
		ran
		failure
	}
	status, _, answered := u.call("POST", "/run_agent", "", u.runRequest(t, "check", false), &done)
	switch refused := status == http.StatusNotFound && done.Error.Code == "AUTH_PROFILE_NOT_FOUND"; {
	case !answered:
		u.Errorf("%q: no answer", t.name)
	case refused && (t.gone || t.mayBe):
	case t.gone:
		u.Errorf("%q: a token that is dead was answered with %d %s", t.name, status, done.Error.Code)
	case status != http.StatusOK || done.ErrorMessage != nil:
		u.Errorf("%q: its token was answered with %d %s", t.name, status, done.Error.Code)
	default:
		u.wantGiven(t, done.SessionID)
	}
}

// wantGiven asks what the runner got: values and a session that t may have.
func (u *user) wantGiven(t *token, run string) {
	u.Helper()
	got, ok := u.given.Load(run)
	if !ok {
		u.Errorf("%q: run %s never reached the runner", t.name, run)
		return
	}
	in := got.(input)
	holds := state{values: maps.Clone(in.Arguments)}
	delete(holds.values, "visit")
	if in.Session != nil {
		holds.visit = in.Session.Visit
	}
	if !slices.ContainsFunc(t.states, func(may state) bool { return may.visit == holds.visit && maps.Equal(may.values, holds.values) }) {
		u.Errorf("%q holds %q, want one of %q", t.name, holds, t.states)
	}
}

func (u *user) checkKey(k *key) {
	u.Helper()
	var answer struct {
		ID int64
		failure
	}
	status, _, _ := u.call("GET", "/v1/keys/self", k.text, nil, &answer)
	works := status == http.StatusOK && answer.ID == k.id
	refused := status == http.StatusUnauthorized && answer.Error.Code == "REVOKED_API_KEY"
	if !(works && !k.revoked || refused && (k.revoked || k.may)) {
		u.Errorf("key %q, revoked %t or perhaps %t, was answered with %d %s", k.name, k.revoked, k.may, status, answer.Error.Code)
	}
}

func (u *user) checkRun(r *started) {
	u.Helper()
	var record struct {
		ID, Status   string
		ErrorMessage string `json:"error_message"`
	}
	status, _, _ := u.call("GET", "/v1/runs/"+r.id, u.key, nil, &record)
	ended := record.Status == "succeeded" || !r.waited && record.Status == "interrupted" ||
		!r.waited && (r.token.gone || r.token.mayBe) && strings.Contains(record.ErrorMessage, "its token was rotated, while the run waited")
	if status != http.StatusOK || record.ID != r.id || !ended {
		u.Errorf("run %s, waited for %t: status %d, record %+v", r.id, r.waited, status, record)
	}
}

// checkAudit asks that every change that was answered has its audit entry.
func (o *owner) checkAudit(users []*user) {
	o.Helper()
	recorded := map[string]bool{}
	for cursor := ""; ; {
		var page struct {
			Data []struct {
				RequestID string `json:"request_id"`
			}
			Pagination struct {
				NextCursor *string `json:"next_cursor"`
			}
		}
		o.must("GET", "/v1/audit?limit=100"+cursor, o.key, nil, &page)
		for _, e := range page.Data {
			recorded[e.RequestID] = true
		}
		if page.Pagination.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + url.QueryEscape(*page.Pagination.NextCursor)
	}
	for _, u := range users {
		for _, id := range u.acts {
			if !recorded[id] {
				o.Errorf("request %s changed something, and has no audit entry", id)
			}
		}
	}
}

// stop ends the server as an operator does.
func (k *killable) stop() {
	k.Helper()
	if err := k.process.Process.Signal(syscall.SIGTERM); err != nil {
		k.Fatal(err)
	}
	if err := k.process.Wait(); err != nil {
		k.Errorf("the server ended with %v", err)
	}
}

// checkDatabase asks that no half of a change is left: the file is sound, and
// what is counted is there.
func (k *killable) checkDatabase() {
	k.Helper()
	d, err := sql.Open("sqlite", filepath.Join(k.folder, "keyward.db"))
	if err != nil {
		k.Fatal(err)
	}
	defer d.Close()
	for query, want := range map[string]string{
		`PRAGMA integrity_check`:                        "ok",
		`SELECT count(*) FROM pragma_foreign_key_check`: "0",
		`SELECT count(*) FROM profiles p WHERE NOT EXISTS (SELECT 1 FROM profile_slots s WHERE s.profile_uid = p.uid)`:         "0",
		`SELECT (SELECT count(*) FROM profiles) - (SELECT sum(used) FROM quota_uses WHERE kind = 'auth_profiles')`:             "0",
		`SELECT (SELECT count(*) FROM api_keys WHERE revoked_at = 0) - (SELECT sum(used) FROM quota_uses WHERE kind = 'keys')`: "0",
	} {
		var got string
		if err := d.QueryRow(query).Scan(&got); err != nil || got != want {
			k.Errorf("%s: %s, %v; want %s", query, got, err, want)
		}
	}
}
