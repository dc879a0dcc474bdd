package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the documents that are printed from the table")

// load is Load with the config file as text, "" for none.
func load(t *testing.T, args, environ []string, file string) (Config, []string, error) {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Flags(flags)
	if file != "" {
		args = append(args, "--config", "keyward.yaml")
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(flags, environ, func(name string) ([]byte, error) {
		if file == "" || name != "keyward.yaml" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return []byte(file), nil
	})
}

func mustLoad(t *testing.T, args, environ []string, file string) Config {
	t.Helper()
	c, warnings, err := load(t, args, environ, file)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("Load: %v, warnings %q", err, warnings)
	}
	return c
}

func TestDocumentsAreFresh(t *testing.T) {
	for path, want := range map[string]string{
		"../../docs/configuration.md": Markdown(),
		"../../keyward.example.yaml":  Example(),
	} {
		path = filepath.FromSlash(path)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what the table says (%v): go test ./internal/config -update", path, err)
		}
	}
}

func TestEverySettingIsDescribed(t *testing.T) {
	for _, s := range settings {
		if s.form == "" || s.help == "" || (s.initial == "") == (s.empty == "") {
			t.Errorf("%s: form %q, help %q, initial %q, empty %q", s.name, s.form, s.help, s.initial, s.empty)
		}
		if takes := (s.one != nil) != (s.many != nil); takes == (s.onlyInFile || s.notInFile) {
			t.Errorf("%s: no one takes its value, or two do", s.name)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, nil, nil, "")
	c.sources = nil
	want := Config{
		Addr:            "127.0.0.1:8080",
		Data:            "./keyward-data",
		ClientIPHeader:  "X-Forwarded-For",
		SignupOpen:      true,
		DefaultTier:     "free",
		Quotas:          Quotas{Agents: 100, AuthProfiles: 10_000, Keys: 1_000, QueuedRuns: 100_000},
		KeyPrefix:       "ra",
		RunnersAllow:    []string{},
		Runs:            Runs{Keep: 30 * 24 * time.Hour, KeepLogs: 7 * 24 * time.Hour},
		UsageKept:       UsageKept{Minutes: 48 * time.Hour, Hours: 90 * 24 * time.Hour, Days: 2 * 365 * 24 * time.Hour},
		SMTP:            SMTP{TLS: "starttls"},
		ShutdownTimeout: 30 * time.Second,
		LogFormat:       "text",
		LogLevel:        slog.LevelInfo,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestEverySettingHasAFlagAVariableAndAPlaceInTheFile(t *testing.T) {
	cases := map[string]struct {
		flag, variable, text string
		file                 string
		got                  func(Config) any
		want                 any
	}{
		"addr":             {"addr", "ADDR", "[::1]:0", `addr: "[::1]:0"`, func(c Config) any { return c.Addr }, "[::1]:0"},
		"url":              {"url", "URL", "https://K.example.com:443/", "url: https://K.example.com:443/", func(c Config) any { return c.URL.String() }, "https://k.example.com"},
		"trusted_proxies":  {"trusted-proxies", "TRUSTED_PROXIES", "10.0.0.0/8, ::1", `trusted_proxies: [10.0.0.0/8, "::1"]`, func(c Config) any { return c.TrustedProxies }, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}},
		"data":             {"data", "DATA", "/srv/k", "data: /srv/k", func(c Config) any { return c.Data }, "/srv/k"},
		"database":         {"database", "DATABASE", "postgres://h/k", "database: postgres://h/k", func(c Config) any { return c.Database.Reveal() }, "postgres://h/k"},
		"signup":           {"signup", "SIGNUP", "closed", "signup: closed", func(c Config) any { return c.SignupOpen }, false},
		"default_tier":     {"default-tier", "DEFAULT_TIER", "pro", "default_tier: pro", func(c Config) any { return c.DefaultTier }, "pro"},
		"agents quota":     {"quotas-agents", "QUOTAS_AGENTS", "0", "quotas: {agents: 0}", func(c Config) any { return c.Quotas.Agents }, int64(0)},
		"runs quota":       {"quotas-queued-runs", "QUOTAS_QUEUED_RUNS", "unlimited", "quotas:\n  queued_runs: unlimited", func(c Config) any { return c.Quotas.QueuedRuns }, Unlimited},
		"profiles quota":   {"quotas-auth-profiles", "QUOTAS_AUTH_PROFILES", "unlimited", "quotas:\n  auth_profiles: unlimited", func(c Config) any { return c.Quotas.AuthProfiles }, Unlimited},
		"keys quota":       {"quotas-keys", "QUOTAS_KEYS", "5", "quotas.keys: 5", func(c Config) any { return c.Quotas.Keys }, int64(5)},
		"key_prefix":       {"key-prefix", "KEY_PREFIX", "no", "key_prefix: no", func(c Config) any { return c.KeyPrefix }, "no"},
		"runners.allow":    {"runners-allow", "RUNNERS_ALLOW", "127.0.0.1:9000,10.2.0.0/16:443", "runners:\n  allow:\n    - 127.0.0.1:9000\n    - 10.2.0.0/16:443", func(c Config) any { return c.RunnersAllow }, []string{"127.0.0.1:9000", "10.2.0.0/16:443"}},
		"runs.at_once":     {"runs-at-once", "RUNS_AT_ONCE", "7", "runs: {at_once: 7}", func(c Config) any { return c.Runs.AtOnce }, 7},
		"kept runs":        {"runs-keep", "RUNS_KEEP", "48h", "runs: {keep: 48h}", func(c Config) any { return c.Runs.Keep }, 48 * time.Hour},
		"kept logs":        {"runs-keep-logs", "RUNS_KEEP_LOGS", "1h", "runs: {keep_logs: 1h}", func(c Config) any { return c.Runs.KeepLogs }, time.Hour},
		"kept minutes":     {"usage-keep-minutes", "USAGE_KEEP_MINUTES", "1h", "usage: {keep_minutes: 1h}", func(c Config) any { return c.UsageKept.Minutes }, time.Hour},
		"kept hours":       {"usage-keep-hours", "USAGE_KEEP_HOURS", "48h", "usage:\n  keep_hours: 48h", func(c Config) any { return c.UsageKept.Hours }, 48 * time.Hour},
		"kept days":        {"usage-keep-days", "USAGE_KEEP_DAYS", "8760h", "usage.keep_days: 8760h", func(c Config) any { return c.UsageKept.Days }, 8760 * time.Hour},
		"smtp.tls":         {"smtp-tls", "SMTP_TLS", "none", "smtp: {tls: none}", func(c Config) any { return c.SMTP.TLS }, "none"},
		"shutdown_timeout": {"shutdown-timeout", "SHUTDOWN_TIMEOUT", "1m", "shutdown_timeout: 1m", func(c Config) any { return c.ShutdownTimeout }, time.Minute},
		"log":              {"log", "LOG", "json", "log: json", func(c Config) any { return c.LogFormat }, "json"},
		"log_level":        {"log-level", "LOG_LEVEL", "warn", "log_level: warn", func(c Config) any { return c.LogLevel }, slog.LevelWarn},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for source, c := range map[string]Config{
				"flag":     mustLoad(t, []string{"--" + tc.flag, tc.text}, nil, ""),
				"variable": mustLoad(t, nil, []string{"KEYWARD_" + tc.variable + "=" + tc.text}, ""),
				"file":     mustLoad(t, nil, nil, tc.file),
			} {
				if got := tc.got(c); !reflect.DeepEqual(got, tc.want) {
					t.Errorf("by %s: got %v, want %v", source, got, tc.want)
				}
			}
		})
	}

	c := mustLoad(t, []string{"--tls-cert", "a.pem"}, []string{"KEYWARD_TLS_KEY=b.pem", "KEYWARD_TRUSTED_PROXIES=::1"}, "client_ip_header: x-real-ip")
	if c.TLSCert != "a.pem" || c.TLSKey != "b.pem" || c.ClientIPHeader != "X-Real-Ip" {
		t.Errorf("got %q, %q, %q", c.TLSCert, c.TLSKey, c.ClientIPHeader)
	}
}

