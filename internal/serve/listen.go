package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// newServer returns an HTTP server with bounds on what a client may take its
// time for. There is none on the answer: a run is waited for as long as its
// agent may take.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.With("part", "http").Handler(), slog.LevelDebug),
	}
}

// certificate is a TLS certificate that is read again when its files change, so
// that renewing one needs no restart.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.RWMutex
	now     *tls.Certificate
	changed [2]time.Time
}

func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	return c, c.load()
}

// load reads both files if one of them has changed.
func (c *certificate) load() error {
	var changed [2]time.Time
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		changed[i] = info.ModTime()
	}
	if changed == c.changed {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS: %s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.changed = &cert, changed
	return nil
}

// follow reads the files again whenever they change, until ctx ends. Files that
// do not fit each other, as they are while they are being replaced, leave the
// old certificate in use.
func (c *certificate) follow(ctx context.Context) error {
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		before := c.changed
		switch err := c.load(); {
		case err != nil && err.Error() != failed:
			failed = err.Error()
			c.log.Warn("the TLS certificate can't be read again; the old one stays in use", "err", err)
		case err == nil && before != c.changed:
			failed = ""
			c.log.Info("the TLS certificate was read again")
		}
	}
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.mu.RLock()
			defer c.mu.RUnlock()
			return c.now, nil
		},
	}
}

// shutdown lets srv finish what is under way for at most patience, then cuts it
// off.
func shutdown(srv *http.Server, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return srv.Close()
	}
	return err
}

// listen listens on address. The error says what to do about a port in use.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: choose another address with --addr (port 0 takes a free one)", err)
	}
	return l, nil
}
