package run

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/internal/seal"
)

// Bounds of what an agent may say.
const (
	maxAnswer  = 8<<20 + 64<<10  // bytes: an output, a session, and what is around them
	maxOutput  = seal.MaxSession // bytes, as it is kept
	maxMessage = 2000            // characters
)

// task is what a runner is given.
type task struct {
	RunID     string         `json:"run_id"`
	AgentID   string         `json:"agent_id"`
	Arguments jsontext.Value `json:"arguments"`
	Session   jsontext.Value `json:"session"` // null if there is none
}

// answer is what a runner says in the end.
type answer struct {
	Output  jsontext.Value
	Session jsontext.Value // nil if there is none
}

// failure is why a runner gave no answer that counts. What it says is for
// whoever started the run: nothing in it tells more of the runner than that.
type failure struct {
	says  string
	cause error // for the log; nil if says is all
}

func (f *failure) Error() string { return f.says }
func (f *failure) Unwrap() error { return f.cause }

func fails(format string, args ...any) error { return &failure{says: fmt.Sprintf(format, args...)} }

func failsBecause(cause error, says string) error { return &failure{says, cause} }

// message is one JSON value of a runner's.
type message struct {
	Output  jsontext.Value `json:"output"`
	Session jsontext.Value `json:"session"`
	Error   jsontext.Value `json:"error"`
	Chunk   jsontext.Value `json:"chunk"`

	SaveSession jsontext.Value `json:"save_session"` // true: also that of a run that failed
}

// readBody reads the answer in the body of an HTTP response: one JSON value,
// after any number of chunks, which go to to as they come.
func readBody(body io.Reader, to sink) (answer, error) {
	d := jsontext.NewDecoder(body)
	var last message
	n := 0
	for {
		value, err := d.ReadValue()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return answer{}, notJSON(err)
		}
		if n > 0 && !last.isChunk() {
			return answer{}, fails("The agent gave more than one answer.")
		}
		last = message{}
		if err := json.Unmarshal(value, &last); err != nil {
			return answer{}, notAnswer()
		}
		if last.isChunk() {
			to.chunk(last.Chunk)
		}
		n++
	}
	if n == 0 {
		return answer{}, fails("The agent gave no answer.")
	}
	return last.answer()
}

// isChunk reports whether m is a part of the output, and no answer.
func (m message) isChunk() bool { return m.Chunk != nil && m.Output == nil && m.Error == nil }

// parseLine reads a line of what a program has put out, which may be its last.
func parseLine(line []byte) (m message, err error) {
	switch {
	case len(line) == 0:
		return m, fails("The agent's program ended without an answer.")
	case !jsontext.Value(line).IsValid():
		return m, fails("The last line that the agent's program put out is not valid JSON. Its answer must be one line.")
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, notAnswer()
	}
	return m, nil
}

// notJSON tells where the mistake is, and nothing of the text around it.
func notJSON(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fails("The agent's answer is not valid JSON (at byte %d).", syntax.ByteOffset)
	}
	return fails("The agent's answer is not valid JSON: it ends too early.")
}

func notAnswer() error {
	return fails(`The agent's answer must be an object: {"output": …} or {"error": "…"}.`)
}

// errorText returns the error that m tells of, which may be empty, and whether
// it tells of one.
func (m message) errorText() (text string, ok bool) {
	if m.Error.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, m.Error)
	return strings.TrimSpace(string(b)), err == nil
}

func (m message) answer() (answer, error) {
	if m.Session.Kind() == 'n' {
		m.Session = nil
	}
	switch text, ok := m.errorText(); {
	case text != "":
		return m.failed(), fails("%s", text)
	case !ok && m.Error != nil && m.Error.Kind() != 'n':
		return answer{}, fails(`The agent failed, and its "error" is not a text.`)
	case m.Output != nil: // an error that is empty is none
	case ok:
		return answer{}, fails("The agent failed and did not say why.")
	case m.Chunk != nil:
		return answer{}, fails("The agent ended without an answer, after its chunks.")
	default:
		return answer{}, fails(`The agent's answer has neither "output" nor "error".`)
	}
	return answer{m.Output, m.Session}, nil
}

// failed is what is kept of an answer that tells of an error: its session, if it
// says so.
func (m message) failed() answer {
	if m.SaveSession.Kind() == 't' {
		return answer{Session: m.Session}
	}
	return answer{}
}
