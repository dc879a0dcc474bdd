package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyward/keyward/bench/lab"
)

// floods measures what bad keys cost: distinct ones, a million of each kind, in
// front of a server with good keys in memory.
func (b *bench) floods(ctx context.Context) (err error) {
	f, err := b.folder(ctx, b.few)
	if err != nil {
		return err
	}
	// The flood from many addresses comes through a proxy that is believed.
	s, err := b.start(f, "--trusted-proxies", "127.0.0.1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if _, err := f.askOnce(s.Address, f.keys); err != nil {
		return err
	}
	started, err := s.SettledMemory()
	if err != nil {
		return err
	}
	fmt.Printf("\nFloods of distinct bad keys, %d of each kind, from %d clients. Memory before the first: %.1f MB.\n\n", b.flood, connections, started)
	fmt.Println("| | a second | answers | MB after a tenth | MB at the end | |")
	fmt.Println("| --- | --: | --- | --: | --: | --- |")
	unknown := func(to []byte, _ int) []byte { return f.gatewayRequest(to, string(newKey()), "") }
	for _, kind := range []struct {
		name    string
		request func(to []byte, n int) []byte
	}{
		{"garbage: the form of a key and a wrong checksum", func(to []byte, n int) []byte {
			key := newKey()
			key[45] ^= 1
			return f.gatewayRequest(to, string(key), "")
		}},
		{"well-formed keys that do not exist, from one address", unknown},
		{"well-formed keys that do not exist, each from another address", func(to []byte, n int) []byte {
			return f.gatewayRequest(to, string(newKey()), fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
		}},
	} {
		first, err := load(s.Address, b.flood/10, kind.request)
		if err != nil {
			return err
		}
		early, err := s.SettledMemory()
		if err != nil {
			return err
		}
		rest, err := load(s.Address, b.flood-b.flood/10, func(to []byte, n int) []byte { return kind.request(to, n+b.flood/10) })
		if err != nil {
			return err
		}
		late, err := s.SettledMemory()
		if err != nil {
			return err
		}
		if first.statuses[200]+rest.statuses[200] > 0 {
			return errors.New("a bad key was let in")
		}
		flat := late <= early*1.15
		fmt.Printf("| %s | %.0f | %s | %.1f | %.1f | %s |\n", kind.name, rest.perSecond(b.flood-b.flood/10), counts(first, rest), early, late, verdict(flat))
	}
	lab.Say("asking the good keys again")
	_, err = f.askOnce(s.Address, f.keys)
	return err
}

// counts says how many answers had which status.
func counts(all ...loaded) string {
	text := ""
	for _, status := range []int{401, 403, 429, 500, 503} {
		n := 0
		for _, l := range all {
			n += l.statuses[status]
		}
		if n > 0 {
			text += fmt.Sprintf(" %d × %d", n, status)
		}
	}
	return text[min(1, len(text)):]
}
