package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// roomy is what a server may take before it collects garbage for the sake of
	// memory alone. Checks of keys make garbage at a steady pace and keep little:
	// the more there is at a time, the less often all that is kept is walked.
	roomy = 192 << 20

	// growth is how much garbage there may be to what is kept, in percent, below
	// that. Go's own 100 would collect every few thousand requests where a
	// thousand keys are in memory.
	growth = 400
)

// tuneCollector sets the pace of the garbage collector until ctx ends, unless the
// environment does. With more kept than is roomy, there may be half as much
// garbage besides.
func tuneCollector(ctx context.Context) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := os.LookupEnv(name); set {
			return
		}
	}
	debug.SetGCPercent(growth)
	debug.SetMemoryLimit(roomy)
	go func() {
		kept := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			metrics.Read(kept)
			live := int64(kept[0].Value.Uint64())
			debug.SetMemoryLimit(max(roomy, live+live/2+roomy/4))
		}
	}()
}
