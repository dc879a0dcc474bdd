package serve

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// loops are the server's background work. Each runs until it is stopped; one
// that fails or panics is reported and started again, more slowly each time.
type loops struct {
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newLoops(log *slog.Logger) *loops {
	ctx, cancel := context.WithCancel(context.Background())
	return &loops{log: log, ctx: ctx, cancel: cancel}
}

// start runs loop in the background.
func (l *loops) start(name string, loop func(ctx context.Context) error) {
	l.wg.Go(func() {
		const slowest = 30 * time.Second
		for pause := 100 * time.Millisecond; ; pause = min(2*pause, slowest) {
			began := time.Now()
			err := guarded(l.ctx, loop)
			if l.ctx.Err() != nil {
				return
			}
			if time.Since(began) > time.Minute {
				pause = 100 * time.Millisecond
			}
			l.log.Error("background work failed and is started again", "loop", name, "err", err)
			select {
			case <-l.ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	})
}

// every runs work at once and then each time after pause. What it fails with is
// reported, and it is tried again at its time.
func (l *loops) every(name string, pause time.Duration, work func(ctx context.Context) error) {
	l.start(name, func(ctx context.Context) error {
		for {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("background work failed and is tried again", "loop", name, "err", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
		}
	})
}

// stop ends all loops and waits for them.
func (l *loops) stop() {
	l.cancel()
	l.wg.Wait()
}

func guarded(ctx context.Context, loop func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return loop(ctx)
}