func TestAFlagGoesBeforeAVariableBeforeTheFileBeforeTheDefault(t *testing.T) {
	file := "addr: 127.0.0.1:1\ndata: file\nsignup: closed\nquotas: {agents: 1, keys: 1}\nrunners: {allow: [a:1, b:1]}\n"
	environ := []string{"KEYWARD_ADDR=127.0.0.1:2", "KEYWARD_DATA=variable", "KEYWARD_QUOTAS_KEYS=2", "PATH=/bin"}
	c := mustLoad(t, []string{"--addr=127.0.0.1:3", "--runners-allow=c:1", "--runners-allow=d:1, e:1"}, environ, file)
	if c.Addr != "127.0.0.1:3" || c.Data != "variable" || c.SignupOpen || c.DefaultTier != "free" {
		t.Errorf("got %q, %q, %v, %q", c.Addr, c.Data, c.SignupOpen, c.DefaultTier)
	}
	if want := (Quotas{Agents: 1, AuthProfiles: 10_000, Keys: 2, QueuedRuns: 100_000}); c.Quotas != want {
		t.Errorf("quotas %+v, want %+v", c.Quotas, want)
	}
	if got := strings.Join(c.RunnersAllow, " "); got != "c:1 d:1 e:1" {
		t.Errorf("runners.allow %q: a list is replaced as a whole, and grows with its flag", got)
	}
	if c := mustLoad(t, []string{"--runners-allow="}, nil, file); len(c.RunnersAllow) != 0 {
		t.Errorf("an empty list as a flag left %q", c.RunnersAllow)
	}
}

