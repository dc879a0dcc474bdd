package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/keyward/keyward/bench/lab"
)

// start starts a server. A database is "" for SQLite in the folder.
func (b *bench) start(program []string, folder, database string, more ...string) (*lab.Server, error) {
	args := []string{"--addr", "127.0.0.1:0", "--data", folder, "--quotas-queued-runs", "unlimited", "--default-tier", "enterprise", "--log-level", "warn"}
	if database != "" {
		if out, err := exec.Command(b.binary, "root", "init", "--data", folder).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("keyward root init: %w\n%s", err, out)
		}
		args = append(args, "--database", database)
	}
	return lab.Start(append(append(program, args...), more...)...)
}

// serve starts a server with an owner.
func (b *bench) serve(ctx context.Context, program []string, folder, database string, more []string) (*lab.Server, *owner, error) {
	s, err := b.start(program, folder, database, more...)
	if err != nil {
		return nil, nil, err
	}
	o, err := signUp(ctx, s.Address, "http://"+b.agent.address()+"/run")
	if err != nil {
		return nil, nil, errors.Join(err, s.Stop())
	}
	return s, o, nil
}

// served is serve for one use, after which the server is stopped.
func (b *bench) served(ctx context.Context, program []string, folder, database string, more []string, use func(*lab.Server, *owner) error) error {
	s, o, err := b.serve(ctx, program, folder, database, more)
	if err != nil {
		return err
	}
	return errors.Join(use(s, o), s.Stop())
}

// profiles takes profiles of the server with one client and with many, with an
// auth profile and without, and while runs that waited are taken up.
func (b *bench) profiles(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	program := func(prefix string) []string { return []string{self, lab.Profiled, prefix} }
	for _, profile := range []bool{false, true} {
		for _, clients := range []int{1, manyClients} {
			prefix := filepath.Join(b.profile, fmt.Sprintf("runs-%d", clients))
			if profile {
				prefix += "-with-profile"
			}
			err := b.served(ctx, program(prefix), b.newFolder(), "", wide, func(s *lab.Server, o *owner) error {
				m, err := onServer(s, clients, 10*b.each, o.request(profile, false))
				fmt.Printf("%s: %.0f runs a second with the profiler on, median %.2f ms, %.0f µs of the processor each\n", prefix, m.perSecond, m.median, m.busy)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	prefix := filepath.Join(b.profile, "queue")
	return b.served(ctx, program(prefix), b.newFolder(), "", nil, func(s *lab.Server, o *owner) error {
		q, err := b.waitAndTakeUp(s, o, false)
		fmt.Printf("%s: with the profiler on, %.0f runs a second queued, %.0f taken up\n", prefix, q.queued, q.done)
		return err
	})
}
