package main

import (
	"context"
	"errors"
	"fmt"
	"time"
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
			s.process.Process.Kill()
		}
	}()
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
		if s, err = b.start(folder); err != nil {
			return err
		}
		if err := awaitReady(ctx, s.address); err != nil {
			return err
		}
		away = append(away, time.Since(began).Seconds())
		<-loaded
		o.address = s.address
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
