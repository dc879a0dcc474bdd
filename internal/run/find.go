package run

import (
	"bytes"
	"slices"
)

// finder finds a set of texts in one pass over another, however many they are:
// the automaton of Aho and Corasick. State 0 is the start; a state stands for
// the beginnings of texts that lead to it, and its children are numbered one
// after the other, in the order of their bytes.
type finder struct {
	start [256]int32 // the children of state 0
	label []byte     // the byte that leads to a state
	first []int32    // the first child of a state; its last is before the next one's first
	fail  []int32    // the longest end of a state that is a state, too
	found []int32    // the length of the longest text that ends in a state
	level []int32    // the first state of each depth; a state's depth is the length of the beginning that it stands for
}

// newFinder makes a finder of texts, none of which is empty.
func newFinder(texts [][]byte) *finder {
	texts = slices.Clone(texts)
	slices.SortFunc(texts, bytes.Compare)
	// A state is the texts from, …, to-1, which begin with the same depth bytes.
	type state struct{ from, to, depth int32 }
	states := []state{{0, int32(len(texts)), 0}}
	f := &finder{label: []byte{0}, found: []int32{0}}
	for s := 0; s < len(states); s++ {
		f.first = append(f.first, int32(len(states)))
		if int(states[s].depth) == len(f.level) {
			f.level = append(f.level, int32(s))
		}
		from, to, depth := states[s].from, states[s].to, states[s].depth
		for from < to && len(texts[from]) == int(depth) { // the shortest come first
			f.found[s] = depth
			from++
		}
		for from < to {
			b, next := texts[from][depth], from+1
			for next < to && texts[next][depth] == b {
				next++
			}
			states = append(states, state{from, next, depth + 1})
			f.label, f.found = append(f.label, b), append(f.found, 0)
			from = next
		}
	}
	f.first = append(f.first, int32(len(states)))

	f.fail = make([]int32, len(states))
	for c := f.first[0]; c < f.first[1]; c++ {
		f.start[f.label[c]] = c
	}
	for s := 1; s < len(states); s++ { // a state's own fail is known before its children's
		for c := f.first[s]; c < f.first[s+1]; c++ {
			f.fail[c] = f.step(f.fail[s], f.label[c])
			f.found[c] = max(f.found[c], f.found[f.fail[c]])
		}
	}
	return f
}

// step returns the state after s and b.
func (f *finder) step(s int32, b byte) int32 {
	for s != 0 {
		children := f.label[f.first[s]:f.first[s+1]]
		if len(children) > 8 {
			if i, ok := slices.BinarySearch(children, b); ok {
				return f.first[s] + int32(i)
			}
		} else if i := bytes.IndexByte(children, b); i >= 0 {
			return f.first[s] + int32(i)
		}
		s = f.fail[s]
	}
	return f.start[b]
}

// scan calls hit for the longest of the texts that ends at each place in text.
// The shorter ones that end there are within it. It returns how long the longest
// end of text is that is the beginning of one of them.
func (f *finder) scan(text []byte, hit func(from, to int)) (open int) {
	s := int32(0)
	for i, b := range text {
		s = f.step(s, b)
		if n := int(f.found[s]); n > 0 {
			hit(i+1-n, i+1)
		}
	}
	depth, is := slices.BinarySearch(f.level, s)
	if !is {
		depth--
	}
	return depth
}