func TestARefusalSaysWhereAndWhatToDo(t *testing.T) {
	cases := []struct {
		name    string
		args    []string
		environ string
		file    string
		want    string
	}{
		{"flag", []string{"--signup=opne"}, "", "", "signup (--signup): must be open or closed"},
		{"variable", nil, "KEYWARD_SIGNUP=opne", "", "signup (KEYWARD_SIGNUP): must be open or closed"},
		{"line", nil, "", "\n# who\nsignup: opne\n", "signup (keyward.yaml line 3): must be open or closed"},
		{"nested line", nil, "", "quotas:\n  agents: many\n", "quotas.agents (keyward.yaml line 2): must be a whole number, 0 or more, or unlimited"},
		{"empty variable", nil, "KEYWARD_DATABASE=", "", "database (KEYWARD_DATABASE): is empty: give it a value, or leave it out"},
		{"empty flag", []string{"--database", ""}, "", "", "database (--database): is empty"},
		{"empty in the file", nil, "", `database: ""`, "database (keyward.yaml line 1): is empty"},
		{"empty config", nil, "KEYWARD_CONFIG=", "", "config (KEYWARD_CONFIG): is empty"},
		{"misspelt variable", nil, "KEYWARD_SINGUP=closed", "", "KEYWARD_SINGUP: there is no such variable; did you mean KEYWARD_SIGNUP?"},
		{"strange variable", nil, "KEYWARD_ZZZZZZZZZZZZ=1", "", "KEYWARD_ZZZZZZZZZZZZ: there is no such variable; docs/configuration.md has them all"},
		{"misspelt name", nil, "", "addr: 127.0.0.1:1\ntrusted_proxy: ::1", "trusted_proxy (keyward.yaml line 2): there is no such setting; did you mean trusted_proxies?"},
		{"misspelt nested name", nil, "", "runners: {alow: []}", "runners.alow (keyward.yaml line 1): there is no such setting; did you mean runners.allow?"},
		{"flag's spelling in the file", nil, "", "log-level: info", "log-level (keyward.yaml line 1): there is no such setting; did you mean log_level?"},
		{"config in the file", nil, "", "config: other.yaml", "config (keyward.yaml line 1): there is no such setting"},
		{"a name twice", nil, "", "log: text\nlog: json", "the file (keyward.yaml line 2): log is here twice"},
		{"a name in two spellings", nil, "", "quotas.keys: 1\nquotas: {keys: 2}", "quotas.keys (keyward.yaml line 2): is here twice"},
		{"not a level", nil, "", "quotas: 5", "quotas (keyward.yaml line 1): must hold names and values"},
		{"a list for one value", nil, "", "addr: [a, b]", "addr (keyward.yaml line 1): must be host:port"},
		{"a level in a list", nil, "", "runners: {allow: [{a: b}]}", "runners.allow (keyward.yaml line 1): item 1 must be plain text"},
		{"not a mapping", nil, "", "- a", "the file (keyward.yaml line 1): must hold names and values"},
		{"not YAML", nil, "", "addr: [", "keyward.yaml: is not YAML: line 1:"},
		{"two documents", nil, "", "log: text\n---\nlog: json\n", "keyward.yaml: holds a second document"},
		{"an alias", nil, "", "data: &d x\nlog: *d", "keyward.yaml: line 2: anchors and aliases are not read here"},
		{"too large", nil, "", strings.Repeat("#", maxFile+1), "keyward.yaml: is larger than 1 MiB"},
		{"no such file", []string{"--config", "other.yaml"}, "", "", "config (--config): open other.yaml: file does not exist"},
		{"agents as a variable", nil, "KEYWARD_AGENTS=x", "", "agents (KEYWARD_AGENTS): can be given in the config file alone"},
		{"control character", []string{"--data", "a\x00b"}, "", "", "data (--data): holds a control character"},
		{"half of TLS", []string{"--tls-cert", "c.pem"}, "", "", "tls_cert (--tls-cert): needs tls_key too: give both or neither"},
		{"other half of TLS", nil, "KEYWARD_TLS_KEY=k.pem", "", "tls_key (KEYWARD_TLS_KEY): needs tls_cert too: give both or neither"},
		{"addr without port", []string{"--addr", "localhost"}, "", "", "addr (--addr): must be HOST:PORT"},
		{"addr with a bad port", []string{"--addr", ":99999"}, "", "", "addr (--addr): the port must be a number up to 65535"},
		{"addr with a named port", []string{"--addr", ":http"}, "", "", "addr (--addr): the port must be a number up to 65535"},
		{"url without scheme", []string{"--url", "keys.example.com"}, "", "", "url (--url): must be https:// or http:// and a host"},
		{"url of another scheme", []string{"--url", "ftp://keys.example.com"}, "", "", "url (--url): must be https:// or http:// and a host"},
		{"url without host", []string{"--url", "https:///"}, "", "", "url (--url): must be https:// or http:// and a host"},
		{"url with path", []string{"--url", "https://k.example.com/keyward"}, "", "", "url (--url): must not have a path"},
		{"url with query", []string{"--url", "https://k.example.com?"}, "", "", "url (--url): must not have a query"},
		{"url with fragment", []string{"--url", "https://k.example.com#"}, "", "", "url (--url): must not have a query or a fragment"},
		{"url with user", []string{"--url", "https://u:p@k.example.com"}, "", "", "url (--url): must not hold a user name"},
		{"url with port 0", []string{"--url", "https://k.example.com:0"}, "", "", "url (--url): the port must be"},
		{"url with half a port", []string{"--url", "https://k.example.com:"}, "", "", "url (--url): has a colon and no port"},
		{"proxy name", []string{"--trusted-proxies", "::1, proxy.example.com"}, "", "", "trusted_proxies (--trusted-proxies): item 2 must be an address or a network"},
		{"everybody a proxy", []string{"--trusted-proxies", "0.0.0.0/0"}, "", "", "trusted_proxies (--trusted-proxies): item 1 is every address"},
		{"proxy bits", []string{"--trusted-proxies", "10.1.2.3/8"}, "", "", "trusted_proxies (--trusted-proxies): item 1 has bits beyond its length"},
		{"proxy in mapped form", []string{"--trusted-proxies", "::ffff:10.0.0.1"}, "", "", "trusted_proxies (--trusted-proxies): item 1 is an IPv4 address in IPv6 form"},
		{"proxy with a zone", []string{"--trusted-proxies", "fe80::1%eth0"}, "", "", "trusted_proxies (--trusted-proxies): item 1 must be"},
		{"header", []string{"--client-ip-header", "X Real"}, "", "", "client_ip_header (--client-ip-header): must be the name of a header"},
		{"database of another kind", []string{"--database", "mysql://x"}, "", "", "database (--database): must begin with postgres://"},
		{"tier", []string{"--default-tier", "gold"}, "", "", "default_tier (--default-tier): must be free, pro or enterprise"},
		{"negative quota", []string{"--quotas-keys", "-1"}, "", "", "quotas.keys (--quotas-keys): must be a whole number"},
		{"prefix", []string{"--key-prefix", "R"}, "", "", "key_prefix (--key-prefix): must be 2 to 10"},
		{"prefix with a line end", []string{"--key-prefix", "ra\n"}, "", "", "key_prefix (--key-prefix): holds a control character"},
		{"duration without unit", []string{"--shutdown-timeout", "30"}, "", "", "shutdown_timeout (--shutdown-timeout): must be a number with its unit, such as 30s"},
		{"no time at all", []string{"--shutdown-timeout", "0s"}, "", "", "shutdown_timeout (--shutdown-timeout): must be more than 0s"},
		{"for ever", []string{"--shutdown-timeout", "9000h"}, "", "", "at most 1h0m0s"},
		{"mail server without port", []string{"--smtp-host", "mail.example.com"}, "", "", "smtp.host (--smtp-host): must be HOST:PORT"},
		{"mail server without host", []string{"--smtp-host", ":25"}, "", "", "smtp.host (--smtp-host): must be HOST:PORT"},
		{"mail server with port 0", []string{"--smtp-host", "h:0"}, "", "", "smtp.host (--smtp-host): must be HOST:PORT"},
		{"mail from nobody", []string{"--smtp-host", "h:25"}, "", "", "smtp.host (--smtp-host): needs smtp.from too"},
		{"mail by nobody", nil, "KEYWARD_SMTP_FROM=k@example.com", "", "smtp.from (KEYWARD_SMTP_FROM): needs smtp.host too"},
		{"mail from no address", nil, "KEYWARD_SMTP_FROM=keyward", "", "smtp.from (KEYWARD_SMTP_FROM): must be an address"},
		{"mail user without password", nil, "", "smtp: {host: \"h:25\", from: k@example.com, user: u}", "smtp.user (keyward.yaml line 1): needs smtp.password too"},
		{"mail password without user", nil, "KEYWARD_SMTP_PASSWORD=x", "", "smtp.password (KEYWARD_SMTP_PASSWORD): needs smtp.user too"},
		{"mail user without server", nil, "", "smtp: {user: u, password: p}", "smtp.user (keyward.yaml line 1): needs smtp.host too"},
		{"mail password in the clear", nil, "KEYWARD_SMTP_PASSWORD=x KEYWARD_SMTP_TLS=none", "", "smtp.tls (KEYWARD_SMTP_TLS): must be starttls or tls"},
		{"mail TLS", []string{"--smtp-tls", "ssl"}, "", "", "smtp.tls (--smtp-tls): must be starttls, tls or none"},
		{"level", []string{"--log-level", "INFO+1"}, "", "", "log_level (--log-level): must be debug, info, warn or error"},
		{"agent without id", nil, "", "agents:\n  - name: x", "agents[0].id (keyward.yaml line 2): an agent in the file needs an id"},
		{"agent with another's id", nil, "", "agents:\n  - id: a\n  - id: a", "agents[1].id (keyward.yaml line 3): an earlier agent in the list has this id"},
		{"agent's unknown name", nil, "", "agents:\n  - id: a\n    runner:\n      ulr: x", "agents[0].runner (keyward.yaml line 4): ulr is not known here; did you mean url?"},
		{"agent's name twice", nil, "", "agents:\n  - id: a\n    id: b", "agents[0] (keyward.yaml line 3): id is here twice"},
		{"agents not a list", nil, "", "agents: {id: a}", "agents (keyward.yaml line 1): must be a list"},
		{"agent not a mapping", nil, "", "agents: [a]", "agents[0] (keyward.yaml line 1): must hold names and values"},
		{"agent's number", nil, "", "agents: [{id: a, timeout_seconds: 1.5}]", "agents[0].timeout_seconds (keyward.yaml line 1): must be a whole number"},
		{"agent's truth", nil, "", "agents:\n- id: a\n  input_arguments:\n  - required: yes", "agents[0].input_arguments[0].required (keyward.yaml line 4): must be true or false"},
		{"agent's default", nil, "", "agents: [{id: a, input_arguments: [{default: 0x1F}]}]", "agents[0].input_arguments[0].default (keyward.yaml line 1): must be written as in JSON"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := load(t, tc.args, strings.Fields(tc.environ), tc.file)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestEverythingThatIsWrongIsSaidAtOnce(t *testing.T) {
	_, _, err := load(t, []string{"--addr", "x"}, []string{"KEYWARD_SIGNUP=x", "KEYWARD_X=1"}, "log: x\nlgo: y")
	if err == nil || len(strings.Split(err.Error(), "\n")) != 5 {
		t.Errorf("want 5 lines, got:\n%v", err)
	}
}

func TestOtherVariablesOfKeywardAreLeftAlone(t *testing.T) {
	mustLoad(t, nil, []string{
		"KEYWARD_ROOT_KEY=kwroot1 …", "KEYWARD_ROOT_KEY_FILE=/x", "KEYWARD_SERVER=x", "KEYWARD_API_KEY=x", "KEYWARD_RUN_ID=x",
		"KEYWARD_TEST_REQUIRE=all",
		"KEYWARD_SERVICE_HOST=10.0.0.1", "KEYWARD_SERVICE_PORT=80", "KEYWARD_SERVICE_PORT_HTTP=80",
		"KEYWARD_PORT=tcp://10.0.0.1:80", "KEYWARD_PORT_80_TCP_ADDR=10.0.0.1",
		"keyward_x=1", "NOEQUALS",
	}, "")
}

func TestWarnings(t *testing.T) {
	_, warnings, err := load(t, []string{"--client-ip-header=X-Real-IP"}, nil, "")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "trusted_proxies names no proxy") {
		t.Errorf("got %q, %v", warnings, err)
	}
	for host, want := range map[string]int{"mail.example.com:25": 1, "10.0.0.1:25": 1, "127.0.0.1:25": 0, "localhost:25": 0, "[::1]:25": 0} {
		if _, warnings, err := load(t, []string{"--smtp-host", host, "--smtp-from=k@example.com", "--smtp-tls=none"}, nil, ""); err != nil || len(warnings) != want {
			t.Errorf("mail in the clear by %s: %q, %v", host, warnings, err)
		}
	}
	for _, address := range []string{"postgres://u:hunter2@h/d", "postgres://h/d?password=hunter2", "postgres://u:hun:ter2@h:x/d"} {
		_, warnings, err := load(t, []string{"--database", address}, nil, "")
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "use KEYWARD_DATABASE") {
			t.Errorf("as a flag: got %q, %v", warnings, err)
		}
		if _, warnings, _ := load(t, nil, []string{"KEYWARD_DATABASE=" + address}, ""); len(warnings) != 0 {
			t.Errorf("as a variable: got %q", warnings)
		}
	}
}

func TestADatabaseNeverPrintsItsPassword(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u:hunter2@db.example.com:5432/k?password=hunter2": "postgres://db.example.com:5432/k",
		"postgres://db/k":                    "postgres://db/k",
		"postgres:///k?host=/run/postgresql": "postgres:///k",
		"postgres://u:hunter2/x@h/d":         "postgres://…",
		"postgres://u:12/hunter2@h/d":        "postgres://…",
		"postgres://u:x@hunter2@h/d":         "postgres://…",
		"postgres://h/d?password=x@hunter2":  "postgres://…",
		"postgres://u:hunter2@h1:1,h2:2/d":   "postgres://h1:1,h2:2/d",
		"postgres://u:hunter2%zz@h/d":        "postgres://…",
	} {
		c := mustLoad(t, nil, []string{"KEYWARD_DATABASE=" + address}, "")
		if got := c.Database.String(); got != want {
			t.Errorf("prints %s, want %s", got, want)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c, "database", c.Database)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "database", c.Database)
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		hidden := struct{ c Config }{c}
		for _, printed := range []string{log.String(), string(text), fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), fmt.Sprintf("%v %+v %#v", hidden, hidden, hidden)} {
			if strings.Contains(printed, "hunter2") {
				t.Errorf("the password is in %s", printed)
			}
		}
	}
	if got := mustLoad(t, nil, nil, "").Database; got.Reveal() != "" || got.String() != "sqlite" {
		t.Errorf("no database: %q, %q", got.Reveal(), got.String())
	}
}

