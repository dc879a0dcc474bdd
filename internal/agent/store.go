package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/quota"
	"github.com/keyward/keyward/internal/seal"
)

// Store keeps the agents.
type Store struct {
	Acts *access.Acts
	DB   *db.DB
	Root *seal.Root
	Now  func() time.Time

	// OperatorID is the operator's organization. Its are the public agents and
	// those of the config file.
	OperatorID string

	// CheckURL reads a runner's address, in one form for equal ones, or says why
	// a runner may not be there. The operator's may be where others' may not.
	CheckURL func(address string, operator bool) (*url.URL, error)

	inFile map[string]Runner // by the agent's id; set by Declare
}

const columns = `uid, organization_id, id, name, description, input_arguments, runner, visibility, timeout_seconds, idempotent, max_concurrent,
	declared, runner_secret, created_at, updated_at`

func (s *Store) scan(row interface{ Scan(...any) error }) (Agent, error) {
	var a Agent
	var arguments, runner string
	var created, updated int64
	err := row.Scan(&a.UID, &a.OrganizationID, &a.ID, &a.Name, &a.Description, &arguments, &runner, &a.Visibility, &a.TimeoutSeconds,
		&a.Idempotent, &a.MaxConcurrent, &a.Declared, &a.runnerSecret, &created, &updated)
	if err != nil {
		return Agent{}, err
	}
	a.CreatedAt, a.UpdatedAt = db.Time(created), db.Time(updated)
	if err := errors.Join(json.Unmarshal([]byte(arguments), &a.InputArguments), json.Unmarshal([]byte(runner), &a.Runner)); err != nil {
		return Agent{}, fmt.Errorf("agent %s: %w", a.UID, err)
	}
	a.kept = a.Runner
	if a.Declared && a.OrganizationID == s.OperatorID {
		// Whoever can write to the database must not choose what this server
		// starts.
		if r, ok := s.inFile[a.ID]; ok {
			a.Runner, a.inFile = r, true
		}
	}
	return a, nil
}

// encoded returns what of d is kept as JSON.
func (d *Definition) encoded() (arguments, runner string, err error) {
	a, err := json.Marshal(d.InputArguments, json.Deterministic(true))
	if err != nil {
		return "", "", err
	}
	r, err := json.Marshal(d.Runner, json.Deterministic(true))
	return string(a), string(r), err
}

// Operators reports whether the agent is the operator's.
func (s *Store) Operators(a Agent) bool { return a.OrganizationID == s.OperatorID }

// Create makes an agent in who's organization. The secret, with which requests
// to its runner are signed, can't be had again.
func (s *Store) Create(ctx context.Context, who access.Caller, d Definition) (Agent, seal.Secret, error) {
	if err := who.May(access.CreateAgent); err != nil {
		return Agent{}, seal.Secret{}, err
	}
	// A key for certain agents makes one of those alone: not one whose id the
	// server chooses.
	if err := who.MayUse(d.ID); err != nil {
		return Agent{}, seal.Secret{}, err
	}
	if err := s.admit(who, &d); err != nil {
		return Agent{}, seal.Secret{}, err
	}
	a, secret, err := s.make(who.OrganizationID, d)
	if err != nil {
		return Agent{}, seal.Secret{}, err
	}
	err = s.Acts.Do(ctx, who, access.CreateAgent, func(tx *db.Tx, act *access.Act) error {
		act.On("agent", a.ID, a.Name)
		return s.insert(ctx, tx, a, who.Quotas.Agents)
	})
	if db.IsDuplicate(err) {
		return Agent{}, seal.Secret{}, ErrExists
	}
	return a, secret, err
}

// admit settles a definition that came over the network, and returns the fault
// of what may not come that way.
func (s *Store) admit(who access.Caller, d *Definition) error {
	if d.Runner.Type == Command {
		return fault.Field("runner.type", "a command can be run only by an agent that the operator declares in the server's config file; over the network it must be http")
	}
	if err := d.settle(); err != nil {
		return err
	}
	if d.Visibility == Public && !who.Operator {
		return fault.ErrNotAllowed.Say("visibility: only the operator's organization may make an agent public").
			With(fault.Details{"field": "visibility"})
	}
	return s.settleRunner(&d.Runner, who.Operator)
}

// settleRunner writes the address of an HTTP runner in its one form, or returns
// the fault of it.
func (s *Store) settleRunner(r *Runner, operator bool) error {
	if r.Type != HTTP {
		return nil
	}
	u, err := s.CheckURL(r.URL, operator)
	if f := fault.Of(err); err != nil && f.Kind != fault.Internal {
		return f.With(fault.Details{"field": "runner.url"})
	}
	if err != nil {
		return err
	}
	r.URL = u.String()
	return nil
}

