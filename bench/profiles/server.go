package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/bench/lab"
)

// start starts a server on a data folder and waits until it listens.
func start(program []string, folder string) (*lab.Server, error) {
	return lab.Start(append(program, "--addr", "127.0.0.1:0", "--data", folder, "--quotas-auth-profiles", "unlimited", "--default-tier", "enterprise",
		"--log-level", "warn")...)
}

func (b *bench) start(folder string) (*lab.Server, error) {
	return start([]string{b.binary, "serve"}, folder)
}

// profile takes profiles of the server with one client and with many.
func (b *bench) profiles(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	for _, clients := range []int{1, manyClients} {
		prefix := filepath.Join(b.profile, fmt.Sprintf("create-%d", clients))
		speed, err := b.overHTTP(ctx, []string{self, lab.Profiled, prefix}, b.newFolder(), clients)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %.0f profiles a second, with the profiler on\n", prefix, speed)
	}
	return nil
}
