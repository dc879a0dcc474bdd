package agent

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// ErrUnknownArgument says that the agent does not define a name; its details
// list those that it does.
var ErrUnknownArgument = fault.New(fault.Invalid, "UNKNOWN_INPUT_ARGUMENT", "The agent has no such input argument.")

// CheckValue returns why value can't be one of the input argument name. For no
// value, nil or null, only the name is asked about.
func (a Agent) CheckValue(name string, value jsontext.Value) error {
	arg := a.argument(name)
	if arg == nil {
		return a.unknown()
	}
	if absent(value) {
		return nil
	}
	if reason := arg.refuses(value); reason != "" {
		return wrongValue(name, reason)
	}
	return nil
}

func (a Agent) unknown() error {
	names := make([]string, 0, len(a.InputArguments))
	for _, arg := range a.InputArguments {
		names = append(names, arg.Name)
	}
	f := ErrUnknownArgument.Say("The agent has no such input argument. It has none at all.")
	if len(names) > 0 {
		f = ErrUnknownArgument.Say("The agent has no such input argument. It has: %s.", strings.Join(names, ", "))
	}
	return f.With(fault.Details{"input_arguments": names})
}

// wrongValue is a fault about the value of an argument that the agent defines,
// so that its name is not the caller's own.
func wrongValue(field, reason string) error {
	return fault.ErrFieldType.Say("%s: %s", field, reason).With(fault.Details{"field": field, "reason": reason})
}

// absent reports whether value stands for none.
func absent(value jsontext.Value) bool {
	return value == nil || string(bytes.TrimSpace(value)) == "null"
}

// refuses returns why value is none of the argument's, or "".
func (arg *Argument) refuses(value jsontext.Value) string {
	kind := value.Kind()
	switch {
	case !value.IsValid():
		return "must be valid JSON"
	case size(value) > seal.MaxValue:
		return "must be at most 64 KiB"
	case arg.Type == String && kind != '"':
		return "must be a string"
	case arg.Type == Number && kind != '0':
		return "must be a number"
	case arg.Type == Boolean && kind != 't' && kind != 'f':
		return "must be true or false"
	case arg.Type == TOTP && kind != '"':
		return "must be a string: a TOTP secret in base32"
	case arg.Type == TOTP:
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return "must be valid JSON"
		}
		_, reason := totpSecret(string(text))
		return reason
	}
	return ""
}

// size returns how long a valid value is: a text without its quotes and escapes.
func size(value jsontext.Value) int {
	if value.Kind() != '"' || len(value) <= seal.MaxValue {
		return len(value)
	}
	text, _ := jsontext.AppendUnquote(nil, value)
	return len(text)
}

// Arguments is what a run gives to its agent.
type Arguments struct {
	// JSON is an object with the arguments, in the order of their definition.
	JSON jsontext.Value

	// Secrets are the values that nothing which the agent says may show: what
	// came out of the profile, sensitive parameters, and TOTP codes.
	Secrets []jsontext.Value
}

// Complete makes the arguments of a run from its parameters and from the values
// stored in its profile, and fills in the defaults.
//
// A stored value whose argument is gone is left out.
func (a Agent) Complete(parameters, stored map[string]jsontext.Value, now time.Time) (Arguments, error) {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if a.argument(name) == nil {
			return Arguments{}, fault.Of(a.unknown()).With(fault.Details{"field": "parameters"})
		}
		if !absent(parameters[name]) && !absent(stored[name]) {
			return Arguments{}, fault.Field("parameters."+name, "the auth profile gives this argument, too; only one of the two may")
		}
	}
	if missing := a.lacks(parameters, stored); len(missing) > 0 {
		return Arguments{}, fault.ErrMissingField.
			Say("The agent needs these arguments, and neither parameters nor an auth profile gives them: %s.", strings.Join(missing, ", ")).
			With(fault.Details{"field": "parameters." + missing[0], "missing": missing})
	}

	var out Arguments
	object := []byte{'{'}
	for i := range a.InputArguments {
		arg := &a.InputArguments[i]
		value, err := arg.choose(parameters[arg.Name], stored[arg.Name])
		switch {
		case err != nil:
			return Arguments{}, err
		case value == nil:
			continue
		}
		if arg.Sensitive || !absent(stored[arg.Name]) {
			out.Secrets = append(out.Secrets, value)
		}
		if arg.Type == TOTP {
			secret, code, err := totpCode(value, now)
			if err != nil {
				return Arguments{}, err
			}
			out.Secrets = append(out.Secrets, secret, code)
			value = code
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object, _ = jsontext.AppendQuote(object, arg.Name) // ASCII: it can't fail
		object = append(append(object, ':'), value...)
	}
	out.JSON = append(object, '}')
	return out, nil
}

// lacks returns the names of the required arguments that nothing gives.
func (a Agent) lacks(parameters, stored map[string]jsontext.Value) (names []string) {
	for _, arg := range a.InputArguments {
		if arg.Required && absent(parameters[arg.Name]) && absent(stored[arg.Name]) {
			names = append(names, arg.Name)
		}
	}
	return names
}

// choose returns the value of the argument: at most one of the two is given.
func (arg *Argument) choose(parameter, stored jsontext.Value) (jsontext.Value, error) {
	switch {
	case !absent(parameter):
		if reason := arg.refuses(parameter); reason != "" {
			return nil, wrongValue("parameters."+arg.Name, reason)
		}
		return parameter, nil
	case !absent(stored):
		if reason := arg.refuses(stored); reason != "" {
			return nil, fault.ErrFieldType.
				Say("%s: the value in the auth profile is of the type that this argument had when it was stored. Store a new one; it %s.", arg.Name, reason).
				With(fault.Details{"field": arg.Name, "reason": reason})
		}
		return stored, nil
	}
	return arg.Default, nil
}
