package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/internal/seal"
)

// setting is one row of the table. Its flag, its variable and its place in the
// file all follow from its name.
type setting struct {
	name    string // as in the file; each "." goes one level down
	form    string // what a value looks like, in a word or two
	initial string // the default, as a variable would have it
	empty   string // what no value means, where initial is ""
	example string // for the example file, where initial would not do
	help    string // the first sentence is what --help prints

	// Exactly one of these takes the value, except that a setting read by Load
	// or by the file itself has none.
	one  func(c *Config, text string) error
	many func(c *Config, items []string) error

	notInFile, onlyInFile bool
}

func (s setting) flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(s.name) }

func (s setting) variable() string {
	return "KEYWARD_" + strings.ToUpper(strings.ReplaceAll(s.name, ".", "_"))
}

// split returns the value that text holds as a flag or a variable.
func (s setting) split(text string) []string {
	if s.many == nil {
		return []string{text}
	}
	items := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// settings is the table, in the order of the documents.
var settings = []setting{
	{
		name: "config", form: "file", notInFile: true, example: "keyward.yaml",
		empty: "no file",
		help: `Read settings from this YAML file. A name in it that is no setting is refused. ` +
			`Without this, no file is read.`,
	},
	{
		name: "addr", form: "host:port", initial: "127.0.0.1:8080",
		help: `Listen on this address. Port 0 takes a free one, which the last line at start names. ` +
			`The default can be reached from this machine alone; :8080 is every address of it.`,
		one: func(c *Config, text string) error {
			c.Addr = text
			return checkAddr(text)
		},
	},
	{
		name: "url", form: "url", example: "https://keys.example.com",
		empty: "made from the address",
		help: `The public address of this server. Links, the issuer of tokens and agent_run_url come from it alone. ` +
			`Scheme and host, and no more: https://keys.example.com.`,
		one: func(c *Config, text string) (err error) {
			c.URL, err = publicURL(text)
			return err
		},
	},
	{
		name: "tls_cert", form: "file", example: "/etc/keyward/cert.pem",
		empty: "plain HTTP",
		help: `Serve HTTPS with the certificates in this PEM file. Needs tls_key too. ` +
			`The file is read again when it changes.`,
		one: func(c *Config, text string) error {
			c.TLSCert = text
			return nil
		},
	},
	{
		name: "tls_key", form: "file", example: "/etc/keyward/key.pem",
		empty: "plain HTTP",
		help:  `The PEM file with the private key of tls_cert. It is read again when it changes.`,
		one: func(c *Config, text string) error {
			c.TLSKey = text
			return nil
		},
	},
	{
		name: "trusted_proxies", form: "list of addresses", example: "10.0.0.0/8, 2001:db8::7",
		empty: "none",
		help: `Believe what these proxies say of a caller's address. Addresses and CIDR networks. ` +
			`A caller's address is the connection's, or, where that is one of these, the right-most address in ` +
			`client_ip_header that is none of these.`,
		many: func(c *Config, items []string) (err error) {
			c.TrustedProxies, err = networks(items)
			return err
		},
	},
	{
		name: "client_ip_header", form: "header", initial: "X-Forwarded-For",
		help: `The one header in which trusted_proxies give the caller's address. All others are ignored. ` +
			`The proxy must set it or add to it on every request.`,
		one: func(c *Config, text string) error {
			c.ClientIPHeader = textproto.CanonicalMIMEHeaderKey(text)
			return match(text, `[A-Za-z0-9-]{1,64}`, "must be the name of a header")
		},
	},
	{
		name: "gateways", form: "list of addresses", example: "10.0.0.5",
		empty: "none",
		help: `Let gateways at these addresses ask /v1/verify about the keys of all organizations, with organization=any. ` +
			`Addresses and CIDR networks; the address of the connection counts, whatever a header says. ` +
			`Without this, a gateway must name the one organization whose keys it lets in.`,
		many: func(c *Config, items []string) (err error) {
			c.Gateways, err = networks(items)
			return err
		},
	},
	{
		name: "metrics_addr", form: "host:port", example: "127.0.0.1:9090",
		empty: "/metrics on addr",
		help: `Serve /metrics, in the form that Prometheus reads, on this address alone and not on addr. ` +
			`They hold no secret and name no customer, but tell how much there is to do.`,
		one: func(c *Config, text string) error {
			c.MetricsAddr = text
			return checkAddr(text)
		},
	},
	{
		name: "data", form: "folder", initial: "./keyward-data",
		help: `Keep the database, the root key and the control socket in this folder. ` +
			`It is made if it is not there, for this user alone, and one server at a time uses it.`,
		one: func(c *Config, text string) error {
			c.Data = text
			return nil
		},
	},
	{
		name: "database", form: "url", example: "postgres://keyward@db.example.com/keyward",
		empty: "SQLite in the data folder",
		help: `Use this PostgreSQL database instead of SQLite in the data folder. ` +
			`The address may hold a password and is never printed whole. Give it as the variable or in the file: ` +
			`other users of the machine can read the flags of a program.`,
		one: func(c *Config, text string) error {
			c.Database = Database{&text}
			if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
				return errors.New("must begin with postgres://; to use SQLite, leave the setting out")
			}
			return nil
		},
	},
	{
		name: "signup", form: "open|closed", initial: "open",
		help: `Who may register: with open, everybody. With closed, nobody but the holder of the setup code; ` +
			`the operator makes accounts with keyward accounts create.`,
		one: func(c *Config, text string) error {
			c.SignupOpen = text == "open"
			return oneOf(text, "open", "closed")
		},
	},
	{
		name: "default_tier", form: "free|pro|enterprise", initial: "free",
		help: `The tier of new organizations, which says how often each of their API keys may be used: free is 100 requests an hour and 10 in any second, ` +
			`pro 1,000 and 100, enterprise unlimited. Those that are there keep theirs (keyward orgs set-tier gives another), and the operator's own is enterprise.`,
		one: func(c *Config, text string) error {
			c.DefaultTier = text
			return oneOf(text, "free", "pro", "enterprise")
		},
	},
	{
		name: "quotas.agents", form: "number", initial: "100",
		help: `The most agents that an organization may have. 0 is none, and unlimited is no limit. ` +
			`Quotas keep one organization from filling a server that it shares; the operator can give one others. ` +
			`People write agents, so a hundred is a lot.`,
		one: func(c *Config, text string) (err error) {
			c.Quotas.Agents, err = quota(text)
			return err
		},
	},
	{
		name: "quotas.auth_profiles", form: "number", initial: "10000",
		help: `The most auth profiles that an organization may have. 0 is none, and unlimited is no limit. ` +
			`A profile is one customer's login, a few KiB as a rule.`,
		one: func(c *Config, text string) (err error) {
			c.Quotas.AuthProfiles, err = quota(text)
			return err
		},
	},
	{
		name: "quotas.keys", form: "number", initial: "1000",
		help: `The most API keys that an organization may have. 0 is none, and unlimited is no limit. ` +
			`Deleted keys do not count.`,
		one: func(c *Config, text string) (err error) {
			c.Quotas.Keys, err = quota(text)
			return err
		},
	},
	{
		name: "quotas.queued_runs", form: "number", initial: "100000",
		help: `The most runs that an organization may have waiting or under way of those that were started without waiting for them. ` +
			`0 is none, and unlimited is no limit. A run that waits takes a few KiB on the disk.`,
		one: func(c *Config, text string) (err error) {
			c.Quotas.QueuedRuns, err = quota(text)
			return err
		},
	},
	{
		name: "key_prefix", form: "word", initial: "ra",
		help: `What new API keys begin with: ra_live_…. 2 to 10 lower-case letters and digits, a letter first. ` +
			`Keys with another prefix are not accepted, so set it before the first key is made.`,
		one: func(c *Config, text string) error {
			c.KeyPrefix = text
			return match(text, `[a-z][a-z0-9]{1,9}`, "must be 2 to 10 lower-case letters and digits, a letter first")
		},
	},
	{
		name: "runners.allow", form: "list of host:port", example: "127.0.0.1:9000, 10.2.0.0/16:443",
		empty: "none",
		help: `Where the operator's own agents may be reached beyond the public internet. ` +
			`Each is ADDRESS:PORT, NETWORK:PORT or NAME:PORT, an IPv6 one in brackets: [::1]:9000, [fd00::/8]:443. ` +
			`Plain http is allowed there. Other organizations' agents must be at public https addresses.`,
		many: func(c *Config, items []string) error {
			c.RunnersAllow = items
			return nil
		},
	},
	{
		name: "agents", form: "list of agents", onlyInFile: true,
		empty: "none",
		help: `Agents of the operator's organization, made and kept up to date at every start. ` +
			`They have the fields of POST /v1/agents, and an id each. Only these can have a runner that starts a program. ` +
			`Its limits hold for each process that takes part in a run: memory_mb of data (4096 if it is left out), ` +
			`cpu_seconds (as many as the run may take), and file_mb (1024), the length of a file that it writes.`,
	},
	{
		name: "runs.at_once", form: "number", example: "32",
		empty: "twice the number of processors",
		help: `The most runs that this server does at once. The others wait in order, and organizations take turns. ` +
			`Runs of web services mostly wait themselves, so a server can do many of them; a program takes its share of this machine.`,
		one: func(c *Config, text string) error {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > mostAtOnce {
				return fmt.Errorf("must be a whole number from 1 to %d", mostAtOnce)
			}
			c.Runs.AtOnce = n
			return nil
		},
	},
	{
		name: "runs.keep", form: "duration", initial: "720h",
		help: `Keep runs for so long after their end: what they put out, how they ended, and that they were. ` +
			`What is older is removed within an hour; keyward runs prune removes more.`,
		one: func(c *Config, text string) (err error) {
			c.Runs.Keep, err = duration(text, longestKept)
			return err
		},
	},
	{
		name: "runs.keep_logs", form: "duration", initial: "168h",
		help: `Keep the logs of runs, and their output in parts, for so long after their end.`,
		one: func(c *Config, text string) (err error) {
			c.Runs.KeepLogs, err = duration(text, longestKept)
			return err
		},
	},
	{
		name: "usage.keep_minutes", form: "duration", initial: "48h",
		help: `How long it is kept how much each key was used in each minute. A number with its unit: 48h. ` +
			`They take the most room: about 10 bytes for each key that is used in a minute.`,
		one: func(c *Config, text string) (err error) {
			c.UsageKept.Minutes, err = duration(text, longestKept)
			return err
		},
	},
	{
		name: "usage.keep_hours", form: "duration", initial: "2160h",
		help: `How long it is kept how much each key was used in each hour. 2160h is 90 days.`,
		one: func(c *Config, text string) (err error) {
			c.UsageKept.Hours, err = duration(text, longestKept)
			return err
		},
	},
	{
		name: "usage.keep_days", form: "duration", initial: "17520h",
		help: `How long it is kept how much each key was used on each day, in UTC. 17520h is two years.`,
		one: func(c *Config, text string) (err error) {
			c.UsageKept.Days, err = duration(text, longestKept)
			return err
		},
	},
	{
		name: "smtp.host", form: "host:port", example: "mail.example.com:587",
		empty: "no e-mail is sent",
		help: `Send e-mail, such as alerts on the use of an API key, through this mail server. ` +
			`Needs smtp.from too. Without it, alerts can go to webhooks alone.`,
		one: func(c *Config, text string) error {
			c.SMTP.Host = text
			host, port, err := net.SplitHostPort(text)
			if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || n == 0 {
				return errors.New("must be HOST:PORT, such as mail.example.com:587; an IPv6 address stands in brackets")
			}
			return nil
		},
	},
	{
		name: "smtp.from", form: "address", example: "Keyward <keyward@example.com>",
		empty: "no e-mail is sent",
		help:  `Whom e-mail is from: keyward@example.com, or Keyward <keyward@example.com>.`,
		one: func(c *Config, text string) error {
			c.SMTP.From = text
			if a, err := mail.ParseAddress(text); err != nil || strings.ContainsAny(a.Address, " \"\\[]") {
				return errors.New("must be an address, such as keyward@example.com, or a name and an address: Keyward <keyward@example.com>")
			}
			return nil
		},
	},
	{
		name: "smtp.user", form: "name", example: "keyward",
		empty: "without signing in",
		help:  `Sign in to the mail server under this name. Needs smtp.password too.`,
		one: func(c *Config, text string) error {
			c.SMTP.User = text
			return nil
		},
	},
	{
		name: "smtp.password", form: "password", example: "a password",
		empty: "without signing in",
		help: `The password for the mail server. It goes over TLS alone and is never printed. Give it as the variable or ` +
			`in the file: other users of the machine can read the flags of a program.`,
		one: func(c *Config, text string) error {
			c.SMTP.Password = seal.NewSecret(text)
			return nil
		},
	},
	{
		name: "smtp.tls", form: "starttls|tls|none", initial: "starttls",
		help: `How the connection to the mail server is protected: with starttls it must offer STARTTLS, as on port 587; ` +
			`with tls it is TLS from the first byte, as on port 465. With none everything is sent in the clear, which is for a ` +
			`mail server on the same machine, and a password is not sent at all.`,
		one: func(c *Config, text string) error {
			c.SMTP.TLS = text
			return oneOf(text, "starttls", "tls", "none")
		},
	},
	{
		name: "shutdown_timeout", form: "duration", initial: "30s",
		help: `How long requests that are under way may take to finish when the server is told to stop. ` +
			`A number with its unit: 500ms, 30s, 2m.`,
		one: func(c *Config, text string) (err error) {
			c.ShutdownTimeout, err = duration(text, time.Hour)
			return err
		},
	},
	{
		name: "log", form: "text|json", initial: "text",
		help: `The form of the log, one line an event on standard error.`,
		one: func(c *Config, text string) error {
			c.LogFormat = text
			return oneOf(text, "text", "json")
		},
	},
	{
		name: "log_level", form: "debug|info|warn|error", initial: "info",
		help: `Leave out of the log what matters less than this.`,
		one: func(c *Config, text string) error {
			if err := oneOf(text, "debug", "info", "warn", "error"); err != nil {
				return err
			}
			return c.LogLevel.UnmarshalText([]byte(text))
		},
	},
}

