// Package metrics counts what the server does, for /metrics in the form that
// Prometheus reads.
//
// Its law: no label grows with customers. A label is an outcome, a route of the
// API or a reason that stands in the source; a key, an organization or an
// address never is.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the instruments of one server.
type Metrics struct {
	registry *prometheus.Registry

	CacheHits   prometheus.Counter
	CacheMisses prometheus.Counter
	Lookups     prometheus.Counter
	AlertsFired prometheus.Counter

	checks     *prometheus.CounterVec
	refused    *prometheus.CounterVec
	requests   *prometheus.HistogramVec
	deliveries *prometheus.CounterVec
}

// New makes the instruments of a server. Lag says how old the oldest counts are
// that are not on disk yet; remembered says how many keys are in memory.
func New(lag func() time.Duration, remembered func() int) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		CacheHits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keyward_key_cache_hits_total", Help: "Keys that were found in memory.",
		}),
		CacheMisses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keyward_key_cache_misses_total", Help: "Keys that were not in memory when they were asked for.",
		}),
		AlertsFired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keyward_alerts_fired_total", Help: "Alerts that fired: once for a window of a key's limit.",
		}),
		Lookups: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keyward_key_lookups_total", Help: "Keys that were looked up in the database.",
		}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyward_key_checks_total", Help: "Checks of API keys, by the code of what came of them; VALID is a good one.",
		}, []string{"code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyward_limit_refusals_total", Help: "Requests that a limit of their key refused, by the limit.",
		}, []string{"limit"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keyward_http_request_duration_seconds", Help: "How long requests took, by route and status.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"route", "status"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keyward_alert_deliveries_total", Help: "Attempts to deliver alerts, by channel and result.",
		}, []string{"channel", "result"}),
	}
	m.registry.MustRegister(m.CacheHits, m.CacheMisses, m.Lookups, m.AlertsFired, m.checks, m.refused, m.requests, m.deliveries,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keyward_usage_flush_lag_seconds", Help: "The age of the oldest usage counts that are not on disk yet.",
		}, func() float64 { return lag().Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keyward_key_cache_entries", Help: "Keys in memory.",
		}, func() float64 { return float64(remembered()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Check returns the counter of the checks that ended with code.
func (m *Metrics) Check(code string) prometheus.Counter { return m.checks.WithLabelValues(code) }

// Refused returns the counter of the requests that a limit refused.
func (m *Metrics) Refused(limit string) prometheus.Counter { return m.refused.WithLabelValues(limit) }

// Request returns what observes the requests of a route that end with a status.
// A route is a pattern of the API, never a path that was asked for.
func (m *Metrics) Request(route, status string) prometheus.Observer {
	return m.requests.WithLabelValues(route, status)
}

// Delivered counts an attempt to deliver an alert.
func (m *Metrics) Delivered(channel, result string) {
	m.deliveries.WithLabelValues(channel, result).Inc()
}

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
