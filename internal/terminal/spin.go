package terminal

import (
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Spinner shows on a terminal that something goes on. In a pipe it shows nothing.
type Spinner struct {
	s       *Screen
	began   time.Time
	end     chan struct{}
	stopped sync.WaitGroup

	mu   sync.Mutex
	text string
}

// Spin starts a spinner with a text.
func (s *Screen) Spin(text string) *Spinner {
	p := &Spinner{s: s, began: time.Now(), text: text}
	if s.errTTY == nil || !s.colours {
		return p
	}
	p.end = make(chan struct{})
	p.stopped.Go(p.turn)
	return p
}

func (p *Spinner) turn() {
	marks := []string{"|", "/", "-", `\`}
	if p.s.blocks {
		marks = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	}
	tick := time.NewTicker(120 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		p.mu.Lock()
		line := fmt.Sprintf("%s %s  %ds", marks[n%len(marks)], Line(p.text), int(time.Since(p.began).Seconds()))
		// One that is longer than the line could not be wiped away.
		if most := width(p.s.errTTY) - 1; utf8.RuneCountInString(line) > most {
			line = string([]rune(line)[:most])
		}
		fmt.Fprint(p.s.Err, "\r\x1b[K"+line)
		p.mu.Unlock()
		select {
		case <-tick.C:
		case <-p.end:
			p.mu.Lock()
			fmt.Fprint(p.s.Err, "\r\x1b[K")
			p.mu.Unlock()
			return
		}
	}
}

// Turning says what goes on now.
func (p *Spinner) Turning(text string) {
	p.mu.Lock()
	p.text = text
	p.mu.Unlock()
}

// Say writes lines for people above the spinner.
func (p *Spinner) Say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wipe := ""
	if p.end != nil {
		wipe = "\r\x1b[K"
	}
	fmt.Fprintln(p.s.Err, wipe+Clean(strings.TrimRight(text, "\n")))
}

// Stop wipes the spinner away.
func (p *Spinner) Stop() {
	if p.end != nil {
		close(p.end)
		p.stopped.Wait()
		p.end = nil
	}
}
