package serve

import (
	"context"
	"fmt"
	"time"

	"github.com/keyward/keyward/internal/fault"
)

// pruneRuns removes the runs that ended longer than olderThan ago, or, if that is
// empty, what the settings say, and tells how many those were.
func (s *server) pruneRuns(ctx context.Context, olderThan string, line func(string)) error {
	keep, keepLogs := s.Config.Runs.Keep, s.Config.Runs.KeepLogs
	if olderThan != "" {
		d, err := time.ParseDuration(olderThan)
		if err != nil || d < 0 {
			return fault.Field("older_than", "must be a time that is not negative, such as 168h")
		}
		keep, keepLogs = d, d
	}
	done, err := s.runs.Prune(ctx, keep, keepLogs)
	if err != nil {
		return err
	}
	s.log.Info("runs were pruned", "runs", done.Runs, "logs", done.Logs)
	line(fmt.Sprintf("removed %d runs and %d logs", done.Runs, done.Logs))
	return nil
}
