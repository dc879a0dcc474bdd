package password

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/keyward/keyward/internal/fault"
)

// ErrBusy says that too many passwords wait to be checked.
var ErrBusy = fault.ErrUnavailable.Say("More people are signing in than the server can check at once. Try again shortly.").Retry(2 * time.Second)

// placesPerCore is how many hashes may be under way or waiting for each core. A
// hash takes some 50 ms of it, so the last of them waits for a second or two.
const placesPerCore = 32

// Purpose is what a password is hashed for.
type Purpose int

// The purposes. Registering is what anybody can do as often as he has addresses,
// so it fills a quarter of the places and keeps nobody out who has an account.
const (
	Checking Purpose = iota
	Registering
)

// Queue lets one hash a core run at a time, first come, first served, and no
// more wait than can be answered in time.
type Queue struct {
	Cores int // 0: all that this program may use

	mu          sync.Mutex
	running     chan struct{} // has a place for each core
	inside      int
	registering int // of those inside
}

// Do runs work, which makes or checks a hash, when its turn has come, or returns
// ErrBusy at once if there is no place to wait. Work that has begun is not
// stopped when ctx ends.
func (q *Queue) Do(ctx context.Context, purpose Purpose, work func()) error {
	running := q.enter(purpose)
	if running == nil {
		return ErrBusy
	}
	defer q.leave(purpose)
	select {
	case running <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-running }()
	work()
	return nil
}

// enter returns where to wait, or nil if all places are taken.
func (q *Queue) enter(purpose Purpose) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running == nil {
		if q.Cores == 0 {
			q.Cores = runtime.GOMAXPROCS(0)
		}
		q.running = make(chan struct{}, q.Cores)
	}
	places := q.Cores * placesPerCore
	if q.inside == places || purpose == Registering && q.registering == places/4 {
		return nil
	}
	q.inside++
	if purpose == Registering {
		q.registering++
	}
	return q.running
}

func (q *Queue) leave(purpose Purpose) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inside--
	if purpose == Registering {
		q.registering--
	}
}
