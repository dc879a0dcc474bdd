package serve

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyward/keyward/internal/metrics"
)

// requests takes the time of requests. An instrument is looked up once for each
// route and status, of which there are few.
type requests struct {
	metrics *metrics.Metrics
	mu      sync.RWMutex
	known   map[answered]prometheus.Observer
}

type answered struct {
	route  string
	status int
}

func (q *requests) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	at := answered{route, status}
	q.mu.RLock()
	o := q.known[at]
	q.mu.RUnlock()
	if o == nil {
		o = q.metrics.Request(route, strconv.Itoa(status))
		q.mu.Lock()
		q.known[at] = o
		q.mu.Unlock()
	}
	o.Observe(took.Seconds())
}

// usageLag is how old the oldest counts are that are not on disk.
func (s *server) usageLag() time.Duration {
	flushed := s.usage.Flushed()
	if flushed.IsZero() {
		return 0
	}
	return max(0, time.Since(flushed))
}

// metricsHandler serves /metrics on an address of its own.
func (s *server) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	return mux
}

// observe is told of each request that was answered.
func (s *server) observe(route string, status int, took time.Duration) {
	s.requests.observe(route, status, took)
}
