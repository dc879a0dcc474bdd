package run

import "github.com/go-json-experiment/json/jsontext"

// sink takes what a runner says while its run goes on. A runner calls it from
// one goroutine at a time.
type sink interface {
	chunk(v jsontext.Value) // a part of the output
	log(line []byte)        // without its line end; the sink may keep it
}

// discard is a sink that nobody looks into.
type discard struct{}

func (discard) chunk(jsontext.Value) {}
func (discard) log([]byte)           {}
