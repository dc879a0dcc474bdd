package main

import (
	"fmt"
	"slices"
	"strings"
)

// series is one thing measured several times.
type series []float64

func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// list writes every measurement: a median alone hides how far apart they were.
func (s series) list(format string) string {
	var all []string
	for _, v := range s {
		all = append(all, fmt.Sprintf(format, v))
	}
	return strings.Join(all, " ")
}
