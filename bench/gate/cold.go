package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyward/keyward/bench/lab"
)

// coldKeys measures how fast keys are checked that the server does not
// remember: known ones, each asked once, after a restart.
func (b *bench) coldKeys(ctx context.Context) error {
	f, err := b.folder(ctx, b.keys)
	if err != nil {
		return err
	}
	n := min(b.cold, len(f.keys)/b.turns)
	var speeds lab.Series
	for turn := range b.turns {
		s, err := b.start(f)
		if err != nil {
			return err
		}
		// From the end: those at the beginning are in use in other parts.
		end := len(f.keys) - turn*n
		l, err := f.askOnce(s.Address, f.keys[end-n:end])
		if err := errors.Join(err, s.Stop()); err != nil {
			return err
		}
		speeds = append(speeds, l.perSecond(n))
		lab.Say("turn %d of %d: %.0f/s", turn+1, b.turns, speeds[turn])
	}
	fmt.Printf("\nCold keys: %d known keys of %d, each asked once after a restart, from %d clients:\n\n", n, len(f.keys), connections)
	fmt.Println("| | turns | median | at least | |")
	fmt.Println("| --- | --- | --: | --: | --- |")
	fmt.Printf("| checks a second | %s | **%.0f** | 5000 | %s |\n", speeds.List("%.0f"), speeds.Median(), verdict(speeds.Median() >= 5000))
	return nil
}

func verdict(good bool) string {
	if good {
		return "pass"
	}
	return "**fail**"
}
