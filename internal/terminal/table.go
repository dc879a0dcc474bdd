package terminal

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Table writes rows under a head, in columns. Of nothing it writes that there is
// nothing, for people: a program reads no line.
func (s *Screen) Table(nothing string, head []string, rows [][]string) {
	if len(rows) == 0 {
		s.Say("%s", nothing)
		return
	}
	widths := make([]int, len(head))
	clean := make([][]string, 0, len(rows)+1)
	for n, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(head))
		for i := range cells {
			cells[i] = Line(row[i])
			if cells[i] == "" && n > 0 {
				cells[i] = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]))
		}
		clean = append(clean, cells)
	}
	for n, cells := range clean {
		var b strings.Builder
		for i, cell := range cells {
			style := Status(cell)
			if n == 0 {
				style = Bold
			}
			b.WriteString(s.styled(s.outTTY, style, cell))
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(s.Out, strings.TrimRight(b.String(), " "))
	}
}

// Fields writes what is known of one thing, a line each. What is empty is left
// out.
func (s *Screen) Fields(pairs ...string) {
	widest := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			widest = max(widest, utf8.RuneCountInString(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], Line(pairs[i+1])
		if value == "" {
			continue
		}
		fmt.Fprintf(s.Out, "%s%s  %s\n", s.styled(s.outTTY, Dim, name), strings.Repeat(" ", widest-utf8.RuneCountInString(name)), s.styled(s.outTTY, Status(value), value))
	}
}

// Bar is one line of a chart. The parts lie one after the other, each in its own
// style.
type Bar struct {
	Label string
	Parts []Part
	Note  string // after the bar
}

// Part is a part of a bar.
type Part struct {
	Size  int64
	Style Style
	Plain rune // what it is drawn with where there are no colours
}

// Chart writes bars, the longest as long as there is room for.
func (s *Screen) Chart(bars []Bar) {
	var most int64
	label, note := 0, 0
	for _, b := range bars {
		var all int64
		for _, p := range b.Parts {
			all += p.Size
		}
		most = max(most, all)
		label, note = max(label, utf8.RuneCountInString(b.Label)), max(note, utf8.RuneCountInString(b.Note))
	}
	room := int64(max(10, min(60, width(s.outTTY)-label-note-5)))
	for _, b := range bars {
		var line strings.Builder
		var drawn, before int64
		for _, p := range b.Parts {
			before += p.Size
			end := int64(0)
			if most > 0 {
				// Not even one of a million is drawn as nothing.
				end = int64(float64(before) / float64(most) * float64(room))
				if p.Size > 0 {
					end = min(room, max(end, drawn+1))
				}
			}
			mark := p.Plain
			if s.blocks && (s.outTTY != nil && s.colours || p.Plain == '#') {
				mark = '█'
			}
			if end > drawn {
				line.WriteString(s.styled(s.outTTY, p.Style, strings.Repeat(string(mark), int(end-drawn))))
				drawn = end
			}
		}
		text := fmt.Sprintf("%-*s  %s", label, Line(b.Label), line.String())
		if drawn > 0 {
			text += " "
		}
		fmt.Fprintln(s.Out, strings.TrimRight(text+Line(b.Note), " "))
	}
}
