package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/keyward/keyward/internal/agent"
	"github.com/keyward/keyward/internal/config"
	"github.com/keyward/keyward/internal/folder"
)

// settle brings what the database holds in line with this start: the operator's
// organization and setup code, the config file's agents, the runs that a server
// that is gone has left.
func (s *server) settle(ctx context.Context) error {
	have, err := s.folder.Read(folder.SetupCodeFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("setup code: %w", err)
	}
	operator, code, err := s.accounts.EnsureOperator(ctx, string(have))
	if err != nil {
		return err
	}
	s.setupCode, s.agents.OperatorID, s.alerts.OperatorID = code, operator, operator
	if err := s.signing.Start(ctx); err != nil {
		return err
	}
	if err := s.runs.PrepareDir(); err != nil {
		return fmt.Errorf("the folder for commands: %w", err)
	}
	switch {
	case code == "":
		err = s.folder.Remove(folder.SetupCodeFile)
	case code != string(have):
		err = s.folder.Write(folder.SetupCodeFile, []byte(code))
	}
	if err != nil {
		return err
	}
	if err := s.declareAgents(ctx); err != nil {
		return err
	}
	if err := s.runKeys.Start(ctx); err != nil {
		return err
	}
	if err := s.fleet.Register(ctx); err != nil {
		return err
	}
	s.runs.NodeID = s.fleet.ID()
	// Once more: a rotation that did not see this server yet has gone on.
	if err := s.rootKeys.Check(ctx, false); err != nil {
		return err
	}
	return s.tendRuns(ctx)
}

// dropSetupCode takes the file with the setup code away once it is spent.
func (s *server) dropSetupCode() {
	if err := s.folder.Remove(folder.SetupCodeFile); err != nil {
		s.log.Warn("the file with the spent setup code can't be removed", "err", err)
	}
}

func (s *server) declareAgents(ctx context.Context) error {
	declared := make([]agent.Definition, len(s.Config.Agents))
	for i, a := range s.Config.Agents {
		declared[i] = definition(a)
	}
	err := s.agents.Declare(ctx, declared)
	if bad := (*agent.BadDeclaration)(nil); errors.As(err, &bad) {
		return s.Config.Invalid(bad.Setting, bad.Reason)
	}
	return err
}

func definition(a config.Agent) agent.Definition {
	d := agent.Definition{
		ID: a.ID, Name: a.Name, Description: a.Description, Visibility: agent.Visibility(a.Visibility), TimeoutSeconds: a.TimeoutSeconds,
		Idempotent: a.Idempotent, MaxConcurrent: a.MaxConcurrent,
		Runner: agent.Runner{Type: agent.RunnerType(a.Runner.Type), URL: a.Runner.URL, Command: a.Runner.Command, Limits: agent.Limits(a.Runner.Limits)},
	}
	for _, in := range a.InputArguments {
		d.InputArguments = append(d.InputArguments, agent.Argument{
			Name: in.Name, Type: agent.Type(in.Type), Required: in.Required, Sensitive: in.Sensitive, Default: []byte(in.Default), Description: in.Description,
		})
	}
	return d
}

// tendRuns takes care of the runs of servers that are gone.
func (s *server) tendRuns(ctx context.Context) error {
	return s.runs.Tend(ctx, func(ctx context.Context) ([]string, error) {
		nodes, err := s.fleet.Live(ctx)
		live := make([]string, len(nodes))
		for i, n := range nodes {
			live[i] = n.ID
		}
		return live, err
	})
}

// purgeRuns removes what is older than the settings say.
func (s *server) purgeRuns(ctx context.Context) error {
	_, err := s.runs.Purge(ctx, s.Config.Runs.Keep, s.Config.Runs.KeepLogs)
	return err
}

