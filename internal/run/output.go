package run

import (
	"bytes"
	"fmt"
)

// stdout takes what a program puts out, up to a bound. What would go beyond is
// refused, and full is called. It is a Writer alone: a ReadFrom would be used to
// pass the bound by.
type stdout struct {
	room int
	full func()
	to   sink // of the chunks

	line []byte // that has not ended
	last []byte // that has, and is not empty
}

func (o *stdout) Write(b []byte) (int, error) {
	if o.room -= len(b); o.room < 0 {
		o.full()
		return 0, errTooMuch
	}
	for line := range bytes.Lines(b) {
		o.line = append(o.line, line...)
		if line[len(line)-1] == '\n' {
			o.endLine()
		}
	}
	return len(b), nil
}

// end is called when nothing more comes.
func (o *stdout) end() { o.endLine() }

func (o *stdout) endLine() {
	line := bytes.TrimSpace(o.line)
	o.line = o.line[:0]
	if len(line) == 0 {
		return
	}
	o.last = append(o.last[:0], line...)
	if !bytes.Contains(line, []byte(`"chunk"`)) {
		return
	}
	if m, err := parseLine(line); err == nil && m.isChunk() {
		o.to.chunk(m.Chunk)
	}
}

// stderr takes what a program writes there as log, line by line. What goes beyond
// its bounds is read and left out: a program that says too much does its work all
// the same.
type stderr struct {
	room int
	to   sink

	line []byte // that has not ended: its beginning
}

func (e *stderr) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0 && e.room > 0; {
		line, more, ended := bytes.Cut(rest, []byte{'\n'})
		rest = more
		if e.room -= len(line) + perLine; e.room <= 0 {
			e.line = nil
			e.to.log(fmt.Appendf(nil, "The log is larger than %d MiB. The rest of it is left out.", maxLog>>20))
			break
		}
		e.line = append(e.line, line[:min(len(line), maxRawLine-len(e.line))]...)
		if ended {
			e.to.log(e.line)
			e.line = e.line[:0]
		}
	}
	return len(b), nil
}

// end is called when nothing more comes.
func (e *stderr) end() {
	if len(e.line) > 0 {
		e.to.log(e.line)
	}
}