func TestThePasswordOfTheMailServerIsNeverPrinted(t *testing.T) {
	file := "smtp: {host: \"mail.example.com:465\", from: Keyward <k@example.com>, user: u, password: hunter2, tls: tls}"
	c := mustLoad(t, nil, nil, file)
	if c.SMTP.Password.Reveal() != "hunter2" || c.SMTP.Host != "mail.example.com:465" || c.SMTP.From != "Keyward <k@example.com>" || c.SMTP.User != "u" {
		t.Errorf("got %+v", c.SMTP)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c, "smtp", c.SMTP)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "smtp", c.SMTP)
	hidden := struct{ c Config }{c}
	for _, printed := range []string{log.String(), fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), fmt.Sprintf("%v %+v %#v", hidden, hidden, hidden)} {
		if strings.Contains(printed, "hunter2") {
			t.Errorf("the password is in %s", printed)
		}
	}
	_, warnings, err := load(t, []string{"--smtp-password=hunter2"}, nil, "smtp: {host: \"h:25\", from: k@example.com, user: u}")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "use KEYWARD_SMTP_PASSWORD") || strings.Contains(warnings[0], "hunter2") {
		t.Errorf("as a flag: %q, %v", warnings, err)
	}
}

func TestAgentsAreReadWithTheirTypes(t *testing.T) {
	c := mustLoad(t, nil, nil, agentsExample)
	want := []Agent{
		{
			ID: "invoices", Name: "Invoices", Description: "Fetches the invoices of a customer.",
			Visibility: "public", TimeoutSeconds: 120,
			InputArguments: []InputArgument{
				{Name: "username", Type: "string", Required: true},
				{Name: "password", Type: "string", Required: true, Sensitive: true},
				{Name: "months", Type: "number", Default: json.RawMessage("3"), Description: "How far to look back."},
			},
			Runner: Runner{Type: "http", URL: "https://agents.example.com/invoices"},
		},
		{ID: "report", Idempotent: true, MaxConcurrent: 4, Runner: Runner{
			Type: "command", Command: []string{"/usr/local/bin/report", "--json"}, Limits: Limits{MemoryMB: 512, CPUSeconds: 60, FileMB: 100},
		}},
	}
	if !reflect.DeepEqual(c.Agents, want) {
		t.Errorf("got  %+v\nwant %+v", c.Agents, want)
	}
	refused := c.Invalid("agents[0].input_arguments[2].type", errors.New("must be one of these"))
	if got := refused.Error(); got != "agents[0].input_arguments[2].type (keyward.yaml line 10): must be one of these" {
		t.Errorf("got %s", got)
	}
	if got := c.Invalid("agents[1].timeout_seconds", errors.New("x")).Error(); got != "agents[1].timeout_seconds (keyward.yaml line 12): x" {
		t.Errorf("a part that is not there: got %s", got)
	}
}