// make returns a new agent with a new runner secret.
func (s *Store) make(organizationID string, d Definition) (a Agent, secret seal.Secret, err error) {
	now := db.Time(db.Micros(s.Now())) // as exact as it is kept
	a = Agent{Definition: d, UID: db.NewID(), OrganizationID: organizationID, CreatedAt: now, UpdatedAt: now}
	secret, a.runnerSecret, err = s.newSecret(a)
	return a, secret, err
}

func (s *Store) insert(ctx context.Context, tx *db.Tx, a Agent, most int64) error {
	if err := quota.Take(ctx, tx, a.OrganizationID, quota.Agents, most); err != nil {
		return err
	}
	arguments, runner, err := a.encoded()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO agents (`+columns+`, root_version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		a.UID, a.OrganizationID, a.ID, a.Name, a.Description, arguments, runner, string(a.Visibility), a.TimeoutSeconds,
		a.Idempotent, a.MaxConcurrent, a.Declared, a.runnerSecret, db.Micros(a.CreatedAt), db.Micros(a.UpdatedAt), seal.BoxVersion(a.runnerSecret))
	return err
}

// Change is what of an agent is to change; what is nil stays.
type Change struct {
	Name           *string
	Description    *string
	InputArguments *[]Argument // all of them
	Runner         *Runner
	Visibility     *Visibility
	TimeoutSeconds *int64
	Idempotent     *bool
	MaxConcurrent  *int64
}

