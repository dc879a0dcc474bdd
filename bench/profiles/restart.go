package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/bench/lab"
)

// restart measures how long a server with many profiles is away after kill -9
// under load: from the signal until /readyz answers 200 to the next process.
func (b *bench) restart(ctx context.Context) error {
	folder := b.newFolder()
	s, err := b.start(folder)
	if err != nil {
		return err
	}
	defer func() {
		if s != nil {
			s.Process.Process.Kill()
		}
	}()
	o, err := signUp(ctx, s.Address)
	if err != nil {
		return err
	}
	lab.Say("creating %d profiles", b.stored)
	began := time.Now()
	created, err := o.load(manyClients, 0, int64(b.stored))
	if err != nil {
		return err
	}
	lab.Say("took %v", time.Since(began).Round(time.Second))
	full, err := s.SettledMemory()
	if err != nil {
		return err
	}

	var away lab.Series
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
		if err := s.Kill(); err != nil {
			return err
		}
		if s, err = b.start(folder); err != nil {
			return err
		}
		if err := lab.AwaitReady(ctx, s.Address); err != nil {
			return err
		}
		away = append(away, time.Since(began).Seconds())
		<-loaded
		o.address = s.Address
		created += answered
		lab.Say("round %d of %d: %.3f s, after %d profiles in the second before", round+1, b.rounds, away[round], answered)
	}
	again, err := s.SettledMemory()
	if err := errors.Join(err, s.Stop(), holdsProfiles(ctx, folder, created)); err != nil {
		return err
	}

	fmt.Printf("\nFrom kill -9 under load (%d clients creating profiles) to /readyz, with %d profiles in the database:\n\n", manyClients, b.stored)
	fmt.Println("| | rounds | median | below |")
	fmt.Println("| --- | --- | --: | --: |")
	fmt.Printf("| seconds | %s | **%.2f** | 1 |\n", away.List("%.2f"), away.Median())
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