func TestAnAgentsDefaultIsJSON(t *testing.T) {
	for yaml, want := range map[string]string{
		"2024-01-01":             `"2024-01-01"`,
		"yes":                    `"yes"`,
		`"7"`:                    `"7"`,
		"12345678901234567890.5": "12345678901234567890.5",
		"true":                   "true",
		"[a, {b: null, c: [1]}]": `["a",{"b":null,"c":[1]}]`,
		"~":                      "",
	} {
		c := mustLoad(t, nil, nil, "agents: [{id: 007, input_arguments: [{default: "+yaml+"}]}]")
		if got := string(c.Agents[0].InputArguments[0].Default); got != want || c.Agents[0].ID != "007" {
			t.Errorf("%s: got %s, want %s (id %s)", yaml, got, want, c.Agents[0].ID)
		}
	}
}

func TestInvalidNamesTheSource(t *testing.T) {
	c := mustLoad(t, []string{"--addr=127.0.0.1:1"}, []string{"KEYWARD_DATA=x"}, "runners: {allow: [x]}")
	for name, want := range map[string]string{
		"addr":          "addr (--addr): reason",
		"data":          "data (KEYWARD_DATA): reason",
		"runners.allow": "runners.allow (keyward.yaml line 1): reason",
		"signup":        "signup (default): reason",
	} {
		if got := c.Invalid(name, errors.New("reason")).Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOnlyLoopbackWithoutAnAddressIsALaptop(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:8080": true, "127.9.9.9:0": true, "[::1]:8080": true, "localhost:8080": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "10.0.0.1:8080": false, "example.com:8080": false,
	} {
		if got := mustLoad(t, []string{"--addr", addr}, nil, "").Laptop(); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
		if mustLoad(t, []string{"--addr", addr, "--url", "http://localhost:8080"}, nil, "").Laptop() {
			t.Errorf("%s with a public address is a laptop", addr)
		}
	}
}

func TestTheExampleFileLoadsAsItStandsAndWithEveryLineTaken(t *testing.T) {
	mustLoad(t, nil, nil, Example())
	taken := regexp.MustCompile(`(?m)^#(\S|  )`).ReplaceAllString(Example(), "$1")
	c, _, err := load(t, nil, nil, taken)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Agents) != 2 || c.URL.String() != "https://keys.example.com" || len(c.RunnersAllow) != 2 || len(c.TrustedProxies) != 2 {
		t.Errorf("got %+v", c)
	}
	for _, s := range settings {
		if !s.notInFile && c.sources.of(s.name) == "default" {
			t.Errorf("%s is not in the example", s.name)
		}
	}
}

