package agent_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
)

func program(id string, command ...string) agent.Definition {
	return agent.Definition{ID: id, Runner: agent.Runner{Type: agent.Command, Command: command}}
}

// restart returns h as it is after a start with another config file.
func (h *house) restart(t *testing.T, agents ...agent.Definition) *house {
	t.Helper()
	next := *h
	next.Store = newStore(h.DB, h.Root)
	if err := next.Declare(t.Context(), agents); err != nil {
		t.Fatal(err)
	}
	return &next
}

func TestTheConfigFileIsWhatItsAgentsAre(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h = h.restart(t, program("report", "/bin/report"), web("invoices"))
		first, err := h.Find(t.Context(), h.op, "report")
		if err != nil || first.Runnable() != nil || first.Name != "report" || first.Destination() != "command report" || !first.Declared {
			t.Fatalf("%+v, %v", first, err)
		}
		audits := number(t, d, `SELECT count(*) FROM audit_entries WHERE organization_id = 'op' AND action = 'agent.declare'`)
		h = h.restart(t, program("report", "/bin/report"), web("invoices"))
		if n := number(t, d, `SELECT count(*) FROM audit_entries`); n != audits || n != 2 {
			t.Errorf("%d audit rows after a start that changed nothing, %d before", n, audits)
		}

		h = h.restart(t, program("report", "/bin/report", "--json"), web("invoices"))
		a, err := h.Find(t.Context(), h.op, "report")
		if err != nil || a.UID != first.UID || len(a.Runner.Command) != 2 {
			t.Errorf("after a change in the file: %+v, %v", a, err)
		}
		limited := program("report", "/bin/report", "--json")
		limited.Idempotent, limited.MaxConcurrent, limited.Runner.Limits = true, 2, agent.Limits{MemoryMB: 100}
		h = h.restart(t, limited, web("invoices"))
		a, err = h.Find(t.Context(), h.op, "report")
		if want := (agent.Limits{MemoryMB: 100, CPUSeconds: agent.DefaultTimeout, FileMB: agent.DefaultFileMB}); err != nil || !a.Idempotent || a.MaxConcurrent != 2 || a.Limits() != want {
			t.Errorf("with limits: %+v, %v", a, err)
		}
		if _, err := h.Change(t.Context(), h.op, "report", agent.Change{Name: ptr("x")}); fault.Of(err).Kind != fault.Invalid {
			t.Errorf("a change over the network: %v", err)
		}
		if err := h.Delete(t.Context(), h.op, "report"); fault.Of(err).Kind != fault.Invalid {
			t.Errorf("deleted while it is in the file: %v", err)
		}
		if _, err := h.RenewRunnerSecret(t.Context(), h.op, "invoices"); err != nil {
			t.Errorf("a secret for a declared agent: %v", err)
		}
	})
}

func TestAnAgentGoneFromTheFileIsKeptAndCannotRun(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h = h.restart(t, program("report", "/bin/report"), web("invoices"))
		a, err := h.Find(t.Context(), h.op, "report")
		if err != nil {
			t.Fatal(err)
		}
		if err := storeProfile(t.Context(), d, "jane", a.UID, "p"); err != nil {
			t.Fatal(err)
		}
		gone := h.restart(t)
		for _, id := range []string{"report", "invoices"} {
			a, err := gone.Find(t.Context(), h.op, id)
			if err != nil || !errors.Is(a.Runnable(), agent.ErrNotDeclared) {
				t.Errorf("%s: %v, runnable %v", id, err, a.Runnable())
			}
		}
		if n := number(t, d, `SELECT count(*) FROM profiles`); n != 1 {
			t.Error("a line missing in the file destroyed a profile")
		}

		back := h.restart(t, program("report", "/bin/report"))
		if b, err := back.Find(t.Context(), h.op, "report"); err != nil || b.Runnable() != nil || b.UID != a.UID {
			t.Errorf("declared again: %+v, %v", b, err)
		}
		if err := gone.Delete(t.Context(), h.op, "report"); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
}

