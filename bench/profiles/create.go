package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyward/keyward/bench/lab"
)

// create measures how fast profiles are created over HTTP, against the bare
// program. Each round is all three, each on a new database that it fills
// equally far, so that a machine with other things to do slows them down alike.
func (b *bench) create(ctx context.Context) error {
	original, err := b.original(ctx)
	if err != nil {
		return err
	}
	defer original.Close()

	programs := []struct {
		name    string
		target  float64
		measure func() (float64, error)
	}{
		{"the bare program", 0, func() (float64, error) { return b.alone(ctx, original) }},
		{"Keyward over HTTP, 1 client", 0.4, func() (float64, error) {
			return b.overHTTP(ctx, []string{b.binary, "serve"}, b.newFolder(), 1)
		}},
		{fmt.Sprintf("Keyward over HTTP, %d clients", manyClients), 0.9, func() (float64, error) {
			return b.overHTTP(ctx, []string{b.binary, "serve"}, b.newFolder(), manyClients)
		}},
	}
	speeds := make([]lab.Series, len(programs))
	for round := range b.rounds {
		var told []string
		for i, p := range programs {
			speed, err := p.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			speeds[i] = append(speeds[i], speed)
			told = append(told, fmt.Sprintf("%s %.0f/s", p.name, speed))
		}
		lab.Say("round %d of %d: %s", round+1, b.rounds, strings.Join(told, ", "))
	}

	fmt.Printf("\nCreating a profile of %d values, profiles a second, %d in each round:\n\n", valuesOfEach, b.each)
	fmt.Println("| | rounds | median | against bare | target |")
	fmt.Println("| --- | --- | --: | --: | --: |")
	for i, p := range programs {
		ratio, target := "1", ""
		if i > 0 {
			ratio = fmt.Sprintf("**%.2f**", speeds[i].Median()/speeds[0].Median())
			target = fmt.Sprintf("%.1f", p.target)
		}
		fmt.Printf("| %s | %s | %.0f | %s | %s |\n", p.name, speeds[i].List("%.0f"), speeds[i].Median(), ratio, target)
	}
	return nil
}

// original returns a database in which the server has created profiles over
// HTTP: the bare program writes what it finds there.
func (b *bench) original(ctx context.Context) (_ *sql.DB, err error) {
	folder := b.newFolder()
	if _, err := b.overHTTP(ctx, []string{b.binary, "serve"}, folder, 1); err != nil {
		return nil, err
	}
	return openDatabase(folder)
}

// openDatabase opens the database of a server that has ended.
func openDatabase(folder string) (*sql.DB, error) {
	return sql.Open("sqlite", filepath.Join(folder, "keyward.db")+"?_pragma=query_only(1)")
}

// alone runs the bare program on a new database.
func (b *bench) alone(ctx context.Context, original *sql.DB) (perSecond float64, err error) {
	folder := b.newFolder()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, err
	}
	p, err := newBare(ctx, original, folder)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if perSecond, err = p.run(ctx, b.each); err != nil {
		return 0, err
	}
	return perSecond, p.compare(ctx, original)
}
