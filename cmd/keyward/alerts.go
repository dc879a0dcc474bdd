package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
)

func alertCommand() *cobra.Command {
	var in client.SetAlert
	var remove bool
	return remoteCommand(page{
		use: "alert KEY", completes: keyNames, short: "Be told when a part of a key's limit is used",
		long: `Be told when a part of a key's limit is used: of its requests an hour, or of those
a month where there is no limit an hour. Without --webhook and --email the owners
of the organization get an e-mail. Without any flag, show the alert that there is.`,
		example: `  keyward keys alert production-2024 --threshold 80
  keyward keys alert production-2024 --threshold 90 --webhook https://example.com/hooks/keyward
  keyward keys alert production-2024 --remove`,
	}, cobra.ExactArgs(1), func(c *cobra.Command) {
		asksFirst(c)
		c.Flags().Int64Var(&in.Threshold, "threshold", 0, "percent of the limit, from 1 to 100")
		c.Flags().StringVar(&in.WebhookURL, "webhook", "", "where to post the alert")
		c.Flags().StringVar(&in.Email, "email", "", "whom to send it")
		c.Flags().BoolVar(&remove, "remove", false, "remove the alert")
	}, func(ctx context.Context, r *remote, args []string) error {
		given := r.command.Flags().Changed
		switch {
		case remove && (given("threshold") || given("webhook") || given("email")):
			return r.misuse("--remove goes with no other flag")
		case (given("webhook") || given("email")) && !given("threshold"):
			return r.misuse("--threshold is missing: how much of the limit, such as 80")
		case given("threshold") && (in.Threshold < 1 || in.Threshold > 100):
			return r.misuse("--threshold must be from 1 to 100")
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		k, err := findKey(ctx, c, args[0])
		if err != nil {
			return err
		}
		if remove {
			if err := r.sure(ctx, "Remove the alert of %s (%d)?", k.Name, k.ID); err != nil {
				return err
			}
			if err := c.Alerts.Remove(ctx, k.ID); err != nil {
				return err
			}
			if r.json {
				return r.print(map[string]any{"key_id": k.ID, "removed": true})
			}
			r.Say("Removed the alert of %s (%d).", k.Name, k.ID)
			return nil
		}
		if !given("threshold") {
			a, err := c.Alerts.Get(ctx, k.ID)
			if err != nil {
				return err
			}
			if r.json {
				return r.print(a)
			}
			r.showAlert(k, a)
			return nil
		}
		set, err := c.Alerts.Set(ctx, k.ID, in)
		refused := (*client.Error)(nil)
		if errors.As(err, &refused) && refused.Details["setting"] == "smtp.host" {
			return advise(err, "--webhook URL has it posted instead.")
		} else if err != nil {
			return err
		}
		if r.json {
			return r.print(set)
		}
		r.showAlert(k, set.Alert)
		if set.WebhookSecret != "" {
			return r.secret("\nThe webhook is signed with this:", set.WebhookSecret, "It is shown this once. docs/alerts.md tells how to check a signature.")
		}
		return nil
	})
}

func (r *remote) showAlert(k client.Key, a client.Alert) {
	var to []string
	if a.WebhookURL != "" {
		to = append(to, a.WebhookURL)
	}
	if a.Email != "" {
		to = append(to, a.Email)
	}
	if a.ToOwners {
		to = append(to, "the owners' e-mail")
	}
	r.Fields("key", fmt.Sprintf("%s (%d)", k.Name, k.ID), "alert at", fmt.Sprintf("%d %% of its limit", a.Threshold), "to", strings.Join(to, ", "))
}

func alertsCommand() *cobra.Command {
	var limit int
	return remoteCommand(page{
		use: "alerts [KEY]", completes: keyNames, short: "List the alerts that fired, newest first",
		long: `List the alerts that fired, newest first, and how it went to tell of them.`,
		example: `  keyward keys alerts
  keyward keys alerts production-2024 --json`,
	}, cobra.MaximumNArgs(1), func(c *cobra.Command) {
		c.Flags().IntVar(&limit, "limit", 50, "how many at most")
	}, func(ctx context.Context, r *remote, args []string) error {
		if limit < 1 {
			return r.misuse("--limit must be 1 or more")
		}
		c, err := r.dial()
		if err != nil {
			return err
		}
		var f client.AlertFilter
		if len(args) > 0 {
			k, err := findKey(ctx, c, args[0])
			if err != nil {
				return err
			}
			f.KeyID = k.ID
		}
		all, err := first(limit, c.Alerts.All(ctx, f))
		if err != nil {
			return err
		}
		if r.json {
			return r.print(all)
		}
		var rows [][]string
		for _, a := range all {
			var to []string
			for _, d := range a.Deliveries {
				to = append(to, d.Target+": "+d.Status)
			}
			rows = append(rows, []string{when(a.FiredAt), a.KeyName, fmt.Sprintf("%d of %d/%s", a.Used, a.Limit, a.Span), strings.Join(to, ", ")})
		}
		r.Table("No alert has fired.", []string{"FIRED", "KEY", "USED", "TOLD"}, rows)
		return nil
	})
}
