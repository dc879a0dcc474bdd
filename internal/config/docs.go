package config

import (
	"fmt"
	"strings"
)

// agentsExample is what the documents show for the agents setting.
const agentsExample = `agents:
  - id: invoices
    name: Invoices
    description: Fetches the invoices of a customer.
    visibility: public
    timeout_seconds: 120
    input_arguments:
      - {name: username, type: string, required: true}
      - {name: password, type: string, required: true, sensitive: true}
      - {name: months, type: number, default: 3, description: How far to look back.}
    runner: {type: http, url: "https://agents.example.com/invoices"}
  - id: report
    idempotent: true
    max_concurrent: 4
    runner:
      type: command
      command: [/usr/local/bin/report, --json]
      limits: {memory_mb: 512, cpu_seconds: 60, file_mb: 100}
`

// Markdown returns docs/configuration.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

This page is printed from the table of settings in ` + "`internal/config/settings.go`" + `.

Every setting of ` + "`keyward serve`" + ` has a flag, a variable and a name in the config file, which is YAML and is
named with ` + "`--config`" + `. A flag goes before a variable, a variable before the file, the file before the default.
In a flag and in a variable the items of a list stand with commas between them.

An unknown flag, variable or name is refused, with the nearest known one. So is an empty value, except for a list: an
unset shell variable must not turn a setting off. A refusal says where the value stands and never repeats it.
[keyward.example.yaml](../keyward.example.yaml) is a file to start from.

| setting | flag | variable | default |
| --- | --- | --- | --- |
`)
	for _, s := range settings {
		flag, variable := "`--"+s.flag()+"`", "`"+s.variable()+"`"
		if s.onlyInFile {
			flag, variable = "in the file alone", ""
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", s.name, anchor(s.name), flag, variable, s.shownDefault())
	}
	for _, s := range settings {
		fmt.Fprintf(&b, "\n## %s\n", s.name)
		switch {
		case s.onlyInFile:
			fmt.Fprintf(&b, "A %s, in the config file alone.", s.form)
		case s.notInFile:
			fmt.Fprintf(&b, "`--%s %s`, `%s`; not in the file itself.", s.flag(), s.form, s.variable())
		default:
			fmt.Fprintf(&b, "`--%s %s`, `%s`.", s.flag(), s.form, s.variable())
		}
		fmt.Fprintf(&b, " Default: %s.\n\n%s\n", s.shownDefault(), wrap(s.help, ""))
		if s.example != "" {
			fmt.Fprintf(&b, "\nFor example `%s`.\n", s.example)
		}
		if s.name == "agents" {
			fmt.Fprintf(&b, "\n```yaml\n%s```\n", agentsExample)
		}
	}
	b.WriteString("\n## Variables that are no settings\n\n| variable | meaning |\n| --- | --- |\n")
	for _, o := range others {
		fmt.Fprintf(&b, "| `%s` | %s |\n", o.variable, o.help)
	}
	return b.String()
}

// Example returns keyward.example.yaml. It sets nothing as it stands: each
// setting is behind a # without a space after it.
func Example() string {
	var b strings.Builder
	b.WriteString(`# Settings of keyward serve. Read them with: keyward serve --config keyward.yaml
# To set something, take away the # at the start of its line. docs/configuration.md says more.
`)
	parent := ""
	for _, s := range settings {
		if s.notInFile {
			continue
		}
		b.WriteString("\n")
		name, help, line := s.name, "# ", "#"
		if above, last, nested := strings.Cut(s.name, "."); nested {
			if above != parent {
				fmt.Fprintf(&b, "#%s:\n", above)
			}
			parent, name, help, line = above, last, "#  # ", "#  "
		}
		fmt.Fprintln(&b, wrap(s.help, help))
		if s.name == "agents" {
			for line := range strings.Lines(agentsExample) {
				b.WriteString("#" + line)
			}
			continue
		}
		fmt.Fprintf(&b, "%s%s: %s\n", line, name, s.yamlValue())
	}
	return b.String()
}

func (s setting) shownDefault() string {
	if s.initial == "" {
		return s.empty
	}
	return "`" + s.initial + "`"
}

// yamlValue is the example or the default as it stands in a file.
func (s setting) yamlValue() string {
	text := s.example
	if text == "" {
		text = s.initial
	}
	if s.many == nil {
		return text
	}
	return `["` + strings.Join(s.split(text), `", "`) + `"]`
}

// anchor is the name that a heading has in a link.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }

// wrap breaks text into lines of at most 100 letters, each after prefix.
func wrap(text, prefix string) string {
	var b strings.Builder
	line := prefix
	for word := range strings.FieldsSeq(text) {
		if len(line) > len(prefix) && len(line)+1+len(word) > 100 {
			b.WriteString(line + "\n")
			line = prefix
		}
		if len(line) > len(prefix) {
			line += " "
		}
		line += word
	}
	return b.String() + line
}
