package runagent

import (
	"crypto/rand"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyward/keyward/client"
)

// wire is the language of a stream.
type wire interface {
	read(message []byte) (agentCall, error) // the first frame from the client
	status(status string) any
	data(v jsontext.Value) (any, error)
	failure(message string) any
}

// wireOfToday is spoken on run-stream.
type wireOfToday struct {
	parse func([]byte) (agentCall, error)
}

func (w wireOfToday) read(message []byte) (agentCall, error) { return w.parse(message) }

func (wireOfToday) status(status string) any { return frame{Type: "status", Status: status} }

func (wireOfToday) data(v jsontext.Value) (any, error) {
	content, err := encode(v)
	return frame{Type: "data", Content: content}, err
}

func (wireOfToday) failure(message string) any { return frame{Type: "error", Error: message} }

// frame is what the server says on it.
type frame struct {
	Type    string `json:"type"`
	Status  string `json:"status,omitzero"`
	Content string `json:"content,omitzero"`
	Error   string `json:"error,omitzero"`
}

// olderWire is spoken on execute.
type olderWire struct {
	parse func([]byte) (olderStart, error)
	now   func() time.Time
}

// olderStart is the first frame on it.
type olderStart struct {
	Data agentExecution `json:"data"`
}

func (w olderWire) read(message []byte) (agentCall, error) {
	start, err := w.parse(message)
	return start.Data.call(), err
}

// olderFrame is what the server says on it.
type olderFrame struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Timestamp client.Time    `json:"timestamp"`
	Data      jsontext.Value `json:"data"`
	Metadata  any            `json:"metadata"`
	Error     any            `json:"error"`
}

func (w olderWire) frame(kind string, data jsontext.Value) olderFrame {
	return olderFrame{ID: rand.Text(), Type: kind, Timestamp: client.NewTime(w.now()), Data: data}
}

func (w olderWire) status(status string) any {
	return w.frame("status", jsontext.Value(`{"status":`+strconv.Quote(status)+`}`))
}

func (w olderWire) data(v jsontext.Value) (any, error) { return w.frame("raw_data", v), nil }

func (w olderWire) failure(message string) any {
	f := w.frame("error", nil)
	f.Error = message
	return f
}
