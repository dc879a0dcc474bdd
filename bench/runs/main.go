// Runs measures what a run costs around the agent's own work, side by side with
// the bare things that it is made of, in one run:
//
//	go run ./bench/runs                  all of it, about five minutes
//	go run ./bench/runs -only sqlite     one part: sqlite, postgres or queue
//	go run ./bench/runs -profile DIR     profiles of the server while it does runs
//
// The agent is a web service on this machine that answers at once. Bare is a
// program with one goroutine and one connection, which for each run makes two
// durable commits with prepared statements: it inserts the row that Keyward wrote
// for a run, as it was when the run began, and updates it to what it was at its
// end. It looks up no key and no agent, writes no audit entry, seals nothing and
// calls nobody. A second one also calls the agent between the two. Keyward is held
// to the first, which is the faster.
//
// What Keyward adds to a call is the time that its client waits, less the time
// that the same client waits for the agent if it calls it directly: both with as
// many clients at once, and both medians.
//
// The part postgres needs PostgreSQL's programs (Debian: postgresql) and is left
// out without. It prints tables in Markdown. docs/performance.md has its figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/keyward/keyward/bench/lab"
)

// settings are what the program is called with.
type settings struct {
	rounds  int    // of each measurement but the queue's; the median counts
	each    int    // runs in a round
	queued  int    // runs that wait
	dir     string // for databases: a folder on a real disk
	profile string // where profiles go; empty: none are taken
}

// parts are what can be measured, in order.
var parts = []struct {
	name    string
	measure func(*bench, context.Context) error
}{
	{"sqlite", (*bench).sqlite},
	{"postgres", (*bench).postgres},
	{"queue", (*bench).queue},
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == lab.Profiled {
		exit(lab.ServeProfiled(os.Args[2], os.Args[3:]))
	}
	var s settings
	flag.IntVar(&s.rounds, "rounds", 21, "measure each thing so often")
	flag.IntVar(&s.each, "n", 500, "do so many runs in a round")
	flag.IntVar(&s.queued, "queued", 10_000, "queue so many runs")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "put the databases into a folder in this one, on a real disk")
	flag.StringVar(&s.profile, "profile", "", "write profiles of the server into this folder, and measure nothing else")
	only := flag.String("only", "", "measure one part: sqlite, postgres or queue")
	flag.Parse()
	exit(run(context.Background(), s, *only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/runs:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, s settings, only string) error {
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer b.agent.close()
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
		err := part.measure(b, ctx)
		if errors.Is(err, exec.ErrNotFound) && only == "" {
			fmt.Printf("\n%s is left out: %v\n", part.name, err)
			continue
		}
		if err != nil {
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
	agent  *agent
	folder int // how many data folders there have been
}

// newBench builds the server as it is shipped, and starts the agent.
func newBench(s settings) (*bench, error) {
	dir, err := os.MkdirTemp(s.dir, "keyward-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{settings: s, dir: dir, binary: filepath.Join(dir, "keyward")}
	if err = lab.Build(b.binary); err == nil {
		b.agent, err = newAgent()
	}
	if err != nil {
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

func verdict(good bool) string {
	if good {
		return "met"
	}
	return "**missed**"
}
