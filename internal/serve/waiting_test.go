package serve

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/dbtest"
	"github.com/keyward/keyward/internal/runkey"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/vault"
)

// loot is what is in the database for a run that waits.
type loot struct{ tokens, inputs, locator, salt, sealed []byte }

// The database, in whatever state, and the root key, all of it, open neither the
// auth profile of a run that waits nor its inputs; and nothing does, once the run
// key is destroyed.
func TestTheDatabaseAndTheRootKeyOpenNoWaitingRun(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		clock := func() time.Time { return now }
		root, _ := seal.NewRoot()
		insert(t, d, `INSERT INTO organizations (id, name, operator, tier, limits, quotas, created_at, updated_at, root_version, tag)
			VALUES ('org', 'o', 0, 'free', '{}', '{}', 1, 1, 1, $1)`, []byte{})
		insert(t, d, `INSERT INTO agents (uid, organization_id, id, name, description, input_arguments, runner, visibility,
			timeout_seconds, declared, runner_secret, created_at, updated_at, root_version)
			VALUES ('agent', 'org', 'shop', '', '', '[]', '{}', 'private', 60, 0, $1, 1, 1, 1)`, []byte{})
		who := access.Caller{AccountID: "jane", OrganizationID: "org", Role: access.Owner, SignInID: "s", Quotas: access.Quotas{AuthProfiles: access.Unlimited}}
		agent := vault.Agent{UID: "agent", ID: "shop", Destination: "here", Check: func(string, jsontext.Value) error { return nil }}
		profiles := &vault.Store{Acts: &access.Acts{DB: d, Root: root, Now: clock}, DB: d, Root: root, Now: clock,
			FindAgent: func(context.Context, access.Caller, string) (vault.Agent, error) { return agent, nil }}
		made, err := profiles.Create(ctx, who, "shop", "p", []vault.Value{vault.NewValue("password", jsontext.Value(`"CANARY-password"`))})
		if err != nil {
			t.Fatal(err)
		}

		var file []byte // run.key
		var waits [][]byte
		keys := func(id string, file *[]byte) *runkey.Keys {
			k := &runkey.Keys{
				Now: clock, Log: slog.New(slog.DiscardHandler), Self: func() string { return id },
				Read: func() ([]byte, error) {
					if *file == nil {
						return nil, fs.ErrNotExist
					}
					return bytes.Clone(*file), nil
				},
				Write:    func(text []byte) error { *file = bytes.Clone(text); return nil },
				Announce: func(context.Context, []byte) error { return nil },
				Nodes:    func(context.Context) ([]runkey.Node, error) { return nil, nil },
				EachWaiting: func(_ context.Context, see func([]byte) bool) error {
					for _, tokens := range waits {
						see(tokens)
					}
					return nil
				},
			}
			if err := k.Start(ctx); err != nil {
				t.Fatal(err)
			}
			return k
		}
		server := keys("node", &file)

		// The run is queued.
		place := seal.RunPlace{Run: "run", Organization: "org", Agent: "agent", Profile: made.ID}
		opened, err := profiles.Open(ctx, who, agent, seal.NewSecret(made.Token.Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		slot, err := opened.RunSlot(now.Add(25 * time.Hour))
		opened.Close()
		if err != nil {
			t.Fatal(err)
		}
		token := slot.Token.Reveal()
		tok, err := seal.ParseAuthToken(token)
		if err != nil {
			t.Fatal(err)
		}
		found := loot{locator: slot.Locator}
		if found.inputs, err = seal.SealRunInputs(tok, place, []byte("CANARY-inputs")); err != nil {
			t.Fatal(err)
		}
		if found.tokens, err = server.Seal(ctx, slot.Token, place); err != nil {
			t.Fatal(err)
		}
		if err := d.Tx(ctx, func(tx *db.Tx) error { return slot.Keep(ctx, tx) }); err != nil {
			t.Fatal(err)
		}
		if err := d.QueryRow(ctx, `SELECT salt, sealed FROM profile_slots WHERE locator = $1`, slot.Locator).Scan(&found.salt, &found.sealed); err != nil {
			t.Fatal(err)
		}
		expires := db.Micros(now.Add(25 * time.Hour))

		// opens takes the run up, with what is in the database and a folder.
		opens := func(k *runkey.Keys) error {
			token, err := k.Open(found.tokens, place)
			if err != nil {
				return err
			}
			o, err := profiles.OpenRun(ctx, who, agent, token)
			if err != nil {
				return err
			}
			defer o.Close()
			tok, err := seal.ParseAuthToken(token.Reveal())
			if err != nil {
				return err
			}
			inputs, err := seal.OpenRunInputs(tok, place, found.inputs)
			if err == nil && (string(inputs) != "CANARY-inputs" || o.Values[0].JSON.Reveal() != `"CANARY-password"`) {
				t.Errorf("%s and %s", inputs, o.Values[0].JSON.Reveal())
			}
			return err
		}
		gone := func(when string, k *runkey.Keys) {
			t.Helper()
			if err := opens(k); !errors.Is(err, runkey.ErrGone) {
				t.Errorf("%s: %v, want ErrGone", when, err)
			}
		}

		// All that the root key opens holds nothing of the token, the inputs or the
		// profile, nor does what it does not open.
		inner, err := root.Open(seal.ProfileSlot, found.sealed, seal.Text("slot"), seal.Text("org"), seal.Text("agent"), seal.Text(made.ID),
			seal.Uint(1), seal.Text("run"), seal.Int(expires))
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"the tokens": found.tokens, "the inputs": found.inputs, "the slot": found.sealed, "what the root key opens of it": inner} {
			for _, secret := range [][]byte{[]byte(token)[15:], []byte("CANARY")} {
				if bytes.Contains(b, secret) {
					t.Errorf("%s holds a secret", name)
				}
			}
		}
		for _, use := range []seal.Use{seal.AtRest, seal.Password, seal.ProfileSlot, seal.RunRecord, seal.ServerState} {
			if _, err := root.Open(use, found.inputs, seal.Text("org"), seal.Text("agent"), seal.Text("run")); err == nil {
				t.Errorf("the root key opens the inputs as %s", use)
			}
		}

		if err := opens(server); err != nil {
			t.Fatal(err)
		}
		var none, another []byte
		gone("without the file", keys("thief", &none))
		gone("with another server's file", func() *runkey.Keys { keys("other", &another); return keys("thief", &another) }())
		if err := opens(keys("node-again", &file)); err != nil {
			t.Errorf("with the file: %v", err)
		}

		// The run has ended, and its key is an hour old. The thief puts back what
		// he has copied, and has the file as it is now.
		now = now.Add(time.Hour)
		for range 3 {
			if err := server.Tend(ctx); err != nil {
				t.Fatal(err)
			}
			now = now.Add(2 * time.Minute)
		}
		gone("when the key is destroyed", server)
		gone("when the key is destroyed, with the file", keys("thief", &file))

		// So it is with a run that waits for ever.
		if found.tokens, err = server.Seal(ctx, slot.Token, place); err != nil {
			t.Fatal(err)
		}
		waits = [][]byte{found.tokens}
		if err := opens(server); err != nil {
			t.Fatal(err)
		}
		now = now.Add(runkey.MaxAge)
		gone("after a day", server)
		if err := server.Tend(ctx); err != nil {
			t.Fatal(err)
		}
		gone("after a day, with the file", keys("thief", &file))
	})
}

func insert(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
