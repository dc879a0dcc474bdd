package lab

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/serve"
)

// Profiled is the first argument by which a measuring program is the server
// itself, with profiles taken of all its life. The second is what the names of
// their files begin with.
const Profiled = "serve-with-profiles"

// ServeProfiled serves with the arguments of keyward serve until SIGTERM, and
// writes what took CPU time and what allocated memory.
func ServeProfiled(prefix string, args []string) error {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, _, err := config.Load(flags, os.Environ(), os.ReadFile)
	if err != nil {
		return err
	}
	cpu, err := os.Create(prefix + ".cpu.pprof")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err = serve.Run(ctx, serve.Options{Config: c, Version: "bench", Say: os.Stdout, Log: os.Stderr, Lookup: os.LookupEnv})
	pprof.StopCPUProfile()
	return errors.Join(err, cpu.Close(), writeAllocations(prefix+".alloc.pprof"))
}

func writeAllocations(file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(out, 0), out.Close())
}
