package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestARunIsOnDiskBeforeItsRunnerIsCalledAndEndedBeforeItIsAnswered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var during Run
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			var err error
			if during, err = h.Get(r.Context(), h.jane, r.Header.Get("webhook-id")); err != nil {
				t.Error(err)
			}
			fmt.Fprint(w, ` { "output" : [ 1, "two" ] } `)
		})
		run := h.run(t, "a", "")
		if during.Status != Running || during.StartedAt.IsZero() || !during.EndedAt.IsZero() || during.ID != run.ID {
			t.Errorf("while the runner was called: %+v", during)
		}
		kept, err := h.Get(t.Context(), h.jane, run.ID)
		if err != nil || fmt.Sprint(kept) != fmt.Sprint(run) {
			t.Errorf("answered %+v, kept %+v, %v", run, kept, err)
		}
		if run.Status != Succeeded || string(run.Output) != `[1,"two"]` || run.ErrorMessage != "" || run.EndedAt.Before(run.StartedAt) ||
			run.AgentID != "a" || run.AccountID != "account-jane" || run.NodeID != "node-1" {
			t.Errorf("%+v", run)
		}
		if n := number(t, d, `SELECT count(*) FROM audit_entries WHERE action = 'run.start' AND subject_id = $1`, run.ID); n != 1 {
			t.Errorf("%d audit rows, want 1", n)
		}
	})
}

func TestARunnerGetsTheRunSigned(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var header http.Header
		var body []byte
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			header = r.Header
			body, _ = io.ReadAll(r.Body)
			fmt.Fprint(w, `{"output":null}`)
		}, agent.Argument{Name: "user"}, agent.Argument{Name: "n", Type: agent.Number, Default: jsontext.Value("3")})
		secret, err := h.Agents.RenewRunnerSecret(t.Context(), h.jane, "a")
		if err != nil {
			t.Fatal(err)
		}
		h.profiles["t"] = &Profile{Name: "p", KeepSession: true, Session: jsontext.Value(`{"c":"x"}`)}
		for token, session := range map[string]string{"": "null", "t": `{"c":"x"}`} {
			run := h.run(t, "a", token, `user="jane"`)
			if want := `{"run_id":"` + run.ID + `","agent_id":"a","arguments":{"user":"jane","n":3},"session":` + session + `}`; string(body) != want {
				t.Errorf("got %s, want %s", body, want)
			}
			if string(run.Output) != "null" || run.Status != Succeeded {
				t.Errorf("%+v", run)
			}
			hook, err := webhooks.NewWebhook(secret.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			if err := hook.Verify(body, header); err != nil || header.Get("webhook-id") != run.ID {
				t.Errorf("the signature: %v, for %s", err, header.Get("webhook-id"))
			}
		}
		if header.Get("Content-Type") != "application/json" || header.Get("Accept-Encoding") != "identity" {
			t.Errorf("headers: %v", header)
		}
	})
}

func TestARefusedRequestStartsNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var called atomic.Int64
		h.service(t, "a", func(http.ResponseWriter, *http.Request) { called.Add(1) }, agent.Argument{Name: "user", Required: true})
		h.profiles["t"] = &Profile{Name: "p", Values: map[string]jsontext.Value{"user": jsontext.Value(`"jane"`)}}
		closed := 0
		h.profiles["t"].Close = func() { closed++ }
		if err := h.Agents.Declare(t.Context(), []agent.Definition{{ID: "gone", Visibility: agent.Public, Runner: agent.Runner{Type: agent.Command, Command: []string{"/bin/true"}}}}); err != nil {
			t.Fatal(err)
		}
		if err := h.Agents.Declare(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		parameters := func(name, value string) map[string]jsontext.Value {
			return map[string]jsontext.Value{name: jsontext.Value(value)}
		}
		for _, tt := range []struct {
			who  access.Caller
			req  Request
			code string
		}{
			{access.Caller{}, Request{AgentID: "a"}, "NOT_ALLOWED"},
			{h.jane, Request{AgentID: "nothing"}, "AGENT_NOT_FOUND"},
			{owner("bob"), Request{AgentID: "a"}, "AGENT_NOT_FOUND"},
			{h.jane, Request{AgentID: "public/gone"}, "AGENT_NOT_DECLARED"},
			{h.jane, Request{AgentID: "a"}, "MISSING_REQUIRED_FIELD"},
			{h.jane, Request{AgentID: "a", Parameters: parameters("user", "1")}, "INVALID_FIELD_TYPE"},
			{h.jane, Request{AgentID: "a", Parameters: parameters("usr", `"x"`)}, "UNKNOWN_INPUT_ARGUMENT"},
			{h.jane, Request{AgentID: "a", Parameters: parameters("user", `"x"`), Token: seal.NewSecret("t")}, "INVALID_REQUEST"},
			{h.jane, Request{AgentID: "a", Token: seal.NewSecret("other")}, "AUTH_PROFILE_NOT_FOUND"},
		} {
			if _, err := h.Start(t.Context(), tt.who, tt.req); !isFault(err, tt.code) {
				t.Errorf("%+v: %v, want %s", tt.req, err, tt.code)
			}
		}
		if n := number(t, d, `SELECT count(*) FROM runs`); n != 0 || called.Load() != 0 || len(h.known) != 0 || h.queue.busy != 0 || len(h.queue.of) != 0 || closed != 1 {
			t.Errorf("%d records, %d calls, %d known, %d profiles closed", n, called.Load(), len(h.known), closed)
		}
	})
}

