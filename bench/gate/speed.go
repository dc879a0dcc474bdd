package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/keyward/keyward/bench/lab"
)

// subject is one thing that is measured in turn with the others.
type subject struct {
	name    string
	server  *lab.Server
	keyward bool // or else a bare handler
	ask     ask
	keys    string   // the file
	against *subject // what it is compared with
	target  float64  // of that; 0: none, it is compared with the same on the small database

	pace, p50, p99 lab.Series
	busy           lab.Series // microseconds of the processor for each request
}

// speed measures checks of keys that are in use, on a small database and on a
// large one.
func (b *bench) speed(ctx context.Context) (err error) {
	small, err := b.folder(ctx, b.few)
	if err != nil {
		return err
	}
	large, err := b.folder(ctx, b.keys)
	if err != nil {
		return err
	}
	var servers []*lab.Server
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.Stop())
		}
	}()
	start := func(s *lab.Server, failed error) *lab.Server {
		if failed != nil {
			err = errors.Join(err, failed)
			return nil
		}
		servers = append(servers, s)
		return s
	}
	few, many := start(b.start(small)), start(b.start(large))
	if err != nil {
		return err
	}
	bareOfFew, bareOfMany := start(b.startBare(few.Address, small.asks(), small.keys[0])), start(b.startBare(many.Address, large.asks(), large.keys[0]))
	if err != nil {
		return err
	}
	used := min(b.used, len(large.keys))
	lab.Say("asking %d keys for the first time", used)
	for f, s := range map[*seeded]*lab.Server{small: few, large: many} {
		if _, err := f.askOnce(s.Address, f.keys[:min(used, len(f.keys))]); err != nil {
			return err
		}
	}

	var all []*subject
	for i, k := range small.asks() {
		target := []float64{0.80, 0.60}[i]
		for _, set := range []struct {
			name         string
			from         *seeded
			keys         int
			bare, server *lab.Server
		}{
			{"one key", small, 1, bareOfFew, few},
			{fmt.Sprintf("%d keys", len(small.keys)), small, len(small.keys), bareOfFew, few},
			{fmt.Sprintf("%d keys of %d", used, len(large.keys)), large, used, bareOfMany, many},
		} {
			file, err := set.from.file(set.keys)
			if err != nil {
				return err
			}
			k = set.from.asks()[i]
			target := target
			if set.server == many {
				target = 0
			}
			bare := &subject{name: k.name + ", " + set.name + ": bare", server: set.bare, ask: k, keys: file}
			all = append(all, bare)
			var empty *subject
			if i == 0 && set.keys == 1 {
				nothing := k
				nothing.path, nothing.name = "/empty", "empty"
				empty = &subject{name: "an empty handler", server: set.bare, ask: nothing, keys: file}
				all = append(all, empty)
			}
			all = append(all, &subject{name: k.name + ", " + set.name + ": Keyward", server: set.server, keyward: true, ask: k, keys: file, against: bare, target: target})
			if empty != nil {
				empty.against, empty.target = all[len(all)-1], 0.55
			}
		}
	}
	memory := 0.0
	for _, s := range all { // the heaps find their sizes
		if _, err := b.wrk(s.server.Address, s.ask, s.keys, 1); err != nil {
			return err
		}
	}
	for turn := range b.turns {
		var told []string
		for _, s := range all {
			highest, err := b.measure(s)
			if err != nil {
				return err
			}
			if s.server == many {
				memory = max(memory, highest)
			}
			told = append(told, fmt.Sprintf("%.0f", s.pace[turn]))
		}
		lab.Say("turn %d of %d: %s", turn+1, b.turns, strings.Join(told, " "))
	}
	b.report(all)
	fmt.Printf("\nResident memory of the server with %d keys, %d of them in use, at its highest while it was measured: **%.0f MB** (below 250: %s)\n",
		len(large.keys), used, memory, verdict(memory < 250))
	return nil
}

// measure is the turn of s. It returns the most memory that its server had.
func (b *bench) measure(s *subject) (megabytes float64, err error) {
	watched := func() (float64, error) { return 0, nil }
	if s.keyward {
		watched = watch(s.server)
	}
	before, err := s.server.ProcessorTime()
	if err != nil {
		return 0, err
	}
	p, err := b.wrk(s.server.Address, s.ask, s.keys, b.seconds)
	megabytes, failed := watched()
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	after, err := s.server.ProcessorTime()
	if err != nil {
		return 0, err
	}
	s.pace, s.p50, s.p99 = append(s.pace, p.perSecond), append(s.p50, float64(p.p50.Microseconds())), append(s.p99, float64(p.p99.Microseconds()))
	s.busy = append(s.busy, float64((after-before).Microseconds())/float64(p.requests))
	return megabytes, nil
}

// watch scrapes the metrics of a server once a second and looks at its memory,
// until the returned function is called. That returns the most it has seen.
func watch(s *lab.Server) func() (megabytes float64, err error) {
	stop, done := make(chan struct{}), make(chan struct{})
	var highest float64
	var err error
	go func() {
		defer close(done)
		for {
			now, failed := s.ResidentMemory()
			highest = max(highest, now)
			err = errors.Join(err, failed, scrape(s.Address))
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return func() (float64, error) {
		close(stop)
		<-done
		return highest, err
	}
}

func scrape(address string) error {
	res, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && !strings.Contains(string(text), "keyward_key_checks_total") {
		err = errors.New("the metrics do not count checks of keys")
	}
	return err
}

func (b *bench) report(all []*subject) {
	fmt.Printf("\nChecks a second, wrk with %d connections, %d turns of %d s:\n\n", connections, b.turns, b.seconds)
	fmt.Println("| | turns | median | of bare | at least | p50 µs | p99 µs | p99 of bare's | at most | processor µs | |")
	fmt.Println("| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |")
	for _, s := range all {
		of, tail, good := " | ", " | ", ""
		if s.keyward {
			pace, p99 := s.pace.Median()/s.against.pace.Median(), s.p99.Median()/s.against.p99.Median()
			of, tail = fmt.Sprintf("**%.2f** | ", pace), fmt.Sprintf("%.2f | ", p99)
			if s.target > 0 {
				of, tail, good = fmt.Sprintf("%s%.2f", of, s.target), tail+"2", verdict(pace >= s.target && p99 <= 2)
			}
		}
		fmt.Printf("| %s | %s | %.0f | %s | %.0f | %.0f | %s | %.1f | %s |\n",
			s.name, s.pace.List("%.0f"), s.pace.Median(), of, s.p50.Median(), s.p99.Median(), tail, s.busy.Median(), good)
	}
	fmt.Println()
	var before *subject
	for _, s := range all {
		switch {
		case s.keyward:
			if before != nil && before.ask.name == s.ask.name && before.server != s.server {
				of := s.pace.Median() / before.pace.Median()
				fmt.Printf("%s is **%.2f** of the same on the small database (at least 0.85: %s).\n", s.name, of, verdict(of >= 0.85))
			}
			before = s
		case s.against != nil:
			of := s.against.pace.Median() / s.pace.Median()
			fmt.Printf("%s is **%.2f** of an empty handler (at least %.2f: %s).\n", s.against.name, of, s.target, verdict(of >= s.target))
		}
	}
}
