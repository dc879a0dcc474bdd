package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/bench/lab"
)

// profiles takes profiles of the server while it checks keys in each of the two
// ways, and while it checks keys that it does not remember.
func (b *bench) profiles(ctx context.Context) error {
	f, err := b.folder(ctx, b.few)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	keys, err := f.file(len(f.keys))
	if err != nil {
		return err
	}
	for i, k := range f.asks() {
		prefix := filepath.Join(b.profile, []string{"gateway", "service"}[i])
		err := b.profiled(f, prefix, func(address string) error {
			p, err := b.wrk(address, k, keys, b.seconds)
			fmt.Printf("%s: %.0f checks a second with the profiler on, p99 %v, %d requests\n", prefix, p.perSecond, p.p99, p.requests)
			return err
		})
		if err != nil {
			return err
		}
	}
	large, err := b.folder(ctx, b.keys)
	if err != nil {
		return err
	}
	crowd := large.keys[:min(b.used, len(large.keys))]
	file, err := large.file(len(crowd))
	if err != nil {
		return err
	}
	prefix := filepath.Join(b.profile, "crowd")
	err = b.profiled(large, prefix, func(address string) error {
		if _, err := large.askOnce(address, crowd); err != nil {
			return err
		}
		p, err := b.wrk(address, large.asks()[0], file, 4*b.seconds)
		fmt.Printf("%s: %.0f checks a second of %d keys with the profiler on, p99 %v\n", prefix, p.perSecond, len(crowd), p.p99)
		return err
	})
	if err != nil {
		return err
	}
	prefix = filepath.Join(b.profile, "cold")
	return b.profiled(large, prefix, func(address string) error {
		l, err := large.askOnce(address, large.keys[:min(b.used, len(large.keys))])
		fmt.Printf("%s: %.0f cold keys a second with the profiler on\n", prefix, l.perSecond(min(b.used, len(large.keys))))
		return err
	})
}

// profiled runs a server that takes profiles while it is asked.
func (b *bench) profiled(f *seeded, prefix string, asked func(address string) error) error {
	s, err := lab.Start(append([]string{b.self, lab.Profiled, prefix}, flags(f.path)...)...)
	if err != nil {
		return err
	}
	return errors.Join(asked(s.Address), s.Stop())
}
