package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
)

func auditCommand() *cobra.Command {
	var f client.AuditFilter
	var key string
	var from, to moment
	var limit int
	return remoteCommand(page{
		use: "audit", short: "Show who did what, newest first",
		long: `Show who did what in the organization, when and from where, newest first.`,
		example: `  keyward audit
  keyward audit --action key.create --from 7d
  keyward audit --subject agent/invoices --json`,
	}, nil, func(c *cobra.Command) {
		c.Flags().StringVar(&f.Action, "action", "", "what was done, such as key.create")
		c.Flags().StringVar(&f.SubjectKind, "subject", "", "to what: a kind such as agent, or kind/id")
		c.Flags().StringVar(&f.AccountID, "account", "", "by the account with this id")
		c.Flags().StringVar(&key, "key", "", "with this key")
		c.Flags().Var(&from, "from", "from when on: a time, or how long ago, such as 7d")
		c.Flags().Var(&to, "to", "until when")
		c.Flags().IntVar(&limit, "limit", 50, "how many at most")
	}, func(ctx context.Context, r *remote, _ []string) error {
		if limit < 1 {
			return r.misuse("--limit must be 1 or more")
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		if key != "" {
			k, err := findKey(ctx, c, key)
			if err != nil {
				return err
			}
			f.KeyID = k.ID
		}
		f.SubjectKind, f.SubjectID, _ = strings.Cut(f.SubjectKind, "/")
		f.From, f.To = from.Time, to.Time
		f.Limit = min(limit, 100)
		all, err := first(limit, c.Audit.All(ctx, f))
		if err != nil {
			return err
		}
		if r.json {
			return r.print(all)
		}
		var rows [][]string
		for _, e := range all {
			who := e.AccountID
			if e.KeyID != 0 {
				who = "key " + number(e.KeyID)
			}
			what := e.Subject.Name
			if what == "" {
				what = e.Subject.ID
			}
			var notes []string
			for _, name := range slices.Sorted(maps.Keys(e.Notes)) {
				notes = append(notes, name+"="+e.Notes[name])
			}
			rows = append(rows, []string{when(e.At), e.Action, e.Subject.Kind + " " + what, who, e.Address, strings.Join(notes, " ")})
		}
		r.Table("There is nothing of that kind in the record.", []string{"TIME", "ACTION", "TO", "BY", "FROM", "NOTES"}, rows)
		return nil
	})
}
