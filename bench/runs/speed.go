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

// kind is one of the two databases. Each measurement has a new one, which all of
// them fill equally far.
type kind struct {
	name string
	new  func(ctx context.Context) (folder, address string, err error) // address "": SQLite in the folder
}

// subject is one thing that is measured in turn with the others.
type subject struct {
	name    string
	clients int
	measure func(ctx context.Context) (measured, error)
	keyward bool
	target  float64  // of the bare program's speed; 0: none
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

// speed measures runs whose callers wait for them.
func (b *bench) speed(ctx context.Context, k kind) error {
	original, err := b.original(ctx, k)
	if err != nil {
		return err
	}
	defer original.Close()

	nobody := func() error { return nil }
	all := []*subject{
		{name: "bare: two durable commits a run", measure: func(ctx context.Context) (measured, error) {
			return b.alone(ctx, k, original, nobody)
		}},
		{name: "bare: two durable commits and the call of the agent", measure: func(ctx context.Context) (measured, error) {
			c, err := dial(b.agent.address())
			if err != nil {
				return measured{}, err
			}
			defer c.conn.Close()
			request := directly(b.agent)
			return b.alone(ctx, k, original, func() error { return c.do(request(0), agentOK) })
		}},
	}
	direct := map[int]*subject{}
	for _, clients := range []int{1, manyClients} {
		direct[clients] = &subject{name: "the call of the agent alone", clients: clients, measure: func(context.Context) (measured, error) {
			return warmed(b.agent.address(), clients, b.each, directly(b.agent), agentOK)
		}}
		all = append(all, direct[clients])
	}
	for _, way := range []struct {
		clients int
		profile bool
		more    []string
		name    string
	}{
		{1, false, nil, "Keyward"},
		{1, true, nil, "Keyward, with an auth profile"},
		{manyClients, false, nil, "Keyward"},
		{manyClients, true, nil, "Keyward, with an auth profile"},
		{manyClients, false, wide, "Keyward, " + strings.Join(wide, " ")},
		{manyClients, true, wide, "Keyward, " + strings.Join(wide, " ") + ", with an auth profile"},
	} {
		s := &subject{name: way.name, clients: way.clients, keyward: true, target: 0.3, direct: direct[way.clients], atMost: 1.5}
		if way.clients > 1 {
			s.target, s.atMost = 1.2, 5
		}
		s.measure = func(ctx context.Context) (m measured, err error) {
			folder, address, err := k.new(ctx)
			if err != nil {
				return m, err
			}
			err = b.served(ctx, []string{b.binary, "serve"}, folder, address, way.more, func(server *lab.Server, o *owner) (err error) {
				m, err = onServer(server, way.clients, b.each, o.request(way.profile, false))
				return err
			})
			return m, err
		}
		all = append(all, s)
	}
	for round := range b.rounds {
		var told []string
		for _, s := range all {
			m, err := s.measure(ctx)
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

// wide lets as many runs be under way as there are clients, which by default are
// twice the processors.
var wide = []string{"--runs-at-once", "32"}

func (b *bench) report(k kind, all []*subject) {
	fmt.Printf("\nRuns a second on %s, %d in each round:\n\n", k.name, b.each)
	fmt.Println("| | clients | rounds | median | of bare | at least | of bare with the call | median ms | added | below | processor µs | |")
	fmt.Println("| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |")
	for _, s := range all {
		clients, against, times, good := "", " | | ", " | | | ", ""
		if s.clients > 0 {
			clients, times = fmt.Sprint(s.clients), fmt.Sprintf("%.2f | | | ", s.median.Median())
		}
		if s.keyward {
			of, added := s.speed.Median()/all[0].speed.Median(), s.median.Median()-s.direct.median.Median()
			against = fmt.Sprintf("**%.2f** | %.1f | %.2f", of, s.target, s.speed.Median()/all[1].speed.Median())
			times = fmt.Sprintf("%.2f | **%.2f** | %.1f | %.0f", s.median.Median(), added, s.atMost, s.busy.Median())
			good = verdict(of >= s.target && added < s.atMost)
		}
		fmt.Printf("| %s | %s | %s | %.0f | %s | %s | %s |\n", s.name, clients, s.speed.List("%.0f"), s.speed.Median(), against, times, good)
	}
}

// onServer is warmed with the server's processor time.
func onServer(s *lab.Server, clients, n int, request func(client int) []byte) (m measured, err error) {
	if _, err := load(s.Address, clients, warm, request, ranWell); err != nil {
		return m, err
	}
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

// alone runs the bare program on a new database.
func (b *bench) alone(ctx context.Context, k kind, original *sql.DB, call func() error) (m measured, err error) {
	folder, address, err := k.new(ctx)
	if err != nil {
		return m, err
	}
	p, err := newBare(ctx, original, folder, address)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	m.perSecond, err = p.run(ctx, b.each, call)
	return m, err
}
