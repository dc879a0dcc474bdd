package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keyward/keyward/bench/lab"
)

// kind is one of the two databases. Every subject has one of its own, and all of
// them are filled equally far.
type kind struct {
	name string
	new  func(ctx context.Context) (folder, address string, err error) // address "": SQLite in the folder
}

// subject is one thing that is measured in turn with the others.
type subject struct {
	name    string
	clients int // 0: the bare program
	measure func() (measured, error)
	close   func() error

	keyward bool
	target  float64  // of the bare program's speed
	direct  *subject // the same clients' calls of the agent itself
	atMost  float64  // milliseconds added

	speed, median, busy lab.Series
}

func (b *bench) sqlite(ctx context.Context) error {
	return b.speed(ctx, kind{"SQLite", func(context.Context) (string, string, error) {
		folder := b.newFolder()
		return folder, "", os.MkdirAll(folder, 0o700)
	}})
}

func (b *bench) postgres(ctx context.Context) (err error) {
	p, err := lab.StartPostgres(b.settings.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	return b.speed(ctx, kind{"PostgreSQL", func(ctx context.Context) (string, string, error) {
		folder := b.newFolder()
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return "", "", err
		}
		address, err := p.NewDatabase(ctx)
		return folder, address, err
	}})
}

// speed measures runs whose callers wait for them. Each round is a short turn of
// every subject: whatever else the machine and its disk have to do meanwhile slows
// all of them alike.
func (b *bench) speed(ctx context.Context, k kind) (err error) {
	var all []*subject
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.close())
		}
	}()
	original, err := b.original(ctx, k)
	if err != nil {
		return err
	}
	defer original.Close()
	for _, calls := range []bool{false, true} {
		s, err := b.bareSubject(ctx, k, original, calls)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	direct := map[int]*subject{}
	for _, clients := range []int{1, manyClients} {
		direct[clients] = &subject{name: "the call of the agent alone", clients: clients, close: func() error { return nil },
			measure: func() (measured, error) {
				return load(b.agent.address(), clients, b.each, directly(b.agent), agentOK)
			}}
		all = append(all, direct[clients])
	}
	for _, way := range []struct {
		clients int
		profile bool
		more    []string
	}{
		{1, false, nil}, {1, true, nil},
		{manyClients, false, wide}, {manyClients, true, wide},
		{manyClients, false, nil}, {manyClients, true, nil},
	} {
		s, err := b.keywardSubject(ctx, k, way.clients, way.profile, way.more)
		if err != nil {
			return err
		}
		s.direct = direct[way.clients]
		all = append(all, s)
	}
	for round := range b.rounds {
		var told []string
		for _, s := range all {
			m, err := s.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.speed, s.median, s.busy = append(s.speed, m.perSecond), append(s.median, m.median), append(s.busy, m.busy)
			told = append(told, fmt.Sprintf("%.0f", m.perSecond))
		}
		lab.Say("%s, round %d of %d: %s", k.name, round+1, b.rounds, strings.Join(told, " "))
	}
	b.report(k, all)
	return nil
}

// bareSubject is the bare program, on a new database.
func (b *bench) bareSubject(ctx context.Context, k kind, original *sql.DB, calls bool) (*subject, error) {
	folder, address, err := k.new(ctx)
	if err != nil {
		return nil, err
	}
	p, err := newBare(ctx, original, folder, address)
	if err != nil {
		return nil, err
	}
	s := &subject{name: "bare: two durable commits a run", close: p.close}
	call := func() error { return nil }
	if calls {
		c, err := dial(b.agent.address())
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		request := directly(b.agent)(0)
		call = func() error { return c.do(request, agentOK) }
		s.name += ", and the call of the agent"
		s.close = func() error { return errors.Join(c.conn.Close(), p.close()) }
	}
	s.measure = func() (m measured, err error) {
		m.perSecond, err = p.run(ctx, b.each, call)
		return m, err
	}
	_, err = s.measure() // statements get prepared, and the log its size
	return s, err
}

