// Profiles measures what auth profiles cost, side by side with the bare things
// that they are made of, in one run:
//
//	go run ./bench/profiles              all of it, about five minutes
//	go run ./bench/profiles -only open   one part: create, open, memory or restart
//	go run ./bench/profiles -profile DIR profiles of the server while profiles are created
//
// It prints a table in Markdown. docs/performance.md has its figures, and says
// what is measured and what bare means.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/bench/lab"
)

// settings are what the program is called with.
type settings struct {
	rounds  int    // of each measurement; the median counts
	each    int    // profiles that one round creates
	stored  int    // profiles in the database that restarts
	dir     string // for databases: a folder on a real disk
	profile string // where profiles go; empty: none are taken
}

// parts are what can be measured, in order.
var parts = []struct {
	name    string
	measure func(*bench, context.Context) error
}{
	{"create", (*bench).create},
	{"open", (*bench).open},
	{"memory", (*bench).memory},
	{"restart", (*bench).restart},
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == lab.Profiled {
		exit(lab.ServeProfiled(os.Args[2], os.Args[3:]))
	}
	var s settings
	flag.IntVar(&s.rounds, "rounds", 5, "measure each thing so often")
	flag.IntVar(&s.each, "n", 4000, "create so many profiles in a round")
	flag.IntVar(&s.stored, "stored", 100_000, "restart with so many profiles in the database")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "put the databases into a folder in this one, on a real disk")
	flag.StringVar(&s.profile, "profile", "", "write profiles of the server into this folder, and measure nothing else")
	only := flag.String("only", "", "measure one part: create, open, memory or restart")
	flag.Parse()
	exit(run(context.Background(), s, *only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/profiles:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, s settings, only string) (err error) {
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if s.profile != "" {
		return b.profiles(ctx)
	}
	machine, err := lab.Describe(b.dir)
	if err != nil {
		return err
	}
	fmt.Println(machine)
	for _, part := range parts {
		if only != "" && only != part.name {
			continue
		}
		if err := part.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// bench is one run of the program.
type bench struct {
	settings
	dir    string // of this run; removed at its end
	binary string
	folder int // how many data folders there have been
}

// newBench builds the server as it is shipped.
func newBench(s settings) (*bench, error) {
	dir, err := os.MkdirTemp(s.dir, "keyward-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{settings: s, dir: dir, binary: filepath.Join(dir, "keyward")}
	if err := lab.Build(b.binary); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return b, nil
}

// newFolder returns the name of a folder that is not there yet.
func (b *bench) newFolder() string {
	b.folder++
	return filepath.Join(b.dir, fmt.Sprintf("data-%d", b.folder))
}
