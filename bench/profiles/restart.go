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

// restart measures how long a server with many profiles is away after kill -9
// under load: from the signal until /readyz answers 200 to the next process.
func (b *bench) restart(ctx context.Context) error {
	folder := b.newFolder()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	program := []string{b.binary, "serve"}
	s, err := start(program, folder, address)
	if err != nil {
		return err
	}
	defer func() { s.process.Process.Kill() }()
	o, err := signUp(ctx, s.address)
	if err != nil {
		return err
	}
	say("creating %d profiles", b.stored)
	began := time.Now()
	created, err := o.load(manyClients, 0, int64(b.stored))
	if err != nil {
		return err
	}
	say("took %v", time.Since(began).Round(time.Second))
	full, err := s.settledMemory()
	if err != nil {
		return err
	}

	var away series
	for round := range b.rounds {
		var answered int64
		loaded := make(chan struct{})
		first := int64(b.stored) + int64(round)*1_000_000
		go func() {
			answered, _ = o.load(manyClients, first, first+1_000_000) // ends with the server
			close(loaded)
		}()
		time.Sleep(time.Second) // of load; nothing is waited for
		began := time.Now()
		if err := s.kill(); err != nil {
			return err
		}
		if s, err = start(program, folder, address); err != nil {
			return err
		}
		if err := awaitReady(ctx, address); err != nil {
			return err
		}
		away = append(away, time.Since(began).Seconds())
		<-loaded
		created += answered
		say("round %d of %d: %.3f s, after %d profiles in the second before", round+1, b.rounds, away[round], answered)
	}
	again, err := s.settledMemory()
	if err := errors.Join(err, s.stop(), holdsProfiles(ctx, folder, created)); err != nil {
		return err
	}

	fmt.Printf("\nFrom kill -9 under load (%d clients creating profiles) to /readyz, with %d profiles in the database:\n\n", manyClients, b.stored)
	fmt.Println("| | rounds | median | below |")
	fmt.Println("| --- | --- | --: | --: |")
	fmt.Printf("| seconds | %s | **%.2f** | 1 |\n", away.list("%.2f"), away.median())
	fmt.Printf("\nResident memory of that server: %.1f MB after it created them, %.1f MB after the last restart. No answered profile is missing.\n", full, again)
	return nil
}

// holdsProfiles returns an error if fewer profiles are there than were answered.
func holdsProfiles(ctx context.Context, folder string, answered int64) error {
	d, err := openDatabase(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	var there int64
	if err := d.QueryRowContext(ctx, `SELECT count(*) FROM profiles`).Scan(&there); err != nil {
		return err
	}
	if there < answered {
		return fmt.Errorf("%d profiles were answered, and %d are there", answered, there)
	}
	return nil
}