func TestAnAsynchronousRunGoesOnByItself(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		release := make(chan struct{})
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			<-release
			fmt.Fprint(w, `{"output":"done"}`)
		})
		ctx, cancel := context.WithCancel(t.Context())
		run, err := h.Start(ctx, h.jane, Request{AgentID: "a"})
		if err != nil || run.Status != Queued || !run.StartedAt.IsZero() || !run.EndedAt.IsZero() {
			t.Fatalf("%+v, %v", run, err)
		}

		// So does one whose caller waits and goes away.
		gone := make(chan error)
		go func() {
			_, err := h.Start(ctx, h.jane, Request{AgentID: "a", Wait: true})
			gone <- err
		}()
		eventually(t, "both are under way", func() bool { return number(t, d, `SELECT count(*) FROM runs WHERE status = 'running'`) == 2 })
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that went away: %v", err)
		}
		close(release)
		if run := h.ended(t, run.ID); run.Status != Succeeded || string(run.Output) != `"done"` {
			t.Errorf("%+v", run)
		}
		eventually(t, "both succeed", func() bool { return number(t, d, `SELECT count(*) FROM runs WHERE status = 'succeeded'`) == 2 })
	})
}

func TestManyRunsAtOnceEachGetTheirOwn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, `{"output":%s}`, body)
		}, agent.Argument{Name: "n", Type: agent.Number})
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				run := h.run(t, "a", "", fmt.Sprintf("n=%d", i))
				if want := fmt.Sprintf(`{"run_id":"%s","agent_id":"a","arguments":{"n":%d},"session":null}`, run.ID, i); string(run.Output) != want {
					t.Errorf("run %d: %s", i, run.Output)
				}
			})
		}
		wg.Wait()
	})
}

func TestSessionsAreGivenAndTakenBack(t *testing.T) {
	big := `{"x":"` + strings.Repeat("a", seal.MaxSession) + `"}`
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var answer, got string
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, got, _ = strings.Cut(string(body), `"session":`)
			fmt.Fprint(w, answer)
		})
		for _, tt := range []struct {
			why, answer string
			keep        bool
			refuse      error
			status      Status
			saved       string
			logged      string
		}{
			{"one", `{"output":1,"session":{ "cookie": "abc" }}`, true, nil, Succeeded, `{"cookie":"abc"}`, ""},
			{"none", `{"output":1}`, true, nil, Succeeded, "", ""},
			{"null", `{"output":1,"session":null}`, true, nil, Succeeded, "", ""},
			{"an empty one", `{"output":1,"session":{ }}`, true, nil, Succeeded, "", "not kept"},
			{"no object", `{"output":1,"session":"abc"}`, true, nil, Succeeded, "", "not kept"},
			{"too large", `{"output":1,"session":` + big + `}`, true, nil, Succeeded, "", "not kept"},
			{"a profile that keeps none", `{"output":1,"session":{"cookie":"abc"}}`, false, nil, Succeeded, "", ""},
			{"a run that fails", `{"error":"no","session":{"cookie":"abc"}}`, true, nil, Failed, "", ""},
			{"the profile changed", `{"output":1,"session":{"cookie":"abc"}}`, true, errToken, Succeeded, "", "not kept"},
		} {
			saved, before := "", len(h.log.String())
			answer = tt.answer
			touched, closed := 0, 0
			h.profiles["t"] = &Profile{
				Name: "p", KeepSession: tt.keep, Session: jsontext.Value(`{"old":1}`),
				SaveSession: func(_ context.Context, s []byte) error { saved = string(s); return tt.refuse },
				Touch:       func(context.Context, *db.Tx) error { touched++; return nil },
				Close:       func() { closed++ },
			}
			opened := map[bool]int{true: 2, false: 1}[tt.keep] // again when its turn has come: others may have left a session
			run := h.run(t, "a", "t")
			if tt.refuse != nil {
				saved = ""
			}
			if run.Status != tt.status || saved != tt.saved || run.Profile != "p" || touched != 1 || closed != opened {
				t.Errorf("%s: %s %q, saved %.50q, touched %d, closed %d", tt.why, run.Status, run.ErrorMessage, saved, touched, closed)
			}
			if want := map[bool]string{true: `{"old":1}}`, false: `null}`}[tt.keep]; got != want {
				t.Errorf("%s: the agent was given %s, want %s", tt.why, got, want)
			}
			if logged := h.log.String()[before:]; !strings.Contains(logged, tt.logged) || tt.logged == "" && strings.Contains(logged, "WARN") {
				t.Errorf("%s: the log has %.300q", tt.why, logged)
			}
		}
		h.run(t, "a", "") // a session without a profile goes nowhere
	})
}

