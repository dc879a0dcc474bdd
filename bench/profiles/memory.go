package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyward/keyward/bench/lab"
)

// memory measures what a server has in memory that was just started on an empty
// folder, and after it has created profiles.
func (b *bench) memory(ctx context.Context) error {
	var started, loaded lab.Series
	for round := range b.rounds {
		s, err := b.start(b.newFolder())
		if err != nil {
			return err
		}
		after, err := measureMemory(ctx, s, b.each)
		if err := errors.Join(err, s.Stop()); err != nil {
			return err
		}
		started, loaded = append(started, after[0]), append(loaded, after[1])
		lab.Say("round %d of %d: %.1f MB, %.1f MB", round+1, b.rounds, after[0], after[1])
	}
	fmt.Printf("\nResident memory (VmRSS), MB:\n\n")
	fmt.Println("| | rounds | median | below |")
	fmt.Println("| --- | --- | --: | --: |")
	fmt.Printf("| after start | %s | **%.1f** | 35 |\n", started.List("%.1f"), started.Median())
	fmt.Printf("| after a sign-up, a sign-in and %d profiles from %d clients | %s | %.1f | |\n", b.each, manyClients, loaded.List("%.1f"), loaded.Median())
	return nil
}

func measureMemory(ctx context.Context, s *lab.Server, profiles int) (after [2]float64, err error) {
	if err := lab.AwaitReady(ctx, s.Address); err != nil {
		return after, err
	}
	if after[0], err = s.SettledMemory(); err != nil {
		return after, err
	}
	o, err := signUp(ctx, s.Address)
	if err != nil {
		return after, err
	}
	if _, err := o.load(manyClients, 0, int64(profiles)); err != nil {
		return after, err
	}
	after[1], err = s.SettledMemory()
	return after, err
}