func (c Change) apply(d *Definition) {
	set(&d.Name, c.Name)
	set(&d.Description, c.Description)
	set(&d.InputArguments, c.InputArguments)
	set(&d.Runner, c.Runner)
	set(&d.Visibility, c.Visibility)
	set(&d.TimeoutSeconds, c.TimeoutSeconds)
	set(&d.Idempotent, c.Idempotent)
	set(&d.MaxConcurrent, c.MaxConcurrent)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Change changes an agent of who's organization that is not in the config file.
func (s *Store) Change(ctx context.Context, who access.Caller, id string, c Change) (Agent, error) {
	if err := who.May(access.ChangeAgent); err != nil {
		return Agent{}, err
	}
	var a Agent
	err := s.Acts.Do(ctx, who, access.ChangeAgent, func(tx *db.Tx, act *access.Act) (err error) {
		if a, err = s.own(ctx, tx, who, id); err != nil {
			return err
		}
		if a.Declared {
			return errDeclared
		}
		c.apply(&a.Definition)
		if err := s.admit(who, &a.Definition); err != nil {
			return err
		}
		act.On("agent", a.ID, a.Name)
		return s.update(ctx, tx, act, &a)
	})
	return a, err
}

// update writes all of a that can change. Whoever remembers the agent as it was
// must forget it.
func (s *Store) update(ctx context.Context, tx *db.Tx, act *access.Act, a *Agent) error {
	arguments, runner, err := a.encoded()
	if err != nil {
		return err
	}
	before := db.Micros(a.UpdatedAt)
	after := max(db.Micros(s.Now()), before+1) // it is the guard: no two states have the same
	n, err := tx.Exec(ctx, `
		UPDATE agents SET name = $1, description = $2, input_arguments = $3, runner = $4, visibility = $5, timeout_seconds = $6,
		       idempotent = $7, max_concurrent = $8, declared = $9, runner_secret = $10, root_version = $11, updated_at = $12
		WHERE uid = $13 AND updated_at = $14`,
		a.Name, a.Description, arguments, runner, string(a.Visibility), a.TimeoutSeconds,
		a.Idempotent, a.MaxConcurrent, a.Declared, a.runnerSecret, seal.BoxVersion(a.runnerSecret), after, a.UID, before)
	switch {
	case err != nil:
		return err
	case n == 0:
		return db.ErrConflict
	}
	a.UpdatedAt = db.Time(after)
	act.Closes(access.AgentClosed, a.UID)
	return nil
}

// Delete removes an agent of who's organization, and with it every profile of
// it, whosever it is.
func (s *Store) Delete(ctx context.Context, who access.Caller, id string) error {
	if err := who.May(access.DeleteAgent); err != nil {
		return err
	}
	err := s.Acts.Do(ctx, who, access.DeleteAgent, func(tx *db.Tx, act *access.Act) error {
		a, err := s.own(ctx, tx, who, id)
		if err != nil {
			return err
		}
		if a.inFile {
			return errInFile
		}
		act.On("agent", a.ID, a.Name)
		act.Closes(access.AgentClosed, a.UID)
		return remove(ctx, tx, a)
	})
	if err != nil {
		return err
	}
	s.DB.Scrub()
	return nil
}

func remove(ctx context.Context, tx *db.Tx, a Agent) error {
	// On PostgreSQL this takes the lock that a profile which is being written
	// has to wait for, since it changes a column that is a key. Otherwise a
	// profile could come in after the count, and go uncounted with the agent.
	n, err := tx.Exec(ctx, `UPDATE agents SET id = $1 WHERE uid = $2`, "/"+a.UID, a.UID)
	switch {
	case err != nil:
		return err
	case n == 0:
		return ErrNotFound
	}
	profiles, err := removeProfiles(ctx, tx, a.UID)
	if err != nil {
		return err
	}
	for organization, n := range profiles {
		if err := quota.Give(ctx, tx, organization, quota.AuthProfiles, n); err != nil {
			return err
		}
	}
	if err := quota.Give(ctx, tx, a.OrganizationID, quota.Agents, 1); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM agents WHERE uid = $1`, a.UID)
	return err
}

// removeProfiles removes the profiles of an agent and says how many of each
// organization. What is counted is what was removed here: somebody may be
// deleting one of them at the same time, and counts it himself.
func removeProfiles(ctx context.Context, tx *db.Tx, uid string) (map[string]int64, error) {
	rows, err := tx.Query(ctx, `DELETE FROM profiles WHERE agent_uid = $1 RETURNING organization_id`, uid)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var organization string
		if err := rows.Scan(&organization); err != nil {
			return nil, err
		}
		counts[organization]++
	}
	return counts, rows.Err()
}

// own reads an agent of who's organization. A key that is made for other agents
// is told so before anything is looked for: it learns of none whether it is there.
func (s *Store) own(ctx context.Context, q db.Querier, who access.Caller, id string) (Agent, error) {
	if err := who.MayUse(id); err != nil {
		return Agent{}, err
	}
	return s.read(ctx, q, who.OrganizationID, id)
}

func (s *Store) read(ctx context.Context, q db.Querier, organizationID, id string) (Agent, error) {
	a, err := s.scan(q.QueryRow(ctx, `SELECT `+columns+` FROM agents WHERE organization_id = $1 AND id = $2`, organizationID, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Agent{}, ErrNotFound
	}
	return a, err
}

// Find returns the agent that who calls id: one of who's organization, or, as
// public/ID, a public one of the operator's. Whether who may do what the agent is
// wanted for is asked by whoever wants it.
func (s *Store) Find(ctx context.Context, who access.Caller, id string) (Agent, error) {
	if err := who.May(access.UseAgent); err != nil {
		return Agent{}, err
	}
	if id == "" {
		return Agent{}, fault.Field("agent_id", "must not be empty")
	}
	name, public := strings.CutPrefix(id, publicPrefix)
	if !public {
		return s.own(ctx, s.DB, who, id)
	}
	if who.OrganizationID == s.OperatorID {
		id = name // as its organization calls it, and its keys have it
	}
	if err := who.MayUse(id); err != nil {
		return Agent{}, err
	}
	a, err := s.read(ctx, s.DB, s.OperatorID, name)
	if err == nil && a.Visibility != Public {
		return Agent{}, ErrNotFound
	}
	return a, err
}

// Has returns nil if id is what who's organization calls an agent: what a key
// for certain agents may name. The operator's own has no second name here, for
// runs and profiles know the first alone.
func (s *Store) Has(ctx context.Context, who access.Caller, id string) error {
	a, err := s.Find(ctx, who, id)
	if err == nil && a.IDFor(who) != id {
		return ErrNotFound
	}
	return err
}

// Get is Find for people to look at: of another organization's agent it does
// not show where it runs.
func (s *Store) Get(ctx context.Context, who access.Caller, id string) (Agent, error) {
	if err := who.May(access.ReadAgents); err != nil {
		return Agent{}, err
	}
	a, err := s.Find(ctx, who, id)
	if a.OrganizationID != who.OrganizationID {
		a.Runner = Runner{Type: a.Runner.Type}
	}
	return a, err
}

// Filter says which agents are listed.
type Filter struct {
	After  string // the UID of the last agent of the page before
	Offset int64
	Limit  int64
}

// List returns agents of who's organization, newest first, and how many there
// are in all. Of a key that is made for certain agents it is those.
func (s *Store) List(ctx context.Context, who access.Caller, f Filter) (agents []Agent, total int64, err error) {
	if err := who.May(access.ReadAgents); err != nil {
		return nil, 0, err
	}
	const listed = `organization_id = $1 AND ($2 = '' OR replace($2, ',' || id || ',', '') <> $2)`
	only := who.AgentFilter()
	if err := s.DB.QueryRow(ctx, `SELECT count(*) FROM agents WHERE `+listed, who.OrganizationID, only).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count agents: %w", err)
	}
	agents, err = s.collect(s.DB.Query(ctx, `
		SELECT `+columns+` FROM agents WHERE `+listed+` AND ($3 = '' OR uid < $3)
		ORDER BY uid DESC LIMIT $4 OFFSET $5`, who.OrganizationID, only, f.After, f.Limit, f.Offset))
	return agents, total, err
}

func (s *Store) collect(rows *sql.Rows, err error) ([]Agent, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var agents []Agent
	for rows.Next() {
		a, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		agents = append(agents, a)
	}
	return agents, rows.Err()
}
