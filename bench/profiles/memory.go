package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memory measures what a server has in memory that was just started on an empty
// folder, and after it has created profiles.
func (b *bench) memory(ctx context.Context) error {
	var started, loaded series
	for round := range b.rounds {
		s, err := b.start(b.newFolder())
		if err != nil {
			return err
		}
		after, err := s.measureMemory(ctx, b.each)
		if err := errors.Join(err, s.stop()); err != nil {
			return err
		}
		started, loaded = append(started, after[0]), append(loaded, after[1])
		say("round %d of %d: %.1f MB, %.1f MB", round+1, b.rounds, after[0], after[1])
	}
	fmt.Printf("\nResident memory (VmRSS), MB:\n\n")
	fmt.Println("| | rounds | median | below |")
	fmt.Println("| --- | --- | --: | --: |")
	fmt.Printf("| after start | %s | **%.1f** | 35 |\n", started.list("%.1f"), started.median())
	fmt.Printf("| after a sign-up, a sign-in and %d profiles from %d clients | %s | %.1f | |\n", b.each, manyClients, loaded.list("%.1f"), loaded.median())
	return nil
}

func (s *server) measureMemory(ctx context.Context, profiles int) (after [2]float64, err error) {
	if err := awaitReady(ctx, s.address); err != nil {
		return after, err
	}
	if after[0], err = s.settledMemory(); err != nil {
		return after, err
	}
	o, err := signUp(ctx, s.address)
	if err != nil {
		return after, err
	}
	if _, err := o.load(manyClients, 0, int64(profiles)); err != nil {
		return after, err
	}
	after[1], err = s.settledMemory()
	return after, err
}

// settledMemory returns the resident memory once it has stayed the same for
// two seconds: background work runs every second, and what it needs counts.
func (s *server) settledMemory() (megabytes float64, err error) {
	const within = 0.2
	last, since := -1.0, time.Now()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(100 * time.Millisecond) {
		now, err := s.residentMemory()
		if err != nil {
			return 0, err
		}
		if now > last+within || now < last-within {
			last, since = now, time.Now()
		} else if time.Since(since) > 2*time.Second {
			break
		}
	}
	return s.residentMemory()
}

func (s *server) residentMemory() (megabytes float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("/proc has no VmRSS")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib * 1024 / 1e6, err
}
