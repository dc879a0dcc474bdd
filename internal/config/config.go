// Package config has the settings of keyward serve.
//
// There is one table of settings, in settings.go. The flags, the variables, the
// names in the config file, the checks, docs/configuration.md and
// keyward.example.yaml all come from it, so none of them can say something else.
//
// A flag goes before a variable, a variable before the file, the file before
// the default. Nothing is ignored in silence: an unknown name is refused, and
// each refusal names the setting and where its value stands. No refusal and no
// warning repeats a value, since any value may be a secret in the wrong place.
//
// The root key is no setting: package folder reads it.
package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/seal"
)

// Config is all the settings, checked.
type Config struct {
	Addr            string // host:port
	Data            string
	Database        Database
	URL             *url.URL // scheme and host alone, in lower case; nil: not set
	TLSCert         string   // set if and only if TLSKey is
	TLSKey          string
	TrustedProxies  []netip.Prefix
	ClientIPHeader  string         // in canonical form
	Gateways        []netip.Prefix // may ask about the keys of all organizations
	MetricsAddr     string         // "": /metrics is served on Addr
	SignupOpen      bool
	DefaultTier     string
	Quotas          Quotas
	KeyPrefix       string
	RunnersAllow    []string // as written: package egress reads them
	Agents          []Agent
	Runs            Runs
	UsageKept       UsageKept
	SMTP            SMTP
	ShutdownTimeout time.Duration
	LogFormat       string // text or json
	LogLevel        slog.Level

	sources sources
}

// Unlimited is the quota that refuses nothing. A quota of 0 allows none.
const Unlimited int64 = -1

// Quotas is how many of each thing an organization may have, unless the
// operator gave it others. Each is Unlimited, 0 or more.
type Quotas struct {
	Agents       int64
	AuthProfiles int64
	Keys         int64
	QueuedRuns   int64
}

// Runs says how many runs there are at once, and for how long they are kept.
type Runs struct {
	AtOnce         int // 0: as many as suit the machine
	Keep, KeepLogs time.Duration
}

// UsageKept is for how long counts are kept: of minutes, of hours, of days.
type UsageKept struct {
	Minutes, Hours, Days time.Duration
}

// SMTP says through which mail server e-mail is sent, if Host is set.
type SMTP struct {
	Host     string // host:port
	From     string // as in a header
	User     string // set if and only if Password is
	Password seal.Secret
	TLS      string // starttls, tls or none
}

// Agent is an agent that the operator declares in the config file. It has the
// fields of POST /v1/agents. Here it is known that its fields have the right
// types and that its ID is there and its own; the rest are package agent's rules.
type Agent struct {
	ID             string          `yaml:"id"`
	Name           string          `yaml:"name"`
	Description    string          `yaml:"description"`
	InputArguments []InputArgument `yaml:"input_arguments"`
	Runner         Runner          `yaml:"runner"`
	Visibility     string          `yaml:"visibility"`      // "": not said
	TimeoutSeconds int64           `yaml:"timeout_seconds"` // 0: not said
	Idempotent     bool            `yaml:"idempotent"`
	MaxConcurrent  int64           `yaml:"max_concurrent"` // 0: no bound
}

// InputArgument is one input argument of an Agent.
type InputArgument struct {
	Name        string          `yaml:"name"`
	Type        string          `yaml:"type"`
	Required    bool            `yaml:"required"`
	Sensitive   bool            `yaml:"sensitive"`
	Default     json.RawMessage `yaml:"default"` // nil: none
	Description string          `yaml:"description"`
}

// Runner is how an Agent is reached.
type Runner struct {
	Type    string   `yaml:"type"`
	URL     string   `yaml:"url"`
	Command []string `yaml:"command"`
	Limits  Limits   `yaml:"limits"`
}

// Limits are what each process of a command may use. 0: not said.
type Limits struct {
	MemoryMB   int64 `yaml:"memory_mb"`
	CPUSeconds int64 `yaml:"cpu_seconds"`
	FileMB     int64 `yaml:"file_mb"`
}

// Laptop reports whether only this machine can reach the server: it listens on
// loopback alone and has no public address. A proxy in front of it would make
// it reachable, and has its address in the url setting.
func (c Config) Laptop() bool {
	if c.URL != nil {
		return false
	}
	return loopback(c.Addr)
}

// loopback reports whether only this machine has the host of a host:port.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Invalid returns the error that refuses the value of a setting for a reason
// that only its user could find, and says where the value stands. A name may go
// on into the file: "agents[1].runner.url". The reason must not repeat the value.
func (c Config) Invalid(name string, reason error) error {
	return problem(name, c.sources.of(name), reason)
}

func problem(name, source string, reason error) error { return &Problem{name, source, reason} }

// Problem is the refusal of a setting's value.
type Problem struct {
	name, source string
	reason       error
}

func (p *Problem) Error() string { return fmt.Sprintf("%s (%s): %v", p.name, p.source, p.reason) }
func (p *Problem) Unwrap() error { return p.reason }

// sources says where the value of each setting stands: "--addr", "KEYWARD_ADDR",
// "keyward.yaml line 3".
type sources map[string]string

// of returns the source of name, or of the nearest part around it.
func (s sources) of(name string) string {
	for {
		if source, ok := s[name]; ok {
			return source
		}
		i := strings.LastIndexAny(name, ".[")
		if i < 0 {
			return "default"
		}
		name = name[:i]
	}
}

// Database is the address of a PostgreSQL database, or the zero Database, which
// means SQLite in the data folder. The address may hold a password, so it
// prints without its user and query; Reveal is the one way to its text. The
// text is behind a pointer since fmt calls no String method on a private field.
type Database struct{ text *string }

// Reveal returns the whole address, "" for SQLite.
func (d Database) Reveal() string {
	if d.text == nil {
		return ""
	}
	return *d.text
}

// String returns the address without user, password and query.
func (d Database) String() string {
	if d.text == nil {
		return "sqlite"
	}
	u, err := url.Parse(*d.text)
	// With an @ that was not taken for the end of the user name, a part of the
	// password stands where the host or the path should be.
	if err != nil || u.User == nil && strings.Contains(*d.text, "@") || strings.Count(*d.text, "@") > 1 {
		return "postgres://…"
	}
	return "postgres://" + u.Host + u.EscapedPath()
}

// GoString keeps the password out of %#v.
func (d Database) GoString() string { return d.String() }

// MarshalText keeps the password out of JSON and of structured logs.
func (d Database) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// password reports whether the address may hold a password.
func (d Database) password() bool {
	u, err := url.Parse(d.Reveal())
	if err != nil {
		return true
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password")
}
