package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/audit"
	"github.com/keyward/keyward/internal/folder"
	"github.com/keyward/keyward/internal/node"
	"github.com/keyward/keyward/internal/rootkey"
	"github.com/keyward/keyward/internal/seal"
)

// openRootKey finds the root key that the database needs. For an empty SQLite
// database it makes one, which is on the disk before the database knows of it.
func (s *server) openRootKey(ctx context.Context) error {
	found, err := s.folder.FindRootKey(s.Lookup)
	switch {
	case errors.Is(err, folder.ErrNoRootKey):
		if err := rootkey.MayBegin(ctx, s.db); err != nil {
			return err
		}
		if s.db.Shared() {
			return errors.New("this database has no root key yet: make one with keyward root init, keep a copy of it elsewhere, and give the same one to every server of the fleet")
		}
		var line []byte
		s.root, line = seal.NewRoot()
		if err := s.folder.Create(folder.RootKeyFile, line); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if found.Warning != "" {
			s.log.Warn(found.Warning)
		}
		if s.root, err = seal.ParseRoot(found.Text); err != nil {
			return fmt.Errorf("the root key in %s: %w", found.From, err)
		}
	}
	s.acts = &access.Acts{DB: s.db, Root: s.root, Now: time.Now}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	s.fleet = &node.Fleet{DB: s.db, Root: s.root, Host: host, Now: time.Now, Log: s.log}
	s.audit = &audit.Log{DB: s.db, Root: s.root, Now: time.Now, Log: s.log}
	s.rootKeys = &rootkey.Keys{
		DB: s.db, Root: s.root, Acts: s.acts, Now: time.Now, Log: s.log,
		Read: s.readRootKey, Write: s.writeRootKey(), Nodes: s.rootKeyNodes, Rows: s.rows(), Settle: 30 * time.Second,
	}
	return s.rootKeys.Check(ctx, true)
}

func (s *server) readRootKey() ([]byte, error) {
	found, err := s.folder.FindRootKey(s.Lookup)
	return found.Text, err
}

// writeRootKey returns what keeps the lines of the root key, or nil where they
// are not this server's to keep.
func (s *server) writeRootKey() func([]byte) error {
	for _, name := range []string{"KEYWARD_ROOT_KEY", "KEYWARD_ROOT_KEY_FILE"} {
		if _, elsewhere := s.Lookup(name); elsewhere {
			return nil
		}
	}
	return func(text []byte) error { return s.folder.Write(folder.RootKeyFile, text) }
}

func (s *server) rootKeyNodes(ctx context.Context) ([]rootkey.Node, error) {
	live, err := s.fleet.Live(ctx)
	nodes := make([]rootkey.Node, len(live))
	for i, n := range live {
		nodes[i] = rootkey.Node{ID: n.ID, Host: n.Host, Versions: n.RootVersions, Active: n.RootActive}
	}
	return nodes, err
}

// rows are all rows that are tagged or sealed under the root key. The parts
// that keep them are made later than this list.
func (s *server) rows() []rootkey.Rows {
	return []rootkey.Rows{
		{Name: "accounts", Tables: []string{"accounts", "organizations", "memberships", "sign_ins", "setup_codes"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.accounts.Reseal(ctx, n) }},
		{Name: "signing keys", Tables: []string{"signing_keys"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.signing.Reseal(ctx, n) }},
		{Name: "API keys", Tables: []string{"api_keys", "api_key_secrets"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.keys.Reseal(ctx, n) }},
		{Name: "device logins", Tables: []string{"device_logins"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.devices.Reseal(ctx, n) }},
		{Name: "alerts", Tables: []string{"alerts", "alert_deliveries"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.alerts.Reseal(ctx, n) }},
		{Name: "agents", Tables: []string{"agents"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.agents.Reseal(ctx, n) }},
		{Name: "auth profiles", Tables: []string{"profile_slots", "profile_forgotten"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.vault.Reseal(ctx, n) }},
		{Name: "runs", Tables: []string{"runs", "run_events", "run_request_keys"},
			Reseal: func(ctx context.Context, n int) (int, error) { return s.runs.Reseal(ctx, n) }},
		{Name: "audit log", Tables: []string{"audit_entries", "audit_head"}, Reseal: s.audit.Reseal},
		{Name: "servers", Tables: []string{"nodes"}, Reseal: s.fleet.Reseal},
	}
}