func TestNoCommandIsTakenFromTheDatabase(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.create(t, h.jane, web("report"))
		h.create(t, h.jane, web("mine"))
		h.create(t, h.op, web("mine"))
		h = h.restart(t, program("report", "/bin/report"))
		for _, declared := range []bool{true, false} {
			change(t, d, `UPDATE agents SET runner = '{"type":"command","command":["/bin/evil"]}', declared = $1`, declared)
			a, err := h.Find(t.Context(), h.op, "report")
			if err != nil || declared && (a.Runnable() != nil || a.Runner.Command[0] != "/bin/report") {
				t.Errorf("the file's agent would run %v, %v", a.Runner, err)
			}
			if !declared && !errors.Is(a.Runnable(), agent.ErrNotDeclared) {
				t.Errorf("undeclared in the database, it would run %v", a.Runner)
			}
			for _, who := range []access.Caller{h.jane, h.op} {
				if a, err := h.Find(t.Context(), who, "mine"); err != nil || !errors.Is(a.Runnable(), agent.ErrNotDeclared) {
					t.Errorf("a command that was written into a row of %s may run: %+v, %v", who.OrganizationID, a, err)
				}
			}
			if a, err := h.Find(t.Context(), h.jane, "report"); err != nil || !errors.Is(a.Runnable(), agent.ErrNotDeclared) {
				t.Errorf("jane's agent of the same id would run %v, %v", a.Runner, err)
			}
		}
	})
}

func TestADeclarationTakesOverAnAgentOfTheSameID(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		before := h.create(t, h.op, web("a"))
		h = h.restart(t, program("a", "/bin/a"))
		a, err := h.Find(t.Context(), h.op, "a")
		if err != nil || a.UID != before.UID || a.Runner.Type != agent.Command || a.Runnable() != nil {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func TestTwoNodesMayDeclareAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := newStore(d, h.Root).Declare(t.Context(), []agent.Definition{program("a", "/bin/a"), web("b")}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := number(t, d, `SELECT count(*) FROM agents`); n != 2 {
			t.Errorf("%d agents, want 2", n)
		}
		if n := number(t, d, `SELECT used FROM quota_uses WHERE organization_id = 'op' AND kind = 'agents'`); n != 2 {
			t.Errorf("%d are counted, want 2", n)
		}
	})
}

func TestABadDeclarationNamesItsSetting(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for setting, bad := range map[string]agent.Definition{
			"agents[1].id":                      {ID: "a"},
			"agents[1].runner.type":             {ID: "x"},
			"agents[1].runner.command":          program("x", "bin/relative"),
			"agents[1].runner.url":              {ID: "x", Runner: agent.Runner{Type: agent.HTTP, URL: "::"}},
			"agents[1].input_arguments[0].name": {ID: "x", InputArguments: []agent.Argument{{Name: "1"}}},
		} {
			err := newStore(d, h.Root).Declare(t.Context(), []agent.Definition{program("a", "/bin/a"), bad})
			var named *agent.BadDeclaration
			if !errors.As(err, &named) || named.Setting != setting {
				t.Errorf("%s: %v", setting, err)
			}
		}
		for field, limits := range map[string]agent.Limits{"memory_mb": {MemoryMB: 1}, "cpu_seconds": {CPUSeconds: -1}, "file_mb": {FileMB: 1 << 40}} {
			bad := program("a", "/bin/a")
			bad.Runner.Limits = limits
			err := newStore(d, h.Root).Declare(t.Context(), []agent.Definition{bad})
			var named *agent.BadDeclaration
			if !errors.As(err, &named) || named.Setting != "agents[0].runner.limits."+field {
				t.Errorf("%s: %v", field, err)
			}
		}
		if n := number(t, d, `SELECT count(*) FROM agents`); n != 0 {
			t.Errorf("a file with a mistake in it made %d agents", n)
		}
	})
}
