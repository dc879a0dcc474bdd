package account_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

func TestWhoHasTheSetupCodeOwnsTheServer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.SignupOpen = false // the code opens it
		id, code, err := h.EnsureOperator(t.Context(), "")
		if err != nil || len(code) < 26 {
			t.Fatalf("a code of %d letters, %v", len(code), err)
		}
		in := account.Registration{Name: "root", Email: "root@example.com", Password: right, SetupCode: code + "x"}
		if _, err := h.Register(t.Context(), home, in); fault.Of(err).Details["field"] != "setupCode" {
			t.Errorf("a code with a letter more: %v", err)
		}
		in.SetupCode = code
		root, err := h.Register(t.Context(), home, in)
		if err != nil {
			t.Fatal(err)
		}
		who, _ := h.signedIn(t, "root")
		unlimited := access.Quotas{Agents: -1, AuthProfiles: -1, Keys: -1, QueuedRuns: -1}
		if who.AccountID != root.ID || who.OrganizationID != id || !who.Operator || who.Tier != "enterprise" || who.Quotas != unlimited {
			t.Errorf("the operator is %+v", who)
		}
		if _, memberships, err := h.Me(t.Context(), who); err != nil || len(memberships) != 1 {
			t.Errorf("the operator has %d organizations, %v", len(memberships), err)
		}
		in.Email = "thief@example.com"
		if _, err := h.Register(t.Context(), home, in); fault.Of(err).Details["field"] != "setupCode" {
			t.Errorf("the code, used twice: %v", err)
		}
		again, none, err := h.EnsureOperator(t.Context(), code)
		if err != nil || again != id || none != "" {
			t.Errorf("with an owner there is still a code, or %v", err)
		}
		if n := number(t, d, `SELECT count(*) FROM setup_codes`); n != 0 {
			t.Errorf("%d codes are kept", n)
		}
	})
}

func TestTheSetupCodeIsNotInTheDatabase(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		_, code, err := h.EnsureOperator(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var digest []byte
		if err := d.QueryRow(t.Context(), `SELECT digest FROM setup_codes WHERE digest = $1`, sha(code)).Scan(&digest); err != nil {
			t.Errorf("its digest is not there: %v", err)
		}
		for _, text := range texts(t, d, `SELECT notes || subject_name || subject_id FROM audit_entries`) {
			if strings.Contains(text, code) {
				t.Errorf("the audit log has the code: %s", text)
			}
		}
	})
}

func sha(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func TestACodeThatIsGoodIsKeptAndOneThatIsNotIsReplaced(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		id, first, err := h.EnsureOperator(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, same, err := h.EnsureOperator(t.Context(), first); err != nil || same != first {
			t.Errorf("a good code is replaced (%v)", err)
		}
		for _, have := range []string{"", "MADEUP", first + "\n"} {
			again, fresh, err := h.EnsureOperator(t.Context(), have)
			if err != nil || again != id || fresh == first || fresh == have || fresh == "" {
				t.Errorf("for %q: the same code, or %v", have, err)
			}
		}
		// The server that printed the first one still stands by it.
		h.registerWith(t, "root", first)
	})
}

func TestServersThatStartAtOnceMakeOneOperator(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root, _ := seal.NewRoot()
		c := &clock{t: start}
		var servers []*house
		for range 6 {
			servers = append(servers, newServer(t, d, root, c))
		}
		codes, ids := make([]string, len(servers)), make([]string, len(servers))
		var wg sync.WaitGroup
		for i, s := range servers {
			wg.Go(func() {
				var err error
				if ids[i], codes[i], err = s.EnsureOperator(t.Context(), ""); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range servers {
			if ids[i] != ids[0] || codes[i] == "" || i > 0 && codes[i] == codes[0] {
				t.Errorf("server %d has organization %s, and a code: %v", i, ids[i], codes[i] != "")
			}
		}

		// Each has a code of its own; one of them makes one owner.
		owners := 0
		var mu sync.Mutex
		for i, s := range servers {
			wg.Go(func() {
				name := fmt.Sprint("root", i)
				in := account.Registration{Name: name, Email: name + "@example.com", SetupCode: codes[i]}
				_, err := s.RegisterHashed(t.Context(), home, in, hashOfRight())
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					owners++
				} else if !errors.Is(err, fault.ErrInvalidRequest) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if owners != 1 {
			t.Errorf("%d accounts own the server", owners)
		}
		if n := number(t, d, `SELECT count(*) FROM accounts`); n != 1 {
			t.Errorf("%d accounts were made", n)
		}
	})
}

func TestARegistrationThatFailsLeavesTheCodeGood(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.register(t, "jane")
		_, code, err := h.EnsureOperator(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		in := account.Registration{Name: "jane", Email: "jane@example.com", Password: right, SetupCode: code}
		if _, err := h.Register(t.Context(), home, in); !errors.Is(err, account.ErrEmailTaken) {
			t.Errorf("with a taken e-mail: %v", err)
		}
		if _, err := h.RegisterHashed(t.Context(), home, in, hashOfRight()); !errors.Is(err, account.ErrEmailTaken) {
			t.Errorf("with an e-mail that was taken meanwhile: %v", err)
		}
		h.registerWith(t, "root", code)
	})
}
