package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Flags adds the flag of every setting to fs.
func Flags(fs *pflag.FlagSet) {
	for _, s := range settings {
		if s.onlyInFile {
			continue
		}
		summary, _, _ := strings.Cut(s.help, ". ")
		fs.Var(&flagValue{setting: s, text: s.initial}, s.flag(), strings.TrimSuffix(summary, "."))
	}
}

// flagValue is the value of a flag as it was typed. It takes anything, so that
// all refusals come from Load; a list grows each time its flag is given.
type flagValue struct {
	setting setting
	text    string
	given   bool
}

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.setting.form }

func (v *flagValue) Set(text string) error {
	if v.given && v.setting.many != nil {
		text = v.text + "," + text
	}
	v.text, v.given = text, true
	return nil
}

// Load reads the settings from flags, which Flags was given and which are
// parsed, from environ (as os.Environ returns it), and from the config file that
// these name, with readFile (as os.ReadFile). It returns them with warnings, a
// sentence each, or with an error that has a line for everything that is wrong.
func Load(flags *pflag.FlagSet, environ []string, readFile func(name string) ([]byte, error)) (Config, []string, error) {
	l := loader{merged: koanf.New("."), sources: sources{}}
	fromFlags, fromEnv := l.flags(flags), l.environ(environ)
	for _, layer := range []map[string]value{fromEnv, fromFlags} {
		if v, ok := layer["config"]; ok && v.items[0] != "" {
			l.sources["config"] = v.source
			l.path = v.items[0]
		}
	}
	var c Config
	if l.path != "" {
		l.add(l.file(readFile, &c))
	}
	l.add(fromEnv)
	l.add(fromFlags)

	for _, s := range settings {
		l.apply(s, &c)
	}
	c.sources = l.sources
	l.together(c)
	if len(l.problems) > 0 {
		return Config{}, l.warnings, errors.Join(l.problems...)
	}
	return c, l.warnings, nil
}

// value is what one source gives for one setting. A setting that is no list has
// one item.
type value struct {
	items  []string
	source string
}

// loader carries what the steps of Load add to.
type loader struct {
	path     string // of the config file; "": none
	merged   *koanf.Koanf
	sources  sources
	problems []error
	warnings []string
}

func (l *loader) refuse(name, source, format string, args ...any) {
	l.problems = append(l.problems, problem(name, source, fmt.Errorf(format, args...)))
}

// add puts a layer over the earlier ones.
func (l *loader) add(layer map[string]value) {
	flat := map[string]any{}
	for name, v := range layer {
		flat[name] = v.items
		l.sources[name] = v.source
	}
	if err := l.merged.Load(confmap.Provider(flat, "."), nil); err != nil {
		l.problems = append(l.problems, err)
	}
}

func (l *loader) flags(fs *pflag.FlagSet) map[string]value {
	layer := map[string]value{}
	fs.Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*flagValue); ok {
			layer[v.setting.name] = value{v.setting.split(v.text), "--" + f.Name}
		}
	})
	return layer
}

func (l *loader) environ(environ []string) map[string]value {
	layer := map[string]value{}
	variables := map[string]setting{}
	for _, s := range settings {
		variables[s.variable()] = s
	}
	unknown := map[string]bool{}
	read := env.Provider(".", env.Opt{
		Prefix:      "KEYWARD_",
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(k, v string) (string, any) {
			s, ok := variables[k]
			switch {
			case !ok:
				unknown[k] = !foreign(k)
			case s.onlyInFile:
				l.refuse(s.name, k, "can be given in the config file alone")
			default:
				layer[s.name] = value{s.split(v), k}
			}
			return "", nil
		},
	})
	if _, err := read.Read(); err != nil {
		l.problems = append(l.problems, err)
	}
	for _, k := range slices.Sorted(maps.Keys(unknown)) {
		if unknown[k] {
			l.problems = append(l.problems, fmt.Errorf("%s: there is no such variable; %s",
				shown(k), suggest(k, slices.Collect(maps.Keys(variables)))))
		}
	}
	return layer
}