// work starts what goes on in the background.
func (s *server) work() {
	l := s.loops
	l.start("heartbeat", s.fleet.Follow)
	l.start("root key", s.rootKeys.Follow)
	l.start("audit log", s.audit.Follow)
	l.start("signing keys", s.signing.Loop)
	l.start("sign-ins", s.accounts.Loop)
	l.start("usage", s.usage.Loop)
	l.start("roll-up of usage", s.usage.RollLoop)
	l.every("purge of usage", 10*time.Minute, s.usage.Purge)
	l.start("limits", s.limits.Loop)
	l.every("purge of limits", time.Hour, whole(s.limits.Purge))
	if s.db.Shared() {
		l.start("change log", s.gate.Follow)
		l.every("purge of signatures", time.Minute, whole(s.gate.PurgeSignatures))
	}
	l.start("alerts", s.alerts.Fire)
	l.start("deliveries of alerts", s.alerts.Deliver)
	l.every("purge of alerts", time.Hour, whole(s.alerts.Purge))
	l.every("run keys", 5*time.Second, s.runKeys.Tend)
	l.every("queue of runs", time.Second, s.runs.Look)
	l.every("lost runs", 5*time.Second, s.tendRuns)
	l.every("purge of runs", time.Hour, s.purgeRuns)
	l.every("purge of keys", time.Hour, whole(s.keys.Purge))
	l.every("purge of device logins", time.Minute, whole(s.devices.Purge))
	l.every("purge of auth tokens", time.Minute, whole(s.vault.Purge))
	if s.tls != nil {
		l.start("TLS certificate", s.tls.follow)
	}
}

// whole returns what calls purge until nothing is left for it, in batches that
// hold no writer up.
func whole(purge func(ctx context.Context, limit int) (int, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			const batch = 200
			if n, err := purge(ctx, batch); err != nil || n < batch {
				return err
			}
		}
	}
}

// serve answers until ctx ends, and then stops in order: no new connections,
// requests finish, runs finish or are interrupted, the background work ends.
func (s *server) serve(ctx context.Context) error {
	s.work()
	s.http = newServer(s.handler(), s.log)
	s.console = newServer(s.consoleHandler(), s.log)
	failed := make(chan error, 3)
	go func() { failed <- s.console.Serve(s.control) }()
	watched := newServer(s.metricsHandler(), s.log)
	if s.watch != nil {
		go func() { failed <- watched.Serve(s.watch) }()
	}
	go func() {
		if s.tls != nil {
			s.http.TLSConfig = s.tls.config()
			failed <- s.http.ServeTLS(s.listener, "", "")
			return
		}
		failed <- s.http.Serve(s.listener)
	}()
	fmt.Fprintf(s.Say, "listening on %s\n", s.listensOn())
	if s.Ready != nil {
		s.Ready(s.url)
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.draining.Store(true)
	s.log.Info("stopping: requests and runs that are under way may finish", "for_at_most", s.Config.ShutdownTimeout)
	deadline := time.Now().Add(s.Config.ShutdownTimeout)
	patient, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	// Who waits for a run is told that it was interrupted, which takes a moment
	// longer than the requests have.
	const lastWords = 2 * time.Second
	var cut error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		cut = shutdown(s.http, time.Until(deadline.Add(lastWords)))
	}()
	select {
	case <-answered:
	case <-patient.Done():
	}
	s.runs.Shutdown(patient)
	<-answered
	s.hangUp(lastWords)
	err = errors.Join(err, cut, shutdown(s.console, time.Second), shutdown(watched, time.Second))
	s.loops.stop()
	// Counts first: what is not given back of limits only counts as used.
	const farewell = 15 * time.Second
	last, done := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer done()
	return errors.Join(err, s.usage.Flush(last), s.limits.Settle(last), s.fleet.Leave(context.WithoutCancel(ctx)))
}

// hangUp waits until the streams have told how their runs have ended.
func (s *server) hangUp(limit time.Duration) {
	told := make(chan struct{})
	go func() {
		s.streams.Wait()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(limit):
	}
}

// listensOn is the address that is listened on, whatever the public one is.
func (s *server) listensOn() string {
	scheme := "http"
	if s.tls != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(s.listener.Addr().String())
}

// close gives back what was taken, however far the start has come.
func (s *server) close() {
	s.loops.stop()
	if s.listener != nil {
		s.listener.Close()
	}
	if s.control != nil {
		s.control.Close()
	}
	if s.watch != nil {
		s.watch.Close()
	}
	if s.db != nil {
		if err := s.db.Close(); err != nil {
			s.log.Error("close the database", "err", err)
		}
	}
	if s.folder != nil {
		if err := s.folder.Close(); err != nil {
			s.log.Error("close the data folder", "err", err)
		}
	}
}