// others are the variables that begin like a setting's and are none.
var others = []struct{ variable, help string }{
	{"KEYWARD_ROOT_KEY", "The root key itself, all its lines. Before KEYWARD_ROOT_KEY_FILE and the root.key of the data folder."},
	{"KEYWARD_ROOT_KEY_FILE", "The file that holds the root key. Before the root.key of the data folder."},
	{"KEYWARD_SERVER", "For commands that call a server: its address."},
	{"KEYWARD_API_KEY", "For commands that call a server: the API key to call it with. Before RUNAGENT_API_KEY, and before the one that is kept."},
	{"KEYWARD_SIGNING_SECRET", "For commands that call a server: the signing secret of the API key, if it requires signatures."},
	{"KEYWARD_AUTH_TOKEN", "For commands that use an auth profile: its auth token."},
	{"KEYWARD_PASSWORD", "For setup and login: the password."},
	{"KEYWARD_SETUP_CODE", "For setup: the setup code of a new server."},
	{"KEYWARD_CONFIG_DIR", "For commands that call a server: the folder of what they keep, instead of keyward in the user's folder for settings."},
	{"KEYWARD_KEYCHAIN", "For commands that call a server: off is to keep keys in a file, and not in the system's keychain."},
	{"KEYWARD_RUN_ID", "Set for a program that a command runner starts: the id of its run."},
}

