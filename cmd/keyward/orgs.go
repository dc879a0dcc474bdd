package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyward/keyward/client"
	"github.com/keyward/keyward/internal/terminal"
)

func orgsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "orgs",
		Short: "List organizations and set their limits, as the operator on the server's own machine",
		Long: `List organizations and say how often their API keys may be used. The commands
talk to the running server through the control socket in its data folder, so
they need no password, and work on the server's own machine alone.`,
		Example: `  keyward orgs list
  keyward orgs set-tier "Jane's organization" pro`,
	}
	c.AddCommand(listOrgsCommand(), setTierCommand())
	return c
}

func listOrgsCommand() *cobra.Command {
	var data string
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the organizations of the server with their tiers and limits, newest first",
		Example: "  keyward orgs list",
		RunE: func(c *cobra.Command, _ []string) error {
			all := []client.Organization{}
			err := eachOrganization(c.Context(), dialControl(data), func(o client.Organization) error {
				if asJSON {
					all = append(all, o)
					return nil
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s  %s  %s\n", o.ID, o.CreatedAt, o.Tier, limitsText(o.EffectiveLimits), terminal.Line(o.Name))
				return err
			})
			if err != nil || !asJSON {
				return err
			}
			return printJSON(c.OutOrStdout(), all)
		},
	}
	dataFlag(c, &data)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func setTierCommand() *cobra.Command {
	var data string
	var asJSON bool
	var perHour, burst, perMonth int64
	c := &cobra.Command{
		Use:   "set-tier ORGANIZATION free|pro|enterprise",
		Short: "Put an organization on a tier, which says how often each of its API keys may be used",
		Long: `Put an organization, named by its id or its name, on a tier. The tier says how
often each of its API keys may be used:

  free         100 requests an hour, 10 in any second
  pro          1,000 requests an hour, 100 in any second
  enterprise   unlimited

What the flags set takes the place of what the tier says, be it more or less; -1
is unlimited. A flag that is left out goes back to the tier. It holds from the
next request on.`,
		Example: `  keyward orgs set-tier "Jane's organization" pro
  keyward orgs set-tier 019f8a52-4c1e-7d30-b6a1-2f6d0c9be7aa enterprise --requests-per-hour 20000 --burst 500
  keyward orgs set-tier "Jane's organization" free --requests-per-month 10000`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			own := client.OrganizationLimits{}
			for _, flag := range []struct {
				name string
				from *int64
				to   **int64
			}{
				{"requests-per-hour", &perHour, &own.RequestsPerHour}, {"burst", &burst, &own.Burst}, {"requests-per-month", &perMonth, &own.RequestsPerMonth},
			} {
				if c.Flags().Changed(flag.name) {
					*flag.to = flag.from
				}
			}
			server := dialControl(data)
			o, err := findOrganization(c.Context(), server, args[0])
			if err != nil {
				return err
			}
			change := client.OrganizationChange{Tier: &args[1], Limits: &own}
			var now client.Organization
			if err := server.call(c.Context(), http.MethodPatch, "/v1/organizations/"+url.PathEscape(o.ID), change, &now); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), now)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s (%s) is on %s: %s\n", terminal.Line(now.Name), now.ID, now.Tier, limitsText(now.EffectiveLimits))
			return err
		},
	}
	dataFlag(c, &data)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().Int64Var(&perHour, "requests-per-hour", 0, "requests of a key in an hour; -1 is unlimited")
	c.Flags().Int64Var(&burst, "burst", 0, "requests of a key in any one second; -1 is unlimited")
	c.Flags().Int64Var(&perMonth, "requests-per-month", 0, "requests of a key in a calendar month (UTC); -1 is unlimited")
	return c
}

// eachOrganization calls do for every organization of the server, newest first.
func eachOrganization(ctx context.Context, server *control, do func(client.Organization) error) error {
	for next := ""; ; {
		var page client.List[client.Organization]
		if err := server.call(ctx, http.MethodGet, "/v1/organizations?limit=100"+next, nil, &page); err != nil {
			return err
		}
		for _, o := range page.Data {
			if err := do(o); err != nil {
				return err
			}
		}
		if page.Pagination.NextCursor == nil {
			return nil
		}
		next = "&cursor=" + *page.Pagination.NextCursor
	}
}

// findOrganization returns the organization with this id, or the only one with
// this name.
func findOrganization(ctx context.Context, server *control, idOrName string) (client.Organization, error) {
	var byID, byName []client.Organization
	err := eachOrganization(ctx, server, func(o client.Organization) error {
		if o.ID == idOrName {
			byID = append(byID, o)
		}
		if o.Name == idOrName {
			byName = append(byName, o)
		}
		return nil
	})
	switch {
	case err != nil:
		return client.Organization{}, err
	case len(byID) == 1:
		// Nobody takes it over by naming his own like its id.
		return byID[0], nil
	case len(byName) == 1:
		return byName[0], nil
	case len(byName) > 1:
		return client.Organization{}, fmt.Errorf("%d organizations have this name; say which by its id, as keyward orgs list shows it", len(byName))
	}
	return client.Organization{}, fmt.Errorf("no organization has this id or name; keyward orgs list shows them")
}

func limitsText(l client.OrganizationLimits) string {
	var parts []string
	for _, limit := range []struct {
		n    *int64
		span string
	}{{l.RequestsPerHour, "hour"}, {l.Burst, "second"}, {l.RequestsPerMonth, "month"}} {
		if limit.n != nil {
			parts = append(parts, fmt.Sprintf("%d/%s", *limit.n, limit.span))
		}
	}
	if len(parts) == 0 {
		return "unlimited"
	}
	return strings.Join(parts, " ")
}
