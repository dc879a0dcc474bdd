// Package lab is what the measurements have in common: the machine that they
// are made on, the server as it is shipped, and medians.
package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Series is one thing measured several times.
type Series []float64

// Median returns the middle one.
func (s Series) Median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// List writes every measurement: a median alone hides how far apart they were.
func (s Series) List(format string) string {
	var all []string
	for _, v := range s {
		all = append(all, fmt.Sprintf(format, v))
	}
	return strings.Join(all, " ")
}

// Say tells on standard error how far things are.
func Say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, "  "+strings.TrimSpace(fmt.Sprintf(format, args...)))
}