func TestWhatARunWasGivenIsCutOutOfAllThatIsKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var answer string
		h.service(t, "a", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answer) },
			agent.Argument{Name: "user"}, agent.Argument{Name: "open"}, agent.Argument{Name: "pin", Sensitive: true}, agent.Argument{Name: "code", Type: agent.TOTP})
		secrets := []string{"stored-user", "sensitive-pin", "given-session", "left-session", "JBSWY3DPEHPK3PXP"}
		h.profiles["t"] = &Profile{
			Name: "p", KeepSession: true, Session: jsontext.Value(`{"a":["given-session"]}`),
			Values:      map[string]jsontext.Value{"user": jsontext.Value(`"stored-user"`), "code": jsontext.Value(`"JBSWY3DPEHPK3PXP"`)},
			SaveSession: func(context.Context, []byte) error { return nil },
		}
		all := strings.Join(secrets, " ") + " open-value"
		for _, tt := range []struct{ answer, want string }{
			{`{"output":{"x":"` + all + `"},"session":{"b":"left-session"}}`, `{"x":"[redacted] [redacted] [redacted] [redacted] [redacted] open-value"}`},
			{`{"error":"` + all + `","session":{"b":"left-session"}}`, `[redacted] [redacted] [redacted] left-session [redacted] open-value`},
			{`{"error":7,"x":"` + all + `"}`, `The agent failed, and its "error" is not a text.`},
			{all, "The agent's answer is not valid JSON (at byte 0)."},
		} {
			answer = tt.answer
			run := h.run(t, "a", "t", `pin="sensitive-pin"`, `open="open-value"`)
			if got := string(run.Output) + run.ErrorMessage; got != tt.want {
				t.Errorf("%s became %s", tt.answer, got)
			}
			kept, err := h.Get(t.Context(), h.jane, run.ID)
			if err != nil || string(kept.Output) != string(run.Output) || kept.ErrorMessage != run.ErrorMessage {
				t.Errorf("another record is kept: %+v, %v", kept, err)
			}
		}
		// What answers in no protocol at all is quoted by the HTTP client.
		h.service(t, "raw", func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			fmt.Fprintf(conn, "%s\r\n\r\n", all)
			conn.Close()
		}, agent.Argument{Name: "user"}, agent.Argument{Name: "code", Type: agent.TOTP}, agent.Argument{Name: "pin", Sensitive: true})
		if run := h.run(t, "raw", "t", `pin="sensitive-pin"`); run.Status != Failed {
			t.Errorf("%+v", run)
		}
		for _, secret := range secrets {
			if secret != "left-session" && strings.Contains(h.log.String(), secret) {
				t.Errorf("%s is in the log", secret)
			}
		}
	})
}

