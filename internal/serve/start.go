package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/folder"
)

func newLog(c config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// say prints one line of what people read at the start.
func (s *server) say(name, format string, args ...any) {
	fmt.Fprintf(s.Say, "%s: %s\n", name, fmt.Sprintf(format, args...))
}

func (s *server) openFolder(context.Context) (err error) {
	// What SQLite makes beside its file must be closed to others as well.
	tightenUmask()
	if s.folder, err = folder.Open(s.Config.Data); err != nil {
		return err
	}
	return s.folder.Lock()
}

func (s *server) openDatabase(ctx context.Context) (err error) {
	if s.db, err = openDatabase(ctx, s.Config, s.folder); err != nil {
		return err
	}
	return s.db.Migrate(ctx)
}

func openDatabase(ctx context.Context, c config.Config, f *folder.Folder) (*db.DB, error) {
	address := c.Database.Reveal()
	if address == "" {
		address = "sqlite:" + f.Database()
	}
	d, err := db.Open(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return d, nil
}

// listen takes the addresses. From here on it is known how the server is
// reached, though it does not answer yet.
func (s *server) listen(context.Context) (err error) {
	c := s.Config
	if s.listener, err = listen(c.Addr); err != nil {
		return err
	}
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
		if s.tls, err = loadCertificate(c.TLSCert, c.TLSKey, s.log); err != nil {
			return err
		}
	}
	s.url = scheme + "://" + reachable(s.listener.Addr().String())
	if c.URL != nil {
		s.url = strings.TrimSuffix(c.URL.String(), "/")
	}
	if s.control, err = s.folder.ListenControl(); err != nil {
		return err
	}
	if c.MetricsAddr != "" {
		if s.watch, err = net.Listen("tcp", c.MetricsAddr); err != nil {
			return c.Invalid("metrics_addr", err)
		}
	}
	return s.folder.Announce(s.url)
}

// reachable returns address with a host that a client on this machine can use,
// where the server listens on all of them.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// introduce says in plain lines what was started, and what to do next.
func (s *server) introduce() {
	s.say("keyward", "%s", s.Version)
	s.say("address", "%s", s.url)
	s.say("data folder", "%s", s.folder.Path())
	s.say("database", "%s", s.db.Name())
	s.say("root key", "%s (version %d)", s.root.ID(s.root.Active()), s.root.Active())
	if s.watch != nil {
		s.say("metrics", "http://%s/metrics", reachable(s.watch.Addr().String()))
	}
	register := "curl " + s.url + "/auth/register"
	if s.setupCode != "" {
		s.say("setup code", "%s", s.setupCode)
		register += " -H 'X-Setup-Code: " + s.setupCode + "'"
	}
	s.say("next", `%s --json '{"name": "Jane", "email": "jane@example.com", "password": "at least 8 characters"}'`, register)
	s.say("or", "keyward setup --server %s --sign-up", s.url)
}
