package run

import "bytes"

// Bounds of what a stream remembers.
const (
	maxHeld  = 512 << 10 // of what may be the beginning of a secret: any form of one that is as long as a piece
	maxShown = 64        // any form of a beginning that is too short to be held for
)

// stream cuts secrets out of a text that comes in parts, also those that begin
// in one part and end in another. A part that breaks off in what may be a secret
// is held until it is known: until the next part, as a rule.
type stream struct {
	cutter *cutter
	out    func(part []byte) // takes a part without the secrets in it, which may end inside of a character

	shown []byte // the end of what has gone out
	held  []byte
	ends  []int // of the parts in held
	look  int   // how much must be held before it is looked at again
}

func (s *stream) add(part []byte) {
	s.held = append(s.held, part...)
	s.ends = append(s.ends, len(s.held))
}

// settle lets go the parts of which all secrets are known.
func (s *stream) settle() {
	switch {
	case len(s.held) >= maxHeld:
		s.end(leastOpen)
	case len(s.held) < s.look:
	default:
		s.release(leastOpen, false)
	}
}

// end lets all parts go. What may be the beginning of a secret at the end of
// them, and is at least so long, is cut out with the secrets.
func (s *stream) end(least int) { s.release(least, true) }

func (s *stream) release(least int, all bool) {
	if len(s.ends) == 0 {
		return
	}
	text := append(s.shown, s.held...)
	before, size := len(s.shown), len(text)
	m, open := s.cutter.look(text, least)
	if all {
		m.hideFrom(open, size)
	}
	n := len(s.ends)
	for ; n > 0 && !all; n-- { // up to the last part that no secret goes on after
		if end := before + s.ends[n-1]; end <= open && !(end < size && m.hides(end)) {
			break
		}
	}
	from := before
	for _, end := range s.ends[:n] {
		s.put(text, m, from, before+end, before)
		from = before + end
	}
	s.shown = bytes.Clone(text[max(0, from-maxShown):from])
	s.held = append(s.held[:0], text[from:]...)
	s.ends = append(s.ends[:0], s.ends[n:]...)
	for i := range s.ends {
		s.ends[i] -= from - before
	}
	// The same bytes must not be looked at for each of many small parts.
	s.look = len(s.held) + len(s.held)/8
}

// put lets one part go, unless nothing is left of it that is not within a secret
// of which an earlier part has told.
func (s *stream) put(text []byte, m marks, from, to, first int) {
	part := text[from:to]
	if s.cutter.whole[string(bytes.TrimSpace(part))] {
		s.out([]byte(redacted))
		return
	}
	if cut := m.cut(text, from, to, first); len(bytes.TrimSpace(cut)) > 0 || !m.hides(from) {
		s.out(cut)
	}
}
