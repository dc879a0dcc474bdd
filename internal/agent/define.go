package agent

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// Bounds of a definition. Lengths of text are in characters.
const (
	MaxArguments   = 100
	maxID          = 64
	maxName        = 200
	maxDescription = 2000
	maxHelp        = 1000 // the description of an argument
	maxCommand     = 64

	DefaultTimeout = 300 // seconds
	MaxTimeout     = 3600

	MaxConcurrent = 10000

	DefaultMemoryMB = 4096
	DefaultFileMB   = 1024
	minMemoryMB     = 16      // no program starts with less
	maxMB           = 1 << 24 // 16 TiB: no limit, in effect
	maxCPUSeconds   = 1 << 24
)

var (
	idForm       = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	argumentForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

// settle fills in what d leaves to the server, and returns the fault of the
// first thing in it that is wrong. It does not ask whether the runner's address
// is allowed.
func (d *Definition) settle() error {
	if d.ID == "" {
		d.ID = db.NewID()
	}
	if d.Name == "" {
		d.Name = d.ID
	}
	if d.Visibility == "" {
		d.Visibility = Private
	}
	if d.TimeoutSeconds == 0 {
		d.TimeoutSeconds = DefaultTimeout
	}

	switch {
	case len(d.ID) > maxID || !idForm.MatchString(d.ID) || d.ID == "." || d.ID == "..":
		return fault.Field("id", "must be 1 to 64 letters, digits, dots, underscores and hyphens, and not . or ..")
	case utf8.RuneCountInString(d.Name) > maxName || strings.ContainsFunc(d.Name, unicode.IsControl) || strings.TrimSpace(d.Name) != d.Name:
		return fault.Field("name", "must have at most 200 characters, without control characters or spaces at its ends")
	case !isProse(d.Description, maxDescription):
		return fault.Field("description", "must have at most 2000 characters, without control characters but tabs and line ends")
	case d.Visibility != Private && d.Visibility != Public:
		return fault.Field("visibility", "must be private or public")
	case d.TimeoutSeconds < 1 || d.TimeoutSeconds > MaxTimeout:
		return fault.Field("timeout_seconds", "must be 1 to 3600")
	case d.MaxConcurrent < 0 || d.MaxConcurrent > MaxConcurrent:
		return fault.Field("max_concurrent", "must be 1 to 10000, or 0 for no bound")
	case len(d.InputArguments) > MaxArguments:
		return fault.Field("input_arguments", "an agent can have at most 100")
	}
	d.InputArguments = slices.Clone(d.InputArguments) // they are the caller's
	seen := map[string]bool{}
	for i := range d.InputArguments {
		a := &d.InputArguments[i]
		if field, reason := a.settle(); reason != "" {
			return fault.Field(fmt.Sprintf("input_arguments.%d.%s", i, field), reason)
		}
		if seen[a.Name] {
			return fault.Field(fmt.Sprintf("input_arguments.%d.name", i), "another argument has this name")
		}
		seen[a.Name] = true
	}
	return d.Runner.check()
}

// settle fills in what a leaves to the server, and returns which field of it is
// wrong, and why.
func (a *Argument) settle() (field, reason string) {
	if a.Type == "" {
		a.Type = String
	}
	if a.Type == TOTP {
		a.Sensitive = true
	}
	if absent(a.Default) {
		a.Default = nil
	}

	switch {
	case len(a.Name) > maxID || !argumentForm.MatchString(a.Name):
		return "name", "must be 1 to 64 letters, digits, underscores, dots and hyphens, and begin with a letter or an underscore"
	case a.Type != String && a.Type != Number && a.Type != Boolean && a.Type != JSON && a.Type != TOTP:
		return "type", "must be string, number, boolean, json or totp"
	case !isProse(a.Description, maxHelp):
		return "description", "must have at most 1000 characters, without control characters but tabs and line ends"
	case a.Default == nil:
		return "", ""
	case a.Sensitive:
		return "default", "a sensitive argument can't have a default, which everybody could read"
	}
	a.Default = a.Default.Clone()
	if err := a.Default.Compact(); err != nil {
		return "default", "is not valid JSON"
	}
	if reason := a.refuses(a.Default); reason != "" {
		return "default", reason
	}
	return "", ""
}

// check returns what is wrong with r, whoever defines it. Whether it may be at
// its address is for [Store.CheckURL].
func (r Runner) check() error {
	switch {
	case r.Type == "":
		return missing("runner.type")
	case r.Type == HTTP && len(r.Command) > 0:
		return fault.Field("runner.command", "belongs to a command runner; an http runner has a url")
	case r.Type == HTTP && r.Limits != Limits{}:
		return fault.Field("runner.limits", "belongs to a command runner: this server has no hold on a web service")
	case r.Type == HTTP && r.URL == "":
		return missing("runner.url")
	case r.Type == HTTP:
		return nil
	case r.Type != Command:
		return fault.Field("runner.type", "must be http, or command in the config file")
	case r.URL != "":
		return fault.Field("runner.url", "belongs to an http runner; a command runner has a command")
	}
	if err := r.Limits.check(); err != nil {
		return err
	}
	return checkCommand(r.Command)
}

func (l Limits) check() error {
	switch {
	case l.MemoryMB != 0 && (l.MemoryMB < minMemoryMB || l.MemoryMB > maxMB):
		return fault.Field("runner.limits.memory_mb", "must be 16 to 16777216")
	case l.CPUSeconds < 0 || l.CPUSeconds > maxCPUSeconds:
		return fault.Field("runner.limits.cpu_seconds", "must be 1 to 16777216")
	case l.FileMB < 0 || l.FileMB > maxMB:
		return fault.Field("runner.limits.file_mb", "must be 1 to 16777216")
	}
	return nil
}

func missing(field string) error {
	return fault.ErrMissingField.Say("%s: is missing", field).With(fault.Details{"field": field, "reason": "is missing"})
}

func checkCommand(command []string) error {
	if len(command) == 0 || len(command) > maxCommand {
		return fault.Field("runner.command", "must be a list of 1 to 64 texts: the program and its arguments")
	}
	for _, word := range command {
		if strings.ContainsRune(word, 0) || !utf8.ValidString(word) {
			return fault.Field("runner.command", "must be text without U+0000")
		}
	}
	// A run has a working folder of its own, in which a relative path would
	// mean nothing.
	if program := command[0]; program == "" || strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) {
		return fault.Field("runner.command", "the program must be an absolute path, or a name that PATH finds")
	}
	return nil
}

func isProse(text string, most int) bool {
	return utf8.RuneCountInString(text) <= most && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	})
}