// MadeRootKey says which root key was made, and where it lies.
type MadeRootKey struct{ ID, Path string }

// InitRootKey makes a root key in the data folder at path. One that is there is
// never touched.
func InitRootKey(path string) (MadeRootKey, error) {
	tightenUmask()
	f, err := folder.Open(path)
	if err != nil {
		return MadeRootKey{}, err
	}
	if err := f.Lock(); err != nil {
		return MadeRootKey{}, err
	}
	defer f.Close()
	if _, err := os.Stat(f.Database()); err == nil {
		return MadeRootKey{}, fmt.Errorf("%s has a database already: its root key was made with it, and a new one would not open it", f.Path())
	}
	root, line := seal.NewRoot()
	if err := f.Create(folder.RootKeyFile, line); errors.Is(err, fs.ErrExist) {
		return MadeRootKey{}, fmt.Errorf("there is a root key in %s already", f.Path())
	} else if err != nil {
		return MadeRootKey{}, err
	}
	return MadeRootKey{root.ID(root.Active()), filepath.Join(f.Path(), folder.RootKeyFile)}, nil
}

// RotateRootKey rotates the root key without a running server. It takes the
// data folder's lock meanwhile.
func RotateRootKey(ctx context.Context, o Options, line func(string)) error {
	return offline(ctx, o, func(s *server) error {
		if !s.db.Shared() {
			s.rootKeys.Settle = 0 // nobody is served meanwhile
		}
		if err := s.fleet.Register(ctx); err != nil {
			return err
		}
		s.loops.start("heartbeat", s.fleet.Follow)
		s.loops.start("root key", s.rootKeys.Follow)
		err := s.rootKeys.Rotate(ctx, access.NewConsole(""), line)
		s.loops.stop()
		return errors.Join(err, s.fleet.Leave(context.WithoutCancel(ctx)))
	})
}

// RootKeyStatus tells how things stand with the root key, without a running
// server.
func RootKeyStatus(ctx context.Context, o Options, line func(string)) error {
	return offline(ctx, o, func(s *server) error { return rootStatus(ctx, s.rootKeys, line) })
}

// offline does something with the parts of a server that does not run.
func offline(ctx context.Context, o Options, do func(*server) error) error {
	o.Say = nil
	s := &server{Options: o, log: slog.New(slog.NewTextHandler(o.Log, nil))}
	s.loops = newLoops(s.log)
	defer s.close()
	if _, err := os.Stat(o.Config.Data); err != nil {
		return fmt.Errorf("there is no data folder %s: name it with --data", o.Config.Data)
	}
	for _, step := range []func(context.Context) error{s.openFolder, s.openDatabase, s.openRootKey, s.build} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return do(s)
}

func rootStatus(ctx context.Context, k *rootkey.Keys, line func(string)) error {
	status, err := k.Status(ctx)
	if err != nil {
		return err
	}
	for _, v := range status.Versions {
		text := fmt.Sprintf("version %d  %s  %s", v.Number, v.ID, v.State)
		if !v.Held {
			text += ", not held by this server"
		}
		line(text)
		for _, c := range v.Rows {
			if c.Rows > 0 {
				line(fmt.Sprintf("  %8d rows of %s", c.Rows, c.Name))
			}
		}
	}
	for _, n := range status.Nodes {
		var held []string
		for v := range n.Versions {
			held = append(held, fmt.Sprint(v))
		}
		line(fmt.Sprintf("server %s  %s  holds %s, writes with %d", n.ID, n.Host, strings.Join(held, " and "), n.Active))
	}
	return nil
}
