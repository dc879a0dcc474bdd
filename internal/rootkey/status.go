package rootkey

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// State is what a version is to a database.
type State string

// The states, in the order in which a version goes through them.
const (
	Added   State = "added" // held by this server, and never active
	Active  State = "active"
	Old     State = "old" // was active, and has rows yet
	Retired State = "retired"
	Unknown State = "unknown" // rows name it and nothing else knows it
)

// Status is how things stand with the root key.
type Status struct {
	Versions []VersionStatus // lowest first
	Nodes    []Node
}

// VersionStatus is how things stand with one version.
type VersionStatus struct {
	Version
	State State
	Held  bool    // by this server
	Rows  []Count // what is under it
}

// Count says how many rows of a noun there are.
type Count struct {
	Name string
	Rows int64
}

// Status tells how things stand. It counts rows, and so reads whole tables.
func (k *Keys) Status(ctx context.Context) (Status, error) {
	v, err := read(ctx, k.DB)
	if err != nil {
		return Status{}, err
	}
	all := map[uint32]VersionStatus{}
	put := func(state State, known ...Version) {
		for _, version := range known {
			all[version.Number] = VersionStatus{Version: version, State: state, Held: k.Root.ID(version.Number) == version.ID}
		}
	}
	for _, number := range k.Root.Versions() {
		put(Added, Version{Number: number, ID: k.Root.ID(number)})
	}
	put(Old, v.old...)
	put(Retired, v.retired...)
	if v.begun() {
		put(Active, v.active)
	}
	for _, rows := range k.Rows {
		counts, err := k.count(ctx, rows)
		if err != nil {
			return Status{}, err
		}
		for number, n := range counts {
			s, known := all[number]
			if !known {
				s = VersionStatus{Version: Version{Number: number}, State: Unknown}
			}
			s.Rows = append(s.Rows, Count{rows.Name, n})
			all[number] = s
		}
	}
	status := Status{}
	for _, number := range slices.Sorted(maps.Keys(all)) {
		status.Versions = append(status.Versions, all[number])
	}
	status.Nodes, err = k.Nodes(ctx)
	return status, err
}

// count returns how many of rows are under each version.
func (k *Keys) count(ctx context.Context, rows Rows) (map[uint32]int64, error) {
	counts := map[uint32]int64{}
	for _, table := range rows.Tables {
		if err := k.countTable(ctx, table, counts); err != nil {
			return nil, fmt.Errorf("count %s: %w", rows.Name, err)
		}
	}
	return counts, nil
}

func (k *Keys) countTable(ctx context.Context, table string, counts map[uint32]int64) error {
	found, err := k.DB.Query(ctx, `SELECT root_version, count(*) FROM `+table+` GROUP BY root_version`)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var number uint32
		var n int64
		if err := found.Scan(&number, &n); err != nil {
			return err
		}
		counts[number] += n
	}
	return found.Err()
}
