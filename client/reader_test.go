package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func read(text string) (events []Event, end error) {
	r := reader{lines: bufio.NewScanner(strings.NewReader(text))}
	for {
		e, err := r.next()
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

// Whatever a stream holds, what is read of it is JSON and reads the same when it
// is written again; and it ends.
func FuzzEventsAreReadAsTheyAreWritten(f *testing.F) {
	for _, text := range []string{
		"", "\n", ":\n\n", "data: 1\n\n", "data:1\ndata\n\n", "id: 1\nevent: start\ndata: {\"a\":1}\n\n: alive\n\nid: 2\ndata: \"b\"\r\n\r\n",
		"id: -1\ndata: 1\n\n", "id: 99999999999999999999\ndata: 1\n\n", "data: <html>\n\n", "event: done\n\ndata: 1\n\n", "retry: 5\ndata: [1,\ndata: 2]\n\n", "data: 1\n",
	} {
		f.Add(text)
	}
	bare := func(text string) string { return strings.ReplaceAll(text, "\r", "") } // one before a line feed is of the line end
	f.Fuzz(func(t *testing.T, text string) {
		events, end := read(text)
		if end == nil || !errors.Is(end, io.ErrUnexpectedEOF) && !errors.Is(end, errNoEvent) && !errors.Is(end, bufio.ErrTooLong) {
			t.Fatalf("it ended in %v", end)
		}
		var written strings.Builder
		for _, e := range events {
			if !json.Valid(e.Data) {
				t.Fatalf("the data %q is no JSON", e.Data)
			}
			fmt.Fprintf(&written, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, strings.ReplaceAll(string(e.Data), "\n", "\ndata: "))
		}
		again, _ := read(written.String())
		if len(again) != len(events) {
			t.Fatalf("%d events are %d when they are written again", len(events), len(again))
		}
		for i, e := range events {
			if again[i].ID != e.ID || bare(again[i].Kind) != bare(e.Kind) || bare(string(again[i].Data)) != bare(string(e.Data)) {
				t.Fatalf("%+v is %+v when it is written again", e, again[i])
			}
		}
	})
}

func TestAnEventIsReadWhole(t *testing.T) {
	events, end := read(": hello\n\nid: 7\nevent: chunk\ndata: {\"a\":\ndata:  1}\n\nevent: lost\n\ndata: 2\n\nid: 8\ndata: 3\n")
	if len(events) != 2 || !errors.Is(end, io.ErrUnexpectedEOF) {
		t.Fatalf("%+v, %v", events, end)
	}
	if e := events[0]; e.ID != 7 || e.Kind != "chunk" || string(e.Data) != "{\"a\":\n 1}" {
		t.Errorf("%+v", e)
	}
	if e := events[1]; e.ID != 0 || e.Kind != "" || string(e.Data) != "2" {
		t.Errorf("what was before it is in it: %+v", e)
	}
}
