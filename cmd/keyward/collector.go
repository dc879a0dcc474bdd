package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// ballast is memory that is never touched, so that none is really there. To
	// the garbage collector it is part of the heap that it lets grow by a part: a
	// server with little in memory collects every 36 MiB of garbage then, and not
	// every 8, which it makes in a few thousand requests.
	ballast = 64 << 20

	// growth is that part, in percent. With a hundred thousand keys in memory
	// there is as much garbage at a time as Go's own 100 would let be without the
	// ballast.
	growth = 50
)

// tuneCollector sets the pace of the garbage collector, unless the environment
// does. What it returns keeps the ballast afloat until it is called.
func tuneCollector() (done func()) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := os.LookupEnv(name); set {
			return func() {}
		}
	}
	debug.SetGCPercent(growth)
	untouched := make([]byte, ballast)
	return func() { runtime.KeepAlive(untouched) }
}
