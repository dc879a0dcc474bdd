package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/terminal"
)

type usageFlags struct {
	from, to moment
	interval string
}

func (f *usageFlags) set(c *cobra.Command) {
	c.Flags().Var(&f.from, "from", "from when on: a time, or how long ago, such as 7d (default: 24h)")
	c.Flags().Var(&f.to, "to", "until when (default: now)")
	c.Flags().StringVar(&f.interval, "interval", "", "minute, hour or day (default: what fits)")
	oneOf(c, "interval", "minute", "hour", "day")
}

// query is what the flags ask for. An interval that nobody gave is one of which a
// screen can show the points.
func (f *usageFlags) query() client.UsageQuery {
	q := client.UsageQuery{From: f.from.Time, To: f.to.Time, Interval: f.interval}
	if q.Interval == "" && !q.From.IsZero() {
		to := q.To
		if to.IsZero() {
			to = time.Now()
		}
		switch long := to.Sub(q.From); {
		case long <= time.Hour:
			q.Interval = "minute"
		case long > 3*24*time.Hour:
			q.Interval = "day"
		}
	}
	return q
}

func usageCommand() *cobra.Command {
	var f usageFlags
	return remoteCommand(page{
		use: "usage [KEY]", completes: keyNames, short: "Show how much keys are used, with a chart",
		long: `Show how much keys are used: a chart of all of them, or of one, and how each stands
with its limit. Without --from it is about the last 24 hours.`,
		example: `  keyward usage
  keyward usage production-2024 --from 7d
  keyward usage --from 2026-01-01 --to 2026-02-01 --json`,
	}, cobra.MaximumNArgs(1), f.set, func(ctx context.Context, r *remote, args []string) error {
		return r.usage(ctx, args, f.query())
	})
}

func keyUsageCommand() *cobra.Command {
	var f usageFlags
	return remoteCommand(page{
		use: "usage KEY", completes: keyNames, short: "Show how much a key is used, with a chart",
		long: `Show how much a key is used, with a chart, and how it stands with its limit. Without
--from it is about the last 24 hours.`,
		example: `  keyward keys usage production-2024
  keyward keys usage 5123456789012345 --from 7d --interval day`,
	}, cobra.ExactArgs(1), f.set, func(ctx context.Context, r *remote, args []string) error {
		return r.usage(ctx, args, f.query())
	})
}

func (r *remote) usage(ctx context.Context, args []string, q client.UsageQuery) error {
	c, err := r.dial()
	if err != nil {
		return err
	}
	var u client.Usage
	if len(args) > 0 {
		k, err := findKey(ctx, c, args[0])
		if err != nil {
			return err
		}
		if u, err = c.Usage.OfKey(ctx, k.ID, q); err != nil {
			return err
		}
	} else {
		q.Limit = 100
		for {
			l, err := c.Usage.List(ctx, q)
			if err != nil {
				return err
			}
			u.Period, u.Keys = l.Period, append(u.Keys, l.Keys...)
			if l.Pagination.NextCursor == nil || *l.Pagination.NextCursor == q.Cursor {
				break
			}
			q.Cursor = *l.Pagination.NextCursor
		}
	}
	if r.json {
		return r.print(u)
	}
	r.chart(u)
	var rows [][]string
	for _, k := range u.Keys {
		limit, used := "unlimited", ""
		if k.Limit != nil {
			limit = number(*k.Limit)
		}
		if k.PercentUsed != nil {
			used = fmt.Sprintf("%.0f %%", *k.PercentUsed)
		}
		rows = append(rows, []string{number(k.ID), k.Name, number(k.Requests), number(k.Allowed), number(k.Denied), number(k.RateLimited), limit, used, when(k.LastUsedAt)})
	}
	fmt.Fprintln(r.Out)
	r.Table("There are no keys.", []string{"ID", "NAME", "REQUESTS", "ALLOWED", "DENIED", "RATE LIMITED", "LIMIT", "USED", "LAST USED"}, rows)
	return nil
}

// chart draws all keys' requests, a bar for each point of time.
func (r *remote) chart(u client.Usage) {
	layout := map[string]string{"minute": "15:04", "hour": "Jan 02 15:04", "day": "Jan 02"}[u.Period.Interval]
	// Days and their midnight are those of UTC, so all times are.
	fmt.Fprintf(r.Out, "Requests by %s, %s to %s UTC\n\n", u.Period.Interval, u.Period.From.Format("2006-01-02 15:04"), u.Period.To.Format("2006-01-02 15:04"))
	type sum struct{ allowed, denied, limited int64 }
	sums := map[time.Time]sum{}
	var order []time.Time
	for _, k := range u.Keys {
		for _, p := range k.Series {
			s, there := sums[p.Time.Time]
			if !there {
				order = append(order, p.Time.Time)
			}
			sums[p.Time.Time] = sum{s.allowed + p.Allowed, s.denied + p.Denied, s.limited + p.RateLimited}
		}
	}
	var bars []terminal.Bar
	for _, at := range order {
		s := sums[at]
		note := number(s.allowed)
		if s.denied+s.limited > 0 {
			var more []string
			if s.denied > 0 {
				more = append(more, fmt.Sprintf("%d denied", s.denied))
			}
			if s.limited > 0 {
				more = append(more, fmt.Sprintf("%d rate limited", s.limited))
			}
			note += " and " + strings.Join(more, ", ")
		}
		bars = append(bars, terminal.Bar{Label: at.UTC().Format(layout), Note: note, Parts: []terminal.Part{
			{Size: s.allowed, Style: terminal.Green, Plain: '#'}, {Size: s.denied, Style: terminal.Red, Plain: 'x'}, {Size: s.limited, Style: terminal.Amber, Plain: '~'},
		}})
	}
	// What was before the first request is no news.
	for len(bars) > 1 && bars[0].Note == "0" {
		bars = bars[1:]
	}
	r.Chart(bars)
}