func checkAddr(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New("must be HOST:PORT, such as 127.0.0.1:8080; an IPv6 address stands in brackets")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("the port must be a number up to 65535")
	}
	return nil
}

// publicURL reads the public address. What browsers leave out of a Host header,
// letter case and a scheme's own port, is gone from the result.
func publicURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, errors.New("must be https:// or http:// and a host, such as https://keys.example.com")
	case u.User != nil:
		return nil, errors.New("must not hold a user name or password")
	case u.Path != "" && u.Path != "/":
		return nil, errors.New("must not have a path: the server answers at the root of its host")
	case strings.ContainsAny(text, "?#"):
		return nil, errors.New("must not have a query or a fragment")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.HasSuffix(u.Host, ":") {
		return nil, errors.New("has a colon and no port")
	}
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("the port must be a number from 1 to 65535")
		}
	}
	if port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return &url.URL{Scheme: u.Scheme, Host: host}, nil
}

func networks(items []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for i, item := range items {
		network, err := netip.ParsePrefix(item)
		if ip, ipErr := netip.ParseAddr(item); ipErr == nil && ip.Zone() == "" {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("item %d must be an address or a network, such as 10.0.0.7 or 10.0.0.0/8", i+1)
		case network.Addr().Is4In6():
			return nil, fmt.Errorf("item %d is an IPv4 address in IPv6 form: write it as IPv4", i+1)
		case network != network.Masked():
			return nil, fmt.Errorf("item %d has bits beyond its length: write the first address of the network, or one address without a length", i+1)
		case network.Bits() == 0:
			return nil, fmt.Errorf("item %d is every address there is, so every caller could choose an address: name the proxies", i+1)
		}
		all = append(all, network)
	}
	return all, nil
}

func quota(text string) (int64, error) {
	if text == "unlimited" {
		return Unlimited, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("must be a whole number, 0 or more, or unlimited")
	}
	return n, nil
}

// mostAtOnce bounds runs.at_once: a run has a connection, or a process.
const mostAtOnce = 10000

// longestKept is a hundred years.
const longestKept = 100 * 365 * 24 * time.Hour

func duration(text string, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("must be a number with its unit, such as 30s")
	}
	if d <= 0 || d > most {
		return 0, fmt.Errorf("must be more than 0s and at most %v", most)
	}
	return d, nil
}

func oneOf(text string, allowed ...string) error {
	if slices.Contains(allowed, text) {
		return nil
	}
	last := len(allowed) - 1
	return fmt.Errorf("must be %s or %s", strings.Join(allowed[:last], ", "), allowed[last])
}

func match(text, pattern, reason string) error {
	if !regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(text) {
		return errors.New(reason)
	}
	return nil
}
