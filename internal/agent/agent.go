// Package agent owns agents: programs that can be run, with named and typed
// input arguments, and a runner by which they are reached.
//
// Its laws:
//
//   - A definition is checked before it is kept; what is in the store is valid.
//   - A command is run only if it stands in this server's config file: what the
//     database says of one is shown to people and never started.
//   - An agent that is taken out of the file is kept and can't run, so that a
//     slip of the pen does not destroy the profiles of its customers. Only
//     [Store.Delete] removes an agent, and everything stored for it.
//   - An agent's UID is the server's own and is never used again; its ID is what
//     people call it, and may come to mean another agent.
//
// The profiles stored for agents are package vault's; running them is package
// run's.
package agent

import (
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/fault"
)

// The ways in which agents are refused or not found.
var (
	ErrDestination = egress.ErrRefused // its runner is where this server does not go
	ErrNotFound    = fault.New(fault.NotFound, "AGENT_NOT_FOUND", "There is no agent with this id.")
	ErrExists      = fault.New(fault.Conflict, "AGENT_EXISTS", "The organization has an agent with this id. Choose another id, or change that agent.")
	ErrNotDeclared = fault.New(fault.Conflict, "AGENT_NOT_DECLARED", "The agent is no longer declared in the server's config file, so it can't run. The operator can declare it again, or delete it.")

	errDeclared = fault.ErrInvalidRequest.Say("The agent is declared in the server's config file. Change it there, and start the server again.")
	errInFile   = fault.ErrInvalidRequest.Say("The agent is declared in the server's config file. Take it out there and start the server again; then it can be deleted.")
)

// Type is what values an input argument takes.
type Type string

// The types.
const (
	String  Type = "string"
	Number  Type = "number"
	Boolean Type = "boolean"
	JSON    Type = "json" // any value
	TOTP    Type = "totp" // a base32 secret, of which the agent gets the current code
)

// Argument is one input argument.
type Argument struct {
	Name        string         `json:"name"`
	Type        Type           `json:"type"` // "" in a definition: String
	Required    bool           `json:"required,omitzero"`
	Sensitive   bool           `json:"sensitive,omitzero"`
	Default     jsontext.Value `json:"default,omitzero"` // nil: none
	Description string         `json:"description,omitzero"`
}

// RunnerType is a way to reach an agent.
type RunnerType string

// The types of runner.
const (
	HTTP    RunnerType = "http"    // a web service that runs are posted to
	Command RunnerType = "command" // a program on the server's machine
)

// Runner says how an agent is reached.
type Runner struct {
	Type    RunnerType `json:"type"`
	URL     string     `json:"url,omitzero"`     // of HTTP
	Command []string   `json:"command,omitzero"` // of Command: the program and its arguments
	Limits  Limits     `json:"limits,omitzero"`  // of Command
}

// Limits are what each process of a command may use. What is 0 is left to
// [Agent.Limits].
type Limits struct {
	MemoryMB   int64 `json:"memory_mb,omitzero"`
	CPUSeconds int64 `json:"cpu_seconds,omitzero"`
	FileMB     int64 `json:"file_mb,omitzero"` // the length of a file that it writes
}

// Visibility is who may run an agent.
type Visibility string

// The visibilities.
const (
	Private Visibility = "private" // its organization
	Public  Visibility = "public"  // every organization, as public/ID
)

// publicPrefix begins the id by which other organizations call a public agent.
const publicPrefix = "public/"

// Definition is what people say an agent is.
type Definition struct {
	ID             string // "": the server makes one
	Name           string // "": the ID
	Description    string
	InputArguments []Argument
	Runner         Runner
	Visibility     Visibility // "": Private
	TimeoutSeconds int64      // 0: DefaultTimeout
	Idempotent     bool       // a run that was cut short may be done again from its beginning
	MaxConcurrent  int64      // runs at once, on all servers together; 0: no bound of its own
}

// Agent is an agent that is kept.
type Agent struct {
	Definition
	UID            string
	OrganizationID string
	Declared       bool // in a config file, at least once
	CreatedAt      time.Time
	UpdatedAt      time.Time

	inFile       bool   // in this server's config file, now
	kept         Runner // as the database has it; Runner is the file's if inFile
	runnerSecret []byte // its box
}

// Timeout returns how long a run may take.
func (a Agent) Timeout() time.Duration { return time.Duration(a.TimeoutSeconds) * time.Second }

// Limits returns what each process of the agent's command may use. What its
// runner does not say is enough for a browser, and stops what got out of hand.
func (a Agent) Limits() Limits {
	l := a.Runner.Limits
	if l.MemoryMB == 0 {
		l.MemoryMB = DefaultMemoryMB
	}
	if l.CPUSeconds == 0 {
		l.CPUSeconds = a.TimeoutSeconds
	}
	if l.FileMB == 0 {
		l.FileMB = DefaultFileMB
	}
	return l
}

// Runnable returns nil if the agent's runner may be called, else ErrNotDeclared.
func (a Agent) Runnable() error {
	if (a.Declared || a.Runner.Type != HTTP) && !a.inFile {
		return ErrNotDeclared
	}
	return nil
}

// IDFor returns the id by which who calls the agent.
func (a Agent) IDFor(who access.Caller) string {
	if a.OrganizationID == who.OrganizationID {
		return a.ID
	}
	return publicPrefix + a.ID
}

// Destination says where the runner takes what it is given, always in the same
// words for the same place: a profile's values go nowhere else.
func (a Agent) Destination() string {
	if a.Runner.Type == Command {
		return "command " + a.ID
	}
	u, err := url.Parse(a.Runner.URL)
	if err != nil {
		return "http" // nothing that was let in; no profile has this destination
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return "http " + u.Scheme + " " + strings.ToLower(u.Hostname()) + " " + port
}

// argument returns the argument called name, or nil.
func (d *Definition) argument(name string) *Argument {
	for i := range d.InputArguments {
		if d.InputArguments[i].Name == name {
			return &d.InputArguments[i]
		}
	}
	return nil
}