func TestARecordIsSealedToItsRun(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "a", says(`{"output":"the-output"}`))
		h.service(t, "b", says(`{"error":"the-error"}`))
		good, other, bad := h.run(t, "a", ""), h.run(t, "a", ""), h.run(t, "b", "")
		for _, id := range []string{good.ID, bad.ID} {
			var output, message []byte
			if err := d.QueryRow(t.Context(), `SELECT output, error FROM runs WHERE id = $1`, id).Scan(&output, &message); err != nil {
				t.Fatal(err)
			}
			if row := string(output) + string(message); strings.Contains(row, "the-") || len(row) < 100 {
				t.Errorf("the row has %q", row)
			}
		}
		change(t, d, `UPDATE runs SET output = (SELECT o.output FROM runs o WHERE o.id = $1) WHERE id = $2`, good.ID, other.ID)
		if _, err := h.Get(t.Context(), h.jane, other.ID); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("with another run's output: %v", err)
		}
		change(t, d, `UPDATE runs SET output = error, error = output WHERE id = $1`, bad.ID)
		if _, err := h.Get(t.Context(), h.jane, bad.ID); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("with its error as output: %v", err)
		}
		change(t, d, `UPDATE runs SET organization_id = 'bob' WHERE id = $1`, good.ID)
		if _, err := h.Get(t.Context(), owner("bob"), good.ID); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("moved to another organization: %v", err)
		}
	})
}

func TestRunsAreListedToTheirOrganizationAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.service(t, "good", says(`{"output":{"large":true}}`))
		h.service(t, "bad", says(`{"error":"why"}`))
		var want []string
		for i := range 5 {
			run := h.run(t, []string{"good", "bad"}[i%2], "")
			want = append([]string{run.ID}, want...)
		}
		var seen []string
		for after := ""; ; {
			runs, err := h.List(t.Context(), h.jane, Filter{After: after, Limit: 2})
			if err != nil {
				t.Fatal(err)
			}
			if len(runs) == 0 {
				break
			}
			for _, run := range runs {
				seen, after = append(seen, run.ID), run.ID
				if run.Output != nil || run.Status == Failed && run.ErrorMessage != "why" || run.CreatedAt.IsZero() {
					t.Errorf("listed %+v", run)
				}
			}
		}
		if fmt.Sprint(seen) != fmt.Sprint(want) {
			t.Errorf("listed %v, want the newest first: %v", seen, want)
		}
		for _, tt := range []struct {
			who  access.Caller
			f    Filter
			want int
		}{
			{h.jane, Filter{Status: Succeeded}, 3},
			{h.jane, Filter{Status: Failed}, 2},
			{h.jane, Filter{AgentID: "bad"}, 2},
			{h.jane, Filter{AgentID: "bad", Status: Succeeded}, 0},
			{h.jane, Filter{Status: TimedOut}, 0},
			{owner("bob"), Filter{}, 0},
			{h.op, Filter{}, 0},
		} {
			tt.f.Limit = 100
			if runs, err := h.List(t.Context(), tt.who, tt.f); err != nil || len(runs) != tt.want {
				t.Errorf("%+v: %d, %v, want %d", tt.f, len(runs), err, tt.want)
			}
		}
		if _, err := h.List(t.Context(), h.jane, Filter{Status: "odd"}); fault.Of(err).Kind != fault.Invalid {
			t.Errorf("an odd status: %v", err)
		}
		for name, err := range map[string]error{
			"Get of another":  second(h.Get(t.Context(), owner("bob"), want[0])),
			"Get of nothing":  second(h.Get(t.Context(), h.jane, "nothing")),
			"Get of operator": second(h.Get(t.Context(), h.op, want[0])),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := errors.Join(second(h.Get(t.Context(), access.Caller{}, want[0]))); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("Get by nobody: %v", err)
		}
		if _, err := h.List(t.Context(), access.Caller{}, Filter{Limit: 1}); !errors.Is(err, fault.ErrNotAllowed) {
			t.Errorf("List by nobody: %v", err)
		}
	})
}

func second[A any](_ A, err error) error { return err }

func TestAPublicAgentsRunBelongsToWhoeverStartedIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		echo := agent.Definition{ID: "echo", Visibility: agent.Public, Runner: agent.Runner{Type: agent.Command, Command: []string{"/bin/sh", "-c", `read -r x; echo "{\"output\":$x}"`}}}
		if err := h.Agents.Declare(t.Context(), []agent.Definition{echo}); err != nil {
			t.Fatal(err)
		}
		run := h.run(t, "public/echo", "")
		if run.AgentID != "public/echo" || run.OrganizationID != "jane" || !bytes.Contains(run.Output, []byte(`"agent_id":"echo"`)) {
			t.Errorf("%+v", run)
		}
		if runs, err := h.List(t.Context(), h.jane, Filter{AgentID: "public/echo", Limit: 5}); err != nil || len(runs) != 1 {
			t.Errorf("%d listed, %v", len(runs), err)
		}
	})
}
