// Package serve is the composition root: it reads the settings and puts the
// parts of a server together, from the ground up. Nobody else constructs.
//
// What it knows and no part does: in which order the parts start and stop, and
// which method of one is what another asked for as a func.
package serve

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/account"
	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/alert"
	"github.com/keyward/keyward/internal/apikey"
	"github.com/keyward/keyward/internal/audit"
	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/db"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/egress"
	"github.com/keyward/keyward/internal/folder"
	"github.com/keyward/keyward/internal/gate"
	"github.com/keyward/keyward/internal/limit"
	"github.com/keyward/keyward/internal/metrics"
	"github.com/keyward/keyward/internal/node"
	"github.com/keyward/keyward/internal/rootkey"
	"github.com/keyward/keyward/internal/run"
	"github.com/keyward/keyward/internal/runkey"
	"github.com/keyward/keyward/internal/seal"
	"github.com/keyward/keyward/internal/signing"
	"github.com/keyward/keyward/internal/usage"
	"github.com/keyward/keyward/internal/vault"
)

// Options are what a server is started with.
type Options struct {
	Config  config.Config
	Version string
	Say     io.Writer                        // what people read at the start
	Log     io.Writer                        // what the server records while it runs
	Lookup  func(name string) (string, bool) // of the environment, for the root key
	Ready   func(url string)                 // called when it serves; may be nil
}

// server is the parts, in the order in which they start.
type server struct {
	Options
	log *slog.Logger

	folder   *folder.Folder
	db       *db.DB
	root     *seal.Root
	rootKeys *rootkey.Keys
	egress   *egress.Policy
	acts     *access.Acts
	fleet    *node.Fleet
	audit    *audit.Log
	signing  *signing.Store
	accounts *account.Store
	keys     *apikey.Store
	agents   *agent.Store
	vault    *vault.Store
	alerts   *alert.Store
	limits   *limit.Keeper
	usage    *usage.Counter
	metrics  *metrics.Metrics
	requests *requests
	gate     *gate.Gate
	runs     *run.Runs
	runKeys  *runkey.Keys
	devices  *device.Store

	listener net.Listener
	control  net.Listener
	watch    net.Listener // of /metrics, if it has an address of its own
	url      string       // by which the server is reached
	http     *http.Server
	console  *http.Server
	tls      *certificate
	loops    *loops
	draining atomic.Bool
	streams  sync.WaitGroup // WebSockets, which an http.Server forgets

	setupCode string // "": there is an operator
}

// Run starts a server and serves until ctx ends. Then it lets what is under way
// finish, and returns nil.
func Run(ctx context.Context, o Options) error {
	s := &server{Options: o, log: newLog(o.Config, o.Log)}
	s.loops = newLoops(s.log)
	defer s.close()
	for _, step := range []func(context.Context) error{
		s.openFolder, s.openDatabase, s.openRootKey, s.build, s.listen, s.settle,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.introduce()
	return s.serve(ctx)
}

// build makes the parts and joins them: what one needs of another it has asked
// for as a func.
func (s *server) build(context.Context) error {
	c, now := s.Config, time.Now
	rules, err := egress.ParseRules(c.RunnersAllow)
	if err != nil {
		return c.Invalid("runners.allow", err)
	}
	s.egress = &egress.Policy{Allow: rules, Laptop: c.Laptop()}
	s.audit = &audit.Log{DB: s.db, Root: s.root, Now: now, Log: s.log}
	s.signing = &signing.Store{Acts: s.acts, DB: s.db, Root: s.root, Now: now, Log: s.log}
	s.accounts = &account.Store{
		Acts: s.acts, DB: s.db, Root: s.root, Now: now, Log: s.log, Sign: s.signing.Sign, Verify: s.signing.Verify,
		Issuer: func() string { return s.url }, SignupOpen: c.SignupOpen, DefaultTier: c.DefaultTier, DefaultQuotas: access.Quotas(c.Quotas),
	}
	s.keys = &apikey.Store{Acts: s.acts, DB: s.db, Root: s.root, Now: now, Prefix: c.KeyPrefix, HoldMember: s.accounts.HoldMember}
	s.accounts.RevokeKeys, s.accounts.SetupCodeSpent = s.keys.RevokeAccount, s.dropSetupCode
	s.agents = &agent.Store{Acts: s.acts, DB: s.db, Root: s.root, Now: now, CheckURL: s.egress.CheckURL}
	s.keys.HasAgent = s.agents.Has
	s.vault = &vault.Store{Acts: s.acts, DB: s.db, Root: s.root, Now: now, FindAgent: func(ctx context.Context, who access.Caller, id string) (vault.Agent, error) {
		a, err := s.agents.Find(ctx, who, id)
		return profileAgent(a), err
	}}
	s.alerts = &alert.Store{
		Acts: s.acts, DB: s.db, Root: s.root, Now: now, Log: s.log, CheckURL: s.egress.CheckURL, Client: s.egress.Client, Mail: s.mailer(),
		LimitsOf: s.limitsOf, OwnerEmails: s.accounts.OwnerEmails,
		OnFired: func() { s.metrics.AlertsFired.Inc() }, OnDelivery: func(channel, result string) { s.metrics.Delivered(channel, result) },
	}
	s.usage = &usage.Counter{
		DB: s.db, Now: now, Log: s.log, KeepMinutes: c.UsageKept.Minutes, KeepHours: c.UsageKept.Hours, KeepDays: c.UsageKept.Days,
	}
	s.limits = &limit.Keeper{DB: s.db, Clock: limit.Steady(now), Log: s.log}
	s.metrics = metrics.New(s.usageLag, func() int { return s.gate.Remembered() })
	s.requests = &requests{metrics: s.metrics, known: map[answered]prometheus.Observer{}}
	s.gate = gate.New(gate.Parts{
		DB: s.db, Keys: s.keys, Accounts: s.accounts, Limits: s.limits, Usage: s.usage, Metrics: s.metrics, Log: s.log, Now: now,
		Others: s.fleet.Others, Shared: s.db.Shared(), Beaten: s.fleet.Beaten, Counted: node.Remembered,
		Threshold: s.alerts.Threshold, Crossed: s.crossed,
	})
	s.acts.Closed = s.gate.Closed
	s.runs = &run.Runs{
		Acts: s.acts, DB: s.db, Root: s.root, Now: now, Log: s.log, Agents: s.agents, Client: s.egress.Client,
		OpenProfile: s.openProfile, Dir: filepath.Join(s.folder.Path(), "runs"), AtOnce: c.Runs.AtOnce,
	}
	s.runKeys = s.newRunKeys()
	s.runs.Waiting, s.runs.KeyEnded = s.waiting(), s.keyEnded
	s.devices = s.newDevices()
	return nil
}

// profileAgent is what a profile needs to know of an agent.
func profileAgent(a agent.Agent) vault.Agent {
	return vault.Agent{UID: a.UID, ID: a.ID, Destination: a.Destination(), Check: a.CheckValue}
}