// keywardSubject is a server on a new database.
func (b *bench) keywardSubject(ctx context.Context, k kind, clients int, profile bool, more []string) (*subject, error) {
	s := &subject{name: strings.Join(append([]string{"Keyward"}, more...), " "), clients: clients, keyward: true, target: 0.3, atMost: 1.5}
	if clients > 1 {
		s.target, s.atMost = 1.2, 5
	}
	if profile {
		s.name += ", with an auth profile"
	}
	folder, address, err := k.new(ctx)
	if err != nil {
		return nil, err
	}
	server, o, err := b.serve(ctx, []string{b.binary, "serve"}, folder, address, more)
	if err != nil {
		return nil, err
	}
	s.close = server.Stop
	request := o.request(profile, false)
	s.measure = func() (measured, error) { return onServer(server, clients, b.each, request) }
	if _, err := s.measure(); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return s, nil
}

// wide lets as many runs be under way as there are clients. By default they are
// twice the processors, of which one organization has three quarters.
var wide = []string{"--runs-at-once", "32"}

// ratios are of s to another in each round.
func (s *subject) ratios(to *subject) (all lab.Series) {
	for i := range s.speed {
		all = append(all, s.speed[i]/to.speed[i])
	}
	return all
}

func (b *bench) report(k kind, all []*subject) {
	fmt.Printf("\nRuns a second on %s, medians of %d rounds of %d runs, and the middle half of the ratios:\n\n", k.name, b.rounds, b.each)
	fmt.Println("| | clients | a second | of bare | | at least | of bare with the call | median ms | added | below | processor µs | |")
	fmt.Println("| --- | --: | --: | --: | --- | --: | --: | --: | --: | --: | --: | --- |")
	for _, s := range all {
		clients, against, times, good := "", " | | | ", " | | | ", ""
		if s.clients > 0 {
			clients, times = fmt.Sprint(s.clients), fmt.Sprintf("%.2f | | | ", s.median.Median())
		}
		if s.keyward {
			ratios := s.ratios(all[0])
			of, added := ratios.Median(), s.median.Median()-s.direct.median.Median()
			sorted := slices.Sorted(slices.Values(ratios))
			against = fmt.Sprintf("**%.2f** | %.2f to %.2f | %.1f | %.2f", of, sorted[len(sorted)/4], sorted[len(sorted)*3/4], s.target, s.ratios(all[1]).Median())
			times = fmt.Sprintf("%.2f | **%.2f** | %.1f | %.0f", s.median.Median(), added, s.atMost, s.busy.Median())
			good = verdict(of >= s.target && added < s.atMost)
		}
		fmt.Printf("| %s | %s | %.0f | %s | %s | %s |\n", s.name, clients, s.speed.Median(), against, times, good)
	}
}

// onServer is load with the server's processor time.
func onServer(s *lab.Server, clients, n int, request func(client int) []byte) (m measured, err error) {
	before, err := s.ProcessorTime()
	if err != nil {
		return m, err
	}
	if m, err = load(s.Address, clients, n, request, ranWell); err != nil {
		return m, err
	}
	after, err := s.ProcessorTime()
	m.busy = float64((after - before).Microseconds()) / float64(n)
	return m, err
}

// directly is a run as the agent gets it.
func directly(a *agent) func(client int) []byte {
	request := post(a.address(), "/run", `{"run_id":"019b0000-0000-7000-8000-000000000000","agent_id":"shop","arguments":{"item":"blue shoes, size 42"},"session":null}`)
	return func(int) []byte { return request }
}

// original returns a database in which the server has done runs: the bare program
// writes what it finds there.
func (b *bench) original(ctx context.Context, k kind) (*sql.DB, error) {
	folder, address, err := k.new(ctx)
	if err != nil {
		return nil, err
	}
	err = b.served(ctx, []string{b.binary, "serve"}, folder, address, nil, func(s *lab.Server, o *owner) error {
		_, err := load(s.Address, 1, 10, o.request(false, false), ranWell)
		return err
	})
	if err != nil {
		return nil, err
	}
	if address != "" {
		return sql.Open("pgx", address)
	}
	return sql.Open("sqlite", filepath.Join(folder, "keyward.db")+"?_pragma=query_only(1)")
}
