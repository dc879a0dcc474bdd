package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/db"
)

// On a full disk no run is answered as started that is not kept, one under way is
// not lost, and when there is room again everything goes on.
func TestAFullDiskLosesNoRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); errors.Is(err, syscall.EPERM) {
		t.Skip("root may not mount here")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(dir, "keyward.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, d)
	s := newTurnstile()
	h.shared(t, "a", s.ServeHTTP, agent.Definition{})
	under := h.later(t, h.jane, "public/a")
	s.through(t, 1)

	filler := filepath.Join(dir, "filler")
	fill := func() {
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for block := make([]byte, 4096); ; {
			if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	answered := map[string]bool{}
	refused := 0
	for range 400 { // what room there is in the files that are there is used up
		fill()
		run, err := h.Start(t.Context(), h.jane, Request{AgentID: "public/a"})
		if err != nil {
			if refused++; refused == 3 {
				break
			}
			continue
		}
		answered[run.ID] = true
	}
	if refused < 3 {
		t.Fatal("the disk does not fill up")
	}
	s.pass <- struct{}{} // the run under way ends now, and can't be recorded
	eventually(t, "recording it fails", func() bool { return strings.Contains(h.log.String(), "tried again") })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.tick(t)
	close(s.pass)
	answered[under.ID] = true
	for id := range answered {
		if run := h.ended(t, id); run.Status != Succeeded {
			t.Errorf("%+v", run)
		}
	}
	if n := number(t, d, `SELECT count(*) FROM runs`); n != int64(len(answered)) {
		t.Errorf("%d runs are kept, %d were answered", n, len(answered))
	}
}