// foreign reports whether a variable that begins with KEYWARD_ is no setting
// and yet in its place: one of the others, one of this project's tests, or one
// of those that Kubernetes sets in every container beside a service that is
// named keyward.
func foreign(variable string) bool {
	for _, o := range others {
		if o.variable == variable {
			return true
		}
	}
	rest := strings.TrimPrefix(variable, "KEYWARD_")
	return strings.HasPrefix(rest, "TEST_") ||
		rest == "SERVICE_HOST" || rest == "SERVICE_PORT" || strings.HasPrefix(rest, "SERVICE_PORT_") ||
		rest == "PORT" || strings.HasPrefix(rest, "PORT_")
}

// apply checks the value of s, or else its default, and puts it into c.
func (l *loader) apply(s setting, c *Config) {
	items, given := l.merged.Get(s.name).([]string)
	if !given {
		items = s.split(s.initial)
	}
	source := l.sources.of(s.name)
	for _, item := range items {
		switch {
		case item == "" && given:
			l.refuse(s.name, source, "is empty: give it a value, or leave it out")
			return
		case !utf8.ValidString(item) || strings.ContainsFunc(item, unicode.IsControl):
			l.refuse(s.name, source, "holds a control character or bytes that are not UTF-8")
			return
		}
	}
	var err error
	switch {
	case s.many != nil:
		err = s.many(c, items)
	case s.one != nil && items[0] != "":
		err = s.one(c, items[0])
	}
	if err != nil {
		l.refuse(s.name, source, "%w", err)
	}
}

// together checks what no setting can know alone.
func (l *loader) together(c Config) {
	for _, pair := range [][2]string{
		{"tls_cert", "tls_key"}, {"tls_key", "tls_cert"}, {"smtp.host", "smtp.from"}, {"smtp.from", "smtp.host"},
		{"smtp.user", "smtp.password"}, {"smtp.password", "smtp.user"},
	} {
		if l.merged.Exists(pair[0]) && !l.merged.Exists(pair[1]) {
			l.refuse(pair[0], l.sources.of(pair[0]), "needs %s too: give both or neither", pair[1])
		}
	}
	if l.merged.Exists("smtp.user") && !l.merged.Exists("smtp.host") {
		l.refuse("smtp.user", l.sources.of("smtp.user"), "needs smtp.host too")
	}
	if l.merged.Exists("smtp.password") && c.SMTP.TLS == "none" {
		l.refuse("smtp.tls", l.sources.of("smtp.tls"), "must be starttls or tls, or the password (smtp.password) would be sent in the clear")
	}
	if l.merged.Exists("client_ip_header") && len(c.TrustedProxies) == 0 {
		l.warnings = append(l.warnings, fmt.Sprintf(
			"client_ip_header (%s) is never read, since trusted_proxies names no proxy", l.sources.of("client_ip_header")))
	}
	if c.SMTP.Host != "" && c.SMTP.TLS == "none" && !loopback(c.SMTP.Host) {
		l.warnings = append(l.warnings, fmt.Sprintf(
			"smtp.tls (%s) is none, and the mail server is not on this machine: whoever is on the way there can read the e-mail", l.sources.of("smtp.tls")))
	}
	if l.sources.of("smtp.password") == "--smtp-password" {
		l.warnings = append(l.warnings,
			"smtp.password (--smtp-password) can be read by other users of this machine in the list of programs: use KEYWARD_SMTP_PASSWORD or the config file")
	}
	if source := l.sources.of("database"); source == "--database" && c.Database.password() {
		l.warnings = append(l.warnings,
			"database (--database) holds a password, which other users of this machine can read in the list of programs: use KEYWARD_DATABASE or the config file")
	}
}

// suggest says which of names was meant by name, or else where to look.
func suggest(name string, names []string) string {
	nearest := slices.MinFunc(names, func(a, b string) int {
		return cmp.Or(distance(name, a)-distance(name, b), strings.Compare(a, b))
	})
	if distance(name, nearest) <= min((len(nearest)+1)/2, 4) {
		return "did you mean " + nearest + "?"
	}
	return "docs/configuration.md has them all"
}

// distance is how many letters must be added, dropped or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// shown returns an unknown name if it looks like a name, and not like a secret
// in the wrong place.
func shown(name string) string {
	if match(name, `[A-Za-z][A-Za-z0-9_.-]{0,63}`, "") != nil {
		return "a name"
	}
	return name
}
