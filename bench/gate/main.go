// Gate measures what the check of an API key costs in front of every request,
// side by side with a bare net/http handler that gives the same answer, in one
// run:
//
//	go run ./bench/gate                 all of it, about twelve minutes
//	go run ./bench/gate -only speed     one part: cold, speed or flood
//	go run ./bench/gate -profile DIR    profiles of the server while it checks keys
//
// It needs wrk (Debian has a package of that name), and prints tables in
// Markdown. docs/performance.md has its figures, and says what is measured and
// what bare means.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/keyward/keyward/bench/lab"
)

// settings are what the program is called with.
type settings struct {
	turns   int    // of each measurement; the median counts
	seconds int    // that each turn takes
	few     int    // keys in the small database
	keys    int    // keys in the large one
	used    int    // of those that are in use
	cold    int    // keys that a turn asks for the first time
	flood   int    // bad keys of each kind
	dir     string // for databases: a folder on a real disk
	profile string // where profiles go; empty: none are taken
}

// parts are what can be measured, in order.
var parts = []struct {
	name    string
	measure func(*bench, context.Context) error
}{
	{"cold", (*bench).coldKeys},
	{"speed", (*bench).speed},
	{"flood", (*bench).floods},
}

func main() {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case bareHandler:
			exit(serveBare(os.Args[2]))
		case lab.Profiled:
			exit(lab.ServeProfiled(os.Args[2], os.Args[3:]))
		}
	}
	var s settings
	flag.IntVar(&s.turns, "turns", 5, "measure each thing so often")
	flag.IntVar(&s.seconds, "seconds", 5, "for so long each time")
	flag.IntVar(&s.few, "few", 1000, "keys in the small database")
	flag.IntVar(&s.keys, "keys", 1_000_000, "keys in the large database")
	flag.IntVar(&s.used, "used", 100_000, "keys of the large database that are in use")
	flag.IntVar(&s.cold, "cold", 50_000, "keys that are asked for the first time in each turn")
	flag.IntVar(&s.flood, "flood", 1_000_000, "bad keys of each kind")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "put the databases into a folder in this one, on a real disk")
	flag.StringVar(&s.profile, "profile", "", "write profiles of the server into this folder, and measure nothing else")
	only := flag.String("only", "", "measure one part: cold, speed or flood")
	flag.Parse()
	exit(run(context.Background(), s, *only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/gate:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, s settings, only string) error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("%w: apt-get install wrk", err)
	}
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
	self   string // this program
	binary string // keyward
	seeds  map[int]*seeded
}

// newBench builds the server as it is shipped.
func newBench(s settings) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.dir, "keyward-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{settings: s, dir: dir, self: self, binary: filepath.Join(dir, "keyward"), seeds: map[int]*seeded{}}
	if err := lab.Build(b.binary); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return b, nil
}

// folder returns the data folder with so many keys, which it makes at the first
// time.
func (b *bench) folder(ctx context.Context, keys int) (*seeded, error) {
	if f := b.seeds[keys]; f != nil {
		return f, nil
	}
	f, err := b.seed(ctx, filepath.Join(b.dir, fmt.Sprintf("data-%d", keys)), keys)
	if err != nil {
		return nil, fmt.Errorf("make %d keys: %w", keys, err)
	}
	b.seeds[keys] = f
	return f, nil
}

// flags are what all servers here are started with: everything is on that a
// check of a key can meet.
func flags(folder string) []string {
	return []string{"--addr", "127.0.0.1:0", "--data", folder, "--default-tier", "enterprise", "--log-level", "warn"}
}

func (b *bench) start(f *seeded, more ...string) (*lab.Server, error) {
	return lab.Start(append(append([]string{b.binary, "serve"}, flags(f.path)...), more...)...)
}