func TestTheHelpHasEveryFlagOnce(t *testing.T) {
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Flags(fs)
	help := fs.FlagUsages()
	for _, want := range []string{
		"--addr host:port", "Listen on this address (default 127.0.0.1:8080)", "--signup open|closed", "--config file",
		"--database url", "Use this PostgreSQL database instead of SQLite in the data folder\n",
	} {
		if !strings.Contains(help, want) {
			t.Errorf("%q is not in\n%s", want, help)
		}
	}
}

// No value of any source may be repeated, whatever it is.
func FuzzARefusalNeverRepeatsAValue(f *testing.F) {
	const canary = "hunter2/secret" // no name has a slash
	for _, seed := range []string{
		"data: CANARY", "signup: CANARY", "signup: {CANARY", "x: [CANARY", "url: https://CANARY@x", "*CANARY", "a: &CANARY [*CANARY]",
		"quotas: {keys: CANARY}", "agents: [{id: CANARY, runner: CANARY}]", "agents: [{id: 1, timeout_seconds: CANARY}]",
		"database: mysql://CANARY", "!CANARY x", "%CANARY", "trusted_proxies: [CANARY]", "- CANARY", "\x01CANARY", "key_prefix: 'CANARY",
		"!!int CANARY", "log: !!binary CANARY", "? CANARY\n: x", "postgres://u:CANARY@h: x", "agents: [{id: a, 'x CANARY': 1}]",
		"agents: [{id: a, input_arguments: [{default: !!int CANARY}]}]", "data: \"\\u0000CANARY\"", "a: b: CANARY",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		file = strings.ReplaceAll(file, "CANARY", canary)
		if file == "" {
			return
		}
		_, warnings, err := load(t, nil, []string{"KEYWARD_URL=" + file, "KEYWARD_TRUSTED_PROXIES=" + file}, file)
		for _, said := range append(warnings, fmt.Sprint(err)) {
			if strings.Contains(said, canary) {
				t.Errorf("the value is in %q", said)
			}
		}
	})
}

func FuzzADatabaseNeverPrintsWhatStandsBeforeTheHost(f *testing.F) {
	const canary = "hunter2"
	for _, seed := range [][3]string{{"u:", "", "h/d"}, {"u:", "/", "h"}, {"u:1/", "", "h"}, {"u@", "", "h"}, {"h/d?password=@", "", ""}, {"[", "", "::1]/x"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, before, after, host string) {
		if strings.Contains(host, canary) {
			return
		}
		text := "postgres://" + before + canary + after + "@" + host
		if printed := (Database{&text}).String(); strings.Contains(printed, canary) {
			t.Errorf("prints %q of %q", printed, text)
		}
	})
}
