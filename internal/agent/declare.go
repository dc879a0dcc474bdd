package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/fault"
)

// BadDeclaration says what is wrong in the config file.
type BadDeclaration struct {
	Setting string // its name, as in "agents[1].runner.url"
	Reason  error
}

func (e *BadDeclaration) Error() string { return e.Setting + ": " + e.Reason.Error() }

// Unwrap returns the reason.
func (e *BadDeclaration) Unwrap() error { return e.Reason }

// Declare makes the operator's organization have the agents of the config file,
// as they are there. It is called once, before the Store is used. Its error is
// a *BadDeclaration if the file is to blame.
//
// Agents that were in the file and are no more are left alone; they can't run.
func (s *Store) Declare(ctx context.Context, agents []Definition) error {
	s.inFile = map[string]Runner{}
	for i := range agents {
		d := &agents[i]
		if _, twice := s.inFile[d.ID]; twice || d.ID == "" {
			// One made at random would be another agent at the next start.
			return badDeclaration(i, fault.Field("id", "must be there, and no other agent's in the file"))
		}
		err := d.settle()
		if err == nil {
			err = s.settleRunner(&d.Runner, true)
		}
		if err != nil {
			return badDeclaration(i, err)
		}
		s.inFile[d.ID] = d.Runner
	}
	for _, d := range agents {
		if err := s.declare(ctx, d); err != nil {
			return fmt.Errorf("declare agent %s: %w", d.ID, err)
		}
	}
	return nil
}

var index = regexp.MustCompile(`\.(\d+)\b`)

func badDeclaration(i int, err error) error {
	f := fault.Of(err)
	if f.Kind == fault.Internal {
		return err
	}
	bad := &BadDeclaration{Setting: fmt.Sprintf("agents[%d]", i), Reason: errors.New(f.Message)}
	if field, ok := f.Details["field"].(string); ok {
		bad.Setting += "." + index.ReplaceAllString(field, "[$1]")
	}
	if reason, ok := f.Details["reason"].(string); ok {
		bad.Reason = errors.New(reason)
	}
	return bad
}

func (s *Store) declare(ctx context.Context, d Definition) error {
	made, _, err := s.make(s.OperatorID, d) // its secret is had by renewing it
	if err != nil {
		return err
	}
	made.Declared = true
	return s.Acts.Do(ctx, access.NewServer(), access.DeclareAgent, func(tx *db.Tx, act *access.Act) error {
		act.By("", s.OperatorID)
		act.On("agent", d.ID, d.Name)
		a, err := s.read(ctx, tx, s.OperatorID, d.ID)
		if errors.Is(err, ErrNotFound) {
			err := s.insert(ctx, tx, made, access.Unlimited)
			if db.IsDuplicate(err) {
				return db.ErrConflict // another node made it in between
			}
			return err
		}
		if err != nil {
			return err
		}
		same, err := a.keptAs(d)
		if err != nil {
			return err
		}
		if same {
			act.Nothing()
			return nil
		}
		a.Definition, a.Declared = d, true
		return s.update(ctx, tx, act, &a)
	})
}

// keptAs reports whether the database has all of d, as declared.
func (a Agent) keptAs(d Definition) (bool, error) {
	kept := a.Definition
	kept.Runner = a.kept
	oldArguments, oldRunner, err := kept.encoded()
	if err != nil {
		return false, err
	}
	arguments, runner, err := d.encoded()
	return a.Declared && oldArguments == arguments && oldRunner == runner && a.Name == d.Name && a.Description == d.Description &&
		a.Visibility == d.Visibility && a.TimeoutSeconds == d.TimeoutSeconds &&
		a.Idempotent == d.Idempotent && a.MaxConcurrent == d.MaxConcurrent, err
}
