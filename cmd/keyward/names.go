package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/keyward/keyward/client"
)

// What is named on a command line is looked for by its id first, so that nobody
// takes its place by a name that is like it; then by its name. Where several have
// the name nothing is done.

// ambiguous says which there are.
func ambiguous(noun string, ids []string) error {
	return missing("AMBIGUOUS_NAME", fmt.Sprintf("%d %ss have this name: %s", len(ids), noun, strings.Join(ids, ", ")), "Say which one by its id.")
}

// The names that a shell completes.
func keyNames(ctx context.Context, c *client.Client) iter.Seq2[string, error] {
	return each(c.Keys.All(ctx, client.KeyFilter{}), func(k client.Key) string { return k.Name })
}

func agentIDs(ctx context.Context, c *client.Client) iter.Seq2[string, error] {
	return each(c.Agents.All(ctx, client.Page{}), func(a client.Agent) string { return a.ID })
}

func runIDs(ctx context.Context, c *client.Client) iter.Seq2[string, error] {
	return each(c.Runs.All(ctx, client.RunFilter{}), func(r client.Run) string { return r.ID })
}

func each[T any](list iter.Seq2[T, error], name func(T) string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for one, err := range list {
			if !yield(name(one), err) {
				return
			}
		}
	}
}

// findKey returns a key by its id or its name.
func findKey(ctx context.Context, c *client.Client, idOrName string) (client.Key, error) {
	if id, err := strconv.ParseInt(idOrName, 10, 64); err == nil && id > 0 {
		k, err := c.Keys.Get(ctx, id)
		if !errors.Is(err, client.ErrKeyNotFound) {
			return k, err
		}
	}
	// The names of keys that are not revoked are all different.
	for _, status := range []string{"", "revoked"} {
		var named []client.Key
		var ids []string
		for k, err := range c.Keys.All(ctx, client.KeyFilter{Status: status}) {
			if err != nil {
				return client.Key{}, err
			}
			if k.Name == idOrName {
				named, ids = append(named, k), append(ids, strconv.FormatInt(k.ID, 10))
			}
		}
		switch {
		case len(named) == 1:
			return named[0], nil
		case len(named) > 1:
			return client.Key{}, ambiguous("key", ids)
		}
	}
	return client.Key{}, missing(client.ErrKeyNotFound, "no key has this id or name", "keyward keys list shows them.")
}

// findAgent returns an agent by its id or its name.
func findAgent(ctx context.Context, c *client.Client, idOrName string) (client.Agent, error) {
	if idOrName != "" && idOrName != "." && idOrName != ".." {
		a, err := c.Agents.Get(ctx, idOrName)
		if err == nil || !errors.Is(err, client.ErrAgentNotFound) && !errors.Is(err, client.ErrInvalidRequest) {
			return a, err
		}
	}
	var named []client.Agent
	var ids []string
	for a, err := range c.Agents.All(ctx, client.Page{}) {
		if err != nil {
			return client.Agent{}, err
		}
		if a.Name == idOrName {
			named, ids = append(named, a), append(ids, a.ID)
		}
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return client.Agent{}, ambiguous("agent", ids)
	}
	return client.Agent{}, missing(client.ErrAgentNotFound, "no agent has this id or name", "keyward agents list shows them; one of the operator's is public/ID.")
}

// findProfile returns an auth profile by its id or its name, among those of an
// agent if one is named.
func findProfile(ctx context.Context, c *client.Client, idOrName, agent string) (client.AuthProfile, error) {
	if agent == "" && idOrName != "" && idOrName != "." && idOrName != ".." {
		p, err := c.AuthProfiles.Get(ctx, idOrName)
		if err == nil || !errors.Is(err, client.ErrAuthProfileNotFound) && !errors.Is(err, client.ErrInvalidRequest) {
			return p, err
		}
	}
	var named []client.AuthProfile
	var ids []string
	err := eachProfile(ctx, c, agent, func(p client.AuthProfile) {
		if p.Name == idOrName || p.ID == idOrName {
			named, ids = append(named, p), append(ids, p.ID+" (of "+p.AgentID+")")
		}
	})
	switch {
	case err != nil:
		return client.AuthProfile{}, err
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return client.AuthProfile{}, ambiguous("auth profile", ids)
	}
	return client.AuthProfile{}, missing(client.ErrAuthProfileNotFound, "no auth profile has this id or name", "keyward profiles list shows them.")
}

// eachProfile tells the auth profiles of an agent, or of all agents.
func eachProfile(ctx context.Context, c *client.Client, agent string, tell func(client.AuthProfile)) error {
	var of []string
	if agent != "" {
		a, err := findAgent(ctx, c, agent)
		if err != nil {
			return err
		}
		of = append(of, a.ID)
	} else {
		for a, err := range c.Agents.All(ctx, client.Page{}) {
			if err != nil {
				return err
			}
			of = append(of, a.ID)
		}
	}
	for _, id := range of {
		for p, err := range c.AuthProfiles.All(ctx, id, client.Page{}) {
			if err != nil {
				return err
			}
			tell(p)
		}
	}
	return nil
}

// first returns the first entries of a list, n at most.
func first[T any](n int, list func(func(T, error) bool)) ([]T, error) {
	all := []T{}
	var failed error
	list(func(one T, err error) bool {
		if err != nil {
			failed = err
			return false
		}
		all = append(all, one)
		return len(all) < n
	})
	return all, failed
}
